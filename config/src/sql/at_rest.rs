//! A database as it is, whoever uses it: how far its tables are, and a copy of it. For tools that run once.
//!
//! Always holds: the database itself is only read.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, migrate::Migrator};

use super::{
    DatabaseError, DatabaseSettings, Dialect, UNKNOWN_DATABASE, errors,
    migrations::lock_name,
    path_in_url, session,
    settings::{database_name, percent_decoded, without_password},
};

/// A statement that only reads may wait so long for locks.
const LOCK_TIMEOUT_S: u64 = 10;

/// Where a service keeps its tables.
#[derive(Debug, Clone)]
pub struct Location {
    url: String,
    /// Of a SQLite, the file itself, from the root; it need not be there.
    pub file: Option<PathBuf>,
}

/// How far its tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableProgress {
    /// The newest migration that was applied; 0 for none.
    pub applied: i64,
    /// The newest one that this program has.
    pub newest: i64,
    /// One that was applied, and that this program does not know.
    pub unknown: Option<i64>,
}

impl Location {
    /// The one that settings name; without a URL `file_name` in `data_dir`.
    pub fn new(settings: &DatabaseSettings, data_dir: &Path, file_name: &str) -> Result<Self, DatabaseError> {
        match settings.dialect() {
            Some(Dialect::Mysql) => Ok(Self { url: settings.connect_url(), file: None }),
            _ => Ok(Self::of_file(settings.file_in(data_dir, file_name)?.itself())),
        }
    }

    /// A SQLite.
    pub fn of_file(path: PathBuf) -> Self {
        Self { url: String::new(), file: Some(path) }
    }

    /// For people.
    pub fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| without_password(&self.url), |path| path.display().to_string())
    }

    /// The name of the database on its server.
    pub fn database(&self) -> String {
        percent_decoded(database_name(&self.url))
    }

    /// The options by which `mariadb` and `mysql` reach its server as we do, for a shell. A password is asked for, and not told.
    pub fn client_options(&self) -> String {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split('/').next().unwrap_or_default();
        let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, has_password) = login.split_once(':').map_or((login, false), |(user, _)| (user, true));
        let (host, port) =
            server.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).unwrap_or((server, ""));
        let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket=")).unwrap_or_default();
        let mut options = Vec::new();
        for (option, value) in [("host", host), ("port", port), ("socket", socket), ("user", user)] {
            if !value.is_empty() {
                let value = percent_decoded(value.trim_matches(['[', ']'])).replace('\'', r"'\''");
                options.push(format!("--{option}='{value}'"));
            }
        }
        options.extend(has_password.then(|| "--password".to_owned()));
        options.join(" ")
    }

    /// How far its tables are; none where there is no database.
    pub async fn progress(&self, migrations: &[(Dialect, Migrator)]) -> Result<Option<TableProgress>, DatabaseError> {
        if self.file.as_ref().is_some_and(|path| !path.exists()) {
            return Ok(None);
        }
        let dialect = if self.file.is_some() { Dialect::Sqlite } else { Dialect::Mysql };
        let unsupported = || DatabaseError::Unsupported { url: self.name(), dialect };
        let (_, migrator) = migrations.iter().find(|(of, _)| *of == dialect).ok_or_else(unsupported)?;
        let versions = match self.versions().await {
            Err(error) if errors::mysql_number(&error) == Some(UNKNOWN_DATABASE) => return Ok(None),
            Err(error) if errors::is_without_table(&error) => Vec::new(),
            versions => versions.map_err(|source| DatabaseError::Open { url: self.name(), source })?,
        };
        let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
        let unknown = versions.iter().copied().find(|version| !migrator.version_exists(*version));
        Ok(Some(TableProgress { applied: versions.into_iter().max().unwrap_or(0), newest, unknown }))
    }

    /// The number that a statement says, which only reads; none where it says none, or there is no such table.
    pub async fn number(&self, statement: &'static str) -> Result<Option<i64>, DatabaseError> {
        if self.file.as_ref().is_some_and(|path| !path.exists()) {
            return Ok(None);
        }
        let asked = async {
            let mut connection = self.connect().await?;
            let number = sqlx::query_scalar(statement).fetch_optional(&mut connection).await;
            connection.close().await?;
            number
        };
        match asked.await {
            Err(error)
                if errors::mysql_number(&error) == Some(UNKNOWN_DATABASE) || errors::is_without_table(&error) =>
            {
                Ok(None)
            }
            number => number.map_err(|source| DatabaseError::Open { url: self.name(), source }),
        }
    }

    /// Whether a process has one of these names at the server (as [`Database::claim`](super::Database::claim) takes them). A server that
    /// gives no names has none.
    pub async fn is_claimed(&self, names: &[String]) -> bool {
        if self.file.is_some() {
            return false;
        }
        let database = self.database();
        let used: Vec<String> =
            names.iter().map(|name| format!("IS_USED_LOCK('{}')", lock_name(name, &database))).collect();
        let statement = format!("SELECT CAST(COALESCE({}, 0) AS SIGNED)", used.join(", "));
        let asked = async {
            let mut connection = self.connect().await?;
            let row = connection.fetch_one(AssertSqlSafe(statement)).await;
            connection.close().await?;
            row?.try_get::<i64, _>(0)
        };
        asked.await.is_ok_and(|holder| holder != 0)
    }

    async fn versions(&self) -> Result<Vec<i64>, sqlx::Error> {
        let mut connection = self.connect().await?;
        let versions = sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version");
        let versions = versions.fetch_all(&mut connection).await;
        connection.close().await?;
        versions
    }

    async fn connect(&self) -> Result<AnyConnection, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let Some(path) = &self.file else {
            let mut connection = AnyConnection::connect(&self.url).await?;
            session::prepare_mysql(&mut connection, LOCK_TIMEOUT_S).await?;
            return Ok(connection);
        };
        AnyConnection::connect(&format!("sqlite:{}?mode=ro", url_of(path)?)).await
    }
}

/// Copies a SQLite, of which a service may go on writing: one moment of it, which is then looked through, and is on the disk.
pub async fn copy_sqlite(from: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let mut connection = Location::of_file(from.to_owned()).connect().await?;
    let target = to.to_str().ok_or_else(not_utf8)?;
    sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await?;
    connection.close().await?;
    check_sqlite(to).await?;
    File::open(to)?.sync_all()?;
    Ok(())
}

/// Looks through a SQLite for what is broken in it.
pub async fn check_sqlite(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = Location::of_file(path.to_owned()).connect().await?;
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await?;
    connection.close().await?;
    if found == "ok" { Ok(()) } else { Err(sqlx::Error::Protocol(found)) }
}

/// Changes rows of a SQLite that nobody uses.
pub async fn execute_on_sqlite(path: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&format!("sqlite:{}?mode=rw", url_of(path)?)).await?;
    connection.execute(statement).await?;
    connection.close().await
}

fn url_of(path: &Path) -> Result<String, sqlx::Error> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().and_then(|name| name.to_str()));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    path_in_url(folder, name.ok_or_else(not_utf8)?).map_err(|error| sqlx::Error::Configuration(Box::new(error)))
}

fn not_utf8() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"))
}
