//! Sends into rooms that a retry repeats: remembered for a while in the memory of this node, the newest ones only. (A user's
//! packets go to one logic node, so that is where a retry comes to, unless the node is gone.) Any task.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use gim_proto::connect::SendReply;

use crate::settings::RoomSettings;

type Key = (u64, String);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RoomSends {
    lasts: Duration,
    sends_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    replies: HashMap<Key, SendReply>,
    /// Oldest first; the same keys as in `replies`.
    order: VecDeque<(Instant, Key)>,
}

impl RoomSends {
    /// Remembers nothing yet.
    pub(super) fn new(settings: &RoomSettings) -> Self {
        Self {
            lasts: Duration::from_millis(settings.idempotency_ms),
            sends_max: settings.idempotency_sends_max,
            state: Mutex::default(),
        }
    }

    /// What an earlier send with this key was answered.
    pub(super) fn find(&self, sender_id: u64, client_msg_id: &str, now: Instant) -> Option<SendReply> {
        let mut state = self.lock();
        state.forget(self.sends_max, self.lasts, now);
        let reply = state.replies.get(&(sender_id, client_msg_id.to_owned()))?;
        Some(SendReply { duplicate: true, ..*reply })
    }

    /// Remembers the answer to a send; one without a key is not recognised again.
    pub(super) fn remember(&self, sender_id: u64, client_msg_id: &str, reply: SendReply, now: Instant) {
        if client_msg_id.is_empty() {
            return;
        }
        let mut state = self.lock();
        let key = (sender_id, client_msg_id.to_owned());
        if state.replies.insert(key.clone(), reply).is_none() {
            state.order.push_back((now, key));
        }
        state.forget(self.sends_max, self.lasts, now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, sends_max: usize, lasts: Duration, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && (self.order.len() > sends_max || now.saturating_duration_since(*at) >= lasts)
            && let Some((_, key)) = self.order.pop_front()
        {
            self.replies.remove(&key);
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
        let reply = |message_id| SendReply { message_id, ..SendReply::default() };
        let found = |key: &str, now| sends.find(7, key, now).map(|reply| (reply.message_id, reply.duplicate));
        sends.remember(7, "a", reply(1), start);
        sends.remember(7, "", reply(9), start);
        sends.remember(7, "b", reply(2), start + Duration::from_millis(500));
        assert_eq!(found("a", start), Some((1, true)));
        assert_eq!((found("", start), sends.find(8, "a", start)), (None, None));
        assert_eq!(found("a", start + Duration::from_secs(1)), None, "too long ago");
        assert_eq!(found("b", start + Duration::from_secs(1)), Some((2, true)));
        sends.remember(7, "c", reply(3), start + Duration::from_secs(1));
        sends.remember(7, "d", reply(4), start + Duration::from_secs(1));
        assert_eq!(found("b", start + Duration::from_secs(1)), None, "one too many");
        assert_eq!(sends.lock().replies.len(), 2);
    }
}
