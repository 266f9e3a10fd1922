//! What survives a restart: one repository per entity over the pools of [`gim_config::sql`].
//!
//! Reads go over the reader pool and may run anywhere. Inbox rows and acks are written by one task only, the [`writer`],
//! which commits whatever waits for it in one transaction; the few other writes take a connection of the writer pool for
//! a moment. What differs between SQL dialects stands in [`dialect`] and nowhere else.

mod acks;
mod batch;
pub mod device;
mod dialect;
pub mod group;
pub mod group_work;
mod held_group;
pub mod inbox;
pub mod lookup;
mod queue;
pub mod recall;
pub mod retention;
pub mod revocation;
pub mod room;
mod script;
pub mod sent;
mod statement;
mod turns;
pub mod work;
pub mod writer;

use gim_config::sql::{self, Database, Dialect};
use sqlx::{Row as _, migrate::Migrator};

pub use device::Devices;
pub use group::Groups;
pub use inbox::Inboxes;
pub use lookup::Lookups;
pub use retention::Retention;
pub use revocation::Revocations;
pub use room::RoomSeqs;
pub use sent::SentKeys;

/// The tables, for each dialect.
pub static MIGRATIONS: [(Dialect, Migrator); 2] =
    [(Dialect::Sqlite, sqlx::migrate!("migrations/sqlite")), (Dialect::Mysql, sqlx::migrate!("migrations/mysql"))];

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was done; the same request may succeed later.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// As [`StoreError::Busy`], but for many requests at once: counted, or logged, where it happened.
    #[error("put off: {0}")]
    PutOff(&'static str),
    /// The database refused; trying again will not help.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sql::is_transient(&error) { Self::Busy(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// The repositories. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Store {
    /// Pools and dialect.
    pub database: Database,
    /// Devices.
    pub devices: Devices,
    /// Groups, for reading.
    pub groups: Groups,
    /// Inboxes, for reading.
    pub inboxes: Inboxes,
    /// What sign-ins have to know.
    pub lookups: Lookups,
    /// Revoked tokens.
    pub revocations: Revocations,
    /// Seqs of rooms.
    pub room_seqs: RoomSeqs,
    /// Keys of sends.
    pub sent_keys: SentKeys,
    /// What goes after a time.
    pub retention: Retention,
}

impl Store {
    /// The repositories of an open database. Must be called on a Tokio runtime.
    pub fn new(database: Database) -> Self {
        Self {
            devices: Devices::new(&database),
            groups: Groups::new(&database),
            inboxes: Inboxes::new(&database),
            lookups: Lookups::new(&database),
            revocations: Revocations::new(&database),
            room_seqs: RoomSeqs::new(&database),
            sent_keys: SentKeys::new(&database),
            retention: Retention::new(&database),
            database,
        }
    }
}

/// Ids and seqs are unsigned to us and signed to SQL; [`gim_proto::check::ID_MAX`] keeps both the same.
fn to_sql(value: u64) -> i64 {
    value.cast_signed()
}

fn from_sql(value: i64) -> u64 {
    value.cast_unsigned()
}

/// A column of small numbers.
fn small(row: &sqlx::any::AnyRow, index: usize) -> Result<i32, sqlx::Error> {
    i32::try_from(row.try_get::<i64, _>(index)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
