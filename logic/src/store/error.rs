//! Why the store did not do what it was asked.

use gim_config::sql;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was done; the same request may succeed later.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// As [`StoreError::Busy`], but for many requests at once: counted, or logged, where it happened.
    #[error("put off: {0}")]
    PutOff(&'static str),
    /// Nothing was done: somebody asks for more than his share.
    #[error("beyond a share: {0}")]
    TooMany(&'static str),
    /// The user had as much stored as anybody may within an hour.
    #[error("you had as much stored as anybody may within an hour, try again in {wait_s} s")]
    BudgetSpent {
        /// How long until it is over.
        wait_s: u64,
    },
    /// The database refused; trying again will not help.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sql::is_transient(&error) { Self::Busy(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl sql::Failure for StoreError {
    fn cause(&self) -> Option<&sqlx::Error> {
        None
    }
}
