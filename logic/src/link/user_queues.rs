//! One queue per user who has something under way: what has to be done one after the other, without one user's slow
//! requests holding up anybody else's.
//!
//! Always holds: a user's queue exists exactly while one task works it off; a queue is bounded, and a packet that finds it full
//! is handed back to be answered. State (sign-outs) always enters: there is one per connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;

/// Packets that wait in one user's queue. Several connections with full windows share it.
const QUEUE_ITEMS_MAX: usize = 256;

/// The queues of a stream.
#[derive(Debug)]
pub(super) struct UserQueues<T> {
    waiting: Mutex<HashMap<u64, VecDeque<T>>>,
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// Nothing of this user is under way: the caller does this item now, and then what [`UserQueues::next`] gives.
    Free(T),
    /// It waits for the task that works the queue off.
    Waits,
    /// Too much waits already.
    Full(T),
}

impl<T> Default for UserQueues<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<T> UserQueues<T> {
    /// Puts an item into a user's queue. One that `must_enter` does so however long the queue is.
    pub(super) fn enter(&self, user_id: u64, item: T, must_enter: bool) -> Entered<T> {
        let mut waiting = self.lock();
        let Some(queue) = waiting.get_mut(&user_id) else {
            waiting.insert(user_id, VecDeque::new());
            return Entered::Free(item);
        };
        if queue.len() >= QUEUE_ITEMS_MAX && !must_enter {
            return Entered::Full(item);
        }
        queue.push_back(item);
        Entered::Waits
    }

    /// The next item of a user's queue; `None` ends the queue.
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
    fn a_queue_lives_while_it_is_worked_off_and_keeps_its_order() {
        let queues = UserQueues::default();
        assert_eq!(queues.enter(7, 1, false), Entered::Free(1));
        assert_eq!(queues.enter(7, 2, false), Entered::Waits);
        assert_eq!(queues.enter(8, 9, false), Entered::Free(9), "another user does not wait");
        assert_eq!(queues.enter(7, 3, false), Entered::Waits);
        assert_eq!([queues.next(7), queues.next(7), queues.next(7)], [Some(2), Some(3), None]);
        assert_eq!(queues.enter(7, 4, false), Entered::Free(4));
    }

    #[test]
    fn a_full_queue_hands_packets_back_but_takes_state() {
        let queues = UserQueues::default();
        for item in 0..=QUEUE_ITEMS_MAX {
            queues.enter(7, item, false);
        }
        assert_eq!(queues.enter(7, 1000, false), Entered::Full(1000));
        assert_eq!(queues.enter(7, 1001, true), Entered::Waits);
        assert_eq!(std::iter::from_fn(|| queues.next(7)).last(), Some(1001));
    }
}
