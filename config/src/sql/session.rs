//! What every connection is set to, whatever the defaults of the server or of the library are: all that our statements rely on.

use sqlx::{AnyConnection, AssertSqlSafe, Executor as _};

use super::{DatabaseSettings, Dialect, errors};

/// Variables of MySQL that every server knows. Strict, so that nothing is cut or rounded on its way in. The lock waits stand in
/// the settings.
const MYSQL: [(&str, &str); 4] = [
    ("autocommit", "1"),
    ("sql_mode", "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'"),
    ("time_zone", "'+00:00'"),
    // Longer than a connection may be idle without being tried.
    ("wait_timeout", "600"),
];

/// Variables that some servers do not have, and then need not be set. `sql_safe_updates` and `sql_big_selects` refuse statements
/// that we make, `sql_select_limit` cuts what they find.
const MYSQL_WHERE_KNOWN: [(&str, &str); 11] = [
    ("completion_type", "'NO_CHAIN'"),
    // What a process began and does not go on with keeps others from writing for so long, and is not committed after it.
    ("idle_write_transaction_timeout", "5"),
    ("default_storage_engine", "'InnoDB'"),
    ("foreign_key_checks", "1"),
    ("unique_checks", "1"),
    ("sql_auto_is_null", "0"),
    ("sql_big_selects", "1"),
    ("sql_safe_updates", "0"),
    ("sql_select_limit", "18446744073709551615"),
    ("innodb_snapshot_isolation", "0"),
    ("tidb_txn_mode", "'pessimistic'"),
];

/// What the server says of a variable that it does not have, that is not for sessions or not for us, or of a value that is none.
const NOT_HERE: [u16; 5] = [1193, 1227, 1229, 1231, 1238];

/// What texts are in, and how they compare: by their bytes.
const MYSQL_NAMES: &str = "NAMES utf8mb4 COLLATE utf8mb4_bin";

/// READ COMMITTED takes fewer locks, and every statement sees what others committed before it.
const MYSQL_TRANSACTIONS: [&str; 2] =
    ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION TRANSACTION READ WRITE"];

/// Pages in the log of SQLite (of 4 KiB) after which the commit that made it so long writes them to the database itself, where nobody
/// else did ([`super::checkpoint`]).
pub(super) const CHECKPOINT_AT_LATEST_PAGES: u32 = 65_536;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// The same, by those who give way to all others.
    ReadAside,
    Write,
}

impl Access {
    /// A pool of such connections, as metrics name it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadAside => "aside",
            Self::Write => "write",
        }
    }
}

/// What only reads waits no longer for rows that somebody is writing: it keeps others from those that it has found by then.
const READERS_LOCK_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 1";

/// Sets a new connection.
pub(super) async fn prepare(
    connection: &mut AnyConnection,
    settings: &DatabaseSettings,
    dialect: Dialect,
    access: Access,
) -> Result<(), sqlx::Error> {
    match dialect {
        Dialect::Sqlite => prepare_sqlite(connection, settings, access).await,
        Dialect::Mysql => {
            prepare_mysql(connection, settings.lock_timeout_ms.div_ceil(1000)).await?;
            if access == Access::Read {
                connection.execute(READERS_LOCK_WAIT).await?;
            }
            Ok(())
        }
    }
}

/// Sets a connection to MySQL whose statements wait that long for a lock.
pub(super) async fn prepare_mysql(connection: &mut AnyConnection, lock_timeout_s: u64) -> Result<(), sqlx::Error> {
    let lock_timeout_s = lock_timeout_s.to_string();
    let waits = ["innodb_lock_wait_timeout", "lock_wait_timeout"].map(|name| (name, lock_timeout_s.as_str()));
    let known = assignments(MYSQL.into_iter().chain(waits));
    connection.execute(AssertSqlSafe(format!("SET {known}, {MYSQL_NAMES}"))).await?;
    for statement in MYSQL_TRANSACTIONS {
        connection.execute(statement).await?;
    }
    // One by one, as one that is unknown would spoil the rest.
    for variable in MYSQL_WHERE_KNOWN {
        let set = connection.execute(AssertSqlSafe(format!("SET {}", assignments([variable])))).await;
        match set {
            Err(error) if !errors::mysql_number(&error).is_some_and(|number| NOT_HERE.contains(&number)) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

fn assignments<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let one = |(name, value)| format!("SESSION {name} = {value}");
    variables.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// WAL lets readers go on while the one writer commits; FULL makes each commit reach the disk before it is acknowledged.
async fn prepare_sqlite(
    connection: &mut AnyConnection,
    settings: &DatabaseSettings,
    access: Access,
) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(format!("PRAGMA busy_timeout = {}", settings.lock_timeout_ms))).await?;
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").await?;
    connection.execute("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384").await?;
    connection.execute(AssertSqlSafe(format!("PRAGMA wal_autocheckpoint = {CHECKPOINT_AT_LATEST_PAGES}"))).await?;
    match access {
        Access::Read | Access::ReadAside => connection.execute("PRAGMA query_only = ON").await?,
        Access::Write if settings.sync_commits => connection.execute("PRAGMA synchronous = FULL").await?,
        Access::Write => connection.execute("PRAGMA synchronous = NORMAL").await?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::Migrator;

    use super::*;
    use crate::{
        sql::{Database, Pool},
        testing::PrivateServer,
    };

    /// What a server says of its sessions to somebody who sets nothing, and has to say to us.
    const HOSTILE: &str = "--autocommit=0 --sql-mode=ANSI,NO_BACKSLASH_ESCAPES --default-time-zone=+08:00 \
                           --wait-timeout=2 --innodb-lock-wait-timeout=1 --lock-wait-timeout=1 --completion-type=CHAIN \
                           --default-storage-engine=MyISAM --sql-safe-updates=1 --transaction-isolation=SERIALIZABLE \
                           --transaction-read-only=1 --character-set-server=latin1 --skip-character-set-client-handshake";
    const MORE_HOSTILE: [&str; 3] =
        ["SET GLOBAL foreign_key_checks = 0", "SET GLOBAL unique_checks = 0", "SET GLOBAL sql_select_limit = 1"];

    /// Each setting, as the server shows it.
    const EXPECTED: [(&str, &str); 20] = [
        ("autocommit", "1"),
        ("sql_mode", "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"),
        ("time_zone", "+00:00"),
        ("wait_timeout", "600"),
        ("idle_write_transaction_timeout", "5"),
        ("innodb_lock_wait_timeout", "5"),
        ("lock_wait_timeout", "5"),
        ("completion_type", "NO_CHAIN"),
        ("default_storage_engine", "InnoDB"),
        ("foreign_key_checks", "1"),
        ("unique_checks", "1"),
        ("sql_auto_is_null", "0"),
        ("sql_big_selects", "1"),
        ("sql_safe_updates", "0"),
        ("sql_select_limit", "18446744073709551615"),
        ("tx_isolation", "READ-COMMITTED"),
        ("tx_read_only", "0"),
        ("character_set_client", "utf8mb4"),
        ("character_set_results", "utf8mb4"),
        ("collation_connection", "utf8mb4_bin"),
    ];

    async fn shown(pool: &Pool, variable: &str) -> String {
        let sql = format!("SELECT CAST(@@SESSION.{variable} AS CHAR)");
        let shown: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
        match shown.as_str() {
            "ON" => "1".to_owned(),
            "OFF" => "0".to_owned(),
            _ => shown,
        }
    }

    #[tokio::test]
    async fn whatever_a_server_prefers_each_session_is_set_to_what_we_rely_on() {
        let server = PrivateServer::mysql_with(HOSTILE);
        let url = format!("{}/hostile", server.url);
        let settings = DatabaseSettings { url, ..DatabaseSettings::default() };
        let open = || Database::open(&settings, "".as_ref(), "", &[(Dialect::Mysql, Migrator::DEFAULT)]);
        let first = open().await.unwrap();
        for statement in MORE_HOSTILE {
            first.writer.execute(statement).await.unwrap();
        }
        let database = open().await.unwrap();
        assert_eq!(shown(&database.reader, "innodb_lock_wait_timeout").await, "1");
        for pool in [&database.reader, &database.writer] {
            let is_reader = std::ptr::eq(pool, &database.reader);
            for (variable, expected) in EXPECTED {
                if is_reader && variable == "innodb_lock_wait_timeout" {
                    continue;
                }
                assert_eq!(shown(pool, variable).await, expected, "{variable}");
            }
        }
        // What was acknowledged is there for others to see.
        database.writer.execute("CREATE TABLE one (id BIGINT PRIMARY KEY)").await.unwrap();
        database.writer.execute("INSERT INTO one VALUES (1), (2)").await.unwrap();
        let rows: Vec<(i64,)> = sqlx::query_as("SELECT id FROM one").fetch_all(&database.reader).await.unwrap();
        assert_eq!(rows, [(1,), (2,)]);
    }

    #[tokio::test]
    async fn each_connection_to_sqlite_is_set_to_what_we_rely_on() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DatabaseSettings::default();
        let database = Database::open(&settings, folder.path(), "x.db", &[(Dialect::Sqlite, Migrator::DEFAULT)]).await;
        let database = database.unwrap();
        let expected = [
            ("busy_timeout", 5000, 5000),
            ("foreign_keys", 1, 1),
            ("temp_store", 2, 2),
            ("cache_size", -16384, -16384),
            ("wal_autocheckpoint", 65_536, 65_536),
            ("query_only", 1, 0),
        ];
        for (pragma, of_reader, of_writer) in expected {
            for (pool, expected) in [(&database.reader, of_reader), (&database.writer, of_writer)] {
                let sql = AssertSqlSafe(format!("PRAGMA {pragma}"));
                let shown: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
                assert_eq!(shown, expected, "{pragma}");
            }
        }
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&database.writer).await.unwrap();
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&database.writer).await.unwrap();
        assert_eq!((synchronous, journal.as_str()), (2, "wal"));
    }
}
