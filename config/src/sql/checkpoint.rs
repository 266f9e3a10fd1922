//! What SQLite wrote into its log goes into the database itself here, on a connection and a thread of its own, so that no commit waits for
//! it: one that has to move 32 MiB takes several times as long as others.
//!
//! One Tokio task per database, while that is open. A log that is moved while commits go on is never moved to its end, so it begins again
//! at its front only where the writer makes room: that is asked for when it is long, between two transactions, right after nearly all was
//! moved. Always holds: where this fails, or readers do not let the log begin again, the writer moves it itself once it is
//! [`session::CHECKPOINT_AT_LATEST_PAGES`] long, as SQLite does without us.

use std::time::Duration;

use metrics::gauge;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Executor as _, Row as _};
use tokio::{task::JoinHandle, time::sleep};

use super::{DatabaseSettings, pool::Pool, storage::Storage};
use crate::metrics as names;

/// Pages (of 4 KiB) that are moved at once. Of fewer, those that many commits write would be written again and again.
const MOVED_PAGES_MIN: i64 = 8_192;

/// From so many pages on the log is asked to begin again: readers look longer into a long one.
const LOG_PAGES_MAX: i64 = 16_384;

const PAGE_BYTES: i64 = 4_096;

/// How often it is looked while something is written, and while nothing is.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// So long the writer waits for those who still read the log, so that it can begin again.
const READERS_WAIT_MS: u64 = 20;

/// Ends the task when the last clone of the database is gone.
#[derive(Debug)]
pub(super) struct Checkpoints(JoinHandle<()>);

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Checkpoints {
    /// On the one connection of `own`; the log begins again on that of `writer`, as its turn comes.
    pub(super) fn start(own: AnyPool, writer: Pool, storage: Storage, settings: &DatabaseSettings) -> Self {
        let checkpointer = Checkpointer { own, writer, lock_timeout_ms: settings.lock_timeout_ms };
        Self(tokio::spawn(checkpointer.run(storage)))
    }
}

struct Checkpointer {
    own: AnyPool,
    writer: Pool,
    lock_timeout_ms: u64,
}

/// Pages of the log, and those of them that are in the database as well.
#[derive(Debug, Clone, Copy)]
struct Log {
    pages: i64,
    moved: i64,
}

impl Checkpointer {
    async fn run(self, storage: Storage) {
        let mut seen = None;
        while !self.own.is_closed() {
            let written = storage.written_ms();
            let is_idle = seen.replace(written) == Some(written);
            if !is_idle && let Err(error) = self.look().await {
                tracing::debug!(%error, "the log of the database could not be moved into it: the writer does it, or the next look");
            }
            sleep(if is_idle { IDLE_INTERVAL } else { BUSY_INTERVAL }).await;
        }
    }

    async fn look(&self) -> Result<(), sqlx::Error> {
        let mut log = checkpoint(&mut *self.own.acquire().await?, "NOOP").await?;
        if log.pages - log.moved >= MOVED_PAGES_MIN {
            log = checkpoint(&mut *self.own.acquire().await?, "PASSIVE").await?;
            if log.pages >= LOG_PAGES_MAX {
                self.begin_again().await?;
            }
        }
        gauge!(names::DATABASE_LOG_BYTES).set((log.pages * PAGE_BYTES) as f64);
        Ok(())
    }

    /// Moves the rest, while nobody writes, and lets the next transaction begin at the front.
    async fn begin_again(&self) -> Result<(), sqlx::Error> {
        let waits = |ms: u64| AssertSqlSafe(format!("PRAGMA busy_timeout = {ms}"));
        let began_again = async |connection: &mut AnyConnection| {
            connection.execute(waits(READERS_WAIT_MS)).await?;
            let log = checkpoint(connection, "RESTART").await;
            connection.execute(waits(self.lock_timeout_ms)).await?;
            // A checkpoint that failed says nothing about what is written.
            Ok::<_, sqlx::Error>(log)
        };
        self.writer.run(began_again).await?.map(drop)
    }
}

/// Does it and tells how far the log is. Where somebody is in the way, less is done than was asked for.
async fn checkpoint(connection: &mut AnyConnection, mode: &'static str) -> Result<Log, sqlx::Error> {
    let row = connection.fetch_one(AssertSqlSafe(format!("PRAGMA wal_checkpoint({mode})"))).await?;
    Ok(Log { pages: row.try_get(1)?, moved: row.try_get(2)? })
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::Migrator;
    use tokio::time::timeout;

    use super::*;
    use crate::sql::{Database, Dialect};

    const DEADLINE: Duration = Duration::from_secs(60);

    async fn opened(folder: &std::path::Path) -> Database {
        let settings = DatabaseSettings { sync_commits: false, ..DatabaseSettings::default() };
        let migrations = [(Dialect::Sqlite, Migrator::DEFAULT)];
        let database = Database::open(&settings, folder, "log.db", &migrations).await.unwrap();
        database.writer.execute("CREATE TABLE text (id INTEGER PRIMARY KEY, value BLOB)").await.unwrap();
        database
    }

    /// Writes 8 MiB.
    async fn write(database: &Database) {
        for _ in 0..8 {
            database.writer.execute("INSERT INTO text (value) VALUES (zeroblob(1048576))").await.unwrap();
        }
    }

    async fn log_of(database: &Database) -> Log {
        checkpoint(&mut *database.kept_open.as_ref().unwrap().acquire().await.unwrap(), "NOOP").await.unwrap()
    }

    #[tokio::test]
    async fn a_log_is_moved_and_begins_again_while_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let database = opened(folder.path()).await;
        let begins_again = async {
            let mut longest = 0;
            loop {
                write(&database).await;
                let log = log_of(&database).await;
                if log.pages < longest {
                    break longest;
                }
                longest = log.pages;
            }
        };
        let longest = timeout(DEADLINE, begins_again).await.expect("it begins again");
        assert!(longest >= LOG_PAGES_MAX, "not before it is long: {longest}");
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM text").fetch_one(&database.reader).await.unwrap();
        assert_eq!(rows % 8, 0);
        database.close().await;
    }

    #[tokio::test]
    async fn a_reader_that_stays_holds_up_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let database = opened(folder.path()).await;
        write(&database).await;
        let reads = async |connection: &mut AnyConnection| {
            connection.execute("BEGIN").await?;
            connection.execute("SELECT COUNT(*) FROM text").await?;
            let grown = async {
                while log_of(&database).await.pages < 2 * LOG_PAGES_MAX {
                    write(&database).await;
                }
            };
            timeout(DEADLINE, grown).await.expect("the writer goes on");
            connection.execute("COMMIT").await.map(drop)
        };
        let mut reader = database.reader.held();
        reader.run(reads).await.unwrap();
        assert_eq!(shown_timeout(&database).await, i64::try_from(DatabaseSettings::default().lock_timeout_ms).unwrap());
        database.close().await;
    }

    /// What the writer waits for others.
    async fn shown_timeout(database: &Database) -> i64 {
        sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&database.writer).await.unwrap()
    }
}
