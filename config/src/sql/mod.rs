//! The SQL database of a service: opened, checked and migrated at start. Everything goes through sqlx's `Any` driver, so
//! one repository per entity serves every dialect. What differs in opening one stands here, what differs in statements in
//! the one `dialect` module of each service.

mod migrations;
mod pool;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _,
    any::AnyPoolOptions,
    error::DatabaseError as _,
    migrate::{MigrateDatabase as _, Migrator},
    mysql::MySqlDatabaseError,
    sqlite::SqliteError,
};

pub use migrations::migrator;
pub use pool::{Pool, begin};

/// A connection that was idle for longer is tried before it is used: a database that restarted meanwhile closed it.
const IDLE_UNTRIED: Duration = Duration::from_secs(1);

/// Prepared statements that a connection to MySQL keeps. Statements over many rows come in nine sizes each.
const MYSQL_STATEMENTS_MAX: u32 = 512;

/// How long a service that starts waits for another one that brings the tables of a MySQL up to date.
const MIGRATION_WAIT_S: i64 = 600;

/// SQLITE_BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN: each may be over at the next try.
const SQLITE_TRANSIENT: [i32; 6] = [5, 6, 8, 10, 13, 14];

/// What MySQL, MariaDB and TiDB say when they cannot just now: a lock waited for too long (1205) or rolled back (1213, 1020;
/// TiDB 8002, 8022, 8028, 9007); too many connections (1040, 1203); the disk full (20, 1021, 1114), not written (1, 3, 1026, 1030,
/// 1878) or the commit refused (1180); read-only (1290, 1792, 1836); going down or not ready (1047, 1053, 1077, 1079, 3169, 1927); a
/// broken connection (1158 to 1161); a statement cut off (1317, 1969, 3024); TiDB's regions away (9001 to 9005).
const MYSQL_TRANSIENT: [u16; 39] = [
    1, 3, 20, 1020, 1021, 1026, 1030, 1040, 1047, 1053, 1077, 1079, 1114, 1158, 1159, 1160, 1161, 1180, 1203, 1205,
    1213, 1290, 1317, 1792, 1836, 1878, 1927, 1969, 3024, 3169, 8002, 8022, 8028, 9001, 9002, 9003, 9004, 9005, 9007,
];

/// Of these, those after which the same transaction succeeds at once: two met, and this one gave way.
const MYSQL_GAVE_WAY: [u16; 5] = [1020, 1213, 8022, 8028, 9007];

/// The section `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:PATH` or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; empty for a SQLite file in the data folder.
    pub url: String,
    /// Connections for reading.
    pub connections_max: u32,
    /// Connections for writing, on MySQL. (SQLite always has one: a second would only wait.)
    pub writers_max: u32,
    /// How long a request waits for a free connection before it is answered "try again later".
    pub acquire_timeout_ms: u64,
    /// How long a statement waits for the locks of others before its request is answered "try again later".
    pub lock_timeout_ms: u64,
    /// How long a statement, or a transaction of several, may take before its request is answered "try again later" and its
    /// connection is closed: a database that hangs takes statements and answers none.
    pub statement_timeout_ms: u64,
    /// Whether a commit waits for the disk. Off, a power cut (not a crash of the process) may lose the newest commits. On
    /// MySQL the server decides (`innodb_flush_log_at_trx_commit`).
    pub sync_commits: bool,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            connections_max: 4,
            writers_max: 4,
            acquire_timeout_ms: 2_000,
            lock_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            sync_commits: true,
        }
    }
}

impl DatabaseSettings {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), String> {
        let Some(dialect) = self.dialect() else {
            let url = without_password(&self.url);
            return Err(format!("database.url: `{url}` has no scheme this build knows (sqlite:, mysql://)"));
        };
        if dialect == Dialect::Mysql && database_name(&self.url).is_empty() {
            return Err("database.url: must name a database, as in mysql://user:password@host:3306/gim".into());
        }
        let ranges = [
            ("database.connections_max", u64::from(self.connections_max), 1, 1024),
            ("database.writers_max", u64::from(self.writers_max), 1, 64),
            ("database.acquire_timeout_ms", self.acquire_timeout_ms, 1, 600_000),
            ("database.lock_timeout_ms", self.lock_timeout_ms, 1, 600_000),
            ("database.statement_timeout_ms", self.statement_timeout_ms, 1, 600_000),
        ];
        match ranges.into_iter().find(|&(_, value, least, most)| value < least || value > most) {
            Some((key, _, least, most)) => Err(format!("{key}: must be between {least} and {most}")),
            None => Ok(()),
        }
    }

    /// Which SQL the database at `url` speaks.
    fn dialect(&self) -> Option<Dialect> {
        match self.url.split_once(':') {
            None if self.url.is_empty() => Some(Dialect::Sqlite),
            Some(("sqlite", _)) => Some(Dialect::Sqlite),
            Some(("mysql" | "mariadb", rest)) if rest.starts_with("//") => Some(Dialect::Mysql),
            _ => None,
        }
    }
}

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
    /// For transactions that write. One connection on SQLite, where a second writer would only wait.
    pub writer: Pool,
    /// Connections of `writer`.
    pub writers: u32,
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
    /// This service has no tables for databases of this kind.
    #[error("cannot use the database {url}: this service does not support {dialect:?}")]
    Unsupported {
        /// Which.
        url: String,
        /// Its kind.
        dialect: Dialect,
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
    /// Opens the database that `settings` name, or `file_name` in `data_dir`, and applies the migrations of its dialect.
    pub async fn open(
        settings: &DatabaseSettings,
        data_dir: &Path,
        file_name: &str,
        migrations: &[(Dialect, Migrator)],
    ) -> Result<Self, DatabaseError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let dialect = settings.dialect().unwrap_or(Dialect::Sqlite);
        let url = connect_url(settings, dialect, data_dir, file_name)?;
        let shown = without_password(&url);
        let (_, migrations) = migrations
            .iter()
            .find(|(of, _)| *of == dialect)
            .ok_or_else(|| DatabaseError::Unsupported { url: shown.clone(), dialect })?;
        let open_error = |source| DatabaseError::Open { url: shown.clone(), source };
        let limit = Duration::from_millis(settings.statement_timeout_ms);

        if dialect == Dialect::Mysql {
            let created = tokio::time::timeout(limit, create_if_missing(&url)).await;
            created.unwrap_or_else(|_| Err(pool::no_answer(limit))).map_err(open_error)?;
        }
        let writers = if dialect == Dialect::Mysql { settings.writers_max } else { 1 };
        let writer = pool(settings, dialect, writers, Access::Write).connect(&url).await.map_err(open_error)?;
        let turn = if dialect == Dialect::Mysql { Some(migration_turn(&url).await.map_err(open_error)?) } else { None };
        migrations.run(&writer).await.map_err(|source| DatabaseError::Migrate { url: shown.clone(), source })?;
        if let Some(turn) = turn {
            turn.close().await.map_err(open_error)?;
        }
        let readers = settings.connections_max;
        let reader = pool(settings, dialect, readers, Access::Read).connect(&url).await.map_err(open_error)?;
        if dialect == Dialect::Mysql && settings.sync_commits {
            warn_of_lazy_commits(&reader).await;
        }
        let pool = |connections| Pool::new(connections, dialect, limit);
        Ok(Self { reader: pool(reader), writer: pool(writer), writers, dialect })
    }

    /// Waits for what is under way and closes both pools.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// Whether the database was away, full or busy, rather than asked for something it cannot do: the same may succeed later.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => true,
        sqlx::Error::BeginFailed => true,
        _ => {
            // The low byte of an extended code of SQLite is its kind.
            sqlite_code(error).is_some_and(|code| SQLITE_TRANSIENT.contains(&(code & 0xff)))
                || mysql_number(error).is_some_and(|number| MYSQL_TRANSIENT.contains(&number))
        }
    }
}

/// Whether the transaction gave way to another one it met, and may be tried again at once.
pub fn gave_way(error: &sqlx::Error) -> bool {
    mysql_number(error).is_some_and(|number| MYSQL_GAVE_WAY.contains(&number))
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.try_downcast_ref::<SqliteError>()?.code()?.parse().ok()
}

fn mysql_number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

fn connect_url(
    settings: &DatabaseSettings,
    dialect: Dialect,
    data_dir: &Path,
    file_name: &str,
) -> Result<String, DatabaseError> {
    match dialect {
        Dialect::Sqlite if settings.url.is_empty() => {
            check_writable(data_dir, file_name)?;
            Ok(format!("sqlite:{}?mode=rwc", path_in_url(data_dir, file_name)?))
        }
        Dialect::Mysql if !settings.url.contains("statement-cache-capacity=") => {
            let separator = if settings.url.contains('?') { '&' } else { '?' };
            Ok(format!("{}{separator}statement-cache-capacity={MYSQL_STATEMENTS_MAX}", settings.url))
        }
        _ => Ok(settings.url.clone()),
    }
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

/// Of several services that start at once, each may be the one that makes it.
async fn create_if_missing(url: &str) -> Result<(), sqlx::Error> {
    if Any::database_exists(url).await? {
        return Ok(());
    }
    match Any::create_database(url).await {
        Err(error) if !Any::database_exists(url).await? => Err(error),
        _ => Ok(()),
    }
}

/// Waits until no other service migrates this database; the turn ends with the connection. (The lock of sqlx is none on
/// MariaDB, which takes its endless timeout for a wrong one.)
async fn migration_turn(url: &str) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect(url).await?;
    let lock = "SELECT CAST(GET_LOCK(CONCAT('gim ', MD5(DATABASE())), ?) AS SIGNED)";
    match sqlx::query_scalar::<_, Option<i64>>(lock).bind(MIGRATION_WAIT_S).fetch_one(&mut connection).await? {
        Some(1) => Ok(connection),
        _ => Err(sqlx::Error::Protocol(format!("another service migrates it since {MIGRATION_WAIT_S} s"))),
    }
}

/// An acknowledged message has to survive a power cut; here that is not ours to decide.
async fn warn_of_lazy_commits(pool: &AnyPool) {
    let flush = "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED)";
    match sqlx::query_scalar::<_, i64>(flush).fetch_one(pool).await {
        Ok(1) => {}
        Ok(value) => tracing::warn!(
            innodb_flush_log_at_trx_commit = value,
            "the database does not wait for its disk: a power cut may lose acknowledged messages"
        ),
        Err(error) => tracing::debug!(%error, "the database does not say whether commits wait for its disk"),
    }
}

/// The part of a URL of MySQL that names the database.
fn database_name(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    rest.split_once('/').map_or("", |(_, name)| name)
}

/// The URL as logs and errors may show it.
fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match parts {
        Some((scheme, (credentials, rest))) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{rest}")
        }
        None => url.to_owned(),
    }
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Read,
    Write,
}

fn pool(settings: &DatabaseSettings, dialect: Dialect, connections: u32, access: Access) -> AnyPoolOptions {
    let (sync_commits, lock_timeout_ms) = (settings.sync_commits, settings.lock_timeout_ms);
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .test_before_acquire(false);
    match dialect {
        Dialect::Sqlite => options.after_connect(move |connection, _| {
            Box::pin(prepare_sqlite(connection, access, sync_commits, lock_timeout_ms))
        }),
        Dialect::Mysql => options
            .after_connect(move |connection, _| Box::pin(prepare_mysql(connection, lock_timeout_ms)))
            .before_acquire(|connection, usage| {
                Box::pin(async move {
                    if usage.idle_for > IDLE_UNTRIED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            }),
    }
}

/// Strict, so that nothing is cut or rounded on its way in. Texts compare by their bytes. READ COMMITTED takes fewer locks,
/// and every statement sees what others committed before it.
async fn prepare_mysql(connection: &mut AnyConnection, lock_timeout_ms: u64) -> Result<(), sqlx::Error> {
    let lock_timeout_s = lock_timeout_ms.div_ceil(1000);
    let settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', \
         SESSION innodb_lock_wait_timeout = {lock_timeout_s}, NAMES utf8mb4 COLLATE utf8mb4_bin"
    );
    connection.execute(AssertSqlSafe(settings)).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    Ok(())
}

/// Pages in the log of SQLite (of 4 KiB) after which they are written to the database itself. A commit of many inboxes has
/// hundreds of them: after the usual thousand every third one would wait for the disk twice more, and pages that many of
/// them write would be written again and again. (`gim-bench send`: 0.74 of the bare insert instead of 0.67.)
const CHECKPOINT_PAGES: u32 = 8192;

/// WAL lets readers go on while the one writer commits; FULL makes each commit reach the disk before it is acknowledged.
async fn prepare_sqlite(
    connection: &mut AnyConnection,
    access: Access,
    sync_commits: bool,
    lock_timeout_ms: u64,
) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(format!("PRAGMA busy_timeout = {lock_timeout_ms}"))).await?;
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").await?;
    connection.execute("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384").await?;
    connection.execute(AssertSqlSafe(format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"))).await?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use sqlx::SqliteConnection;

    use super::*;

    fn refusal(url: &str) -> String {
        DatabaseSettings { url: url.into(), ..DatabaseSettings::default() }.validate().unwrap_err()
    }

    #[test]
    fn a_url_has_a_scheme_we_know_and_names_a_database() {
        for url in ["", "sqlite:x.db", "mysql://root@localhost/gim", "mysql://u:p@h:1/gim?ssl-mode=DISABLED"] {
            DatabaseSettings { url: url.into(), ..DatabaseSettings::default() }.validate().unwrap();
        }
        assert!(refusal("postgres://u:secret@h/d").starts_with("database.url: `postgres://u:***@h/d` has no scheme"));
        assert!(refusal("mysql:x").starts_with("database.url: `mysql:x` has no scheme"));
        assert!(refusal("mysql://root@localhost").starts_with("database.url: must name a database"));
        assert!(refusal("mysql://root@localhost/?a=/b").starts_with("database.url: must name a database"));
    }

    #[test]
    fn a_value_out_of_range_is_refused_by_its_key() {
        let settings = DatabaseSettings { writers_max: 0, ..DatabaseSettings::default() };
        assert_eq!(settings.validate().unwrap_err(), "database.writers_max: must be between 1 and 64");
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("mysql://u:p@ss@h/d"), "mysql://u:***@h/d");
        assert_eq!(without_password("sqlite:a@b"), "sqlite:a@b");
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
            let url = connect_url(&DatabaseSettings::default(), Dialect::Sqlite, &folder, "x.db").unwrap();
            AnyConnection::connect(&url).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(folder.join("x.db").is_file(), "{name}: {url}");
        }
        let unnamed = std::ffi::OsStr::from_bytes(b"\xff");
        let refused = connect_url(&DatabaseSettings::default(), Dialect::Sqlite, &parent.path().join(unnamed), "x.db");
        assert!(refused.unwrap_err().to_string().ends_with("its name is not UTF-8"));
    }

    #[tokio::test]
    async fn a_lock_of_sqlite_may_be_over_at_the_next_try_and_a_broken_rule_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("lock.db").display());
        let mut first = SqliteConnection::connect(&url).await.unwrap();
        let mut second = SqliteConnection::connect(&url).await.unwrap();
        first.execute("CREATE TABLE one (id BIGINT UNIQUE); INSERT INTO one VALUES (1)").await.unwrap();
        second.execute("PRAGMA busy_timeout = 0").await.unwrap();
        first.execute("BEGIN IMMEDIATE").await.unwrap();
        let locked = second.execute("INSERT INTO one VALUES (2)").await.unwrap_err();
        assert!(is_transient(&locked), "{locked}");
        let broken = first.execute("INSERT INTO one VALUES (1)").await.unwrap_err();
        assert!(!is_transient(&broken), "{broken}");
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
    async fn whatever_mysql_says_of_a_full_disk_may_be_over_at_the_next_try() {
        sqlx::any::install_default_drivers();
        let url = crate::testing::mysql_database();
        let server = url.rsplit_once('/').unwrap().0;
        let mut connection = AnyConnection::connect(server).await.unwrap();
        for number in [1, 3, 20, 1021, 1026, 1030, 1114, 1180, 1878] {
            let signal = format!("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}");
            let error = connection.execute(AssertSqlSafe(signal)).await.unwrap_err();
            assert_eq!((mysql_number(&error), is_transient(&error)), (Some(number), true), "{error}");
        }
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
