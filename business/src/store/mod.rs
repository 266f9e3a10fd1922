//! Users, tokens and friends in SQL: one repository per entity, each a block of methods on [`Store`] in its own file.
//!
//! Statements are plain SQL that SQLite and MySQL both read; what differs stands in [`dialect`]. Ids are checked before
//! they come here (1..=[`gim_proto::check::ID_MAX`]). Whatever consists of several writes is one transaction of the
//! writer.

mod dialect;
mod friend;
mod token;
mod user;

use gim_config::sql::{self, Database, Dialect};
use sqlx::migrate::Migrator;

/// The tables of this service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

pub use friend::FriendRequest;

/// The embedded migrations.
pub static MIGRATIONS: [(Dialect, Migrator); 1] = [(Dialect::Sqlite, sqlx::migrate!("migrations/sqlite"))];

/// Why the database did not do what it was asked for. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is busy, full or away; the same request may succeed later.
    #[error("the database cannot answer now: {0}")]
    Busy(sqlx::Error),
    /// It failed, or we asked for nonsense.
    #[error("the database failed: {0}")]
    Failed(sqlx::Error),
}

impl Store {
    /// The tables in an open, migrated database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sql::is_transient(&error) { Self::Busy(error) } else { Self::Failed(error) }
    }
}

/// An id as it is stored.
fn key(id: u64) -> i64 {
    debug_assert!((1..=gim_proto::check::ID_MAX).contains(&id), "ids are checked before they come to the store");
    id as i64
}

/// A stored id as it travels.
fn id(key: i64) -> u64 {
    key as u64
}

#[cfg(test)]
pub mod tests {
    use gim_config::sql::DatabaseSettings;

    use super::*;
    use crate::domain::token::NewToken;

    /// A store in a folder of its own, which is removed with the returned guard.
    pub async fn temporary() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let database =
            Database::open(&DatabaseSettings::default(), folder.path(), "test.db", &MIGRATIONS).await.unwrap();
        (folder, Store::new(database))
    }

    /// Signs a new user in on device 1.
    pub async fn user(store: &Store, phone_number: &str) -> u64 {
        store.sign_in(phone_number, 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id
    }

    #[test]
    fn a_full_pool_is_busy_and_a_wrong_statement_is_a_failure() {
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Busy(_)));
        assert!(matches!(StoreError::from(sqlx::Error::RowNotFound), StoreError::Failed(_)));
    }

    #[tokio::test]
    async fn a_closed_database_is_busy() {
        let (_folder, store) = temporary().await;
        store.database.close().await;
        assert!(matches!(store.user(1).await, Err(StoreError::Busy(_))));
    }
}
