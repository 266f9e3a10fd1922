//! Sends into rooms that a retry repeats: remembered for a while in the memory of this node, the newest ones only. (A user's
//! packets go to one logic node, so that is where a retry comes to, unless the node is gone.) Any task.
//!
//! Always holds: no user makes another one's sends be forgotten alone, for each has a share.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::BuildHasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::{HashMap, quality::RandomState};
use gim_proto::connect::SendReply;

use crate::{domain::message::first_difference, settings::RoomSettings};

type Key = (u64, String);

/// One in so many sends may be a single user's, and a few in any case.
const USERS_SHARES: usize = 16;
const USER_SENDS_MIN: usize = 16;

/// What was answered to a send, and what it said.
type Answer = (SendReply, Said);

/// What a send said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) room_id: u64,
    pub(super) command: i32,
    /// The content itself may be large.
    content_hash: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RoomSends {
    lasts: Duration,
    sends_max: usize,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<Key, Answer>,
    /// Oldest first; the same keys as in `replies`.
    order: BTreeMap<u64, (Instant, Key)>,
    /// The same for each user, where the numbers are those of `order`.
    of_user: HashMap<u64, VecDeque<u64>>,
    next: u64,
}

impl RoomSends {
    /// Remembers nothing yet.
    pub(super) fn new(settings: &RoomSettings) -> Self {
        Self {
            lasts: Duration::from_millis(settings.idempotency_ms),
            sends_max: settings.idempotency_sends_max,
            hasher: RandomState::default(),
            state: Mutex::default(),
        }
    }

    /// What a send says.
    pub(super) fn said(&self, room_id: u64, command: i32, content: &[u8]) -> Said {
        Said { room_id, command, content_hash: self.hasher.hash_one(content) }
    }

    /// What an earlier send with this key was answered, and in what it differs from this one, if it does.
    pub(super) fn find(
        &self,
        sender_id: u64,
        client_msg_id: &str,
        said: Said,
        now: Instant,
    ) -> Option<(SendReply, Option<&'static str>)> {
        let mut state = self.lock();
        state.forget(self.sends_max, self.lasts, now);
        let (reply, earlier) = state.replies.get(&(sender_id, client_msg_id.to_owned()))?;
        Some((SendReply { duplicate: true, ..*reply }, said.differs_in(earlier)))
    }

    /// Remembers the answer to a send; one without a key is not recognised again.
    pub(super) fn remember(&self, sender_id: u64, client_msg_id: &str, answer: Answer, now: Instant) {
        if client_msg_id.is_empty() {
            return;
        }
        let mut state = self.lock();
        let key = (sender_id, client_msg_id.to_owned());
        if state.replies.insert(key.clone(), answer).is_none() {
            state.list(now, key, (self.sends_max / USERS_SHARES).max(USER_SENDS_MIN));
        }
        state.forget(self.sends_max, self.lasts, now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn differs_in(&self, earlier: &Self) -> Option<&'static str> {
        first_difference(
            self.room_id == earlier.room_id,
            self.command == earlier.command,
            self.content_hash == earlier.content_hash,
        )
    }
}

impl State {
    /// Puts a send last; where its user has too many, the oldest of these goes.
    fn list(&mut self, now: Instant, key: Key, user_sends_max: usize) {
        let number = self.next;
        self.next += 1;
        let numbers = self.of_user.entry(key.0).or_default();
        numbers.push_back(number);
        let oldest = if numbers.len() > user_sends_max { numbers.pop_front() } else { None };
        self.order.insert(number, (now, key));
        if let Some((_, key)) = oldest.and_then(|number| self.order.remove(&number)) {
            self.replies.remove(&key);
        }
    }

    fn forget(&mut self, sends_max: usize, lasts: Duration, now: Instant) {
        while let Some((_, (at, _))) = self.order.first_key_value()
            && (self.order.len() > sends_max || now.saturating_duration_since(*at) >= lasts)
            && let Some((_, (_, key))) = self.order.pop_first()
        {
            self.replies.remove(&key);
            if let Some(numbers) = self.of_user.get_mut(&key.0) {
                numbers.pop_front();
                if numbers.is_empty() {
                    self.of_user.remove(&key.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_remembered_for_a_while_and_up_to_a_number() {
        let settings = RoomSettings { idempotency_ms: 1_000, idempotency_sends_max: 2, ..RoomSettings::default() };
        let (sends, start) = (RoomSends::new(&settings), Instant::now());
        let said = sends.said(9, 1, b"x");
        let reply = |message_id| (SendReply { message_id, ..SendReply::default() }, said);
        let found =
            |key: &str, now| sends.find(7, key, said, now).map(|(reply, _)| (reply.message_id, reply.duplicate));
        sends.remember(7, "a", reply(1), start);
        sends.remember(7, "", reply(9), start);
        sends.remember(7, "b", reply(2), start + Duration::from_millis(500));
        assert_eq!(found("a", start), Some((1, true)));
        assert_eq!((found("", start), sends.find(8, "a", said, start)), (None, None));
        let differs = |said| sends.find(7, "a", said, start).unwrap().1;
        assert_eq!(differs(said), None);
        assert_eq!(differs(sends.said(8, 1, b"x")), Some("target"));
        assert_eq!(differs(sends.said(9, 2, b"x")), Some("command"));
        assert_eq!(differs(sends.said(9, 1, b"y")), Some("content"));
        assert_eq!(found("a", start + Duration::from_secs(1)), None, "too long ago");
        assert_eq!(found("b", start + Duration::from_secs(1)), Some((2, true)));
        sends.remember(7, "c", reply(3), start + Duration::from_secs(1));
        sends.remember(7, "d", reply(4), start + Duration::from_secs(1));
        assert_eq!(found("b", start + Duration::from_secs(1)), None, "one too many");
        assert_eq!(sends.lock().replies.len(), 2);
    }

    #[test]
    fn a_user_with_many_sends_makes_no_others_be_forgotten() {
        let settings = RoomSettings { idempotency_sends_max: 32, ..RoomSettings::default() };
        let (sends, now) = (RoomSends::new(&settings), Instant::now());
        let said = sends.said(9, 1, b"x");
        sends.remember(8, "of another", (SendReply::default(), said), now);
        for number in 0..1_000 {
            sends.remember(7, &number.to_string(), (SendReply::default(), said), now);
        }
        assert!(sends.find(8, "of another", said, now).is_some());
        assert!(sends.find(7, "999", said, now).is_some() && sends.find(7, "900", said, now).is_none());
        let state = sends.lock();
        assert_eq!((state.replies.len(), state.order.len(), state.of_user[&7].len()), (17, 17, 16));
    }
}
