//! Whether the database can be used now, looked at every second by one Tokio task with a connection of its own. It says so at
//! each change, in the log and to `/readyz`.

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _, migrate::Migrator};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Database, Dialect, pool, settings::percent_decoded};
use crate::ready::ReadyPart;

const INTERVAL: Duration = Duration::from_secs(1);

/// A database that does not answer in this time is away.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What was opened, to tell it from what takes its place.
#[derive(Debug, Clone)]
pub(super) struct Source {
    url: String,
    /// The newest migration that we need.
    version: i64,
    /// Of SQLite: the file, its device and its number there.
    file: Option<(String, u64, u64)>,
}

impl Source {
    pub(super) fn new(url: &str, dialect: Dialect, migrator: &Migrator) -> Self {
        let version = migrator.iter().map(|migration| migration.version).max().unwrap_or_default();
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap_or_default();
        let path = percent_decoded(path);
        let file = std::fs::metadata(&path).ok().filter(|_| dialect == Dialect::Sqlite);
        Self { url: url.to_owned(), version, file: file.map(|file| (path, file.dev(), file.ino())) }
    }
}

impl Database {
    /// Keeps `part` ready as long as the database can be used. Ends when it is aborted.
    pub fn watch(&self, part: ReadyPart) -> JoinHandle<()> {
        let database = self.clone();
        tokio::spawn(async move {
            let mut interval = interval(INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut connection, mut was_usable) = (None, true);
            loop {
                interval.tick().await;
                let problem = database.problem(&mut connection).await;
                let is_usable = problem.is_none();
                match problem {
                    Some(problem) if was_usable => tracing::error!(problem, "the database cannot be used"),
                    None if !was_usable => tracing::info!("the database can be used again"),
                    _ => {}
                }
                if is_usable != was_usable {
                    part.set(is_usable);
                }
                was_usable = is_usable;
            }
        })
    }

    async fn problem(&self, connection: &mut Option<AnyConnection>) -> Option<String> {
        if let Some((path, device, number)) = &self.source.file {
            return match std::fs::metadata(path) {
                Ok(file) if (file.dev(), file.ino()) == (*device, *number) => None,
                Ok(_) => Some(format!("{path} is another file than the one that was opened: start again")),
                Err(error) => Some(format!("{path}: {error}")),
            };
        }
        if self.dialect == Dialect::Sqlite || self.source.version == 0 {
            return None;
        }
        let asked = timeout(ANSWER_MAX, ask(&self.source.url, connection)).await;
        match asked.unwrap_or_else(|_| Err(pool::no_answer(ANSWER_MAX))) {
            Ok(Some(version)) if version >= self.source.version => None,
            Ok(_) => Some("its tables are older than this service: it was replaced; start again".to_owned()),
            Err(error) => {
                *connection = None;
                Some(error.to_string())
            }
        }
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
