//! How many requests of each user are under way, where there is room for so many of one user. Any thread.
//!
//! Always holds: there is an entry for each user who has any, and for nobody else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

/// The counts of all users.
#[derive(Debug)]
pub struct UnderWay {
    per_user_max: usize,
    counts: Mutex<HashMap<u64, usize>>,
}

/// One request under way, until it is dropped.
#[derive(Debug)]
pub struct UserPlace {
    under_way: Arc<UnderWay>,
    user_id: u64,
}

impl UnderWay {
    /// None yet; so many of each user may be.
    pub fn new(per_user_max: usize) -> Arc<Self> {
        Arc::new(Self { per_user_max, counts: Mutex::default() })
    }

    /// A place for one more of a user, unless that is too much.
    pub fn enter(self: &Arc<Self>, user_id: u64) -> Option<UserPlace> {
        let mut counts = self.lock();
        let count = counts.entry(user_id).or_default();
        if *count >= self.per_user_max {
            return None;
        }
        *count += 1;
        Some(UserPlace { under_way: self.clone(), user_id })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let mut counts = self.under_way.lock();
        if let Some(count) = counts.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_places_and_nobody_is_remembered_who_has_none() {
        let under_way = UnderWay::new(2);
        let (first, second) = (under_way.enter(7), under_way.enter(7));
        assert!(second.is_some() && under_way.enter(7).is_none());
        let other = under_way.enter(8);
        drop(first);
        assert!(other.is_some() && under_way.enter(7).is_some());
        drop((second, other));
        assert!(under_way.lock().is_empty());
    }
}
