//! How many codes were tried for a phone number: against guessing a short code.
//!
//! A count starts with the first try and ends with its window, or with a right code. The table is bounded: where it is
//! full, the oldest count is forgotten, so that a flood of numbers can neither grow it nor lock anybody out. What
//! always holds: every count of `counts` has its entry in `order`, which is in the order of time and at most
//! `numbers_max` long.

use std::collections::{HashMap, VecDeque};

/// The counts of this process.
#[derive(Debug)]
pub struct Attempts {
    tries_max: u32,
    window_ms: i64,
    numbers_max: usize,
    counts: HashMap<String, Count>,
    order: VecDeque<(String, u64)>,
    next_no: u64,
}

#[derive(Debug)]
struct Count {
    /// Tells this count from an earlier one of the same number, whose entry in `order` may still be there.
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
    /// The number had all its tries.
    TooMany,
}

impl Attempts {
    /// An empty table: `tries_max` tries per number and `window_ms`, for at most `numbers_max` numbers.
    pub fn new(tries_max: u32, window_ms: i64, numbers_max: usize) -> Self {
        Self { tries_max, window_ms, numbers_max, counts: HashMap::new(), order: VecDeque::new(), next_no: 0 }
    }

    /// Counts a try before its code is checked, so that many at once get no more than their share.
    pub fn begin(&mut self, phone_number: &str, now_ms: i64) -> Try {
        self.forget_ended(now_ms);
        if let Some(count) = self.counts.get_mut(phone_number) {
            if count.tries >= self.tries_max {
                return Try::TooMany;
            }
            count.tries += 1;
            return Try::Allowed { evicted: 0 };
        }
        let mut evicted = 0;
        while self.order.len() >= self.numbers_max {
            evicted += usize::from(self.forget_oldest());
        }
        let no = self.next_no;
        self.next_no += 1;
        let ends_at_ms = now_ms.saturating_add(self.window_ms);
        self.counts.insert(phone_number.to_owned(), Count { no, tries: 1, ends_at_ms });
        self.order.push_back((phone_number.to_owned(), no));
        Try::Allowed { evicted }
    }

    /// Forgets the tries of a number whose code was right.
    pub fn succeed(&mut self, phone_number: &str) {
        self.counts.remove(phone_number);
    }

    fn forget_ended(&mut self, now_ms: i64) {
        while let Some((phone_number, no)) = self.order.front() {
            let current = self.counts.get(phone_number).filter(|count| count.no == *no);
            if current.is_some_and(|count| count.ends_at_ms > now_ms) {
                return;
            }
            self.forget_oldest();
        }
    }

    /// Removes the oldest entry, and its count unless that is gone already; whether it was still there.
    fn forget_oldest(&mut self) -> bool {
        let Some((phone_number, no)) = self.order.pop_front() else { return false };
        let is_current = self.counts.get(&phone_number).is_some_and(|count| count.no == no);
        if is_current {
            self.counts.remove(&phone_number);
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Try = Try::Allowed { evicted: 0 };

    #[test]
    fn tries_are_limited_per_number_until_the_window_ends() {
        let mut attempts = Attempts::new(2, 100, 10);
        assert_eq!(attempts.begin("a", 0), ALLOWED);
        assert_eq!(attempts.begin("a", 50), ALLOWED);
        assert_eq!(attempts.begin("a", 99), Try::TooMany);
        assert_eq!(attempts.begin("b", 99), ALLOWED);
        assert_eq!(attempts.begin("a", 100), ALLOWED);
    }

    #[test]
    fn a_right_code_starts_the_count_anew() {
        let mut attempts = Attempts::new(2, 100, 10);
        for now_ms in 0..50 {
            assert_eq!(attempts.begin("a", now_ms), ALLOWED);
            attempts.succeed("a");
        }
        assert_eq!(attempts.begin("a", 50), ALLOWED);
        assert_eq!(attempts.begin("a", 50), ALLOWED);
        assert_eq!(attempts.begin("a", 50), Try::TooMany);
    }

    #[test]
    fn an_entry_left_by_a_right_code_does_not_end_a_later_count() {
        let mut attempts = Attempts::new(1, 100, 10);
        attempts.begin("a", 0);
        attempts.succeed("a");
        attempts.begin("a", 90);
        assert_eq!(attempts.begin("a", 110), Try::TooMany);
    }

    #[test]
    fn a_full_table_forgets_its_oldest_count_only() {
        let mut attempts = Attempts::new(1, 100, 2);
        attempts.begin("a", 0);
        attempts.begin("b", 1);
        assert_eq!(attempts.begin("c", 2), Try::Allowed { evicted: 1 });
        assert_eq!(attempts.begin("b", 3), Try::TooMany);
        assert_eq!(attempts.begin("c", 3), Try::TooMany);
    }

    #[test]
    fn the_table_stays_within_its_bound() {
        let mut attempts = Attempts::new(3, 1_000, 8);
        for now_ms in 0..500 {
            attempts.begin(&format!("{}", now_ms % 37), now_ms);
            if now_ms % 3 == 0 {
                attempts.succeed(&format!("{}", now_ms % 37));
            }
            assert!(attempts.order.len() <= 8);
            assert!(attempts.counts.len() <= attempts.order.len());
        }
        attempts.begin("last", 10_000);
        assert_eq!(attempts.order.len(), 1);
    }
}
