//! When the inbox writer begins its next transaction, where nothing but a few requests waits for it.
//!
//! A transaction has a price of its own, however few share it. Whoever is alone is written at once; as soon as several come within one
//! commit, the next one waits until it is worth its price: some commits long, and never longer than the settings allow, so a database that
//! is slow anyway is never waited for. Those who send again only after their answer are not waited for in vain: once as many are there as
//! the last transaction answered, beside those who waited already, it begins. Belongs to the queue, under its lock; knows the time only
//! from what it is told. Always holds: a request waits for such a transaction at most as long as `interval_max`.

use std::time::Duration;

use tokio::time::Instant;

/// From the beginning of a transaction to that of the next one: so many times as long as a commit takes.
const COMMITS: u32 = 3;

/// A new measurement counts so much in the mean.
const SMOOTHING: u32 = 8;

/// The interval of small transactions.
#[derive(Debug, Default)]
pub(super) struct TransactionInterval {
    interval_max: Duration,
    /// How long a transaction takes, in the mean of the last ones.
    commit: Duration,
    begun_at: Option<Instant>,
    /// Requests of the last one.
    requests: usize,
    /// As many as there are once all whom the last one answered have asked again.
    refilled: usize,
}

impl TransactionInterval {
    pub(super) fn new(interval_max: Duration) -> Self {
        Self { interval_max, ..Self::default() }
    }

    /// A transaction of so many requests begins.
    pub(super) fn begin(&mut self, requests: usize, now: Instant) {
        self.begun_at = Some(now);
        self.requests = requests;
        self.refilled = usize::MAX;
    }

    /// One ended that took so long, while so many wait.
    pub(super) fn end(&mut self, took: Duration, waiting: usize) {
        self.commit = if self.commit.is_zero() { took } else { (self.commit * (SMOOTHING - 1) + took) / SMOOTHING };
        self.refilled = waiting + self.requests;
    }

    /// When the next one may begin with the so many that wait; `None` for at once.
    pub(super) fn due_at(&self, waiting: usize) -> Option<Instant> {
        let interval = (self.commit * COMMITS).min(self.interval_max);
        let is_shared = self.requests > 1 && waiting < self.refilled;
        self.begun_at.filter(|_| is_shared).map(|begun_at| begun_at + interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn several_requests_keep_an_interval_and_one_alone_does_not() {
        let start = Instant::now();
        let mut interval = TransactionInterval::new(5 * MS);
        assert_eq!(interval.due_at(1), None);
        interval.begin(1, start);
        interval.end(MS, 0);
        assert_eq!(interval.due_at(0), None, "whoever sends one after the other waits for nothing");
        interval.begin(2, start);
        interval.end(MS, 0);
        assert_eq!(interval.due_at(1), Some(start + COMMITS * MS));
        interval.begin(1, start + 4 * MS);
        assert_eq!(interval.due_at(0), None, "nobody came with it");
    }

    #[test]
    fn those_who_were_answered_and_are_back_wait_for_nobody() {
        let start = Instant::now();
        let mut interval = TransactionInterval::new(5 * MS);
        interval.begin(4, start);
        interval.end(MS, 3);
        assert!(interval.due_at(6).is_some(), "one of the four is missing");
        assert_eq!(interval.due_at(7), None);
    }

    #[test]
    fn the_interval_follows_the_commits_and_is_bounded() {
        let start = Instant::now();
        let mut interval = TransactionInterval::new(5 * MS);
        interval.begin(9, start);
        for _ in 0..100 {
            interval.end(MS / 2, 0);
        }
        assert!(interval.due_at(1).unwrap() - start < 2 * MS);
        for _ in 0..100 {
            interval.end(40 * MS, 0);
        }
        assert_eq!(interval.due_at(1), Some(start + 5 * MS));
        assert_eq!(
            TransactionInterval { interval_max: Duration::ZERO, ..interval }.due_at(1),
            Some(start),
            "switched off"
        );
    }
}
