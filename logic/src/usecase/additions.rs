//! How often each user may put others into groups: so many members altogether, and the same one a few times a day. Without it one user
//! could fill the groups of another one, or fill an inbox with notices of coming and going. Any task; the time is passed in.

use std::{
    hash::BuildHasher as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use gim_config::rations::Rations;
use metrics::counter;

use crate::{error::Error, metrics as names, settings::GroupSettings};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Additions {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    of_user: Rations,
    /// By the hash of who adds and who is added.
    of_pair: Rations,
}

impl Additions {
    /// Nobody was added yet.
    pub(super) fn new(settings: &GroupSettings) -> Self {
        let of_user = Rations::new(settings.additions_per_hour_max.into(), HOUR);
        let of_pair = Rations::new(settings.additions_of_one_per_day_max.into(), DAY);
        Self { hasher: RandomState::default(), state: Mutex::new(State { of_user, of_pair }) }
    }

    /// Counts that a user adds these, who are others; an error, and nothing is counted, where one of them was added too often.
    pub(super) fn take(&self, user_id: u64, added_ids: &[u64], now: Instant) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = |added_id: u64| self.hasher.hash_one((user_id, added_id));
        let often = added_ids.iter().find(|&&added_id| !state.of_pair.has_left(pair(added_id), now));
        if let Some(added_id) = often {
            let wait = state.of_pair.wait_for(pair(*added_id), 1, now);
            return Err(refused(format!("members: user {added_id} was added too often by this user today"), wait));
        }
        if !added_ids.is_empty() && !state.of_user.has_left(user_id, now) {
            let wait = state.of_user.wait_for(user_id, added_ids.len() as u64, now);
            return Err(refused("members: this user added too many within an hour".to_owned(), wait));
        }
        state.of_user.take(user_id, added_ids.len() as u64, now);
        added_ids.iter().for_each(|&added_id| state.of_pair.take(pair(added_id), 1, now));
        Ok(())
    }
}

fn refused(reason: String, wait: Duration) -> Error {
    counter!(names::GROUP_ADDITIONS_REFUSED).increment(1);
    Error::later(reason, wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_adds_the_same_one_seldom_and_many_others_within_an_hour() {
        let settings =
            GroupSettings { additions_per_hour_max: 10, additions_of_one_per_day_max: 2, ..GroupSettings::default() };
        let (additions, start) = (Additions::new(&settings), Instant::now());
        let may = |user_id, added: &[u64], at: Duration| additions.take(user_id, added, start + at).is_ok();
        assert!(may(7, &[8], Duration::ZERO) && may(7, &[8], Duration::ZERO));
        assert!(!may(7, &[9, 8], Duration::ZERO), "neither is counted");
        assert!(may(9, &[8], Duration::ZERO) && may(8, &[7], Duration::ZERO));
        assert!(may(7, &[8], DAY / 2));
        assert!(may(5, &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19], DAY));
        assert!(!may(5, &[20], DAY) && may(5, &[], DAY) && may(5, &[20], DAY + HOUR / 2));
    }
}
