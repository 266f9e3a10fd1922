//! How many codes were tried for a phone number, and from an address: against guessing a short code.
//!
//! A count starts with the first try and ends with its window, or with a right code. The table is bounded: where it is
//! full, the oldest of those with the fewest tries is forgotten, so that a flood of numbers can neither grow it, nor lock
//! anybody out, nor give a number that is closed its tries back. What always holds: `by_age` and `by_tries` have one entry
//! for each count, and counts are at most `keys_max`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// The counts of this process.
#[derive(Debug)]
pub struct Attempts<K> {
    tries_max: u32,
    window_ms: i64,
    keys_max: usize,
    counts: HashMap<K, Count>,
    by_age: BTreeMap<u64, K>,
    by_tries: BTreeSet<(u32, u64)>,
    next_no: u64,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    /// In the order in which counts began.
    no: u64,
    tries: u32,
    ends_at_ms: i64,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// Counted; the code may be checked.
    Allowed {
        /// Counts that were forgotten before their time, to make room.
        evicted: usize,
    },
    /// All tries were had.
    TooMany,
}

impl<K: Clone + Eq + Hash> Attempts<K> {
    /// An empty table: `tries_max` tries and `window_ms` for each, and at most `keys_max` of them.
    pub fn new(tries_max: u32, window_ms: i64, keys_max: usize) -> Self {
        let (counts, by_age, by_tries) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { tries_max, window_ms, keys_max, counts, by_age, by_tries, next_no: 0 }
    }

    /// Counts a try before its code is checked, so that many at once get no more than their share.
    pub fn begin(&mut self, key: &K, now_ms: i64) -> Try {
        self.forget_ended(now_ms);
        if let Some(&count) = self.counts.get(key) {
            if count.tries >= self.tries_max {
                return Try::TooMany;
            }
            self.put(key, Count { tries: count.tries + 1, ..count });
            return Try::Allowed { evicted: 0 };
        }
        let mut evicted = 0;
        while self.counts.len() >= self.keys_max {
            let fewest = self.by_tries.first().and_then(|(_, no)| self.by_age.get(no)).cloned();
            let Some(fewest) = fewest else { break };
            self.forget(&fewest);
            evicted += 1;
        }
        let no = self.next_no;
        self.next_no += 1;
        self.put(key, Count { no, tries: 1, ends_at_ms: now_ms.saturating_add(self.window_ms) });
        Try::Allowed { evicted }
    }

    /// How long until the count of a key ends.
    pub fn ends_in(&self, key: &K, now_ms: i64) -> Duration {
        let ends_at_ms = self.counts.get(key).map_or(now_ms, |count| count.ends_at_ms);
        Duration::from_millis(ends_at_ms.saturating_sub(now_ms).max(0).unsigned_abs())
    }

    /// Forgets all tries, as those of a number whose code was right.
    pub fn forget(&mut self, key: &K) {
        if let Some(count) = self.counts.remove(key) {
            self.by_age.remove(&count.no);
            self.by_tries.remove(&(count.tries, count.no));
        }
    }

    /// Forgets one try, which was none after all.
    pub fn give_back(&mut self, key: &K) {
        match self.counts.get(key).copied() {
            Some(count) if count.tries > 1 => self.put(key, Count { tries: count.tries - 1, ..count }),
            _ => self.forget(key),
        }
    }

    fn put(&mut self, key: &K, count: Count) {
        self.forget(key);
        self.counts.insert(key.clone(), count);
        self.by_age.insert(count.no, key.clone());
        self.by_tries.insert((count.tries, count.no));
    }

    fn forget_ended(&mut self, now_ms: i64) {
        while let Some((_, oldest)) = self.by_age.first_key_value() {
            if self.counts.get(oldest).is_some_and(|count| count.ends_at_ms > now_ms) {
                return;
            }
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Try = Try::Allowed { evicted: 0 };

    #[test]
    fn tries_are_limited_per_number_until_the_window_ends() {
        let mut attempts = Attempts::new(2, 100, 10);
        assert_eq!(attempts.begin(&"a", 0), ALLOWED);
        assert_eq!(attempts.begin(&"a", 50), ALLOWED);
        assert_eq!(attempts.begin(&"a", 99), Try::TooMany);
        assert_eq!(attempts.ends_in(&"a", 99), Duration::from_millis(1));
        assert_eq!(attempts.begin(&"b", 99), ALLOWED);
        assert_eq!(attempts.begin(&"a", 100), ALLOWED);
    }

    #[test]
    fn a_right_code_starts_the_count_anew() {
        let mut attempts = Attempts::new(2, 100, 10);
        for now_ms in 0..50 {
            assert_eq!(attempts.begin(&"a", now_ms), ALLOWED);
            attempts.forget(&"a");
        }
        assert_eq!(attempts.begin(&"a", 50), ALLOWED);
        assert_eq!(attempts.begin(&"a", 50), ALLOWED);
        assert_eq!(attempts.begin(&"a", 50), Try::TooMany);
        attempts.give_back(&"a");
        assert_eq!(attempts.begin(&"a", 50), ALLOWED);
        assert_eq!(attempts.begin(&"a", 50), Try::TooMany);
    }

    #[test]
    fn a_flood_of_others_does_not_give_tries_back() {
        let mut attempts = Attempts::new(3, 1_000_000, 100);
        for tries in 1..=3 {
            assert_eq!(attempts.begin(&u32::MAX, tries), ALLOWED);
        }
        for number in 0..10_000 {
            attempts.begin(&number, 10);
        }
        assert_eq!(attempts.begin(&u32::MAX, 20), Try::TooMany);
        assert_eq!(attempts.begin(&10_000, 20), Try::Allowed { evicted: 1 }, "nor does it lock anybody out");
    }

    #[test]
    fn a_full_table_forgets_the_oldest_count_of_the_fewest_tries() {
        let mut attempts = Attempts::new(2, 100, 3);
        for key in ["a", "b", "c", "a"] {
            attempts.begin(&key, 0);
        }
        assert_eq!(attempts.begin(&"d", 2), Try::Allowed { evicted: 1 });
        assert_eq!(attempts.begin(&"a", 3), Try::TooMany);
        assert_eq!(attempts.begin(&"c", 3), ALLOWED);
        assert_eq!(attempts.begin(&"c", 3), Try::TooMany);
        assert_eq!(attempts.begin(&"b", 3), Try::Allowed { evicted: 1 });
    }

    #[test]
    fn the_table_stays_within_its_bound() {
        let mut attempts = Attempts::new(3, 1_000, 8);
        for now_ms in 0..500 {
            attempts.begin(&(now_ms % 37), now_ms);
            if now_ms % 3 == 0 {
                attempts.forget(&(now_ms % 37));
            }
            assert!(attempts.counts.len() <= 8);
            assert_eq!(attempts.counts.len(), attempts.by_age.len());
            assert_eq!(attempts.counts.len(), attempts.by_tries.len());
        }
        attempts.begin(&99, 10_000);
        assert_eq!(attempts.counts.len(), 1);
    }
}
