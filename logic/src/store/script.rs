//! Statements over many rows that are sent together.
//!
//! A transaction of the inbox writer is a handful of scripts. MySQL gets each as one text with literals: one round trip, and
//! one parse, however many rows and statements there are; prepared statements would come in pieces of fixed sizes, each a
//! round trip of its own. SQLite has no round trips and gets prepared statements. Literals are numbers and hexadecimal
//! digits only, so that nothing in them can be mistaken for SQL. Always holds: the statements run in the order in which
//! they were added; no text is longer than [`TEXT_BYTES_MAX`] and one row of a message.

use std::fmt::Write as _;

use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};

use super::{
    columns::to_sql,
    statement::{AnyQuery, MultiRow, chunks},
};

/// A text is sent, and the next one begun, beyond so many bytes. With the largest content of the default settings it stays
/// below 1 MiB, the smallest `max_allowed_packet` in use; where a server refuses one, each request goes by itself.
const TEXT_BYTES_MAX: usize = 1 << 19;

/// Rows in one statement of a text. MariaDB makes a subquery of lists of a thousand values, which is slower.
const TEXT_ROWS_MAX: usize = 512;

/// A script under construction.
pub(super) enum Script {
    /// Texts, of which the last one is still written.
    Text(Vec<String>),
    /// Prepared statements with their values.
    Prepared(Vec<AnyQuery>),
}

/// A row whose values are put in one after the other.
#[derive(Default)]
pub(super) struct Row {
    /// The statement that they are bound to. Without one they are written into `sql`.
    query: Option<AnyQuery>,
    /// What is written so far.
    sql: String,
    /// What of the row's pattern is left.
    pattern: &'static str,
}

impl Script {
    /// An empty one: a text where the database takes them cheaply.
    pub(super) fn new(is_text: bool) -> Self {
        if is_text { Self::Text(vec![String::new()]) } else { Self::Prepared(Vec::new()) }
    }

    /// Adds a statement without rows; of prepared ones, transactions are begun and ended otherwise.
    pub(super) fn add_plain(&mut self, sql: &'static str) {
        match self {
            Self::Text(texts) => {
                let text = texts.last_mut().expect("there is always a text");
                if !text.is_empty() {
                    text.push(';');
                }
                text.push_str(sql);
            }
            Self::Prepared(queries) => queries.push(sqlx::query(sql)),
        }
    }

    /// Adds a statement for all rows; nothing for none.
    pub(super) fn add<T>(&mut self, statement: MultiRow, rows: &[T], put: impl Fn(Row, &T) -> Row) {
        match self {
            Self::Text(texts) => rows.chunks(TEXT_ROWS_MAX).for_each(|rows| add_text(texts, statement, rows, &put)),
            Self::Prepared(queries) => queries.extend(chunks(rows.len()).filter_map(|range| {
                let row = Row { query: Some(sqlx::query(prepared(statement, range.len()))), ..Row::default() };
                rows[range].iter().fold(row, &put).query
            })),
        }
    }

    /// Runs it.
    pub(super) async fn run(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        self.fetch(connection).await.map(drop)
    }

    /// Runs it and collects what its statements return.
    pub(super) async fn fetch(self, connection: &mut AnyConnection) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut rows = Vec::new();
        match self {
            Self::Text(texts) => {
                for text in texts.into_iter().filter(|text| !text.is_empty()) {
                    rows.extend(sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *connection).await?);
                }
            }
            Self::Prepared(queries) => {
                for query in queries {
                    rows.extend(query.fetch_all(&mut *connection).await?);
                }
            }
        }
        Ok(rows)
    }
}

/// The statement for so many rows, as SQLite is to prepare it: where it fails, the rows that were inserted before stay. The transaction is
/// rolled back then, and these with it; but to be able to take back one statement alone, SQLite copies each page before the statement changes it.
fn prepared(statement: MultiRow, count: usize) -> AssertSqlSafe<String> {
    let AssertSqlSafe(mut sql) = statement.sql(count);
    if sql.starts_with("INSERT INTO ") {
        sql.insert_str("INSERT".len(), " OR FAIL");
    }
    AssertSqlSafe(sql)
}

/// Rows of many bytes are spread over several statements, and those over several texts.
fn add_text<T>(texts: &mut Vec<String>, statement: MultiRow, rows: &[T], put: impl Fn(Row, &T) -> Row) {
    let mut left = rows.iter().peekable();
    while left.peek().is_some() {
        let mut sql = texts.pop().unwrap_or_default();
        if sql.len() > TEXT_BYTES_MAX {
            texts.push(std::mem::take(&mut sql));
        }
        let mut separator = if sql.is_empty() { "" } else { ";" };
        let mut head = statement.head;
        while let Some(row) = left.next_if(|_| head == statement.head || sql.len() <= TEXT_BYTES_MAX) {
            sql.push_str(separator);
            sql.push_str(head);
            (separator, head) = (",", "");
            let row = put(Row { query: None, sql, pattern: statement.row }, row);
            sql = row.sql;
            sql.push_str(row.pattern);
        }
        sql.push_str(statement.tail);
        texts.push(sql);
    }
}

impl Row {
    /// An id or a seq.
    pub(super) fn id(self, value: u64) -> Self {
        self.number(to_sql(value))
    }

    /// An id or a seq, or NULL.
    pub(super) fn id_if_any(self, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.id(value),
            None => self.put(|query| query.bind(None::<i64>), |sql| sql.push_str("NULL")),
        }
    }

    /// A number.
    pub(super) fn number(self, value: i64) -> Self {
        self.put(|query| query.bind(value), |sql| write!(sql, "{value}").expect("strings take everything"))
    }

    /// Bytes.
    pub(super) fn bytes(self, value: &[u8]) -> Self {
        self.put(|query| query.bind(value.to_vec()), |sql| push_hex(sql, value))
    }

    /// Bytes, or NULL.
    pub(super) fn bytes_if_any(self, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.put(|query| query.bind(None::<Vec<u8>>), |sql| sql.push_str("NULL")),
        }
    }

    fn put(mut self, bind: impl FnOnce(AnyQuery) -> AnyQuery, write: impl FnOnce(&mut String)) -> Self {
        if let Some(query) = self.query {
            return Self { query: Some(bind(query)), ..self };
        }
        let (before, after) = self.pattern.split_once('?').expect("a pattern has a place for each value");
        self.sql.push_str(before);
        write(&mut self.sql);
        Self { pattern: after, ..self }
    }
}

fn push_hex(sql: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    sql.reserve(2 * bytes.len() + 3);
    sql.push_str("X'");
    for byte in bytes {
        sql.push(char::from(DIGITS[usize::from(byte >> 4)]));
        sql.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: MultiRow = MultiRow { head: "INSERT INTO t VALUES ", row: "(?,?)", tail: "" };
    const SELECT: MultiRow = MultiRow { head: "SELECT a FROM t WHERE a IN (", row: "?", tail: ")" };

    fn texts(script: Script) -> Vec<String> {
        match script {
            Script::Text(texts) => texts,
            Script::Prepared(_) => panic!("a text was asked for"),
        }
    }

    #[test]
    fn statements_are_one_text_of_numbers_and_hexadecimal_digits() {
        let mut script = Script::new(true);
        script.add(INSERT, &[(1, "it's"), (-2, "")], |row, (number, text)| row.number(*number).bytes(text.as_bytes()));
        script.add(SELECT, &[] as &[u64], |row, id| row.id(*id));
        script.add(SELECT, &[7, u64::MAX], |row, id| row.id(*id));
        script.add(INSERT, &[None, Some(&b"\x00\xff"[..])], |row, bytes| row.id(3).bytes_if_any(*bytes));
        let expected = "INSERT INTO t VALUES (1,X'69742773'),(-2,X'');SELECT a FROM t WHERE a IN (7,-1);\
                        INSERT INTO t VALUES (3,NULL),(3,X'00ff')";
        assert_eq!(texts(script), [expected]);
    }

    #[test]
    fn texts_and_statements_are_bounded_whatever_the_rows_are_like() {
        let mut script = Script::new(true);
        let rows = vec![0; 2 * TEXT_ROWS_MAX + 1];
        script.add(SELECT, &rows, |row, id| row.id(*id));
        let [text] = &texts(script)[..] else { panic!("one text is enough") };
        let counts: Vec<usize> = text.split(';').map(|statement| statement.matches('0').count()).collect();
        assert_eq!(counts, [TEXT_ROWS_MAX, TEXT_ROWS_MAX, 1]);

        let mut script = Script::new(true);
        let content = vec![0; TEXT_BYTES_MAX / 4];
        script.add(INSERT, &[1, 2, 3, 4, 5], |row, number| row.number(*number).bytes(&content));
        let texts = texts(script);
        assert_eq!(texts.iter().map(|text| text.matches("X'").count()).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(texts.iter().all(|text| text.starts_with(INSERT.head) && text.matches(INSERT.head).count() == 1));
    }
}
