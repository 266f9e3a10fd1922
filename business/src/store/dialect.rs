//! The SQL and the errors in which databases differ. All else is common.

use gim_config::sql::Dialect;
use sqlx::{error::DatabaseError, sqlite::SqliteError};

/// SQLITE_BUSY, LOCKED, IOERR, FULL, CANTOPEN: each may be over at the next try.
const SQLITE_BUSY_CODES: [i32; 5] = [5, 6, 10, 13, 14];

/// Inserts a user unless the phone number has one.
pub fn insert_new_user(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "INSERT INTO user (phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms) \
             VALUES (?, '', 0, '', '', ?, ?) ON CONFLICT (phone_number) DO NOTHING"
        }
    }
}

/// Whether the database may do the same later.
pub fn is_busy(error: &dyn DatabaseError) -> bool {
    let sqlite = error.try_downcast_ref::<SqliteError>().and_then(|error| error.code()?.parse::<i32>().ok());
    // The low byte of an extended code is its kind.
    sqlite.is_some_and(|code| SQLITE_BUSY_CODES.contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_lock_is_busy_and_a_broken_rule_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("lock.db").display());
        let mut first = SqliteConnection::connect(&url).await.unwrap();
        let mut second = SqliteConnection::connect(&url).await.unwrap();
        first.execute("CREATE TABLE one (id BIGINT UNIQUE); INSERT INTO one VALUES (1)").await.unwrap();
        second.execute("PRAGMA busy_timeout = 0").await.unwrap();
        first.execute("BEGIN IMMEDIATE").await.unwrap();
        let locked = second.execute("INSERT INTO one VALUES (2)").await.unwrap_err();
        assert!(is_busy(locked.as_database_error().unwrap()), "{locked}");
        let broken = first.execute("INSERT INTO one VALUES (1)").await.unwrap_err();
        assert!(!is_busy(broken.as_database_error().unwrap()), "{broken}");
    }
}
