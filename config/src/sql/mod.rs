//! The SQL database of a service: opened, checked and migrated at start. Everything goes through sqlx's `Any` driver, so
//! one repository per entity serves every dialect. What differs in opening one stands here, what differs in statements in
//! the one `dialect` module of each service.

mod aside;
pub mod at_rest;
mod away;
mod checkpoint;
mod claim;
mod errors;
mod held;
mod insert_new;
mod migrations;
mod pool;
mod pool_metrics;
mod session;
mod settings;
mod sqlite_url;
mod storage;
mod watch;

use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, migrate::MigrateError};
use tokio::{sync::oneshot, time::timeout};

pub use claim::{Claim, Taken};
pub use errors::{gave_way, is_out_of_range, is_transient, is_without_table};
pub use held::HeldConnection;
pub use insert_new::InsertNew;
pub use migrations::migrator;
pub use pool::{Failure, Pool, begin};
pub use settings::DatabaseSettings;
pub use sqlx::migrate::Migrator;

use self::{
    aside::Aside,
    away::Away,
    checkpoint::Checkpoints,
    pool::Renewal,
    session::Access,
    settings::{database_name, percent_decoded, without_password},
    sqlite_url::{SqliteFile, folder_of},
    storage::Storage,
};
use crate::{patience::Patience, places::Places, shutdown};

/// A statement of a migration waits that long for the locks of others.
const MIGRATION_LOCK_TIMEOUT_S: u64 = 600;

/// A stop waits that long for the log of a SQLite that is being moved into it.
const LOG_MOVED_WITHIN: Duration = Duration::from_secs(10);

const LOG_OF_STATEMENTS: &str =
    "its binlog_format is STATEMENT, with which it refuses what is READ COMMITTED: set ROW or MIXED";

/// The server has no database of this name.
const UNKNOWN_DATABASE: u16 = 1049;

/// Which SQL the database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one writer.
    Sqlite,
    /// A server that speaks MySQL's protocol: MySQL 8, MariaDB, TiDB.
    Mysql,
}

/// An open, migrated database. Clones share its pools.
#[derive(Debug, Clone)]
pub struct Database {
    /// For statements that only read.
    pub reader: Pool,
    /// For what sign-ins read: places of their own, whatever others do.
    pub sign_in_reader: Pool,
    /// What users read takes a place first, which they get by turns: as many as `reader` has.
    pub user_reads: Places,
    /// For transactions that write. One connection on SQLite, where a second writer would only wait.
    pub writer: Pool,
    /// Connections of `writer`.
    pub writers: u32,
    /// Which SQL it speaks.
    pub dialect: Dialect,
    source: watch::Source,
    storage: Storage,
    /// Of a SQLite.
    kept_open: Option<AnyPool>,
    aside: Option<Aside>,
    _checkpoints: Option<Arc<Checkpoints>>,
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
    /// A file that the URL names cannot be read.
    #[error("database.url: {parameter}: cannot read {}: {source}", path.display())]
    File {
        /// Which parameter of the URL.
        parameter: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The URL names no file.
    #[error("{0}")]
    Url(String),
    /// The file that the URL names is not there, and must not be made.
    #[error("database.url: there is no file {}, and mode=rw makes none", path.display())]
    NoFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// What stands where the file of a SQLite should be is none, or not its only name.
    #[error("database.url: {} {problem}", path.display())]
    Unfit {
        /// Where it should be.
        path: PathBuf,
        /// Why it is none.
        problem: String,
    },
    /// The file of a SQLite is empty or gone, but not what was to be written into it.
    #[error(
        "the database {} is empty or gone, but {} beside it holds {bytes} bytes of changes to it: put the database back where it \
         was, or restore a backup and remove that file; nothing was touched",
        path.display(),
        log.display()
    )]
    Orphaned {
        /// Where the database should be.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
        /// How much that holds.
        bytes: u64,
    },
    /// The database refused.
    #[error("cannot open the database {url}: {source}{}", errors::advice(source))]
    Open {
        /// Which.
        url: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// This service has no tables for databases of this kind.
    #[error("cannot use the database {url}: this service does not support {dialect:?}")]
    Unsupported {
        /// Which.
        url: String,
        /// Its kind.
        dialect: Dialect,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot migrate the database {url}: {source}{}", migration_advice(source))]
    Migrate {
        /// Which.
        url: String,
        /// What went wrong.
        source: MigrateError,
    },
}

impl DatabaseError {
    /// Whether the same start may succeed later, though nobody changes a setting.
    fn is_outage(&self) -> bool {
        match self {
            Self::Open { source, .. } => errors::is_outage(source),
            Self::Migrate {
                source: MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _), ..
            } => errors::is_outage(source),
            _ => false,
        }
    }
}

impl Database {
    /// Opens the database that `settings` name, or `file_name` in `data_dir`, and applies the migrations of its dialect. Waits
    /// where the database is away; whoever gives up drops the future.
    pub async fn open(
        settings: &DatabaseSettings,
        data_dir: &Path,
        file_name: &str,
        migrations: &[(Dialect, Migrator)],
    ) -> Result<Self, DatabaseError> {
        let mut patience = Patience::with("the database");
        loop {
            match Self::open_now(settings, data_dir, file_name, migrations).await {
                Err(error) if error.is_outage() => patience.wait(&error).await,
                opened => return opened,
            }
        }
    }

    async fn open_now(
        settings: &DatabaseSettings,
        data_dir: &Path,
        file_name: &str,
        migrations: &[(Dialect, Migrator)],
    ) -> Result<Self, DatabaseError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let dialect = settings.dialect().unwrap_or(Dialect::Sqlite);
        if let Some((parameter, path, source)) = settings.unreadable_file() {
            return Err(DatabaseError::File { parameter, path, source });
        }
        let (url, file) = match dialect {
            Dialect::Sqlite => {
                let file = settings.file_in(data_dir, file_name)?;
                (url_of_file(&file)?, Some(file.absolute()))
            }
            Dialect::Mysql => (settings.connect_url(), None),
        };
        let shown = without_password(&url);
        let (_, migrator) = migrations
            .iter()
            .find(|(of, _)| *of == dialect)
            .ok_or_else(|| DatabaseError::Unsupported { url: shown.clone(), dialect })?;
        let open_error = |source| DatabaseError::Open { url: shown.clone(), source };
        let migrate_error = |source| DatabaseError::Migrate { url: shown.clone(), source };

        if dialect == Dialect::Mysql {
            let limit = Duration::from_millis(settings.statement_timeout_ms);
            let connected = timeout(limit, connect_mysql(&url, settings.sync_commits)).await;
            let connection = connected.unwrap_or_else(|_| Err(pool::no_answer(limit))).map_err(open_error)?;
            let name = percent_decoded(database_name(&url));
            migrate_to_the_end(connection, migrator, name).await.map_err(migrate_error)?;
        }
        let url = if file.is_some() { existing(url).await.map_err(open_error)? } else { url };
        let renewal = Renewal::default();
        let writers = if dialect == Dialect::Mysql { settings.writers_max } else { 1 };
        let (storage, away) = (Storage::default(), Away::of(&shown));
        let kind = (dialect, Access::Write, writers);
        let opened = Pool::open(&url, settings, kind, renewal.clone(), (storage.clone(), away.clone())).await;
        let writer = opened.map_err(open_error)?;
        let mut kept_open = None;
        if let Some(path) = &file {
            kept_open = Some(pool::keep_open(&url).await.map_err(open_error)?);
            storage.opened(path).map_err(|error| open_error(error.into()))?;
            writer.migrate(migrator).await.map_err(migrate_error)?;
        }
        let kind = (dialect, Access::Read, settings.connections_max);
        let opened = Pool::open(&url, settings, kind, renewal, (storage.clone(), away.clone())).await;
        let aside = file.is_some().then(|| Aside::new(&url, settings, (storage.clone(), away.clone())));
        let (reader, sign_in_reader) = opened.map_err(open_error)?.split(settings.connections_max);
        let wait = Duration::from_millis(settings.acquire_timeout_ms);
        let user_reads = Places::new(reader.free_places(), settings.reads_per_user_max, wait);
        let source = watch::Source::new(&url, away, migrator);
        let checkpoints =
            kept_open.clone().map(|own| Arc::new(Checkpoints::start(own, writer.clone(), storage.clone(), settings)));
        Ok(Self {
            reader,
            sign_in_reader,
            user_reads,
            writer,
            writers,
            dialect,
            source,
            storage,
            kept_open,
            aside,
            _checkpoints: checkpoints,
        })
    }

    /// Which one it is, for people.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The longest statement that the server takes, in bytes; nothing where there is no such bound.
    pub async fn statement_bytes_max(&self) -> Result<Option<u64>, sqlx::Error> {
        if self.dialect == Dialect::Sqlite {
            return Ok(None);
        }
        let bytes: i64 =
            sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS SIGNED)").fetch_one(&self.reader).await?;
        Ok(u64::try_from(bytes).ok())
    }

    /// For statements that only read, of those who give way to everybody else: of a SQLite, connections that none but they open.
    pub fn reader_aside(&self) -> Result<Pool, sqlx::Error> {
        self.aside.as_ref().map_or_else(|| Ok(self.reader.clone()), Aside::pool)
    }

    /// Waits for what is under way and closes all pools.
    pub async fn close(&self) {
        self.reader.close().await;
        if let Some(aside) = &self.aside {
            aside.close().await;
        }
        if let Some(connection) = &self.kept_open
            && timeout(LOG_MOVED_WITHIN, connection.close()).await.is_err()
        {
            tracing::warn!("the log of the database is still being moved into it: the next start goes on with that");
        }
        self.writer.close().await;
    }
}

/// Does what a start needs of its open database, again as long as that is away. What is done again has to bear it.
pub async fn persevere<T, E: Failure + Display>(work: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    let mut patience = Patience::with("the database");
    loop {
        match work().await {
            Err(error) if error.cause().is_some_and(errors::is_outage) => patience.wait(&error).await,
            done => return done,
        }
    }
}

/// Without its database, a log would be taken for none and removed.
fn refuse_orphan(path: &Path) -> Result<(), DatabaseError> {
    match storage::orphaned_log(path) {
        None => Ok(()),
        Some((log, bytes)) => Err(DatabaseError::Orphaned { path: path.to_owned(), log, bytes }),
    }
}

/// The URL of a SQLite, which is made now if it may be: connections that come later would make an empty one in place of a file that
/// was taken away. What is no database is found here: a pool would try again and again.
async fn existing(url: String) -> Result<String, sqlx::Error> {
    let mut connection = AnyConnection::connect(&url).await?;
    connection.execute("SELECT COUNT(*) FROM sqlite_master").await?;
    connection.close().await?;
    Ok(url.replace("mode=rwc", "mode=rw"))
}

/// The URL for the driver of a file, which is made if it is not there and may be: without detours and links.
fn url_of_file(file: &SqliteFile) -> Result<String, DatabaseError> {
    refuse_orphan(&file.itself())?;
    let path = file.existing_or_made()?;
    let (folder, name) = (folder_of(&path), path.file_name().unwrap_or_default().to_string_lossy());
    check_writable(folder, &name)?;
    Ok(format!("sqlite:{}?mode=rwc", path_in_url(folder, &name)?))
}

/// What means something in a URL, where the name of a folder may hold it. Others stay as they are, so that messages can be read.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

/// Without `..` and doubled slashes, which a URL would take for something else.
fn path_in_url(data_dir: &Path, file_name: &str) -> Result<String, DatabaseError> {
    let refuse = |source| DatabaseError::Folder { folder: data_dir.to_owned(), source };
    let path = fs::canonicalize(data_dir).map_err(refuse)?.join(file_name);
    let text =
        path.to_str().ok_or_else(|| refuse(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8")))?;
    Ok(utf8_percent_encode(text, ESCAPED).to_string())
}

/// A connection that is set, to a database that is there.
async fn connect_mysql(url: &str, sync_commits: bool) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = match AnyConnection::connect(url).await {
        Err(error) if errors::mysql_number(&error) == Some(UNKNOWN_DATABASE) => {
            create_database(url).await.map_err(|refused| if errors::is_outage(&refused) { refused } else { error })?;
            AnyConnection::connect(url).await?
        }
        connection => connection?,
    };
    session::prepare_mysql(&mut connection, MIGRATION_LOCK_TIMEOUT_S).await?;
    check_binary_log(&mut connection).await?;
    if sync_commits {
        warn_of_lazy_commits(&mut connection).await;
    }
    Ok(connection)
}

/// Of several services that start at once, each may be the one that makes it.
async fn create_database(url: &str) -> Result<(), sqlx::Error> {
    let name = database_name(url);
    let mut connection = AnyConnection::connect(&url.replacen(&format!("/{name}"), "/", 1)).await?;
    session::prepare_mysql(&mut connection, MIGRATION_LOCK_TIMEOUT_S).await?;
    let name = percent_decoded(name).replace('`', "``");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE IF NOT EXISTS `{name}`"))).await?;
    connection.close().await
}

/// In a task of its own, which a stop of the process waits for: it ends after the statement that is under way.
async fn migrate_to_the_end(
    mut connection: AnyConnection,
    migrator: &Migrator,
    database: String,
) -> Result<(), MigrateError> {
    let migrator = Migrator::with_migrations(migrator.iter().cloned().collect());
    let (wanted, _as_long_as_we_are_here) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let _held = shutdown::hold().await;
        migrations::migrate_mysql(&mut connection, &migrator, &database, || !wanted.is_closed()).await?;
        connection.close().await?;
        Ok(())
    });
    task.await.unwrap_or_else(|error| Err(MigrateError::Execute(sqlx::Error::Protocol(error.to_string()))))
}

fn migration_advice(error: &MigrateError) -> &'static str {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => errors::advice(error),
        MigrateError::VersionMissing(_) => " (a newer version of this service was here)",
        _ => "",
    }
}

/// A log of statements cannot hold what is READ COMMITTED, and the server would refuse every write.
async fn check_binary_log(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let log = "SELECT CAST(@@GLOBAL.log_bin AS SIGNED), CAST(@@SESSION.binlog_format AS CHAR)";
    match sqlx::query_as::<_, (i64, String)>(log).fetch_one(connection).await {
        Ok((1, format)) if format == "STATEMENT" => Err(sqlx::Error::Configuration(LOG_OF_STATEMENTS.into())),
        Err(error) if errors::is_outage(&error) => Err(error),
        // A server without such a log, or without the choice.
        _ => Ok(()),
    }
}

/// An acknowledged message has to survive a power cut; here that is not ours to decide.
async fn warn_of_lazy_commits(connection: &mut AnyConnection) {
    let flush = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED)";
    match sqlx::query_scalar::<_, i64>(flush).fetch_one(connection).await {
        Ok(1) => {}
        Ok(value) => tracing::warn!(
            innodb_flush_log_at_trx_commit = value,
            "the database does not wait for its disk: a power cut may lose acknowledged messages"
        ),
        Err(error) => tracing::debug!(%error, "the database does not say whether commits wait for its disk"),
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn made(path: PathBuf) -> SqliteFile {
        SqliteFile { path, may_be_made: true }
    }

    #[tokio::test]
    async fn the_database_is_in_the_folder_whatever_its_name_holds() {
        sqlx::any::install_default_drivers();
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("a b")).unwrap();
        let plain = [
            "two words",
            "50% off",
            "a%20b",
            "x#y",
            "what?",
            "\u{6570}\u{636e}",
            "a&mode=ro",
            "x;y",
            "q\"'`",
            "back\\slash",
        ];
        for name in plain.into_iter().chain(["below/../beside", "a//b", " ", "+", ":memory:", "%", "[1]@host:3306"]) {
            let folder = parent.path().join(name);
            fs::create_dir_all(parent.path().join("below")).unwrap();
            let url = url_of_file(&made(folder.join("x.db"))).unwrap();
            AnyConnection::connect(&url).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(folder.join("x.db").is_file(), "{name}: {url}");
        }
        let unnamed = std::ffi::OsStr::from_bytes(b"\xff");
        let refused = url_of_file(&made(parent.path().join(unnamed).join("x.db")));
        assert!(refused.unwrap_err().to_string().ends_with("its name is not UTF-8"));
    }

    #[tokio::test]
    async fn a_transaction_takes_the_lock_of_sqlite_before_it_reads() {
        sqlx::any::install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("begin.db").display());
        let mut first = AnyConnection::connect(&url).await.unwrap();
        let mut second = AnyConnection::connect(&url).await.unwrap();
        second.execute("PRAGMA busy_timeout = 0").await.unwrap();
        let held = begin(&mut first).await.unwrap();
        let locked = begin(&mut second).await.unwrap_err();
        assert!(is_transient(&locked), "{locked}");
        held.rollback().await.unwrap();
        begin(&mut second).await.unwrap();
    }

    #[tokio::test]
    async fn a_deadlock_of_mysql_is_over_at_once_and_a_broken_rule_is_not() {
        let settings = DatabaseSettings { url: crate::testing::mysql_database(), ..DatabaseSettings::default() };
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&settings, folder.path(), "", &[(Dialect::Mysql, Migrator::DEFAULT)]).await;
        let writer = database.unwrap().writer;
        writer.execute("CREATE TABLE two (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)").await.unwrap();
        writer.execute("INSERT INTO two VALUES (1, 1), (2, 2)").await.unwrap();
        let connect = || AnyConnection::connect(&settings.url);
        let (mut first, mut second) = (connect().await.unwrap(), connect().await.unwrap());
        for connection in [&mut first, &mut second] {
            connection.execute("BEGIN").await.unwrap();
        }
        first.execute("UPDATE two SET value = 3 WHERE id = 1").await.unwrap();
        second.execute("UPDATE two SET value = 3 WHERE id = 2").await.unwrap();
        let (one, other) = tokio::join!(
            first.execute("UPDATE two SET value = 3 WHERE id = 2"),
            second.execute("UPDATE two SET value = 3 WHERE id = 1"),
        );
        let loser = one.err().or(other.err()).expect("one of them gives way");
        assert!(gave_way(&loser) && is_transient(&loser), "{loser}");
        for connection in [&mut first, &mut second] {
            connection.execute("ROLLBACK").await.unwrap();
        }
        let broken = writer.execute("INSERT INTO two VALUES (1, 1)").await.unwrap_err();
        assert!(!is_transient(&broken), "{broken}");
        let cut = writer.execute("INSERT INTO two VALUES (3, 'three')").await.unwrap_err();
        assert!(!is_transient(&cut), "strict: {cut}");
    }
}
