//! How many bytes each user had stored within the hour, against what anybody may. Paid afterwards, for what it was: a message once,
//! and a row for each of its receivers. Time is passed in.
//!
//! Always holds: a bounded number of users is counted. Where there are too many, those who stored least are forgotten: whoever
//! is near the bound stays counted until the hour is over.

use std::time::{Duration, Instant};

use foldhash::HashMap;

/// From a user's first byte until the count starts anew.
const WINDOW: Duration = Duration::from_secs(3_600);

/// Users who are counted at the same time.
const USERS_MAX: usize = 100_000;

/// What a message takes besides its content: its row, its key, its place in a timeline.
const MESSAGE_BYTES: u64 = 160;

/// A row of an inbox.
const ROW_BYTES: u64 = 48;

/// The counts.
#[derive(Debug)]
pub struct ByteBudget {
    per_user_max: u64,
    users: HashMap<u64, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    bytes: u64,
    since: Instant,
}

/// What a message takes on the disk, roughly.
pub fn stored_bytes(content_bytes: usize, receivers: usize) -> u64 {
    MESSAGE_BYTES + content_bytes as u64 + ROW_BYTES * receivers as u64
}

impl ByteBudget {
    /// So many bytes for each user; 0 for no bound.
    pub fn new(per_user_max: u64) -> Self {
        Self { per_user_max, users: HashMap::default() }
    }

    /// How long a user has to wait who had too much stored; none who had not.
    pub fn wait_of(&self, user_id: u64, now: Instant) -> Option<Duration> {
        let count = self.users.get(&user_id).filter(|_| self.per_user_max > 0)?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(count.since)).filter(|left| !left.is_zero())?;
        (count.bytes >= self.per_user_max).then_some(left)
    }

    /// Counts what was stored for a user.
    pub fn add(&mut self, user_id: u64, bytes: u64, now: Instant) {
        if self.per_user_max == 0 {
            return;
        }
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&user_id) {
            self.make_room(now);
        }
        let count = self.users.entry(user_id).or_insert(Count { bytes: 0, since: now });
        if now.saturating_duration_since(count.since) >= WINDOW {
            *count = Count { bytes: 0, since: now };
        }
        count.bytes = count.bytes.saturating_add(bytes);
    }

    /// Forgets whose hour is over, then the half of those who stored least.
    fn make_room(&mut self, now: Instant) {
        self.users.retain(|_, count| now.saturating_duration_since(count.since) < WINDOW);
        if self.users.len() > USERS_MAX / 2 {
            let mut bytes: Vec<u64> = self.users.values().map(|count| count.bytes).collect();
            let (_, median, _) = bytes.select_nth_unstable(self.users.len() / 2);
            let median = *median;
            // With all of them alike, none would go.
            let mut over = self.users.len() / 2;
            self.users.retain(|_, count| {
                let goes = over > 0 && count.bytes <= median;
                over -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_too_much_stored_waits_until_the_hour_is_over() {
        let (mut budget, start) = (ByteBudget::new(1_000), Instant::now());
        budget.add(7, 999, start);
        assert_eq!(budget.wait_of(7, start), None);
        budget.add(7, 1, start + WINDOW / 2);
        assert_eq!(budget.wait_of(7, start + WINDOW / 2), Some(WINDOW / 2));
        assert_eq!(budget.wait_of(8, start), None);
        assert_eq!(budget.wait_of(7, start + WINDOW), None);
        budget.add(7, 1, start + WINDOW);
        assert_eq!(budget.wait_of(7, start + WINDOW), None, "the count started anew");
    }

    #[test]
    fn without_a_bound_nobody_is_counted() {
        let (mut budget, now) = (ByteBudget::new(0), Instant::now());
        budget.add(7, u64::MAX, now);
        assert!(budget.wait_of(7, now).is_none() && budget.users.is_empty());
    }

    #[test]
    fn many_users_do_not_drive_out_the_count_of_one_who_stored_much() {
        let (mut budget, now) = (ByteBudget::new(1_000), Instant::now());
        budget.add(1, 1_000, now);
        for user_id in 2..=3 * USERS_MAX as u64 {
            budget.add(user_id, 10, now);
            assert!(budget.users.len() <= USERS_MAX);
        }
        assert!(budget.wait_of(1, now).is_some());
    }
}
