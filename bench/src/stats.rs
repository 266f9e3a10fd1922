//! Latencies as HDR histograms, and the open-loop schedule they are measured against: from the time at which something
//! was *meant* to be sent, so that a server which makes its clients wait cannot hide it. Plain data, on any thread.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer ones count as this; nothing here waits that long.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// A distribution of latencies.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let highest = LATENCY_MAX.as_nanos() as u64;
        Self(Histogram::new_with_bounds(1, highest, DIGITS).expect("bounds and digits that the histogram takes"))
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many were added.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that a share `quantile` of all stays within, in microseconds.
    pub fn us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// As [`Latencies::us`], in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.us(quantile) / 1e3
    }
}

/// What a share is of a whole that may be nothing.
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// When something is to be sent in an open loop: evenly, whatever the server does.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    sent: u32,
}

impl Schedule {
    /// `per_second` times a second from now on.
    pub fn new(start: Instant, per_second: f64) -> Self {
        Self { start, interval: Duration::from_secs_f64(1.0 / per_second), sent: 0 }
    }

    /// The intended time of the next send, if it has come.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.next();
        (intended <= now).then(|| {
            self.sent += 1;
            intended
        })
    }

    /// The intended time of the next send.
    pub fn next(&self) -> Instant {
        self.start + self.interval.mul_f64(self.sent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sender_is_told_every_time_it_missed() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0);
        let late = start + Duration::from_micros(2500);
        let due: Vec<_> = std::iter::from_fn(|| schedule.due(late)).collect();
        assert_eq!(due, [0, 1, 2].map(|ms| start + Duration::from_millis(ms)));
        assert_eq!(schedule.next(), start + Duration::from_millis(3));
    }

    #[test]
    fn quantiles_keep_three_digits_and_bear_what_is_too_long() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        assert!((latencies.us(0.5) - 500.0).abs() < 1.0);
        assert!((latencies.ms(0.99) - 0.99).abs() < 0.002);
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.count(), 1001);
        assert_eq!(ratio(1.0, 0.0), 0.0);
    }
}
