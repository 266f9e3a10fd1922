//! Waits that double, each a random time between half of it and all of it.

/// The waits of one kind of attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    pub(super) first_ms: u64,
    pub(super) max_ms: u64,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first_ms: u64, max_ms: u64) -> Self {
        Self { first_ms, max_ms, failures: 0 }
    }

    /// `random` is from 0 to 1.
    pub(super) fn next_ms(&mut self, random: f64) -> u64 {
        let wait_ms = self.first_ms.saturating_mul(1 << self.failures.min(30)).min(self.max_ms);
        self.failures = self.failures.saturating_add(1);
        let half = wait_ms as f64 / 2.0;
        (half + random.clamp(0.0, 1.0) * half).round() as u64
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}
