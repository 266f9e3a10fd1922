//! A list of conversations as a bare query: one statement, as somebody writes it who knows the tables, and nothing around it.

use sqlx::{
    ColumnIndex, Connection as _, Decode, Encode, Executor, IntoArguments, MySql, QueryBuilder, Row as _, Sqlite, Type,
};

use super::{Database, DatabaseConnection};

/// Whose conversations they are; the others have the ids after it.
const USER_ID: i64 = 1;

/// Messages in one transaction of the filling, and in one statement.
const TRANSACTION: u32 = 10_000;
const STATEMENT: u32 = 1_000;

const NOW_MS: i64 = 1_700_000_000_000;

/// Those whom one has heard of among the newest places of the inbox, the newest message of each, and how much is unread there.
const LIST: &str = "SELECT h.peer_id, h.seq, m.id, m.command, m.content, m.created_at_ms, m.status, \
                    COALESCE(r.seq, 0), (SELECT COUNT(*) FROM direct_inbox d \
                    WHERE d.user_id = ? AND d.peer_id = h.peer_id AND d.seq > COALESCE(r.seq, 0)) \
                    FROM (SELECT m.sender_id AS peer_id, MAX(p.seq) AS seq, MAX(p.message_id) AS message_id \
                    FROM (SELECT seq, message_id FROM direct_inbox WHERE user_id = ? ORDER BY seq DESC LIMIT 512) p \
                    JOIN message m ON m.id = p.message_id GROUP BY m.sender_id ORDER BY seq DESC LIMIT ?) h \
                    JOIN message m ON m.id = h.message_id \
                    LEFT JOIN read_position r ON r.user_id = ? AND r.is_group = 0 AND r.peer_id = h.peer_id \
                    ORDER BY h.seq DESC";

/// A connection that asks for the list.
pub struct BareList<'a> {
    database: &'a Database,
    connection: DatabaseConnection,
}

impl Database {
    /// Has so many messages come from so many others, by turns, and opens a connection for their list.
    pub fn fill_conversations(&self, messages: u32, conversations: u32, size: u32) -> anyhow::Result<BareList<'_>> {
        let fill = async {
            let mut connection = self.place.connect().await?;
            for first in (0..messages).step_by(TRANSACTION as usize) {
                let numbers = first..messages.min(first + TRANSACTION);
                match &mut connection {
                    DatabaseConnection::Sqlite(one) => insert::<Sqlite>(one, numbers, conversations, size).await?,
                    DatabaseConnection::MySql(one) => insert::<MySql>(one, numbers, conversations, size).await?,
                }
            }
            Ok::<_, sqlx::Error>(connection)
        };
        Ok(BareList { database: self, connection: self.runtime.block_on(fill)? })
    }
}

impl BareList<'_> {
    /// Reads the first page; how many there are in it.
    pub fn read(&mut self, limit: u32) -> anyhow::Result<usize> {
        let connection = &mut self.connection;
        let page = async {
            match connection {
                DatabaseConnection::Sqlite(connection) => page::<Sqlite>(connection, limit).await,
                DatabaseConnection::MySql(connection) => page::<MySql>(connection, limit).await,
            }
        };
        Ok(self.database.runtime.block_on(page)?)
    }
}

async fn insert<D>(
    connection: &mut D::Connection,
    numbers: std::ops::Range<u32>,
    conversations: u32,
    size: u32,
) -> sqlx::Result<()>
where
    D: sqlx::Database,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    for<'q> i64: Encode<'q, D> + Type<D>,
    for<'q> Vec<u8>: Encode<'q, D> + Type<D>,
{
    let mut transaction = connection.begin().await?;
    let all: Vec<i64> = numbers.map(|number| i64::from(number) + 1).collect();
    let peer = |seq: i64| USER_ID + 1 + (seq - 1) % i64::from(conversations);
    for seqs in all.chunks(STATEMENT as usize) {
        let head = "INSERT INTO message (id, command, content, sender_id, created_at_ms, status) ";
        let mut insert = QueryBuilder::<D>::new(head);
        insert.push_values(seqs, |mut row, &seq| {
            row.push_bind(seq).push_bind(1_i64).push_bind(vec![b'.'; size as usize]);
            row.push_bind(peer(seq)).push_bind(NOW_MS + seq).push_bind(0_i64);
        });
        insert.build().execute(&mut *transaction).await?;
        let mut insert = QueryBuilder::<D>::new("INSERT INTO direct_inbox (user_id, peer_id, seq, message_id) ");
        insert.push_values(seqs, |mut row, &seq| {
            row.push_bind(USER_ID).push_bind(peer(seq)).push_bind(seq).push_bind(seq);
        });
        insert.build().execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

async fn page<D>(connection: &mut D::Connection, limit: u32) -> sqlx::Result<usize>
where
    D: sqlx::Database,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    for<'q> i64: Encode<'q, D> + Type<D> + Decode<'q, D>,
    for<'q> &'q [u8]: Type<D> + Decode<'q, D>,
    usize: ColumnIndex<D::Row>,
{
    let query = sqlx::query::<D>(LIST).bind(USER_ID).bind(USER_ID).bind(i64::from(limit)).bind(USER_ID);
    let rows = query.fetch_all(&mut *connection).await?;
    for row in &rows {
        let content: &[u8] = row.try_get(4)?;
        let mut numbers = content.len() as i64;
        for column in [0, 1, 2, 3, 5, 6, 7, 8] {
            numbers = numbers.wrapping_add(row.try_get::<i64, _>(column)?);
        }
        std::hint::black_box(numbers);
    }
    Ok(rows.len())
}
