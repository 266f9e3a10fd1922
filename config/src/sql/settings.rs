//! The section `[database]`, and what its URL says. Reads no more than the settings and, before a start, the files that they
//! name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::{
    DatabaseError, Dialect,
    sqlite_url::{self, SqliteFile, folder_of},
};
use crate::endpoints::BARE_SIGNS;

/// Prepared statements that a connection to MySQL keeps. Statements over many rows come in nine sizes each.
const MYSQL_STATEMENTS_MAX: u32 = 512;

/// What a URL of MySQL may say after its `?`. The driver passes over what it does not know, and a word that is mistyped must not
/// be a connection without TLS.
const MYSQL_PARAMETERS: [&str; 12] = [
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "socket",
    "statement-cache-capacity",
    "charset",
    "collation",
];

/// Those of them that name a file which has to be there.
const FILE_PARAMETERS: [&str; 6] = ["ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey"];

/// The section `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `sqlite:PATH` or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; empty for a SQLite file in the data folder.
    pub url: String,
    /// A file that holds it.
    pub url_file: PathBuf,
    /// Connections for reading.
    pub connections_max: u32,
    /// Connections for writing, on MySQL. (SQLite always has one: a second would only wait.)
    pub writers_max: u32,
    /// Reads of one user that are under way or wait for a connection; one more is answered "too many requests".
    pub reads_per_user_max: usize,
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
            url_file: PathBuf::new(),
            connections_max: 4,
            writers_max: 4,
            reads_per_user_max: 32,
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
            return Err(format!(
                "database.url: `{url}` has no scheme this build knows (sqlite:, mysql://, mariadb://)"
            ));
        };
        match dialect {
            Dialect::Mysql => check_mysql_url(&self.url)?,
            Dialect::Sqlite if self.url.is_empty() => {}
            Dialect::Sqlite => drop(sqlite_url::read(&self.url)?),
        }
        let ranges = [
            ("database.connections_max", u64::from(self.connections_max), 1, 1024),
            ("database.writers_max", u64::from(self.writers_max), 1, 64),
            ("database.reads_per_user_max", self.reads_per_user_max as u64, 1, 65_536),
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
    pub(super) fn dialect(&self) -> Option<Dialect> {
        match self.url.split_once(':') {
            None if self.url.is_empty() => Some(Dialect::Sqlite),
            Some(("sqlite", _)) => Some(Dialect::Sqlite),
            Some(("mysql" | "mariadb", rest)) if rest.starts_with("//") => Some(Dialect::Mysql),
            _ => None,
        }
    }

    /// The file of a SQLite: the one that the URL names, else `file_name` in the data folder.
    pub(super) fn file_in(&self, data_dir: &Path, file_name: &str) -> Result<SqliteFile, DatabaseError> {
        match self.url.as_str() {
            "" => Ok(SqliteFile { path: data_dir.join(file_name), may_be_made: true }),
            url => sqlite_url::read(url).map_err(DatabaseError::Url),
        }
    }

    /// The folder that has to be locked (`DataFolder`) by whoever opens the database: that of the file itself, wherever the URL or a
    /// symbolic link has it. None where a server keeps the database.
    pub fn folder(&self, data_dir: &Path, file_name: &str) -> Result<Option<PathBuf>, DatabaseError> {
        if self.dialect() == Some(Dialect::Mysql) {
            return Ok(None);
        }
        let file = self.file_in(data_dir, file_name)?.existing_or_made()?;
        Ok(Some(folder_of(&file).to_owned()))
    }

    /// The URL for the driver of MySQL.
    pub(super) fn connect_url(&self) -> String {
        let mut url = self.url.clone();
        let names: Vec<&str> = parameters(&self.url).map(|(name, _)| name).collect();
        let mut add = |name: &str, value: &str| {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}{name}={value}"));
        };
        if !names.contains(&"statement-cache-capacity") {
            add("statement-cache-capacity", &MYSQL_STATEMENTS_MAX.to_string());
        }
        // Nobody listens in on a socket of this host.
        if names.contains(&"socket") && !names.iter().any(|name| matches!(*name, "ssl-mode" | "sslmode")) {
            add("ssl-mode", "DISABLED");
        }
        url
    }

    /// The first file that the URL names and that cannot be read.
    pub(super) fn unreadable_file(&self) -> Option<(String, PathBuf, io::Error)> {
        let files = parameters(&self.url).filter(|(name, _)| FILE_PARAMETERS.contains(name));
        files.map(|(name, value)| (name.to_owned(), PathBuf::from(percent_decoded(value)))).find_map(|(name, path)| {
            let error = fs::read(&path).err()?;
            Some((name, path, error))
        })
    }
}

fn check_mysql_url(url: &str) -> Result<(), String> {
    if has_bare_signs(url) {
        return Err(format!("database.url: {BARE_SIGNS}"));
    }
    if database_name(url).is_empty() {
        return Err("database.url: must name a database, as in mysql://user:password@host:3306/gim".into());
    }
    match unknown_parameter(url) {
        Some(name) => Err(format!("database.url: there is no `{name}` (there are {})", MYSQL_PARAMETERS.join(", "))),
        None => Ok(()),
    }
}

/// Whether a user or a password seems to have a sign that ends this part of a URL.
fn has_bare_signs(url: &str) -> bool {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let ends_early = before.rsplit_once('@').is_some_and(|(login, _)| login.contains(['/', '#']));
    // A value of a parameter may have an `@` as well; then there is a database before it, and we know the parameters.
    ends_early || query.contains('@') && (database_name(url).is_empty() || unknown_parameter(url).is_some())
}

fn unknown_parameter(url: &str) -> Option<&str> {
    parameters(url).map(|(name, _)| name).find(|name| !MYSQL_PARAMETERS.contains(name))
}

/// The part of a URL of MySQL that names the database.
pub(super) fn database_name(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    rest.split_once('/').map_or("", |(_, name)| name)
}

fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or(query);
    query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// The URL as logs and errors may show it.
pub(super) fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match parts {
        Some((scheme, (credentials, rest))) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{rest}")
        }
        None => url.to_owned(),
    }
}

/// What stands in a URL, as it was meant.
pub(super) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> DatabaseSettings {
        DatabaseSettings { url: url.into(), ..DatabaseSettings::default() }
    }

    fn refusal(url: &str) -> String {
        with_url(url).validate().unwrap_err()
    }

    #[test]
    fn a_url_has_a_scheme_we_know_and_names_a_database() {
        for url in ["", "sqlite:x.db", "mysql://root@localhost/gim", "mariadb://u:p@h:1/gim?ssl-mode=DISABLED"] {
            with_url(url).validate().unwrap();
        }
        assert!(refusal("postgres://u:secret@h/d").starts_with("database.url: `postgres://u:***@h/d` has no scheme"));
        assert!(refusal("mysql:x").starts_with("database.url: `mysql:x` has no scheme"));
        assert!(refusal("mysql://root@localhost").starts_with("database.url: must name a database"));
        assert!(refusal("mysql://root@localhost/?a=/b").starts_with("database.url: must name a database"));
        assert!(refusal("mysql://h/gim?ssl_mode=REQUIRED").starts_with("database.url: there is no `ssl_mode`"));
    }

    #[test]
    fn signs_that_have_to_be_encoded_in_a_password_are_named_without_it() {
        for signs in ["/", "#", "?", "/?", "?/", "#?", "?a=/", "@/x?", "@h/x?a&", "@?"] {
            let wrong = format!("mysql://u:se{signs}cret@h:3306/gim");
            let problem = refusal(&wrong);
            assert!(problem.contains("%2F") && !problem.contains("cret"), "{wrong}: {problem}");
        }
        for right in ["mysql://u:p@ss@h/gim", "mysql://u:%2F%3F%23@h/gim", "mysql://h/gim?ssl-ca=/a@b.pem"] {
            with_url(right).validate().unwrap();
        }
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

    #[test]
    fn a_socket_takes_no_tls_unless_it_is_asked_for() {
        let url = |url: &str| with_url(url).connect_url();
        assert_eq!(url("mysql://h/d"), "mysql://h/d?statement-cache-capacity=512");
        assert_eq!(
            url("mysql://h/d?socket=/s"),
            "mysql://h/d?socket=/s&statement-cache-capacity=512&ssl-mode=DISABLED"
        );
        assert!(!url("mysql://h/d?socket=/s&ssl-mode=REQUIRED").contains("DISABLED"));
    }

    #[test]
    fn a_file_that_is_not_there_is_found_before_the_database_is_asked() {
        let (name, path, _) = with_url("mysql://h/d?ssl-ca=/no%20ca.pem").unreadable_file().unwrap();
        assert_eq!((name.as_str(), path), ("ssl-ca", PathBuf::from("/no ca.pem")));
        assert!(with_url("mysql://h/d?ssl-mode=REQUIRED").unreadable_file().is_none());
    }
}
