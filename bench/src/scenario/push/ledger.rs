//! What was stored for devices that are away, and what a receiver of offline pushes was handed. Plain data; times are given to it.
//!
//! A push stands for its message and for those of its conversation before it. It may come before the answer to its message's send.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use serde::Deserialize;

use crate::stats::Latencies;

/// One receiver.
#[derive(Debug, Default)]
struct Away {
    /// Messages that are stored and were not handed out, with when they were meant to leave.
    waiting: BTreeMap<u64, Instant>,
    /// Pushes, by the message that they name, and when each came.
    pushes: BTreeMap<u64, Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct PushLedger {
    away: HashMap<u64, Away>,
    present: HashSet<u64>,
    stored: u64,
    pub latencies: Latencies,
    pub pushes: u64,
    pub repeated: u64,
    /// Pushes to those who are there.
    pub online: u64,
}

#[derive(Deserialize)]
struct Call {
    data: Vec<Push>,
}

#[derive(Deserialize)]
struct Push {
    user_id: String,
    message_id: String,
}

impl PushLedger {
    /// Of these users.
    pub fn new(absent: impl Iterator<Item = u64>, present: impl Iterator<Item = u64>) -> Self {
        let away = absent.map(|user_id| (user_id, Away::default())).collect();
        Self { away, present: present.collect(), ..Self::default() }
    }

    /// Messages that were stored for those who are away.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Those of them that were handed out.
    pub fn handed_out(&self) -> u64 {
        self.latencies.count()
    }

    /// Those that were not.
    pub fn waiting(&self) -> u64 {
        self.stored - self.handed_out()
    }

    /// A message was stored that was meant to leave then.
    pub fn note_stored(&mut self, user_id: u64, message_id: u64, intended: Instant) {
        let Some(away) = self.away.get_mut(&user_id) else { return };
        self.stored += 1;
        match away.pushes.range(message_id..).next() {
            Some((_, &at)) => self.latencies.record(at.saturating_duration_since(intended)),
            None => drop(away.waiting.insert(message_id, intended)),
        }
    }

    /// A call of logic came; what is no JSON, or for somebody else, is passed over.
    pub fn note(&mut self, body: &[u8], now: Instant) {
        let Ok(call) = serde_json::from_slice::<Call>(body) else { return };
        for push in call.data {
            let (Ok(user_id), Ok(message_id)) = (push.user_id.parse(), push.message_id.parse()) else { continue };
            self.note_push(user_id, message_id, now);
        }
    }

    fn note_push(&mut self, user_id: u64, message_id: u64, now: Instant) {
        if self.present.contains(&user_id) {
            self.online += 1;
        }
        let Some(away) = self.away.get_mut(&user_id) else { return };
        self.pushes += 1;
        if away.pushes.contains_key(&message_id) {
            self.repeated += 1;
            return;
        }
        away.pushes.insert(message_id, now);
        let later = away.waiting.split_off(&(message_id + 1));
        for intended in std::mem::replace(&mut away.waiting, later).into_values() {
            self.latencies.record(now.saturating_duration_since(intended));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn body(pushes: &[(u64, u64)]) -> Vec<u8> {
        let push = |&(user_id, message_id): &(u64, u64)| json!({ "user_id": user_id.to_string(), "message_id": message_id.to_string() });
        let pushes: Vec<_> = pushes.iter().map(push).collect();
        json!({ "type": "push.handed_out", "data": pushes }).to_string().into_bytes()
    }

    #[test]
    fn a_push_stands_for_what_came_before_it_and_may_come_before_its_answer() {
        let mut ledger = PushLedger::new([7, 8].into_iter(), [9].into_iter());
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        ledger.note_stored(7, 10, at(0));
        ledger.note_stored(7, 11, at(100));
        ledger.note_stored(9, 12, at(100));
        ledger.note(&body(&[(7, 11), (8, 20)]), at(500));
        ledger.note_stored(8, 20, at(400));
        assert_eq!((ledger.stored(), ledger.handed_out(), ledger.waiting(), ledger.pushes), (3, 3, 0, 2));
        assert_eq!((ledger.latencies.ms(0.0).round(), ledger.latencies.ms(1.0).round()), (100.0, 500.0));
        ledger.note_stored(7, 13, at(600));
        assert_eq!(ledger.waiting(), 1);
    }

    #[test]
    fn what_comes_again_and_what_is_for_who_is_there_is_counted() {
        let mut ledger = PushLedger::new([7].into_iter(), [9].into_iter());
        let now = Instant::now();
        ledger.note(&body(&[(7, 11)]), now);
        ledger.note(&body(&[(7, 11), (7, 10), (9, 12), (1, 5)]), now);
        ledger.note(b"{", now);
        assert_eq!((ledger.pushes, ledger.repeated, ledger.online), (3, 1, 1));
    }
}
