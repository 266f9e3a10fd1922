//! The SQL database of a service: opened, checked and migrated at start. Everything goes through sqlx's `Any` driver, so
//! one repository per entity serves every dialect; what differs stands in [`Dialect`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AnyPool, Executor as _, any::AnyPoolOptions, migrate::Migrator};

/// The section `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:PATH`; empty for a SQLite file in the data folder.
    pub url: String,
    /// Connections for reading. (SQLite has one more, the only one that writes.)
    pub connections_max: u32,
    /// How long a request waits for a free connection before it is answered "try again later".
    pub acquire_timeout_ms: u64,
    /// Whether a commit waits for the disk. Off, a power cut (not a crash of the process) may lose the newest commits.
    pub sync_commits: bool,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self { url: String::new(), connections_max: 4, acquire_timeout_ms: 2_000, sync_commits: true }
    }
}

impl DatabaseSettings {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), String> {
        if !self.url.is_empty() && !self.url.starts_with("sqlite:") {
            return Err(format!("database.url: `{}` has no scheme this build knows (sqlite:)", self.url));
        }
        if !(1..=1024).contains(&self.connections_max) {
            return Err("database.connections_max: must be between 1 and 1024".into());
        }
        if self.acquire_timeout_ms == 0 {
            return Err("database.acquire_timeout_ms: must not be 0".into());
        }
        Ok(())
    }
}

/// Which SQL the database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one writer.
    Sqlite,
}

/// An open, migrated database. Clones share its pools.
#[derive(Debug, Clone)]
pub struct Database {
    /// For statements that only read.
    pub reader: AnyPool,
    /// For transactions that write. One connection on SQLite, where a second writer would only wait.
    pub writer: AnyPool,
    /// Which SQL it speaks.
    pub dialect: Dialect,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The data folder cannot be made or written.
    #[error("cannot write to the data folder {folder}: {source}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot open the database {url}: {source}")]
    Open {
        /// Which.
        url: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot migrate the database {url}: {source}")]
    Migrate {
        /// Which.
        url: String,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
}

impl Database {
    /// Opens the database that `settings` name, or `file_name` in `data_dir`, and applies `migrations`.
    pub async fn open(
        settings: &DatabaseSettings,
        data_dir: &Path,
        file_name: &str,
        migrations: &Migrator,
    ) -> Result<Self, DatabaseError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let url = if settings.url.is_empty() {
            check_writable(data_dir, file_name)?;
            format!("sqlite:{}?mode=rwc", data_dir.join(file_name).display())
        } else {
            settings.url.clone()
        };
        let open_error = |source| DatabaseError::Open { url: url.clone(), source };
        let writer = pool(settings, 1, Access::Write).connect(&url).await.map_err(open_error)?;
        migrations.run(&writer).await.map_err(|source| DatabaseError::Migrate { url: url.clone(), source })?;
        let reader = pool(settings, settings.connections_max, Access::Read).connect(&url).await.map_err(open_error)?;
        Ok(Self { reader, writer, dialect: Dialect::Sqlite })
    }

    /// Waits for what is under way and closes both pools.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Read,
    Write,
}

fn pool(settings: &DatabaseSettings, connections: u32, access: Access) -> AnyPoolOptions {
    let sync_commits = settings.sync_commits;
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .after_connect(move |connection, _| Box::pin(prepare_sqlite(connection, access, sync_commits)))
}

/// WAL lets readers go on while the one writer commits; FULL makes each commit reach the disk before it is acknowledged.
async fn prepare_sqlite(connection: &mut AnyConnection, access: Access, sync_commits: bool) -> Result<(), sqlx::Error> {
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").await?;
    connection.execute("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384").await?;
    match access {
        Access::Read => connection.execute("PRAGMA query_only = ON").await?,
        Access::Write if sync_commits => connection.execute("PRAGMA synchronous = FULL").await?,
        Access::Write => connection.execute("PRAGMA synchronous = NORMAL").await?,
    };
    Ok(())
}

/// Makes the folder and tries to write in it, so that the error names the folder and not a file of the database. The file
/// tried is this database's own: services that share a folder start at the same time.
fn check_writable(folder: &Path, file_name: &str) -> Result<(), DatabaseError> {
    let fail = |source| DatabaseError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(fail)?;
    let probe = folder.join(format!(".{file_name}.write-probe"));
    fs::write(&probe, b"").map_err(fail)?;
    fs::remove_file(&probe).map_err(fail)
}
