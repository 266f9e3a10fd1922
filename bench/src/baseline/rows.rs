//! A bare multi-row insert into a database of the kind that the server uses: the rows of a sent message (the message, its
//! row in either inbox, its key), a batch per transaction, each commit on disk before the next begins. Runs as a task on the
//! runtime of gRPC, only while it is told to.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use sqlx::{
    Connection as _, Executor as _, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

const SCHEMA: &str = "
    CREATE TABLE message (id INTEGER NOT NULL PRIMARY KEY, command BIGINT NOT NULL, content BLOB NOT NULL,
        sender_id BIGINT NOT NULL, created_at_ms BIGINT NOT NULL, status BIGINT NOT NULL);
    CREATE TABLE user_message (user_id BIGINT NOT NULL, seq BIGINT NOT NULL, message_id BIGINT NOT NULL,
        PRIMARY KEY (user_id, seq)) WITHOUT ROWID;
    CREATE TABLE sent (sender_id BIGINT NOT NULL, client_msg_id TEXT NOT NULL, message_id BIGINT NOT NULL,
        seq BIGINT NOT NULL, created_at_ms BIGINT NOT NULL, PRIMARY KEY (sender_id, client_msg_id)) WITHOUT ROWID;";

/// What is inserted.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages per transaction, each from and to a user of its own.
    pub batch: u32,
    /// Bytes of a message.
    pub size: u32,
}

/// The inserting task.
#[derive(Debug)]
pub struct Rows {
    is_running: watch::Sender<bool>,
    inserted: Arc<AtomicU64>,
    task: JoinHandle<sqlx::Result<()>>,
}

impl Rows {
    /// Opens a database in `folder`; nothing is inserted yet.
    pub fn start(runtime: &Handle, folder: &Path, shape: Shape) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("baseline.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let connection = runtime.block_on(open(&options)).context("cannot open a database to compare with")?;
        let (is_running, may_run) = watch::channel(false);
        let inserted = Arc::new(AtomicU64::new(0));
        let task = runtime.spawn(insert(connection, shape, may_run, inserted.clone()));
        Ok(Self { is_running, inserted, task })
    }

    /// Goes on, or pauses after the transaction under way.
    pub fn run(&self, is_running: bool) -> anyhow::Result<()> {
        self.is_running.send(is_running).context("the bare insert has failed")
    }

    /// Rows of inboxes inserted so far.
    pub fn inserted(&self) -> u64 {
        self.inserted.load(Relaxed)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn open(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    connection.execute(SCHEMA).await?;
    Ok(connection)
}

async fn insert(
    mut connection: SqliteConnection,
    shape: Shape,
    mut may_run: watch::Receiver<bool>,
    inserted: Arc<AtomicU64>,
) -> sqlx::Result<()> {
    let content = vec![b'.'; shape.size as usize];
    let mut batch = 0;
    // An error here means that the run is over.
    while may_run.wait_for(|may_run| *may_run).await.is_ok() {
        insert_batch(&mut connection, shape, batch, &content).await?;
        batch += 1;
        inserted.fetch_add(2 * u64::from(shape.batch), Relaxed);
    }
    Ok(())
}

async fn insert_batch(connection: &mut SqliteConnection, shape: Shape, batch: i64, content: &[u8]) -> sqlx::Result<()> {
    const NOW_MS: i64 = 1_700_000_000_000;
    let mut transaction = connection.begin().await?;
    let numbers: Vec<i64> = (0..i64::from(shape.batch)).collect();
    // SQLite takes 32,766 values in a statement.
    for chunk in numbers.chunks(1000) {
        let id = |number: i64| (batch << 20) + number;
        let mut messages: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO message (id, command, content, sender_id, created_at_ms, status) ");
        messages.push_values(chunk, |mut row, &number| {
            row.push_bind(id(number)).push_bind(1).push_bind(content);
            row.push_bind(number + 1).push_bind(NOW_MS).push_bind(0);
        });
        messages.build().execute(&mut *transaction).await?;
        let rows =
            chunk.iter().flat_map(|&number| [(number + 1, 2 * batch, number), (number + 1, 2 * batch + 1, number)]);
        let mut inboxes: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO user_message (user_id, seq, message_id) ");
        inboxes.push_values(rows, |mut row, (user_id, seq, number)| {
            row.push_bind(user_id).push_bind(seq).push_bind(id(number));
        });
        inboxes.build().execute(&mut *transaction).await?;
        let mut sent: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) ");
        sent.push_values(chunk, |mut row, &number| {
            row.push_bind(number + 1).push_bind(format!("{batch:016}"));
            row.push_bind(id(number)).push_bind(2 * batch).push_bind(NOW_MS);
        });
        sent.build().execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn rows_are_inserted_while_it_runs() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::start(runtime.handle(), folder.path(), Shape { batch: 1500, size: 10 }).unwrap();
        assert_eq!(rows.inserted(), 0);
        rows.run(true).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while rows.inserted() < 6000 {
            assert!(Instant::now() < deadline && !rows.task.is_finished());
            std::thread::yield_now();
        }
        rows.run(false).unwrap();
    }
}
