//! What holds of users while the business is away, as the operator has it. Any task.
//!
//! Always holds: only what the business did not answer is answered here, and only about who may write; tokens, groups and commands
//! wait for it.

use std::time::{Duration, Instant};

use metrics::counter;

use super::{
    Business, BusinessError, CardAnswer, TtlCache,
    permissions::{EVERYBODY, Permission},
};
use crate::{
    metrics as names,
    settings::{BusinessSettings, WhileAway},
};

impl Business {
    /// Whether a user may write, as far as that is known without the business.
    pub(super) fn permission_meanwhile(
        &self,
        answers: &TtlCache<(u64, u64), Permission>,
        pair: (u64, u64),
    ) -> Option<Permission> {
        let now = Instant::now();
        let permission = match self.while_away {
            WhileAway::Refuse => None,
            WhileAway::Allow => Some(Permission::Given),
            WhileAway::Cached => answers.get_kept(&pair, now).or_else(|| answers.get_kept(&EVERYBODY, now)),
        };
        // Without an opinion on who writes it could still be asked whether there is such a user, if it were there.
        let permission =
            permission.map(|known| if known == Permission::NotOffered { Permission::Given } else { known });
        permission.inspect(|_| counter!(names::MAY_WRITE_WHILE_AWAY).increment(1))
    }

    /// What was known of a user.
    pub(super) fn card_meanwhile(&self, user_id: u64) -> Option<CardAnswer> {
        let is_kept = self.while_away == WhileAway::Cached;
        is_kept.then(|| self.cards.get_kept(&user_id, Instant::now())).flatten()
    }

    /// Lets a user be written to who could not be asked about, where everybody may write meanwhile.
    pub(super) fn unless_allowed(&self, checked: Result<(), BusinessError>) -> Result<(), BusinessError> {
        match checked {
            Err(BusinessError::Unanswered(_)) if self.while_away == WhileAway::Allow => {
                counter!(names::MAY_WRITE_WHILE_AWAY).increment(1);
                Ok(())
            }
            checked => checked,
        }
    }
}

/// Answers that are good for so long, and kept for longer where they count while the business is away.
pub(super) fn cache<K: Clone + Eq + std::hash::Hash, V: Clone>(
    settings: &BusinessSettings,
    ttl_ms: u64,
    entries_max: usize,
) -> TtlCache<K, V> {
    let cache = TtlCache::new(Duration::from_millis(ttl_ms), entries_max);
    match settings.while_away {
        WhileAway::Cached => cache.keeping(Duration::from_millis(settings.while_away_kept_ms)),
        WhileAway::Refuse | WhileAway::Allow => cache,
    }
}
