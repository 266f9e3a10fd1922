//! Connections for reads that give way to those of everybody else. Any thread.
//!
//! A connection to a SQLite has a thread of its own, which does the reading, and has the priority of the thread that opens it: so
//! those who give way ([`crate::threads`]) need connections that nobody else opens. With a server of a database the reading is done by
//! that server, and these connections are those of everybody else. Always holds: nothing is opened before somebody asks.

use std::sync::{Arc, OnceLock};

use super::{
    DatabaseSettings, Dialect,
    away::Away,
    pool::{Pool, Renewal},
    session::Access,
    storage::Storage,
};

/// As many as read aside at the same time.
const CONNECTIONS: u32 = 2;

/// See the module's documentation. Clones mean the same connections.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    url: String,
    settings: DatabaseSettings,
    storage: Storage,
    away: Away,
    pool: Arc<OnceLock<Pool>>,
}

impl Aside {
    /// Of the SQLite at this URL.
    pub(super) fn new(url: &str, settings: &DatabaseSettings, (storage, away): (Storage, Away)) -> Self {
        Self { url: url.into(), settings: settings.clone(), storage, away, pool: Arc::default() }
    }

    /// The pool, whose connections are opened by whoever asks for them.
    pub(super) fn pool(&self) -> Result<Pool, sqlx::Error> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool.clone());
        }
        let kind = (Dialect::Sqlite, Access::ReadAside, CONNECTIONS);
        let shared = (self.storage.clone(), self.away.clone());
        let pool = Pool::unopened(&self.url, &self.settings, kind, Renewal::default(), shared)?;
        Ok(self.pool.get_or_init(|| pool).clone())
    }

    /// Closes what was opened.
    pub(super) async fn close(&self) {
        if let Some(pool) = self.pool.get() {
            pool.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::Migrator;

    use crate::{
        sql::{Database, DatabaseSettings, Dialect},
        threads::Threads,
    };

    /// What the system says of the priority of each thread of this process that has a connection to a SQLite.
    fn niceness_of_connections() -> Vec<i32> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
        let of_connection = |stat: String| -> Option<i32> {
            let (before, after) = stat.rsplit_once(')')?;
            let niceness = after.split_whitespace().nth(16)?;
            before.contains("(sqlx-sqlite").then(|| niceness.parse().ok())?
        };
        stats.filter_map(of_connection).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_gives_way_reads_on_threads_that_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let migrations = [(Dialect::Sqlite, Migrator::DEFAULT)];
        let opened = Database::open(&DatabaseSettings::default(), folder.path(), "aside.db", &migrations).await;
        let database = opened.unwrap();
        let usual = niceness_of_connections().into_iter().max().unwrap();
        let (threads, _running) = Threads::start("few", 1).unwrap();
        let reader = database.reader_aside().unwrap();
        let read = async move {
            let one: i64 = sqlx::query_scalar("SELECT 1").fetch_one(&reader).await.unwrap();
            (one, reader)
        };
        let (one, reader) = threads.spawn(read).await.unwrap();
        assert_eq!(one, 1);
        assert_eq!(niceness_of_connections().into_iter().max().unwrap(), (usual + 10).min(19));
        database.close().await;
        assert!(sqlx::query("SELECT 1").fetch_one(&reader).await.is_err(), "it is closed with the others");
    }
}
