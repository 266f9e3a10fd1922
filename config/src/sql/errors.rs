//! What databases say when they cannot, in one table, and what it means for a request, for its connection and for a start.
//!
//! Always holds: what stands here is never the fault of a request, so the request is answered "try again later".

use std::io;

use sqlx::{
    error::{DatabaseError as _, ErrorKind},
    mysql::MySqlDatabaseError,
    sqlite::SqliteError,
};

use self::Meaning::{Elsewhere, GaveWay, Later, Refused};

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Two transactions met, and this one gave way: the same succeeds at once.
    GaveWay,
    /// It is away, full or busy: the same may succeed later.
    Later,
    /// This server takes no writes, or not from us; another one may have taken its place. No connection to it is of use.
    Elsewhere,
    /// It does not let us: credentials, rights, names. People have to mend it, in the database or in our settings.
    Refused,
}

/// By number: MySQL, MariaDB, TiDB (from 8000 on), and what proxies say in their place (2000 to 2013, 9001).
const MYSQL: [(u16, Meaning); 110] = [
    (1, Later),        // a file cannot be made
    (3, Later),        // nor written
    (5, Later),        // out of memory
    (20, Later),       // disk full
    (23, Later),       // out of files
    (1004, Later),     // a file cannot be made
    (1015, Later),     // a file cannot be locked
    (1016, Later),     // a file cannot be opened
    (1020, GaveWay),   // the record changed since it was read
    (1021, Later),     // disk full
    (1023, Later),     // error at closing a file
    (1024, Later),     // error at reading a file
    (1026, Later),     // error at writing a file
    (1030, Later),     // error of the storage engine
    (1036, Elsewhere), // the table is read-only: the storage engine is
    (1037, Later),     // out of memory
    (1038, Later),     // out of memory for sorting
    (1040, Later),     // too many connections
    (1041, Later),     // out of memory
    (1042, Later),     // the host's name cannot be found
    (1043, Later),     // bad handshake, of a server behind a proxy
    (1044, Refused),   // no right to this database
    (1045, Refused),   // wrong user or password
    (1046, Refused),   // no database: it was dropped
    (1047, Elsewhere), // not ready to take statements (a node of Galera that is apart)
    (1049, Refused),   // no such database
    (1053, Elsewhere), // shutdown in progress
    (1077, Elsewhere), // normal shutdown
    (1079, Elsewhere), // shutdown complete
    (1080, Later),     // connection closed by force
    (1105, Later),     // what TiDB, Vitess and others say for most outages
    (1114, Later),     // the table is full
    (1129, Later),     // our host is blocked for its connection errors
    (1130, Refused),   // our host may not connect
    (1135, Later),     // no thread for another connection
    (1142, Refused),   // no right to this table
    (1143, Refused),   // no right to this column
    (1146, Refused),   // no such table: the database was replaced
    (1152, Later),     // connection broken off
    (1158, Later),     // network: read error
    (1159, Later),     // network: read timeout
    (1160, Later),     // network: write error
    (1161, Later),     // network: write timeout
    (1180, Later),     // error during commit
    (1181, Later),     // error during rollback
    (1184, Later),     // new connection broken off
    (1203, Later),     // the user has too many connections
    (1205, Later),     // waited for a lock too long
    (1206, Later),     // too many locks
    (1213, GaveWay),   // deadlock
    (1223, Later),     // a global read lock is in the way
    (1226, Later),     // a limit of the user is reached (connections, queries per hour)
    (1227, Refused),   // a privilege is missing
    (1243, Later),     // the prepared statement is gone: another server answers behind a proxy
    (1290, Elsewhere), // read-only
    (1297, Later),     // temporary error of the storage engine
    (1317, Later),     // interrupted
    (1412, GaveWay),   // the table changed meanwhile
    (1461, Later),     // too many prepared statements on the server
    (1613, GaveWay),   // a distributed transaction was rolled back: it took too long
    (1614, GaveWay),   // a distributed transaction was rolled back: deadlock
    (1615, Later),     // the statement has to be prepared again
    (1637, Later),     // too many transactions
    (1665, Refused),   // its binary log is of statements
    (1689, Later),     // a wait for a lock was ended
    (1698, Refused),   // this user has to log in in another way
    (1792, Elsewhere), // in a read-only transaction
    (1820, Refused),   // the password has to be changed
    (1836, Elsewhere), // read-only mode
    (1862, Refused),   // the password is too old
    (1874, Elsewhere), // InnoDB is read-only
    (1878, Later),     // a temporary file cannot be written
    (1927, Later),     // the connection was killed
    (1964, GaveWay),   // a parallel transaction gave way
    (1969, Later),     // max_statement_time
    (2002, Later),     // no server behind a proxy
    (2003, Later),     // likewise
    (2006, Later),     // it went away
    (2013, Later),     // it was lost
    (2027, Later),     // a proxy cannot read what the server says
    (3024, Later),     // max_execution_time
    (3032, Elsewhere), // offline mode
    (3058, GaveWay),   // deadlock of named locks
    (3100, Later),     // a group of servers has no majority
    (3101, GaveWay),   // a group of servers rolled the transaction back
    (3118, Refused),   // the account is locked
    (3159, Refused),   // TLS is demanded
    (3168, Elsewhere), // the server is not available
    (3169, Later),     // the session was killed
    (3170, Later),     // no memory for the plan
    (3572, Later),     // a lock is held
    (4031, Later),     // idle for too long
    (4151, Refused),   // the account is locked (MariaDB)
    (8001, Later),     // TiDB: too much memory
    (8002, Later),     // TiDB: the row changed and the statement cannot be tried again
    (8005, GaveWay),   // TiDB: two wrote the same
    (8020, Later),     // TiDB: a table is locked
    (8022, GaveWay),   // TiDB: the commit failed and is to be tried again
    (8027, Later),     // TiDB: the schema is out of date
    (8028, GaveWay),   // TiDB: the schema changed
    (8175, Later),     // TiDB: too much memory
    (8229, Later),     // TiDB: the transaction took too long
    (8252, Later),     // TiDB: busy for this resource group
    (8253, Later),     // TiDB: this statement is in quarantine
    (8254, Later),     // TiDB: the statement was stopped as too dear
    (9001, Later),     // TiDB: no time from PD; ProxySQL: no server in time
    (9007, GaveWay),   // TiDB: two wrote the same
    (9008, Later),     // TiDB: a reader of old data is behind
    (9010, Later),     // TiDB: no server for its columns
    (9012, Later),     // TiDB: a server for its columns took too long
];

/// The storage of TiDB: regions away, busy, or not there.
const TIDB_STORAGE: std::ops::RangeInclusive<u16> = 9002..=9006;

/// By the kind, which is the low byte of an extended code.
const SQLITE: [(i32, Meaning); 10] = [
    (5, Later),  // SQLITE_BUSY
    (6, Later),  // SQLITE_LOCKED
    (7, Later),  // SQLITE_NOMEM
    (8, Later),  // SQLITE_READONLY
    (9, Later),  // SQLITE_INTERRUPT
    (10, Later), // SQLITE_IOERR
    (13, Later), // SQLITE_FULL
    (14, Later), // SQLITE_CANTOPEN
    (15, Later), // SQLITE_PROTOCOL: others hold the log
    (17, Later), // SQLITE_SCHEMA: the tables changed again and again
];

/// Whether the database was away, full or busy, or does not let us, rather than asked for something that it cannot do: the same
/// may succeed later.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => true,
        sqlx::Error::BeginFailed | sqlx::Error::Tls(_) => true,
        _ => meaning(error).is_some(),
    }
}

/// Whether the transaction gave way to another one it met, and may be tried again at once.
pub fn gave_way(error: &sqlx::Error) -> bool {
    meaning(error) == Some(GaveWay)
}

/// Whether a start may succeed later, though nobody changes a setting.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        // What does not speak our protocol, or has a certificate that we do not trust.
        sqlx::Error::Io(error) => !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput),
        sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        // A file that cannot be opened or written now has the wrong owner, or a full disk.
        _ if sqlite_code(error).is_some() => matches!(sqlite_kind(error), Some(5 | 6)),
        _ => matches!(meaning(error), Some(GaveWay | Later | Elsewhere)),
    }
}

/// Whether the file of a SQLite is damaged, or none.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    matches!(sqlite_kind(error), Some(11 | 26))
}

/// Whether no other write would fare better: there is no room, or no right to write.
pub(super) fn concerns_every_write(error: &sqlx::Error) -> bool {
    match mysql_number(error) {
        Some(number) => {
            matches!(number, 3 | 20 | 1021 | 1026 | 1114)
                || of_mysql(number).is_some_and(|meaning| meaning == Elsewhere)
        }
        // READONLY, IOERR, FULL, CANTOPEN
        None => matches!(sqlite_kind(error), Some(8 | 10 | 13 | 14)),
    }
}

/// Whether a connection on which this was said is as good as before.
pub(super) fn keeps_connection(error: &sqlx::Error) -> bool {
    let kind = error.as_database_error().map(|error| error.kind());
    gave_way(error) || kind == Some(ErrorKind::UniqueViolation)
}

/// What the table says of an error.
pub(super) fn meaning(error: &sqlx::Error) -> Option<Meaning> {
    match mysql_number(error) {
        Some(number) => of_mysql(number),
        None => of_sqlite(sqlite_code(error)?),
    }
}

/// Whether a statement computed something that is beyond all numbers of MySQL.
pub fn is_out_of_range(error: &sqlx::Error) -> bool {
    mysql_number(error) == Some(1690)
}

/// Whether a statement named a table that is not there.
pub fn is_without_table(error: &sqlx::Error) -> bool {
    let of_sqlite = || error.as_database_error().is_some_and(|error| error.message().contains("no such table"));
    mysql_number(error) == Some(1146) || of_sqlite()
}

/// The number of an error of MySQL.
pub(super) fn mysql_number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// What to look at, for the errors of a start that puzzle most.
pub(super) fn advice(error: &sqlx::Error) -> &'static str {
    let text = error.to_string();
    match mysql_number(error) {
        Some(1044 | 1045 | 1698) => " (database.url: user, password and the rights of the user)",
        Some(1049 | 1142 | 1227) => " (make the database, or give the user the rights that OPERATIONS.md names)",
        Some(3159) => " (database.url: add ssl-mode=REQUIRED, or VERIFY_IDENTITY with ssl-ca)",
        Some(_) => "",
        None if text.contains("unknown authentication plugin") => {
            " (this way to log in is not supported: give the user mysql_native_password or caching_sha2_password)"
        }
        None if text.contains("certificate") => {
            " (database.url: ssl-mode, ssl-ca, and the host that the certificate names)"
        }
        None if matches!(error, sqlx::Error::Tls(_)) => " (database.url: ssl-mode, ssl-ca, ssl-cert, ssl-key)",
        None if matches!(error, sqlx::Error::Protocol(_)) => " (database.url: is this the port of a MySQL or MariaDB?)",
        None => "",
    }
}

fn of_mysql(number: u16) -> Option<Meaning> {
    if TIDB_STORAGE.contains(&number) {
        return Some(Later);
    }
    MYSQL.iter().find(|(of, _)| *of == number).map(|(_, meaning)| *meaning)
}

fn of_sqlite(code: i32) -> Option<Meaning> {
    SQLITE.iter().find(|(of, _)| *of == code & 0xff).map(|(_, meaning)| *meaning)
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.try_downcast_ref::<SqliteError>()?.code()?.parse().ok()
}

fn sqlite_kind(error: &sqlx::Error) -> Option<i32> {
    sqlite_code(error).map(|code| code & 0xff)
}

#[cfg(test)]
mod tests {
    use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn each_error_of_mysql_in_the_table_is_known_when_a_server_says_it() {
        sqlx::any::install_default_drivers();
        let url = crate::testing::mysql_database();
        let server = url.rsplit_once('/').unwrap().0;
        let mut connection = AnyConnection::connect(server).await.unwrap();
        for (number, expected) in MYSQL.into_iter().chain(TIDB_STORAGE.map(|number| (number, Later))) {
            let signal = format!("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}");
            let error = connection.execute(AssertSqlSafe(signal)).await.unwrap_err();
            assert_eq!((mysql_number(&error), meaning(&error)), (Some(number), Some(expected)), "{error}");
            assert!(is_transient(&error), "{error}");
            assert_eq!(gave_way(&error), expected == GaveWay, "{error}");
            assert_eq!(keeps_connection(&error), expected == GaveWay, "{error}");
            assert_eq!(is_outage(&error), expected != Refused, "{error}");
        }
        for number in [1048, 1054, 1064, 1062, 1366, 1406] {
            let signal = format!("SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = {number}");
            let error = connection.execute(AssertSqlSafe(signal)).await.unwrap_err();
            assert!(!is_transient(&error), "{error}");
            assert_eq!(keeps_connection(&error), number == 1062, "{error}");
        }
    }

    #[test]
    fn no_number_stands_twice_and_the_table_is_in_order() {
        assert!(MYSQL.is_sorted_by(|one, next| one.0 < next.0));
        assert!(SQLITE.is_sorted_by(|one, next| one.0 < next.0));
    }

    #[test]
    fn each_kind_of_sqlite_is_known_by_its_extended_codes_too() {
        // BUSY_SNAPSHOT, LOCKED_SHAREDCACHE, NOMEM, READONLY_DBMOVED, INTERRUPT, IOERR_WRITE, FULL, CANTOPEN_ISDIR, PROTOCOL, SCHEMA
        for code in [517, 262, 7, 1032, 9, 778, 13, 526, 15, 17] {
            assert_eq!(of_sqlite(code), Some(Later), "{code}");
        }
        // CONSTRAINT_UNIQUE, CORRUPT, NOTADB, ERROR
        for code in [2067, 11, 26, 1] {
            assert_eq!(of_sqlite(code), None, "{code}");
        }
    }

    #[tokio::test]
    async fn a_lock_of_sqlite_may_be_over_at_the_next_try_and_a_broken_rule_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("lock.db").display());
        let mut first = SqliteConnection::connect(&url).await.unwrap();
        let mut second = SqliteConnection::connect(&url).await.unwrap();
        first.execute("CREATE TABLE one (id BIGINT UNIQUE, text TEXT); INSERT INTO one VALUES (1, '')").await.unwrap();
        second.execute("PRAGMA busy_timeout = 0").await.unwrap();
        first.execute("BEGIN IMMEDIATE").await.unwrap();
        let busy = second.execute("INSERT INTO one VALUES (2, '')").await.unwrap_err();
        let broken = first.execute("INSERT INTO one VALUES (1, '')").await.unwrap_err();
        assert!(!is_transient(&broken) && keeps_connection(&broken), "{broken}");
        first.execute("ROLLBACK; PRAGMA max_page_count = 1").await.unwrap();
        let full = first.execute("INSERT INTO one VALUES (3, hex(zeroblob(100000)))").await.unwrap_err();
        first.execute("PRAGMA query_only = ON").await.unwrap();
        let read_only = first.execute("INSERT INTO one VALUES (4, '')").await.unwrap_err();
        let cannot_open = SqliteConnection::connect("sqlite:/no/such/folder/x.db").await.unwrap_err();
        for (error, kind) in [(busy, 5), (full, 13), (read_only, 8), (cannot_open, 14)] {
            assert_eq!((sqlite_kind(&error), is_transient(&error)), (Some(kind), true), "{error}");
            assert_eq!((is_outage(&error), keeps_connection(&error)), (kind == 5, false), "{error}");
        }
    }
}
