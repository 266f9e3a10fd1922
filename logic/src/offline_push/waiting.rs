//! Devices that are connected, as far as is known, and have not acknowledged a message yet: a phone that vanished looks like that.
//!
//! Pure, with the time passed in. Always holds: so many wait at most; a conversation waits once for each device, however much comes in it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::decision::{Candidate, PushKey};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Duration,
    entries_max: usize,
    entries: HashMap<PushKey, Entry>,
    /// In the order in which they are due; of one that was put in again, the earlier place counts for nothing.
    by_time: VecDeque<(Instant, PushKey)>,
}

#[derive(Debug, Clone)]
struct Entry {
    due: Instant,
    /// The place of the oldest message that is waited for.
    first_seq: u64,
    newest: Candidate,
    newest_at: Instant,
}

/// What became of a device that was waited for, as far as its acknowledgements tell.
#[derive(Debug, PartialEq)]
pub(super) enum Due {
    /// It has all of it.
    Synced,
    /// It is there, and has what was waited for, but not what came after it.
    Again,
    /// It is not there.
    Away(Box<Candidate>),
}

impl Waiting {
    /// None for a `patience` of zero.
    pub(super) fn new(patience: Duration, entries_max: usize) -> Self {
        Self { patience, entries_max, entries: HashMap::new(), by_time: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Waits for a device; false where there is no place for it.
    pub(super) fn put(&mut self, candidate: Candidate, now: Instant) -> bool {
        if self.patience.is_zero() {
            return true;
        }
        let (key, first_seq) = (candidate.key, candidate.seq);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.newest.absorb(candidate);
            entry.newest_at = now;
            return true;
        }
        if self.entries.len() >= self.entries_max {
            return false;
        }
        let due = now + self.patience;
        self.entries.insert(key, Entry { due, first_seq, newest: candidate, newest_at: now });
        self.by_time.push_back((due, key));
        true
    }

    /// Waits no more: a newer message was handed out.
    pub(super) fn forget(&mut self, key: &PushKey) {
        self.entries.remove(key);
    }

    /// Waits no more for what was recalled.
    pub(super) fn recalled(&mut self, message_id: u64) {
        self.entries.retain(|_, entry| entry.newest.push.message_id != message_id);
    }

    /// Those that have been waited for long enough, so many at most.
    pub(super) fn due(&mut self, now: Instant, count_max: usize) -> Vec<Candidate> {
        let mut due = Vec::new();
        while due.len() < count_max
            && let Some((at, key)) = self.by_time.front().copied()
            && at <= now
        {
            self.by_time.pop_front();
            due.extend(self.entries.get(&key).filter(|entry| entry.due == at).map(|entry| entry.newest.clone()));
        }
        due
    }

    /// Those that were due are so again in a while: nobody could say how far their devices have acknowledged.
    pub(super) fn postpone(&mut self, due: &[Candidate], until: Instant) {
        for candidate in due {
            if let Some(entry) = self.entries.get_mut(&candidate.key) {
                entry.due = until;
                self.by_time.push_front((until, candidate.key));
            }
        }
    }

    /// What becomes of one that was due, by how far its device has acknowledged.
    pub(super) fn resolve(&mut self, key: &PushKey, acknowledged: u64) -> Due {
        let Some(entry) = self.entries.get_mut(key) else { return Due::Synced };
        if acknowledged >= entry.newest.seq {
            self.entries.remove(key);
            return Due::Synced;
        }
        if acknowledged >= entry.first_seq {
            entry.first_seq = acknowledged + 1;
            entry.due = entry.newest_at + self.patience;
            self.by_time.push_back((entry.due, *key));
            return Due::Again;
        }
        let entry = self.entries.remove(key).expect("it was there a moment ago");
        Due::Away(Box::new(entry.newest))
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::business::OfflinePush;

    use super::*;
    use crate::domain::conversation::Peer;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn candidate(device_id: u64, seq: u64) -> Candidate {
        let push = OfflinePush { message_id: seq * 10, messages: 1, ..OfflinePush::default() };
        Candidate { key: ((7, device_id), Some(Peer::User(8))), push, seq, is_large: false }
    }

    #[test]
    fn a_device_that_acknowledges_nothing_is_away_after_a_while() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 10), Instant::now());
        let second = begun + PATIENCE / 2;
        assert!(waiting.put(candidate(1, 4), begun) && waiting.put(candidate(1, 5), second));
        assert!(waiting.due(begun + PATIENCE / 2, 10).is_empty());
        let due = waiting.due(begun + PATIENCE, 10);
        assert_eq!((due.len(), due[0].push.messages, due[0].seq), (1, 2, 5));
        assert!(matches!(waiting.resolve(&due[0].key, 3), Due::Away(push) if push.seq == 5));
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn a_device_that_is_there_is_left_alone() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 10), Instant::now());
        let second = begun + PATIENCE / 2;
        waiting.put(candidate(1, 4), begun);
        waiting.put(candidate(1, 5), second);
        let due = waiting.due(begun + PATIENCE, 10);
        assert_eq!(waiting.resolve(&due[0].key, 4), Due::Again, "the other one came a moment ago");
        assert!(waiting.due(second + PATIENCE / 2, 10).is_empty());
        let due = waiting.due(second + PATIENCE, 10);
        assert_eq!((due.len(), waiting.resolve(&due[0].key, 5)), (1, Due::Synced));
        assert_eq!(waiting.resolve(&due[0].key, 0), Due::Synced, "nothing is left");
    }

    #[test]
    fn no_more_wait_than_may_and_those_that_were_seen_to_are_forgotten() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 2), Instant::now());
        assert!(waiting.put(candidate(1, 4), begun) && waiting.put(candidate(2, 4), begun));
        assert!(!waiting.put(candidate(3, 4), begun));
        assert!(waiting.put(candidate(1, 5), begun), "what waits already takes no more place");
        waiting.forget(&candidate(1, 4).key);
        waiting.recalled(40);
        assert_eq!(waiting.len(), 0);
        assert!(waiting.due(begun + PATIENCE, 10).is_empty());
        waiting.put(candidate(1, 6), begun + PATIENCE);
        assert_eq!(waiting.due(begun + PATIENCE * 2, 10).len(), 1);
        let mut none = Waiting::new(Duration::ZERO, 10);
        assert!(none.put(candidate(1, 4), begun) && none.len() == 0);
    }
}
