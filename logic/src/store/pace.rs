//! When the inbox writer begins its next transaction, where nothing but a few requests waits for it.
//!
//! A transaction has a price of its own, however few share it. Whoever is alone is written at once; as soon as several come within one
//! commit, the next one waits until it is worth its price: some commits long, and never longer than the settings allow. So a database that
//! is slow anyway is never waited for. Belongs to the queue, under its lock; knows the time only from what it is told. Always holds: a
//! request waits for a paced transaction at most as long as `interval_max`.

use std::time::Duration;

use tokio::time::Instant;

/// From the beginning of a transaction to that of the next one: so many times as long as a commit takes.
const COMMITS: u32 = 3;

/// A new measurement counts so much in the mean.
const SMOOTHING: u32 = 8;

/// The pace of small transactions.
#[derive(Debug, Default)]
pub(super) struct Pace {
    interval_max: Duration,
    /// How long a transaction takes, in the mean of the last ones.
    commit: Duration,
    begun_at: Option<Instant>,
    /// Whether the last one was of several requests.
    was_shared: bool,
}

impl Pace {
    pub(super) fn new(interval_max: Duration) -> Self {
        Self { interval_max, ..Self::default() }
    }

    /// A transaction of so many requests begins.
    pub(super) fn begin(&mut self, requests: usize, now: Instant) {
        self.begun_at = Some(now);
        self.was_shared = requests > 1;
    }

    /// One ended that took so long.
    pub(super) fn end(&mut self, took: Duration) {
        self.commit = if self.commit.is_zero() { took } else { (self.commit * (SMOOTHING - 1) + took) / SMOOTHING };
    }

    /// When the next one may begin with whatever waits; `None` for at once.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let interval = (self.commit * COMMITS).min(self.interval_max);
        self.begun_at.filter(|_| self.was_shared).map(|begun_at| begun_at + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn several_requests_set_a_pace_and_one_alone_none() {
        let start = Instant::now();
        let mut pace = Pace::new(5 * MS);
        assert_eq!(pace.due_at(), None);
        pace.begin(1, start);
        pace.end(MS);
        assert_eq!(pace.due_at(), None, "whoever sends one after the other waits for nothing");
        pace.begin(2, start);
        assert_eq!(pace.due_at(), Some(start + COMMITS * MS));
        pace.begin(1, start + 4 * MS);
        assert_eq!(pace.due_at(), None, "nobody came with it");
    }

    #[test]
    fn the_pace_follows_the_commits_and_is_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(5 * MS);
        pace.begin(9, start);
        for _ in 0..100 {
            pace.end(MS / 2);
        }
        assert!(pace.due_at().unwrap() - start < 2 * MS);
        for _ in 0..100 {
            pace.end(40 * MS);
        }
        assert_eq!(pace.due_at(), Some(start + 5 * MS));
        assert_eq!(Pace { interval_max: Duration::ZERO, ..pace }.due_at(), Some(start), "switched off");
    }
}
