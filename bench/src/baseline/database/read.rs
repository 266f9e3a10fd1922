//! Page reads: the page of an inbox after a seq, as a sync asks for it, every value of every row decoded, until the inbox is
//! at its end, and then the next one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use sqlx::{ColumnIndex, Decode, Encode, Executor, IntoArguments, MySql, Row as _, Sqlite, Type};
use tokio::sync::watch;

use super::DatabaseConnection;

/// Messages in a page, as in those of the server.
const PAGE: i64 = 50;

const SELECT: &str = "SELECT um.seq, m.id, m.command, m.content, m.sender_id, m.created_at_ms, m.status \
                      FROM user_message um JOIN message m ON m.id = um.message_id \
                      WHERE um.user_id = ? AND um.seq > ? ORDER BY um.seq LIMIT ?";

/// Reads the inboxes of `users`, beginning with one of them.
pub async fn run(
    mut connection: DatabaseConnection,
    first: u64,
    users: u64,
    mut may_run: watch::Receiver<bool>,
    rows: Arc<AtomicU64>,
) -> sqlx::Result<()> {
    let (mut user, mut seq) = (first, 0);
    // An error here means that the run is over.
    while may_run.wait_for(|may_run| *may_run).await.is_ok() {
        let user_id = user as i64 + 1;
        let page = match &mut connection {
            DatabaseConnection::Sqlite(connection) => page::<Sqlite>(connection, user_id, seq).await?,
            DatabaseConnection::MySql(connection) => page::<MySql>(connection, user_id, seq).await?,
        };
        rows.fetch_add(page.rows, Relaxed);
        (user, seq) = if page.rows < PAGE as u64 { ((user + 1) % users, 0) } else { (user, page.newest_seq) };
    }
    Ok(())
}

struct Page {
    rows: u64,
    newest_seq: i64,
}

async fn page<D>(connection: &mut D::Connection, user_id: i64, seq: i64) -> sqlx::Result<Page>
where
    D: sqlx::Database,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    for<'q> i64: Encode<'q, D> + Type<D> + Decode<'q, D>,
    for<'q> &'q [u8]: Type<D> + Decode<'q, D>,
    usize: ColumnIndex<D::Row>,
{
    let query = sqlx::query::<D>(SELECT).bind(user_id).bind(seq).bind(PAGE);
    let rows = query.fetch_all(&mut *connection).await?;
    let mut newest_seq = seq;
    for row in &rows {
        newest_seq = row.try_get(0)?;
        let content: &[u8] = row.try_get(3)?;
        let mut numbers = content.len() as i64;
        for column in [1, 2, 4, 5, 6] {
            numbers = numbers.wrapping_add(row.try_get::<i64, _>(column)?);
        }
        std::hint::black_box(numbers);
    }
    Ok(Page { rows: rows.len() as u64, newest_seq })
}
