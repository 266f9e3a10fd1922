//! Users as others see them.

use gim_proto::ResultCode;

use super::existing_user;
use crate::{
    domain::user::{Profile, User},
    error::UseCaseError,
    logic::Logic,
    settings::SearchSettings,
    store::Store,
};

/// Reading and changing users. Clones share the store.
#[derive(Debug, Clone)]
pub struct Profiles {
    store: Store,
    logic: Logic,
    search: SearchSettings,
}

impl Profiles {
    /// Users of `store`; `logic` is told when one changes.
    pub fn new(search: &SearchSettings, store: Store, logic: Logic) -> Self {
        Self { store, logic, search: search.clone() }
    }

    /// The user with this id.
    pub async fn user(&self, user_id: u64) -> Result<User, UseCaseError> {
        existing_user(&self.store, user_id).await
    }

    /// Those of these users that exist.
    pub async fn users(&self, user_ids: impl IntoIterator<Item = u64>) -> Result<Vec<User>, UseCaseError> {
        Ok(self.store.users(user_ids).await?)
    }

    /// A page of users: the one of exactly this phone number, then those whose nickname (or, by a setting, phone number) contains
    /// `text`; and what the next page begins with, 0 after the last one. `user_id` asks.
    pub async fn search(
        &self,
        user_id: u64,
        text: &str,
        from: u64,
        count_max: u32,
    ) -> Result<(Vec<User>, u64), UseCaseError> {
        Ok(self.store.search(user_id, text, from, count_max, self.search.part_of_phone_number).await?)
    }

    /// Replaces what a user says about herself.
    pub async fn update(&self, user_id: u64, profile: &Profile, now_ms: i64) -> Result<(), UseCaseError> {
        if !self.store.update_profile(user_id, profile, now_ms).await? {
            return Err(ResultCode::UserNotFound.into());
        }
        // Only a courtesy: logic asks for the card anew by itself after a while.
        let logic = self.logic.clone();
        tokio::spawn(async move {
            if let Err(error) = logic.forget(user_id, 0, "").await {
                tracing::debug!(%error, user_id, "logic goes on with the old card for a while");
            }
        });
        Ok(())
    }
}
