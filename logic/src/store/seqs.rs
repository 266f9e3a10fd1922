//! Seqs never go back, not even where the database did: after a backup was put back, or another server took over that had not heard
//! of everything, all seqs are raised beyond what any client can have. Run by an operator while no logic node runs.
//!
//! Always holds: all of them are raised or none, so that it may be stopped and begun again at any moment. The rows of nobody in the
//! tables of inboxes and of rooms are raised with the others: what has no row yet begins after them.

use gim_config::sql::{self, Database, Failure};
use sqlx::AnyConnection;

use super::columns::{from_sql, to_sql};

/// The largest seq. Clients in JavaScript keep numbers as doubles, which tell whole numbers apart up to here.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// What has seqs: the statement that raises them, and the one that finds the newest.
const TABLES: [(&str, &str); 3] = [
    ("UPDATE inbox SET seq = seq + ?", "SELECT MAX(seq) FROM inbox"),
    ("UPDATE chat_group SET seq = seq + ?", "SELECT COALESCE(MAX(seq), 0) FROM chat_group"),
    ("UPDATE room_seq SET reserved_until = reserved_until + ?", "SELECT MAX(reserved_until) FROM room_seq"),
];

/// What says each whether any seq was given, without the rows of nobody.
pub const GIVEN: [&str; 3] = [
    "SELECT COUNT(*) FROM (SELECT 1 FROM inbox WHERE user_id <> 0 LIMIT 1) AS given",
    "SELECT COUNT(*) FROM (SELECT 1 FROM chat_group WHERE seq <> 0 LIMIT 1) AS given",
    "SELECT COUNT(*) FROM (SELECT 1 FROM room_seq WHERE room_id <> 0 LIMIT 1) AS given",
];

/// How many seqs were raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// Of users.
    pub inboxes: u64,
    /// Of groups.
    pub groups: u64,
    /// Of rooms.
    pub rooms: u64,
}

/// Why none was raised.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// The database refused.
    #[error("the seqs were not raised: {0}")]
    Database(#[from] sqlx::Error),
    /// There are too few numbers left.
    #[error("the seqs were not raised: one of them would be {seq}, and {SEQ_MAX} is the largest")]
    BeyondMax {
        /// What it would be.
        seq: u64,
    },
}

impl Failure for RaiseError {
    fn cause(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) => Some(error),
            Self::BeyondMax { .. } => None,
        }
    }
}

/// Raises the seqs of all inboxes, groups and rooms.
pub async fn raise(database: &Database, by: u64) -> Result<Raised, RaiseError> {
    let work = async |connection: &mut AnyConnection| {
        let mut transaction = sql::begin(connection).await?;
        let mut raised = [0; 3];
        for (count, (raise, newest)) in raised.iter_mut().zip(TABLES) {
            let done = sqlx::query(raise).bind(to_sql(by)).execute(&mut *transaction).await?;
            *count = done.rows_affected();
            let newest: i64 = sqlx::query_scalar(newest).fetch_one(&mut *transaction).await?;
            if from_sql(newest) > SEQ_MAX {
                return Err(RaiseError::BeyondMax { seq: from_sql(newest) });
            }
        }
        transaction.commit().await?;
        // Without the rows of nobody.
        let [inboxes, groups, rooms] = raised;
        Ok(Raised { inboxes: inboxes.saturating_sub(1), groups, rooms: rooms.saturating_sub(1) })
    };
    database.writer.run(work).await
}
