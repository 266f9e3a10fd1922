//! Who may put whom into groups, and what users say about that themselves.

use std::collections::HashSet;

use gim_proto::ResultCode;

use super::{Caller, existing_user};
use crate::{
    domain::contact::{AddedBy, Refused},
    error::UseCaseError,
    settings::FriendSettings,
    store::Store,
};

/// The rules of contact. Clones share the store.
#[derive(Debug, Clone)]
pub struct Contacts {
    store: Store,
    settings: FriendSettings,
}

impl Contacts {
    /// Rules in `store`; those of `settings` for who has none of her own.
    pub fn new(settings: &FriendSettings, store: Store) -> Self {
        Self { store, settings: settings.clone() }
    }

    /// Those of these users whom another one may not put into a group, and why.
    pub async fn not_to_be_added(
        &self,
        from_user_id: u64,
        user_ids: &[u64],
    ) -> Result<Vec<(u64, Refused)>, UseCaseError> {
        let known: HashSet<u64> =
            self.store.users(user_ids.iter().copied()).await?.into_iter().map(|user| user.user_id).collect();
        let standings = self.store.standings(user_ids, from_user_id).await?;
        let FriendSettings { only_friends_write, added_by, .. } = self.settings;
        let refused = |&user_id: &u64| {
            if !known.contains(&user_id) {
                return Some((user_id, (ResultCode::UserNotFound, ResultCode::UserNotFound.text())));
            }
            let standing = standings.get(&user_id).copied().unwrap_or_default();
            standing.may_be_added(only_friends_write, added_by).err().map(|refused| (user_id, refused))
        };
        Ok(user_ids.iter().filter(|user_id| **user_id != from_user_id).filter_map(refused).collect())
    }

    /// Those of these users who blocked another one.
    pub async fn blockers(&self, user_id: u64, among: &[u64]) -> Result<Vec<u64>, UseCaseError> {
        Ok(self.store.blockers(user_id, among).await?)
    }

    /// Whom the caller lets put her into groups; none where she leaves it to the settings.
    pub async fn added_by(&self, caller: &Caller) -> Result<Option<AddedBy>, UseCaseError> {
        Ok(self.store.added_by(caller.user_id).await?)
    }

    /// Replaces that rule.
    pub async fn set_added_by(&self, caller: &Caller, rule: Option<AddedBy>, now_ms: i64) -> Result<(), UseCaseError> {
        existing_user(&self.store, caller.user_id).await?;
        Ok(self.store.set_added_by(caller.user_id, rule, now_ms).await?)
    }
}
