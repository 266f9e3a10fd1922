//! One lane per user who has something under way: what has to be done one after the other, without one user's slow
//! requests holding up anybody else's.
//!
//! Always holds: a user's lane exists exactly while one task works it off; a lane is bounded, and a packet that finds it full
//! is handed back to be answered. State (sign-outs) always enters: there is one per connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;

/// Packets that wait in one user's lane. Several connections with full windows share it.
const LANE_ITEMS_MAX: usize = 256;

/// The lanes of a stream.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    waiting: Mutex<HashMap<u64, VecDeque<T>>>,
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// The lane was free: the caller does this item now, and then what [`Lanes::next`] gives.
    Free(T),
    /// It waits for the task that works the lane off.
    Waits,
    /// Too much waits already.
    Full(T),
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<T> Lanes<T> {
    /// Puts an item into a user's lane. One that `must_enter` does so however long the lane is.
    pub(super) fn enter(&self, user_id: u64, item: T, must_enter: bool) -> Entered<T> {
        let mut waiting = self.lock();
        let Some(lane) = waiting.get_mut(&user_id) else {
            waiting.insert(user_id, VecDeque::new());
            return Entered::Free(item);
        };
        if lane.len() >= LANE_ITEMS_MAX && !must_enter {
            return Entered::Full(item);
        }
        lane.push_back(item);
        Entered::Waits
    }

    /// The next item of a user's lane; `None` ends the lane.
    pub(super) fn next(&self, user_id: u64) -> Option<T> {
        let mut waiting = self.lock();
        let next = waiting.get_mut(&user_id)?.pop_front();
        if next.is_none() {
            waiting.remove(&user_id);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_lives_while_it_is_worked_off_and_keeps_its_order() {
        let lanes = Lanes::default();
        assert_eq!(lanes.enter(7, 1, false), Entered::Free(1));
        assert_eq!(lanes.enter(7, 2, false), Entered::Waits);
        assert_eq!(lanes.enter(8, 9, false), Entered::Free(9), "another user does not wait");
        assert_eq!(lanes.enter(7, 3, false), Entered::Waits);
        assert_eq!([lanes.next(7), lanes.next(7), lanes.next(7)], [Some(2), Some(3), None]);
        assert_eq!(lanes.enter(7, 4, false), Entered::Free(4));
    }

    #[test]
    fn a_full_lane_hands_packets_back_but_takes_state() {
        let lanes = Lanes::default();
        for item in 0..=LANE_ITEMS_MAX {
            lanes.enter(7, item, false);
        }
        assert_eq!(lanes.enter(7, 1000, false), Entered::Full(1000));
        assert_eq!(lanes.enter(7, 1001, true), Entered::Waits);
        assert_eq!(std::iter::from_fn(|| lanes.next(7)).last(), Some(1001));
    }
}
