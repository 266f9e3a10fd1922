//! What is to be done about rooms, one after the other: so a node's share in a room is taken and given back in the order in which
//! the node said so. The reader of the stream puts in, one task takes out.
//!
//! Always holds: packets that wait are bounded, in all and for each user, and one beyond that is handed back to be answered. What a
//! node says of itself always enters: it follows a packet that was served, or an announcement.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;
use tokio::sync::Notify;

/// Packets that wait.
pub(super) const PACKETS_MAX: usize = 256;

/// Packets of one user that wait.
pub(super) const PACKETS_PER_USER_MAX: usize = 16;

/// The queue.
#[derive(Debug)]
pub(super) struct RoomQueue<T> {
    state: Mutex<State<T>>,
    filled: Notify,
}

#[derive(Debug)]
struct State<T> {
    /// With the user whose packet it is, if it is one.
    items: VecDeque<(Option<u64>, T)>,
    packets: usize,
    packets_of: HashMap<u64, usize>,
    is_closed: bool,
}

impl<T> Default for RoomQueue<T> {
    fn default() -> Self {
        let state = State { items: VecDeque::new(), packets: 0, packets_of: HashMap::default(), is_closed: false };
        Self { state: Mutex::new(state), filled: Notify::new() }
    }
}

impl<T> RoomQueue<T> {
    /// Puts a user's packet in, or hands it back where too many wait.
    pub(super) fn enter(&self, user_id: u64, packet: T) -> Result<(), T> {
        let mut state = self.lock();
        let of_user = state.packets_of.get(&user_id).copied().unwrap_or(0);
        if state.packets >= PACKETS_MAX || of_user >= PACKETS_PER_USER_MAX {
            return Err(packet);
        }
        state.packets += 1;
        state.packets_of.insert(user_id, of_user + 1);
        state.items.push_back((Some(user_id), packet));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Puts in what the node says of itself.
    pub(super) fn enter_state(&self, item: T) {
        self.lock().items.push_back((None, item));
        self.filled.notify_one();
    }

    /// The next item; `None` once the queue is closed and empty.
    pub(super) async fn next(&self) -> Option<T> {
        loop {
            {
                let mut state = self.lock();
                if let Some(item) = state.pop() {
                    return Some(item);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<T> {
        let (user_id, item) = self.items.pop_front()?;
        if let Some(user_id) = user_id {
            self.packets -= 1;
            if let Some(of_user) = self.packets_of.get_mut(&user_id) {
                *of_user -= 1;
                if *of_user == 0 {
                    self.packets_of.remove(&user_id);
                }
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_hands_packets_back_and_keeps_the_order_of_the_rest() {
        let queue = RoomQueue::default();
        for packet in 0..PACKETS_PER_USER_MAX {
            queue.enter(7, packet).unwrap();
        }
        assert_eq!(queue.enter(7, 900), Err(900), "a user has a part of it");
        queue.enter(8, 1_000).unwrap();
        queue.enter_state(1_001);
        assert_eq!(queue.next().await, Some(0));
        queue.enter(7, 1_002).unwrap();
        queue.close();
        let mut rest = Vec::new();
        while let Some(item) = queue.next().await {
            rest.push(item);
        }
        assert_eq!(rest[PACKETS_PER_USER_MAX - 1..], [1_000, 1_001, 1_002]);
        assert!(queue.lock().packets_of.is_empty());
    }

    #[test]
    fn all_users_together_have_a_bound_that_the_nodes_own_words_do_not_have() {
        let queue = RoomQueue::default();
        for packet in 0..PACKETS_MAX {
            queue.enter(packet as u64, packet).unwrap();
        }
        assert_eq!(queue.enter(9_999, 1), Err(1));
        queue.enter_state(2);
        assert_eq!(queue.lock().items.len(), PACKETS_MAX + 1);
    }
}
