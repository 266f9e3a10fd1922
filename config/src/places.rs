//! Places that many users wait for, given away by turns between users.
//!
//! Any task. Always holds: nobody waits while a place is free; a user has one turn, however many of his requests wait; what one user has
//! waiting or under way is bounded; a place goes to the next one when it is dropped.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// Who waits in all; one beyond is refused.
const WAITING_MAX: usize = 65_536;

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub struct Places {
    shared: Arc<Shared>,
    user_max: usize,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: usize,
    users: HashMap<u64, Waiters>,
    /// Users of whom somebody waits, in the order of their turns.
    turns: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// Those who wait, and those who have a place.
    count: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    /// Whose it is, until it was given away.
    user_id: Option<u64>,
    shared: Arc<Shared>,
}

/// Why there was no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The user has as much waiting or under way as one user may.
    #[error("too much of one user waits")]
    TooMany,
    /// There was none in time.
    #[error("there was no place in time")]
    TooLate,
}

impl Places {
    /// So many places; a user has at most `user_max` requests that wait or have one, and each waits for `timeout` at most.
    pub fn new(count: usize, user_max: usize, timeout: Duration) -> Self {
        let state = State { free: count.max(1), waiting: 0, users: HashMap::default(), turns: VecDeque::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }), user_max, timeout }
    }

    /// A place, when it is the user's turn.
    pub async fn take(&self, user_id: u64) -> Result<Place, NoPlace> {
        let given = {
            let mut state = self.shared.lock();
            let is_free = state.free > 0;
            if !is_free && state.waiting >= WAITING_MAX {
                return Err(NoPlace::TooLate);
            }
            let waiters = state.users.entry(user_id).or_default();
            if waiters.count >= self.user_max {
                return Err(NoPlace::TooMany);
            }
            waiters.count += 1;
            if is_free {
                state.free -= 1;
                return Ok(Place { user_id: Some(user_id), shared: self.shared.clone() });
            }
            let (give, given) = oneshot::channel();
            waiters.waiting.push_back(give);
            if waiters.waiting.len() == 1 {
                state.turns.push_back(user_id);
            }
            state.waiting += 1;
            given
        };
        match timeout(self.timeout, given).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(NoPlace::TooLate),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(user_id) = self.user_id.take() else { return };
        self.shared.lock().leave(user_id);
        loop {
            let Some((user_id, give)) = self.shared.lock().next() else { return };
            match give.send(Self { user_id: Some(user_id), shared: self.shared.clone() }) {
                Ok(()) => return,
                // Whoever waited is gone.
                Err(mut place) => {
                    place.user_id = None;
                    self.shared.lock().leave(user_id);
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whose turn it is; the place is free where nobody waits.
    fn next(&mut self) -> Option<(u64, oneshot::Sender<Place>)> {
        let Some(user_id) = self.turns.pop_front() else {
            self.free += 1;
            return None;
        };
        let waiters = self.users.get_mut(&user_id)?;
        let give = waiters.waiting.pop_front()?;
        if !waiters.waiting.is_empty() {
            self.turns.push_back(user_id);
        }
        self.waiting -= 1;
        Some((user_id, give))
    }

    /// One of a user's requests is done.
    fn leave(&mut self, user_id: u64) {
        if let Some(waiters) = self.users.get_mut(&user_id) {
            waiters.count -= 1;
            if waiters.count == 0 {
                self.users.remove(&user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// Longer than anything takes that works.
    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn places_are_given_away_by_turns_between_users_in_the_order_of_each() {
        let places = Places::new(1, 10, DEADLINE);
        let held = places.take(1).await.unwrap();
        let (order, mut waiting) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
        for (user_id, number) in [(7, 1), (7, 2), (7, 3), (8, 1), (9, 1), (8, 2)] {
            let (places, order) = (places.clone(), order.clone());
            waiting.spawn(async move {
                let _place = places.take(user_id).await.unwrap();
                order.lock().unwrap().push((user_id, number));
            });
            yield_now().await;
        }
        drop(held);
        waiting.join_all().await;
        assert_eq!(*order.lock().unwrap(), [(7, 1), (8, 1), (9, 1), (7, 2), (8, 2), (7, 3)]);
        let state = places.shared.lock();
        assert!(state.free == 1 && state.waiting == 0 && state.users.is_empty() && state.turns.is_empty());
    }

    #[tokio::test]
    async fn a_user_has_so_many_and_nobody_else_is_refused_for_it() {
        let places = Places::new(1, 2, DEADLINE);
        let held = places.take(7).await.unwrap();
        let other = places.clone();
        let waits = tokio::spawn(async move { other.take(7).await.map(drop) });
        yield_now().await;
        assert_eq!(places.take(7).await.unwrap_err(), NoPlace::TooMany);
        let other = places.clone();
        let another = tokio::spawn(async move { other.take(8).await.map(drop) });
        yield_now().await;
        drop(held);
        assert_eq!((waits.await.unwrap(), another.await.unwrap()), (Ok(()), Ok(())));
        places.take(7).await.expect("what is done does not count any more");
    }

    #[tokio::test]
    async fn who_waits_too_long_or_leaves_is_passed_over() {
        let places = Places::new(1, 5, Duration::from_millis(20));
        let held = places.take(7).await.unwrap();
        assert_eq!(places.take(8).await.unwrap_err(), NoPlace::TooLate);
        let other = places.clone();
        let gone = tokio::spawn(async move { other.take(9).await.map(drop) });
        yield_now().await;
        gone.abort();
        yield_now().await;
        drop(held);
        places.take(10).await.expect("the place is free again");
        assert!(places.shared.lock().users.is_empty());
    }
}
