//! One queue per user who has something under way: what has to be done one after the other, without one user's slow
//! requests holding up anybody else's.
//!
//! Always holds: a user's queue exists exactly while one task works it off; queues are bounded, in packets and in bytes, each and all
//! together, the packet that is worked on included; one that finds no room is handed back to be answered. State (sign-outs)
//! always enters: there is one per connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;

/// Packets that wait in one user's queue. Several connections with full windows share it.
const QUEUE_ITEMS_MAX: usize = 256;

/// Bytes of one user's packets that wait or are worked on.
const USER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Those of all users of the stream.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The queues of a stream.
#[derive(Debug)]
pub(super) struct UserQueues<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    queues: HashMap<u64, UserQueue<T>>,
    bytes: usize,
}

/// What waits of one user, each with its bytes.
#[derive(Debug)]
struct UserQueue<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Of the item that is worked on.
    bytes_at_work: usize,
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// Nothing of this user is under way: the caller does this item now, and then what [`UserQueues::next`] gives.
    Free(T),
    /// It waits for the task that works the queue off.
    Waits,
    /// Too much waits already: of the user, or of all.
    Full(T, FullQueue),
}

/// Whose bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FullQueue {
    OfUser,
    OfAll,
}

impl<T> Default for UserQueues<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { queues: HashMap::default(), bytes: 0 }) }
    }
}

impl<T> UserQueues<T> {
    /// Puts an item of so many bytes into a user's queue; one of `None`, which is state, enters however much waits.
    pub(super) fn enter(&self, user_id: u64, item: T, packet_bytes: Option<usize>) -> Entered<T> {
        let mut state = self.lock();
        let State { queues, bytes: all_bytes } = &mut *state;
        let bytes = packet_bytes.unwrap_or(0);
        if *all_bytes + bytes > BYTES_MAX && packet_bytes.is_some() {
            return Entered::Full(item, FullQueue::OfAll);
        }
        let Some(queue) = queues.get_mut(&user_id) else {
            *all_bytes += bytes;
            queues.insert(user_id, UserQueue { items: VecDeque::new(), bytes, bytes_at_work: bytes });
            return Entered::Free(item);
        };
        let is_full = queue.items.len() >= QUEUE_ITEMS_MAX || queue.bytes + bytes > USER_BYTES_MAX;
        if is_full && packet_bytes.is_some() {
            return Entered::Full(item, FullQueue::OfUser);
        }
        *all_bytes += bytes;
        queue.bytes += bytes;
        queue.items.push_back((item, bytes));
        Entered::Waits
    }

    /// The next item of a user's queue; `None` ends the queue.
    pub(super) fn next(&self, user_id: u64) -> Option<T> {
        let mut state = self.lock();
        let State { queues, bytes: all_bytes } = &mut *state;
        let queue = queues.get_mut(&user_id)?;
        *all_bytes -= queue.bytes_at_work;
        queue.bytes -= queue.bytes_at_work;
        let Some((item, bytes)) = queue.items.pop_front() else {
            queues.remove(&user_id);
            return None;
        };
        queue.bytes_at_work = bytes;
        Some(item)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_lives_while_it_is_worked_off_and_keeps_its_order() {
        let queues = UserQueues::default();
        assert_eq!(queues.enter(7, 1, Some(1)), Entered::Free(1));
        assert_eq!(queues.enter(7, 2, Some(1)), Entered::Waits);
        assert_eq!(queues.enter(8, 9, Some(1)), Entered::Free(9), "another user does not wait");
        assert_eq!(queues.enter(7, 3, Some(1)), Entered::Waits);
        assert_eq!([queues.next(7), queues.next(7), queues.next(7)], [Some(2), Some(3), None]);
        assert_eq!(queues.enter(7, 4, Some(1)), Entered::Free(4));
    }

    #[test]
    fn a_full_queue_hands_packets_back_but_takes_state() {
        let queues = UserQueues::default();
        for item in 0..=QUEUE_ITEMS_MAX {
            queues.enter(7, item, Some(1));
        }
        assert_eq!(queues.enter(7, 1000, Some(1)), Entered::Full(1000, FullQueue::OfUser));
        assert_eq!(queues.enter(7, 1001, None), Entered::Waits);
        assert_eq!(std::iter::from_fn(|| queues.next(7)).last(), Some(1001));
    }

    #[test]
    fn a_user_has_a_share_of_bytes_and_all_have_a_bound() {
        const PACKET_BYTES: usize = 64 * 1024;
        let (queues, of_user) = (UserQueues::default(), USER_BYTES_MAX / PACKET_BYTES);
        for item in 0..of_user {
            assert!(!matches!(queues.enter(1, item, Some(PACKET_BYTES)), Entered::Full(..)));
        }
        assert_eq!(queues.enter(1, 900, Some(PACKET_BYTES)), Entered::Full(900, FullQueue::OfUser));
        for user_id in 2..=(BYTES_MAX / USER_BYTES_MAX) as u64 {
            (0..of_user).for_each(|item| _ = queues.enter(user_id, item, Some(PACKET_BYTES)));
        }
        assert_eq!(queues.enter(9_999, 901, Some(1)), Entered::Full(901, FullQueue::OfAll));
        assert_eq!(queues.enter(9_999, 902, None), Entered::Free(902));
        assert_eq!(queues.next(1), Some(1), "what is done makes room");
        assert_eq!(queues.enter(1, 903, Some(PACKET_BYTES)), Entered::Waits);
        for user_id in (1..=(BYTES_MAX / USER_BYTES_MAX) as u64).chain([9_999]) {
            while queues.next(user_id).is_some() {}
        }
        let state = queues.lock();
        assert!(state.queues.is_empty() && state.bytes == 0);
    }
}
