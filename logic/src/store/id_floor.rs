//! How far the message ids of this node are settled: no id below its floor is going to be committed any more.
//!
//! Whoever makes ids for a transaction holds the floor where it is until it is known what became of that transaction. With several nodes
//! each tells its floor to the others ([`super::floors`]), who believe it for a lease: a node that could not tell it for longer
//! commits nothing, because the others may have gone on without it. Any thread; the lock is held for a few instructions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::{message_id::MessageIds, settled_ids::LEASE};

/// A node that told nothing for so long commits nothing more, until it has told its floor again. Others wait for it as long again.
pub const COMMIT_WITHIN: Duration = Duration::from_secs(LEASE.as_secs() / 2);

/// The floor of one node. Clones share it.
#[derive(Debug, Clone)]
pub struct IdFloor {
    ids: Arc<MessageIds>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the floor is held, by the numbers of those who hold it.
    held: BTreeMap<u64, u64>,
    holds: u64,
    /// When it was told, where others count on that.
    told_at: Option<Instant>,
}

/// Holds the floor; ids that are made after it was taken are not below it.
#[derive(Debug)]
pub struct FloorHold {
    floor: IdFloor,
    number: u64,
}

impl IdFloor {
    /// Of the ids of a node.
    pub fn new(ids: Arc<MessageIds>) -> Self {
        Self { ids, state: Arc::default() }
    }

    /// Where the ids come from.
    pub fn ids(&self) -> &MessageIds {
        &self.ids
    }

    /// Holds the floor where it is. To be taken before ids are made.
    pub fn hold(&self) -> FloorHold {
        let mut state = self.lock();
        state.holds += 1;
        let number = state.holds;
        state.held.insert(number, self.ids.floor());
        drop(state);
        FloorHold { floor: self.clone(), number }
    }

    /// Below it nothing of this node is going to be committed.
    pub fn get(&self) -> u64 {
        let state = self.lock();
        state.held.values().copied().min().unwrap_or_else(|| self.ids.pass_all())
    }

    /// Notes that others may count on the floor from now on, which is about to be told.
    pub fn expect_telling(&self, at: Instant) {
        self.lock().told_at.get_or_insert(at);
    }

    /// Notes when the floor was read that others were told since, and count on; `None` where nobody does any more.
    pub fn told(&self, at: Option<Instant>) {
        self.lock().told_at = at;
    }

    /// Whether a transaction may be committed now.
    pub fn may_commit(&self, now: Instant) -> bool {
        self.lock().told_at.is_none_or(|told_at| now.saturating_duration_since(told_at) < COMMIT_WITHIN)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FloorHold {
    fn drop(&mut self) {
        self.floor.lock().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_stays_below_what_is_under_way_and_rises_when_that_is_over() {
        let floor = IdFloor::new(Arc::new(MessageIds::new(1, 0)));
        let first = floor.hold();
        let early = floor.ids().next_id();
        floor.ids().raise(early + (1 << 40));
        let second = floor.hold();
        let late = floor.ids().next_id();
        assert!(floor.get() <= early);
        drop(first);
        assert!(early < floor.get() && floor.get() <= late);
        drop(second);
        assert!(late < floor.get(), "the clock is behind");
        assert!(floor.ids().next_id() >= floor.get());
    }

    #[test]
    fn who_could_not_tell_the_floor_commits_nothing_where_others_count_on_it() {
        let floor = IdFloor::new(Arc::new(MessageIds::new(1, 0)));
        let now = Instant::now();
        assert!(floor.may_commit(now), "nobody counts on it");
        floor.told(Some(now));
        assert!(floor.may_commit(now) && !floor.may_commit(now + COMMIT_WITHIN));
        floor.told(Some(now + COMMIT_WITHIN));
        assert!(floor.may_commit(now + COMMIT_WITHIN));
        floor.told(None);
        assert!(floor.may_commit(now + LEASE));
    }
}
