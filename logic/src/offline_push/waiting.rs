//! Devices that are connected, as far as is known, and have not acknowledged a message yet: a phone that vanished looks like that.
//!
//! Pure, with the time passed in. Always holds: so many wait at most; a conversation waits once for each device, however much comes in it;
//! a device is looked at soon, so that one that acknowledges at once takes no place for long, and again when it has had its time.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::decision::{Candidate, PushKey};

/// When a device is first looked at, which most have acknowledged by then; sooner where it has less time than four of these.
const SOON: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Duration,
    entries_max: usize,
    entries: HashMap<PushKey, Entry>,
    by_time: BTreeSet<(Instant, PushKey)>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// When it is looked at next.
    due: Instant,
    /// When it counts as away.
    away_at: Instant,
    candidate: Candidate,
    newest_at: Instant,
}

/// What became of a device that was waited for, as far as its acknowledgements tell.
#[derive(Debug, PartialEq)]
pub(super) enum Due {
    /// It has all of it.
    Synced,
    /// It is looked at once more: it has time left, or has what was waited for, but not what came after it.
    Again,
    /// It is not there.
    Away(Box<Candidate>),
}

impl Waiting {
    /// None for a `patience` of zero.
    pub(super) fn new(patience: Duration, entries_max: usize) -> Self {
        Self { patience, entries_max, entries: HashMap::new(), by_time: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first message that anybody is waited for about.
    pub(super) fn first_id(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.candidate.first.message_id).min()
    }

    /// Waits for a device; false where there is no place for it.
    pub(super) fn put(&mut self, candidate: Candidate, now: Instant) -> bool {
        if self.patience.is_zero() {
            return true;
        }
        let key = candidate.key;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.candidate.absorb(candidate);
            entry.newest_at = now;
            return true;
        }
        if self.entries.len() >= self.entries_max {
            return false;
        }
        let due = now + SOON.min(self.patience / 4);
        self.entries.insert(key, Entry { due, away_at: now + self.patience, candidate, newest_at: now });
        self.by_time.insert((due, key));
        true
    }

    /// Waits no more: a newer message was handed out.
    pub(super) fn forget(&mut self, key: &PushKey) -> Option<Candidate> {
        let entry = self.entries.remove(key)?;
        self.by_time.remove(&(entry.due, *key));
        Some(entry.candidate)
    }

    /// Waits no more for what was recalled.
    pub(super) fn recalled(&mut self, message_id: u64) {
        let left = |entry: &mut Entry| entry.candidate.without(message_id);
        let gone: Vec<PushKey> =
            self.entries.iter_mut().filter_map(|(key, entry)| (!left(entry)).then_some(*key)).collect();
        gone.iter().for_each(|key| drop(self.forget(key)));
    }

    /// Those that are to be looked at, so many at most.
    pub(super) fn due(&self, now: Instant, count_max: usize) -> Vec<Candidate> {
        let due = self.by_time.iter().take_while(|(at, _)| *at <= now).take(count_max);
        due.filter_map(|(_, key)| self.entries.get(key)).map(|entry| entry.candidate.clone()).collect()
    }

    /// What becomes of one that was due, by which messages its device has.
    pub(super) fn resolve(&mut self, key: &PushKey, now: Instant, has: impl Fn(u64) -> bool) -> Due {
        let Some(entry) = self.entries.get_mut(key) else { return Due::Synced };
        let Candidate { first, newest, .. } = &entry.candidate;
        if has(newest.message_id) {
            self.forget(key);
            return Due::Synced;
        }
        if has(first.message_id) {
            entry.candidate.first = newest.clone();
            entry.away_at = entry.newest_at + self.patience;
        }
        if now < entry.away_at {
            self.by_time.remove(&(entry.due, *key));
            entry.due = entry.away_at;
            self.by_time.insert((entry.due, *key));
            return Due::Again;
        }
        self.forget(key).map_or(Due::Synced, |candidate| Due::Away(Box::new(candidate)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::decision::samples::candidate, *};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_device_that_acknowledges_nothing_is_away_after_a_while() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 10), Instant::now());
        let second = begun + PATIENCE / 2;
        assert!(waiting.put(candidate(8, 1, 4), begun) && waiting.put(candidate(8, 1, 5), second));
        let due = waiting.due(begun + SOON, 10);
        assert_eq!((due.len(), due[0].messages, waiting.first_id()), (1, 2, Some(4)));
        assert_eq!(waiting.resolve(&due[0].key, begun + SOON, |_| false), Due::Again, "it has time");
        assert!(waiting.due(second, 10).is_empty());
        let due = waiting.due(begun + PATIENCE, 10);
        let away = waiting.resolve(&due[0].key, begun + PATIENCE, |id| id <= 3);
        assert!(matches!(away, Due::Away(one) if one.newest.message_id == 5 && one.first.message_id == 4));
        assert_eq!((waiting.len(), waiting.first_id()), (0, None));
    }

    #[test]
    fn a_device_that_is_there_is_left_alone() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 10), Instant::now());
        let second = begun + PATIENCE / 2;
        waiting.put(candidate(8, 1, 4), begun);
        waiting.put(candidate(8, 1, 5), second);
        let key = candidate(8, 1, 4).key;
        assert_eq!(
            waiting.resolve(&key, begun + PATIENCE, |id| id <= 4),
            Due::Again,
            "the other one came a moment ago"
        );
        assert!(waiting.due(second + PATIENCE / 2, 10).is_empty());
        let due = waiting.due(second + PATIENCE, 10);
        assert_eq!((due.len(), waiting.resolve(&key, second + PATIENCE, |id| id <= 5)), (1, Due::Synced));
        assert_eq!(waiting.resolve(&key, second + PATIENCE, |_| false), Due::Synced, "nothing is left");
        waiting.put(candidate(8, 1, 6), begun);
        assert_eq!(waiting.resolve(&key, begun + SOON, |_| true), Due::Synced);
        assert_eq!(waiting.len(), 0, "what is acknowledged at once is waited for no longer");
    }

    #[test]
    fn no_more_wait_than_may_and_those_that_were_seen_to_are_forgotten() {
        let (mut waiting, begun) = (Waiting::new(PATIENCE, 2), Instant::now());
        assert!(waiting.put(candidate(8, 1, 4), begun) && waiting.put(candidate(8, 2, 4), begun));
        assert!(!waiting.put(candidate(8, 3, 4), begun));
        assert!(waiting.put(candidate(8, 1, 5), begun), "what waits already takes no more place");
        assert!(waiting.forget(&candidate(8, 1, 4).key).is_some());
        waiting.recalled(4);
        assert_eq!(waiting.len(), 0);
        assert!(waiting.due(begun + PATIENCE, 10).is_empty());
        waiting.put(candidate(8, 1, 6), begun);
        waiting.put(candidate(8, 1, 7), begun);
        waiting.recalled(7);
        let due = waiting.due(begun + PATIENCE, 10);
        assert_eq!((due.len(), due[0].newest.message_id), (1, 6), "the recall of one leaves the other");
        let mut none = Waiting::new(Duration::ZERO, 10);
        assert!(none.put(candidate(8, 1, 4), begun) && none.len() == 0);
    }
}
