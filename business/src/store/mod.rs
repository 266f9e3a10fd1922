//! Users, tokens and friends in SQL: one repository per entity, each a block of methods on [`Store`] in its own file.
//!
//! Statements are plain SQL that SQLite and MySQL both read; what differs stands in [`dialect`]. Ids are checked before
//! they come here (1..=[`gim_proto::check::ID_MAX`]). Whatever consists of several writes is one transaction of the
//! writer.

#[cfg(test)]
#[macro_use]
pub mod testing;

mod blocked;
mod code;
mod contact;
mod dialect;
mod file;
mod file_check;
mod file_upkeep;
mod file_writes;
mod friend;
mod import;
mod token;
mod told;
#[cfg(test)]
mod upgrade;
mod user;

use std::{sync::Arc, time::Duration};

use gim_config::{
    gather::Gatherer,
    places::{NoPlace, Places},
    sql::{self, Database, Dialect},
};
use include_dir::{Dir, include_dir};
use sqlx::migrate::Migrator;

use tokio::sync::Semaphore;

use self::{
    file_writes::UploadBegin,
    user::{SignIn, SignInOutcome},
};
use crate::domain::{contact::Standing, token::StoredToken};

/// Sign-ins that one transaction writes, and those that wait or are under way.
const SIGN_INS_TOGETHER_MAX: usize = 64;
const SIGN_INS_MAX: usize = 1_024;

/// Searches of one user that are under way or wait, and for how long.
const SEARCHES_PER_USER_MAX: usize = 2;
const SEARCH_WAIT: Duration = Duration::from_secs(5);

/// The tables of this service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    /// Reads of tokens, by user and device.
    tokens: Gatherer<(u64, u64), Option<StoredToken>, StoreError>,
    /// Reads of how a user stands to another one.
    standings: Gatherer<(u64, u64), Standing, StoreError>,
    sign_ins: Gatherer<SignIn, SignInOutcome, StoreError>,
    sign_in_places: Arc<Semaphore>,
    searches: Places,
    upload_begins: Gatherer<UploadBegin, Result<(), BeyondQuota>, StoreError>,
    upload_ends: Gatherer<UploadEnd, Result<Content, NotEnded>, StoreError>,
}

pub use file::{BeyondQuota, Content, ContentState, FoundFile, StoredFile, Upload, UploadQuota};
pub use file_check::UncheckedContent;
pub use file_writes::{NotEnded, UploadEnd};
pub use friend::FriendRequest;
pub use import::{ImportedFriend, ImportedToken, ImportedUser, USED};
pub use token::ALL_DEVICES;
pub use told::{Told, What};

/// The tables, for each dialect, in files that the program carries.
pub fn migrations() -> [(Dialect, Migrator); 2] {
    static SQLITE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations/sqlite");
    static MYSQL: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/migrations/mysql");
    [(Dialect::Sqlite, sql::migrator(&SQLITE)), (Dialect::Mysql, sql::migrator(&MYSQL))]
}

/// Why the database did not do what it was asked for. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It is busy, full or away; the same request may succeed later.
    #[error("the database cannot answer now: {0}")]
    Busy(Arc<sqlx::Error>),
    /// It failed, or we asked for nonsense.
    #[error("the database failed: {0}")]
    Failed(Arc<sqlx::Error>),
    /// Somebody asks for more than his share, or there is no turn for him in time.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
}

impl Store {
    /// The tables in an open, migrated database. Must be called on a Tokio runtime.
    pub fn new(database: Database) -> Self {
        let for_tokens = database.clone();
        let tokens = Gatherer::start(token::READ_MAX, move |devices| token::read(for_tokens.clone(), devices));
        let for_standings = database.clone();
        let standings = Gatherer::start(contact::READ_MAX, move |pairs| contact::read(for_standings.clone(), pairs));
        let for_sign_ins = database.clone();
        let sign_ins = Gatherer::start(SIGN_INS_TOGETHER_MAX, move |all| user::sign_in(for_sign_ins.clone(), all));
        let for_begins = database.clone();
        let upload_begins = Gatherer::start(file_writes::UPLOADS_TOGETHER_MAX, move |begins| {
            file_writes::begin_uploads(for_begins.clone(), begins)
        });
        let for_ends = database.clone();
        let upload_ends = Gatherer::start(file_writes::UPLOADS_TOGETHER_MAX, move |ends| {
            file_writes::end_uploads(for_ends.clone(), ends)
        });
        Self {
            upload_begins,
            upload_ends,
            database,
            tokens,
            standings,
            sign_ins,
            sign_in_places: Arc::new(Semaphore::new(SIGN_INS_MAX)),
            searches: Places::new(1, SEARCHES_PER_USER_MAX, SEARCH_WAIT),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let is_busy = sql::is_transient(&error);
        let error = Arc::new(error);
        if is_busy { Self::Busy(error) } else { Self::Failed(error) }
    }
}

impl sql::Failure for StoreError {
    fn cause(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Busy(error) | Self::Failed(error) => Some(error),
            Self::NoPlace(_) => None,
        }
    }
}

/// An id as it is stored.
fn key(id: u64) -> i64 {
    debug_assert!((1..=gim_proto::check::ID_MAX).contains(&id), "ids are checked before they come to the store");
    id as i64
}

/// The id after which a page begins, 0 for the first one, as it is compared with stored ones.
fn after(id: u64) -> i64 {
    debug_assert!(id <= gim_proto::check::ID_MAX, "ids are checked before they come to the store");
    id as i64
}

/// A stored id as it travels.
fn id(key: i64) -> u64 {
    key as u64
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

    use super::{
        testing::{temporary, user},
        *,
    };
    use crate::domain::{token::NewToken, user::Profile};

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

    /// Sets a pragma on the one connection that writes.
    async fn pragma(store: &Store, pragma: &str) {
        store.database.writer.execute(sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"))).await.unwrap();
    }

    async fn rows(store: &Store) -> (i64, i64) {
        let sql = "SELECT (SELECT COUNT(*) FROM user), (SELECT COUNT(*) FROM token)";
        sqlx::query_as(sql).fetch_one(&store.database.reader).await.unwrap()
    }

    #[tokio::test]
    async fn a_full_or_read_only_database_is_busy_and_keeps_no_half() {
        let (_folder, store) = temporary().await;
        user(&store, "first").await;
        let profile = Profile { extra: "x".repeat(100_000), ..Profile::default() };
        for (round, trouble) in ["max_page_count = 1", "query_only = ON"].into_iter().cycle().take(6).enumerate() {
            let before = rows(&store).await;
            pragma(&store, trouble).await;
            let refused = store.update_profile(1, &profile, 10).await;
            assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
            pragma(&store, trouble).await;
            let (long, token) = ("2".repeat(100_000), NewToken::make(0, 1_000));
            let refused = store.sign_in(&long, 1, 10, move |_| token.clone()).await;
            assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
            assert_eq!(rows(&store).await, before, "no user without a token");
            // What is done after several failures is there for others to see.
            user(&store, &round.to_string()).await;
            assert_eq!(rows(&store).await, (before.0 + 1, before.1 + 1));
        }
        assert!(store.user(1).await.unwrap().unwrap().profile.extra.is_empty());
    }
}
