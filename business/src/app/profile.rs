//! Users as others see them.

use gim_proto::ResultCode;

use super::existing_user;
use crate::{
    domain::user::{Profile, User},
    error::AppError,
    store::Store,
};

/// Reading and changing users. Clones share the store.
#[derive(Debug, Clone)]
pub struct Profiles {
    store: Store,
}

impl Profiles {
    /// Users of `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The user with this id.
    pub async fn user(&self, user_id: u64) -> Result<User, AppError> {
        existing_user(&self.store, user_id).await
    }

    /// Those of these users that exist.
    pub async fn users(&self, user_ids: impl IntoIterator<Item = u64>) -> Result<Vec<User>, AppError> {
        Ok(self.store.users(user_ids).await?)
    }

    /// The user of exactly this phone number, then those whose nickname contains `text`.
    pub async fn search(&self, text: &str, count_max: u32) -> Result<Vec<User>, AppError> {
        Ok(self.store.search(text, count_max).await?)
    }

    /// Replaces what a user says about herself.
    pub async fn update(&self, user_id: u64, profile: &Profile, now_ms: i64) -> Result<(), AppError> {
        if self.store.update_profile(user_id, profile, now_ms).await? {
            Ok(())
        } else {
            Err(ResultCode::UserNotFound.into())
        }
    }
}
