//! Users, tokens and friends in SQL: one repository per entity, each a block of methods on [`Store`] in its own file.
//!
//! Statements are plain SQL that SQLite and MySQL both read; what differs stands in [`dialect`]. Ids are checked before
//! they come here (1..=[`gim_proto::check::ID_MAX`]). Whatever consists of several writes is one transaction of the
//! writer.

#[cfg(test)]
#[macro_use]
pub mod testing;

mod blocked;
mod dialect;
mod friend;
mod token;
mod user;

use std::sync::Arc;

use gim_config::{
    gather::Gatherer,
    sql::{self, Database, Dialect},
};
use sqlx::migrate::Migrator;

use crate::domain::token::StoredToken;

/// The tables of this service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    /// Reads of tokens, by user and device.
    tokens: Gatherer<(u64, u64), Option<StoredToken>, StoreError>,
}

pub use friend::FriendRequest;
pub use token::ALL_DEVICES;

/// The embedded migrations.
pub static MIGRATIONS: [(Dialect, Migrator); 2] =
    [(Dialect::Sqlite, sqlx::migrate!("migrations/sqlite")), (Dialect::Mysql, sqlx::migrate!("migrations/mysql"))];

/// Why the database did not do what it was asked for. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It is busy, full or away; the same request may succeed later.
    #[error("the database cannot answer now: {0}")]
    Busy(Arc<sqlx::Error>),
    /// It failed, or we asked for nonsense.
    #[error("the database failed: {0}")]
    Failed(Arc<sqlx::Error>),
}

impl Store {
    /// The tables in an open, migrated database. Must be called on a Tokio runtime.
    pub fn new(database: Database) -> Self {
        let for_tokens = database.clone();
        let tokens = Gatherer::start(token::READ_MAX, move |devices| token::read(for_tokens.clone(), devices));
        Self { database, tokens }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let is_busy = sql::is_transient(&error);
        let error = Arc::new(error);
        if is_busy { Self::Busy(error) } else { Self::Failed(error) }
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
mod tests {
    use super::{testing::temporary, *};

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
