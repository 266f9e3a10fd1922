//! Whether the database can be used now, looked at every second by one Tokio task with a connection of its own. It says so at
//! each change, in the log and to `/readyz`.

use std::time::Duration;

use metrics::gauge;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, migrate::Migrator};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Database, Dialect,
    away::{self, Away},
    is_transient, pool,
};
use crate::{metrics as names, ready::ReadyPart};

const INTERVAL: Duration = Duration::from_secs(1);

/// A database that does not answer in this time is away.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Where nothing was written for so long, something is: a disk that is full, or read-only, is seen before a request needs it.
const UNWRITTEN_MAX: Duration = Duration::from_secs(10);

/// So many writes in a row that were not done in time, or were put off, are more than a moment: somebody holds a lock, for example.
const FAILURES_MAX: u32 = 2;

/// Problems that the log tells of one outage, each once.
const PROBLEMS_SAID_MAX: usize = 4;

/// What was opened, to tell it from what takes its place.
#[derive(Debug, Clone)]
pub(super) struct Source {
    url: String,
    /// What is told of it.
    away: Away,
    /// The newest migration that we need.
    version: i64,
}

impl Source {
    pub(super) fn new(url: &str, away: Away, migrator: &Migrator) -> Self {
        let version = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
        Self { url: url.to_owned(), away, version }
    }

    pub(super) fn name(&self) -> &str {
        self.away.name()
    }

    /// Of the driver.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// What one look leaves to the next one.
#[derive(Default)]
struct Looks {
    connection: Option<AnyConnection>,
    /// Writes that failed in a row.
    failures: u32,
}

impl Database {
    /// Keeps `part` ready as long as the database can be used. Ends when it is aborted.
    pub fn watch(&self, part: ReadyPart) -> JoinHandle<()> {
        let database = self.clone();
        tokio::spawn(async move {
            let mut interval = interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut looks, mut was_usable) = (Looks::default(), true);
            let mut said: Vec<String> = Vec::new();
            loop {
                interval.tick().await;
                let problem = database.problem(&mut looks).await;
                let is_usable = problem.is_none();
                gauge!(names::DATABASE_USABLE).set(f64::from(u8::from(is_usable)));
                match problem {
                    // A server that breaks off connections, and then refuses them, is down: the first problem does not tell that.
                    Some(problem) if said.len() < PROBLEMS_SAID_MAX && !said.contains(&problem) => {
                        tracing::error!(problem, database = database.name(), "the database cannot be used");
                        said.push(problem);
                    }
                    None if !was_usable => {
                        tracing::info!("the database can be used again");
                        said.clear();
                    }
                    _ => {}
                }
                if is_usable != was_usable {
                    part.set(is_usable);
                }
                was_usable = is_usable;
            }
        })
    }

    async fn problem(&self, looks: &mut Looks) -> Option<String> {
        if let Some(problem) = self.storage.lost() {
            return Some(problem);
        }
        if self.dialect == Dialect::Mysql && self.source.version > 0 {
            let asked = timeout(ANSWER_MAX, ask(&self.source.url, &mut looks.connection)).await;
            match asked.unwrap_or_else(|_| Err(pool::no_answer(ANSWER_MAX))) {
                Ok(Some(version)) if version >= self.source.version => self.source.away.found(None),
                Ok(_) => {
                    return Some("its tables are older than this service: it was replaced; start again".to_owned());
                }
                Err(error) => {
                    looks.connection = None;
                    let problem = away::in_words(&error);
                    // Nothing else: what comes of a wait for a connection would explain itself.
                    self.source.away.found(Some(&problem));
                    return Some(problem);
                }
            }
        }
        if !self.storage.is_doubtful(UNWRITTEN_MAX) {
            looks.failures = 0;
            return self.storage.refusal();
        }
        self.problem_of_a_write(looks).await
    }

    /// What a write finds is noted where every write notes it, unless it is told nothing, or only to try again.
    async fn problem_of_a_write(&self, looks: &mut Looks) -> Option<String> {
        let written = timeout(ANSWER_MAX, self.write()).await.unwrap_or_else(|_| Err(pool::no_answer(ANSWER_MAX)));
        let Err(error) = written else {
            looks.failures = 0;
            return self.storage.refusal();
        };
        looks.failures = looks.failures.saturating_add(1);
        if !is_transient(&error) {
            return Some(error.to_string());
        }
        let is_stuck = looks.failures >= FAILURES_MAX;
        let stuck = || is_stuck.then(|| format!("writes are not done, as where somebody holds a lock: {error}"));
        self.storage.refusal().or_else(stuck)
    }

    /// Writes something that changes nothing for anybody.
    async fn write(&self) -> Result<(), sqlx::Error> {
        let (dialect, version) = (self.dialect, self.source.version);
        let work = async |connection: &mut AnyConnection| match dialect {
            Dialect::Sqlite => {
                // The application's own number in the head of the file, which we do not use.
                let number: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
                connection.execute(AssertSqlSafe(format!("PRAGMA user_version = {number}"))).await.map(drop)
            }
            Dialect::Mysql if version == 0 => Ok(()),
            Dialect::Mysql => {
                // How many nanoseconds the migration took, which nobody counts.
                let touch = "UPDATE _sqlx_migrations SET execution_time = execution_time + 1 WHERE version = ?";
                sqlx::query(touch).bind(version).execute(connection).await.map(drop)
            }
        };
        self.writer.run(work).await
    }
}

/// The newest migration that is there.
async fn ask(url: &str, connection: &mut Option<AnyConnection>) -> Result<Option<i64>, sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(AnyConnection::connect(url).await?),
    };
    // As a text: a server that has no room for another prepared statement can be used all the same.
    connection.fetch_one("SELECT MAX(version) FROM _sqlx_migrations").await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::{
        SqlSafeStr as _,
        migrate::{Migration, MigrationType},
    };

    use super::*;
    use crate::sql::DatabaseSettings;

    async fn opened(dialect: Dialect, settings: &DatabaseSettings, folder: &Path) -> Database {
        let sql = "CREATE TABLE one (id BIGINT PRIMARY KEY)".into_sql_str();
        let migration = Migration::new(1, "a table".into(), MigrationType::Simple, sql, false);
        let migrations = [(dialect, Migrator::with_migrations(vec![migration]))];
        Database::open(settings, folder, "x.db", &migrations).await.unwrap()
    }

    async fn is_noticed_and_over(
        database: &Database,
        holder: &mut AnyConnection,
        lock: &'static str,
        free: &'static str,
    ) {
        let mut looks = Looks::default();
        for _ in 0..2 {
            assert_eq!(database.problem_of_a_write(&mut looks).await, None);
            holder.execute(lock).await.unwrap();
            assert_eq!(database.problem_of_a_write(&mut looks).await, None, "one may be chance");
            for _ in 0..2 {
                let problem = database.problem_of_a_write(&mut looks).await.unwrap();
                assert!(problem.starts_with("writes are not done"), "{problem}");
            }
            holder.execute(free).await.unwrap();
            let over = async { while database.problem_of_a_write(&mut looks).await.is_some() {} };
            timeout(Duration::from_secs(20), over).await.expect("it is over with the lock");
        }
    }

    #[tokio::test]
    async fn a_lock_of_sqlite_that_somebody_holds_is_a_problem_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DatabaseSettings { lock_timeout_ms: 1, ..DatabaseSettings::default() };
        let database = opened(Dialect::Sqlite, &settings, folder.path()).await;
        let mut holder = AnyConnection::connect(database.source.url()).await.unwrap();
        is_noticed_and_over(&database, &mut holder, "BEGIN IMMEDIATE", "ROLLBACK").await;
    }

    #[tokio::test]
    async fn a_lock_of_mysql_that_somebody_holds_is_a_problem_meanwhile() {
        let url = crate::testing::mysql_database();
        let settings = DatabaseSettings { url, lock_timeout_ms: 1_000, ..DatabaseSettings::default() };
        let database = opened(Dialect::Mysql, &settings, Path::new("")).await;
        let mut holder = AnyConnection::connect(&settings.url).await.unwrap();
        is_noticed_and_over(&database, &mut holder, "LOCK TABLES _sqlx_migrations READ", "UNLOCK TABLES").await;
    }
}
