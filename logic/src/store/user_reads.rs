//! The turns of users who read: no user holds up the reads of others, nor those of sign-ins, by asking for much.

use gim_config::{
    places::{NoPlace, Place, Places},
    sql::Database,
};
use metrics::counter;

use super::error::StoreError;
use crate::metrics as names;

/// Where users get their turns. Clones share them.
#[derive(Debug, Clone)]
pub struct UserReads {
    places: Places,
}

impl UserReads {
    pub(super) fn new(database: &Database) -> Self {
        Self { places: database.user_reads.clone() }
    }

    /// A user's turn to read, which lasts until it is dropped.
    pub async fn turn(&self, user_id: u64) -> Result<Place, StoreError> {
        self.places.take(user_id).await.map_err(|why| {
            counter!(names::READS_REFUSED).increment(1);
            match why {
                NoPlace::TooMany => StoreError::TooMany("much of the same user waits to be read"),
                NoPlace::TooLate => StoreError::PutOff("nothing could be read in time"),
            }
        })
    }
}
