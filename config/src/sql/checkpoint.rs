//! What SQLite wrote into its log goes into the database itself here, on a connection and a thread of its own, so that no commit waits for
//! it: one that has to move 32 MiB takes several times as long as others.
//!
//! One Tokio task per database, while that is open. A log that is moved while commits go on is never moved to its end, so it begins again
//! at its front only where the writer makes room: that is asked for when it is long, between two transactions, and only once nearly all was
//! moved. Always holds: the writer waits here for no more than a small rest and a moment for readers; where readers keep the log from
//! beginning again, it is asked more and more seldom; what is done here does not count as a write. Should this fail, the writer moves the
//! log itself once it is [`session::CHECKPOINT_AT_LATEST_PAGES`] long, as SQLite does without us.
//!
//! [`session::CHECKPOINT_AT_LATEST_PAGES`]: super::session::CHECKPOINT_AT_LATEST_PAGES

use std::time::{Duration, Instant};

use metrics::gauge;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Executor as _, Row as _};
use tokio::{task::JoinHandle, time::sleep};

use super::{DatabaseSettings, pool::Pool, session::Access, storage::Storage};
use crate::{metrics as names, outage::Outage};

/// Pages (of 4 KiB) that are moved at once. Of fewer, those that many commits write would be written again and again.
const MOVED_PAGES_MIN: i64 = 8_192;

/// From so many pages on the log is asked to begin again: readers look longer into a long one.
const LOG_PAGES_MAX: i64 = 16_384;

/// The writer moves no more than so many pages, which are there before it is done with the rest.
const REST_PAGES_MAX: i64 = 1_024;

/// How often what came meanwhile is moved after it, until the rest is small.
const MOVES_MAX: u32 = 4;

const PAGE_BYTES: i64 = 4_096;

/// How often it is looked while something is written, and while nothing is.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// So long the writer waits for those who still read the log, so that it can begin again.
const READERS_WAIT_MS: u64 = 20;

/// After the log could not begin again, or be moved, it is tried again after this time, then after twice as long, and so on.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(32);

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
        let lock_timeout_ms = settings.lock_timeout_ms;
        let checkpointer = Checkpointer { own, writer, storage, lock_timeout_ms, pause: Pause::default() };
        Self(tokio::spawn(checkpointer.run()))
    }
}

struct Checkpointer {
    own: AnyPool,
    writer: Pool,
    storage: Storage,
    lock_timeout_ms: u64,
    pause: Pause,
}

/// Pages of the log, and those of them that are in the database as well.
#[derive(Debug, Clone, Copy)]
struct Log {
    pages: i64,
    moved: i64,
}

impl Log {
    fn rest(self) -> i64 {
        self.pages - self.moved
    }
}

/// What was in vain is tried ever more seldom.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Pause {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    fn note(&mut self, was_in_vain: bool, now: Instant) {
        self.length = if was_in_vain { (self.length * 2).clamp(PAUSE, PAUSE_MAX) } else { Duration::ZERO };
        self.until = was_in_vain.then(|| now + self.length);
    }
}

impl Checkpointer {
    async fn run(mut self) {
        let outage = Outage::of_work("moving the log of the database into it");
        let mut seen = None;
        while !self.own.is_closed() {
            let written = self.storage.written_ms();
            let is_idle = seen.replace(written) == Some(written);
            if !is_idle && self.pause.is_over(Instant::now()) {
                match self.look().await {
                    Ok(()) => outage.answered(Instant::now()),
                    Err(error) => {
                        // A read: it says nothing of writes, unless the file is damaged.
                        self.storage.note_failure(&error, Access::Read);
                        self.pause.note(true, Instant::now());
                        if !self.own.is_closed() {
                            outage.failed(&error, Instant::now());
                        }
                    }
                }
            }
            sleep(if is_idle { IDLE_INTERVAL } else { BUSY_INTERVAL }).await;
        }
    }

    async fn look(&mut self) -> Result<(), sqlx::Error> {
        // What is no log any more must not be moved into a database that is still good.
        self.storage.check()?;
        let mut log = self.checkpoint("NOOP").await?;
        gauge!(names::DATABASE_LOG_BYTES).set((log.pages * PAGE_BYTES) as f64);
        if log.rest() < MOVED_PAGES_MIN {
            return Ok(());
        }
        for _ in 0..MOVES_MAX {
            log = self.checkpoint("PASSIVE").await?;
            if log.rest() <= REST_PAGES_MAX {
                break;
            }
        }
        if log.pages >= LOG_PAGES_MAX {
            let begins_again = log.rest() <= REST_PAGES_MAX && self.begin_again().await?;
            self.pause.note(!begins_again, Instant::now());
        }
        Ok(())
    }

    async fn checkpoint(&self, mode: &'static str) -> Result<Log, sqlx::Error> {
        Ok(checkpoint(&mut *self.own.acquire().await?, mode).await?.1)
    }

    /// Moves the rest, while nobody writes, and lets the next transaction begin at the front, unless readers are in the way.
    async fn begin_again(&self) -> Result<bool, sqlx::Error> {
        let waits = |ms: u64| AssertSqlSafe(format!("PRAGMA busy_timeout = {ms}"));
        let restarted = async |connection: &mut AnyConnection| {
            connection.execute(waits(READERS_WAIT_MS)).await?;
            let restarted = checkpoint(connection, "RESTART").await;
            connection.execute(waits(self.lock_timeout_ms)).await?;
            restarted
        };
        let (is_held_up, _) = self.writer.run_aside(restarted).await?;
        Ok(!is_held_up)
    }
}

/// Does it and tells whether somebody was in the way, so that less was done, and how far the log is.
async fn checkpoint(connection: &mut AnyConnection, mode: &'static str) -> Result<(bool, Log), sqlx::Error> {
    let row = connection.fetch_one(AssertSqlSafe(format!("PRAGMA wal_checkpoint({mode})"))).await?;
    Ok((row.try_get::<i64, _>(0)? != 0, Log { pages: row.try_get(1)?, moved: row.try_get(2)? }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::{Connection as _, migrate::Migrator};
    use tokio::time::timeout;

    use super::*;
    use crate::sql::{Database, Dialect};

    const DEADLINE: Duration = Duration::from_secs(120);

    async fn opened(folder: &Path) -> Database {
        let settings = DatabaseSettings { sync_commits: false, ..DatabaseSettings::default() };
        let migrations = [(Dialect::Sqlite, Migrator::DEFAULT)];
        let database = Database::open(&settings, folder, "log.db", &migrations).await.unwrap();
        database.writer.execute("CREATE TABLE text (id INTEGER PRIMARY KEY, value BLOB)").await.unwrap();
        database
    }

    /// A connection that has nothing to do with the database as we use it.
    async fn stranger(folder: &Path) -> AnyConnection {
        AnyConnection::connect(&format!("sqlite:{}?mode=rw", folder.join("log.db").display())).await.unwrap()
    }

    /// Writes 8 MiB.
    async fn write(database: &Database) {
        for _ in 0..8 {
            database.writer.execute("INSERT INTO text (value) VALUES (zeroblob(1048576))").await.unwrap();
        }
    }

    async fn log_of(connection: &mut AnyConnection) -> Log {
        checkpoint(connection, "NOOP").await.unwrap().1
    }

    #[tokio::test]
    async fn a_log_is_moved_and_begins_again_while_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let database = opened(folder.path()).await;
        let mut stranger = stranger(folder.path()).await;
        let begins_again = async {
            let mut longest = 0;
            loop {
                write(&database).await;
                let log = log_of(&mut stranger).await;
                if log.pages < longest {
                    break longest;
                }
                longest = log.pages;
            }
        };
        let longest = timeout(DEADLINE, begins_again).await.expect("it begins again");
        assert!(longest >= MOVED_PAGES_MIN, "not before it is long: {longest}");
        database.close().await;
    }

    #[tokio::test]
    async fn a_reader_that_stays_is_asked_ever_more_seldom_and_holds_up_no_write() {
        let folder = tempfile::tempdir().unwrap();
        let database = opened(folder.path()).await;
        write(&database).await;
        let mut reader = stranger(folder.path()).await;
        reader.execute("BEGIN").await.unwrap();
        reader.execute("SELECT COUNT(*) FROM text").await.unwrap();
        let mut stranger = stranger(folder.path()).await;
        let grown = async {
            while log_of(&mut stranger).await.pages < 2 * LOG_PAGES_MAX {
                write(&database).await;
            }
        };
        timeout(DEADLINE, grown).await.expect("the writer goes on");
        reader.execute("COMMIT").await.unwrap();
        let waits: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&database.writer).await.unwrap();
        assert_eq!(waits, i64::try_from(DatabaseSettings::default().lock_timeout_ms).unwrap());
        database.close().await;
    }

    #[tokio::test]
    async fn moving_a_log_is_no_write() {
        let folder = tempfile::tempdir().unwrap();
        let database = opened(folder.path()).await;
        let written = database.storage.written_ms();
        let moved = database.writer.run_aside(async |connection| checkpoint(connection, "RESTART").await).await;
        assert!(!moved.unwrap().0, "nobody is in the way");
        assert_eq!(database.storage.written_ms(), written);
        database.close().await;
    }

    #[test]
    fn what_was_in_vain_is_tried_ever_more_seldom() {
        let (now, mut pause) = (Instant::now(), Pause::default());
        assert!(pause.is_over(now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pause.note(true, now);
            pauses.push(pause.length.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert!(!pause.is_over(now + PAUSE_MAX - Duration::from_millis(1)) && pause.is_over(now + PAUSE_MAX));
        pause.note(false, now);
        assert!(pause.is_over(now));
    }
}
