//! One step: the next rows of a table of before are put where they belong, in the order of its primary key.
//!
//! Always holds: it is one transaction; it begins behind the last row of the step before, so that rows that are gone are not walked over
//! again; the database moves the rows by itself, but for the keys of sends on SQLite, which has no SHA-256. Two processes that are at it
//! at once take turns.

use std::fmt::Write as _;

use gim_config::sql::{self, Dialect, Pool};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    super::{columns::from_sql, script::Script, send_key::SendKey, statement::MultiRow},
    older_tables::OlderTable,
};

/// A key of a send, in SQL, as [`SendKey`] makes it.
const SEND_KEY: &str = "CONCAT(SUBSTRING(UNHEX(LPAD(HEX(p.sender_id), 16, '0')), 5), \
                        SUBSTRING(UNHEX(SHA2(CONCAT(UNHEX(LPAD(HEX(p.sender_id), 16, '0')), p.client_msg_id), 256)), 1, 12))";

/// The same for keys that were made here (`send_key, sender_seq, id` per row). A key that another message has stays with that one.
const PUT_SEND_KEYS: MultiRow = MultiRow {
    head: "UPDATE OR IGNORE message SET send_key = put.column1, sender_seq = put.column2 FROM (VALUES ",
    row: "(?,?,?)",
    tail: ") put WHERE message.id = put.column3",
};

/// As much of a SQLite as a step may hold in memory, in KiB, and as much as connections do otherwise: indexes that are filled in another
/// order than theirs would be read again and again.
const CACHE_KIB: u32 = 65_536;
const CACHE_KIB_USUALLY: u32 = 2_000;

/// Of two that do the same, one waits for the other's transaction.
const TAKE_TURNS: &str = "SELECT id FROM deployment FOR UPDATE";

/// The primary key of a row, as values in SQL.
#[derive(Debug, Clone)]
pub(super) struct Key(Vec<String>);

/// What it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub dialect: Dialect,
    pub table: OlderTable,
    /// At most.
    pub rows: u32,
}

impl Step {
    /// Does it; returns the last row's key and how many rows there were, or nothing where none is left.
    pub(super) async fn run(self, writer: &Pool, after: Option<&Key>) -> Result<Option<(Key, u64)>, sqlx::Error> {
        let work = || async move |connection: &mut AnyConnection| self.run_on(connection, after).await;
        match writer.transact(work).await {
            // Somebody else did the last step.
            Err(error) if sql::is_without_table(&error) => Ok(None),
            done => done,
        }
    }

    async fn run_on(
        self,
        connection: &mut AnyConnection,
        after: Option<&Key>,
    ) -> Result<Option<(Key, u64)>, sqlx::Error> {
        self.use_cache(connection, CACHE_KIB).await?;
        let mut transaction = sql::begin(connection).await?;
        if self.dialect == Dialect::Mysql {
            sqlx::raw_sql(TAKE_TURNS).fetch_all(&mut *transaction).await?;
        }
        let rows = sqlx::raw_sql(AssertSqlSafe(self.select(after))).fetch_all(&mut *transaction).await?;
        let Some(last) = rows.last() else {
            transaction.rollback().await?;
            self.use_cache(connection, CACHE_KIB_USUALLY).await?;
            return Ok(None);
        };
        let last = self.key_of(last)?;
        match (self.table, self.dialect) {
            (OlderTable::Sends, Dialect::Sqlite) => put_send_keys(&mut transaction, &rows).await?,
            _ => {
                sqlx::raw_sql(AssertSqlSafe(self.moves(after, &last))).execute(&mut *transaction).await?;
            }
        }
        let delete = format!("DELETE FROM {} WHERE {}", self.table.name(), self.range("", after, &last));
        let deleted = sqlx::raw_sql(AssertSqlSafe(delete)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Some((last, deleted.rows_affected())))
    }

    async fn use_cache(self, connection: &mut AnyConnection, kib: u32) -> Result<(), sqlx::Error> {
        if self.dialect == Dialect::Sqlite {
            let pragma = AssertSqlSafe(format!("PRAGMA cache_size = -{kib}"));
            sqlx::raw_sql(pragma).execute(connection).await?;
        }
        Ok(())
    }

    /// The last row of the step, or all of them where they are looked at here.
    fn select(self, after: Option<&Key>) -> String {
        let (table, columns) = (self.table.name(), self.table.key().join(", "));
        let after = after.map_or("1 = 1".to_owned(), |key| self.compared("", ">", key));
        if (self.table, self.dialect) == (OlderTable::Sends, Dialect::Sqlite) {
            return format!(
                "SELECT sender_id, CAST(client_msg_id AS BLOB), message_id, seq FROM {table} WHERE {after} \
                 ORDER BY {columns} LIMIT {}",
                self.rows
            );
        }
        let downwards = self.table.key().join(" DESC, ");
        format!(
            "SELECT {columns} FROM (SELECT {columns} FROM {table} WHERE {after} ORDER BY {columns} LIMIT {}) part \
             ORDER BY {downwards} DESC LIMIT 1",
            self.rows
        )
    }

    /// What puts the rows elsewhere.
    fn moves(self, after: Option<&Key>, last: &Key) -> String {
        let range = self.range("p.", after, last);
        match self.table {
            OlderTable::Sends => format!(
                "UPDATE IGNORE older_sent p STRAIGHT_JOIN message m ON m.id = p.message_id \
                 SET m.sender_seq = p.seq, m.send_key = {SEND_KEY} WHERE {range}"
            ),
            OlderTable::Conversations => {
                let (insert, join, delete) = match self.dialect {
                    Dialect::Sqlite => (
                        "INSERT OR IGNORE",
                        "CROSS JOIN",
                        format!(
                            "DELETE FROM other_inbox WHERE (user_id, seq) IN \
                             (SELECT p.user_id, p.seq FROM older_direct_message p WHERE {range})"
                        ),
                    ),
                    Dialect::Mysql => (
                        "INSERT IGNORE",
                        "STRAIGHT_JOIN",
                        format!(
                            "DELETE o FROM older_direct_message p STRAIGHT_JOIN other_inbox o \
                             ON o.user_id = p.user_id AND o.seq = p.seq WHERE {range}"
                        ),
                    ),
                };
                // Only what the inbox has: a sweep that was broken off may have left a place of what it deleted. Of two with one seq,
                // which there should not be, one stays: none of them may keep the service from starting.
                format!(
                    "{insert} INTO direct_inbox (user_id, seq, peer_id, message_id) \
                     SELECT p.user_id, p.seq, p.peer_id, p.message_id FROM older_direct_message p {join} other_inbox o \
                     ON o.user_id = p.user_id AND o.seq = p.seq WHERE {range}; {delete}"
                )
            }
        }
    }

    /// The rows of the step.
    fn range(self, of: &str, after: Option<&Key>, last: &Key) -> String {
        let up_to = self.compared(of, "<=", last);
        after.map_or_else(|| up_to.clone(), |after| format!("{} AND {up_to}", self.compared(of, ">", after)))
    }

    /// That the primary key comes before or behind another one: for MySQL by one column after the other, as it finds rows that are
    /// compared as a whole by no index.
    fn compared(self, of: &str, sign: &str, Key(values): &Key) -> String {
        let columns = self.table.key().iter().map(|column| format!("{of}{column}"));
        if self.dialect == Dialect::Sqlite {
            let columns: Vec<String> = columns.collect();
            return format!("({}) {sign} ({})", columns.join(", "), values.join(", "));
        }
        let strictly = &sign[..1];
        let mut pairs = std::iter::zip(columns, values).rev();
        let last = pairs.next().map(|(column, value)| format!("{column} {sign} {value}")).unwrap_or_default();
        pairs.fold(last, |rest, (column, value)| {
            format!("({column} {strictly} {value} OR ({column} = {value} AND {rest}))")
        })
    }

    fn key_of(self, row: &AnyRow) -> Result<Key, sqlx::Error> {
        let values = match self.table {
            OlderTable::Sends => vec![number(row, 0)?.to_string(), self.text(&row.try_get::<Vec<u8>, _>(1)?)],
            OlderTable::Conversations => {
                (0..3).map(|index| Ok(number(row, index)?.to_string())).collect::<Result<_, sqlx::Error>>()?
            }
        };
        Ok(Key(values))
    }

    /// A text of the database as SQL.
    fn text(self, bytes: &[u8]) -> String {
        let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
            write!(digits, "{byte:02x}").expect("strings take everything");
            digits
        });
        match self.dialect {
            Dialect::Sqlite => format!("CAST(X'{digits}' AS TEXT)"),
            Dialect::Mysql => format!("X'{digits}'"),
        }
    }
}

async fn put_send_keys(connection: &mut AnyConnection, rows: &[AnyRow]) -> Result<(), sqlx::Error> {
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let sender_id = number(row, 0)?;
        let client_msg_id = String::from_utf8(row.try_get(1)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        keys.push((SendKey::of((sender_id, &client_msg_id)), number(row, 3)?, number(row, 2)?));
    }
    // In the order of their index.
    keys.sort_unstable();
    let mut script = Script::new(false);
    script.add(PUT_SEND_KEYS, &keys, |row, (key, seq, id)| row.bytes(key.bytes()).id(*seq).id(*id));
    script.run(connection).await
}

fn number(row: &AnyRow, index: usize) -> Result<u64, sqlx::Error> {
    row.try_get(index).map(from_sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_as_a_whole_in_either_dialect() {
        let key = Key(["7", "8", "9"].map(str::to_owned).into());
        let step = |dialect| Step { dialect, table: OlderTable::Conversations, rows: 10 };
        let sqlite = step(Dialect::Sqlite).compared("p.", ">", &key);
        assert_eq!(sqlite, "(p.user_id, p.peer_id, p.seq) > (7, 8, 9)");
        let mysql = step(Dialect::Mysql).compared("", "<=", &key);
        assert_eq!(mysql, "(user_id < 7 OR (user_id = 7 AND (peer_id < 8 OR (peer_id = 8 AND seq <= 9))))");
    }
}
