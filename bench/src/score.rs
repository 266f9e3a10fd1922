//! How much was done in the slices that are measured, and how long each took. Plain data, on any thread.

use std::time::{Duration, Instant};

use crate::{
    paired_run::Slice,
    stats::{Latencies, ratio},
};

/// What one side did.
///
/// A latency counts where its beginning was meant for a measured time, however late its end comes, so that a stall at the end
/// of a slice is not left out. The rate counts what ended in a measured time.
#[derive(Debug, Default)]
pub struct Score {
    latencies: Latencies,
    done: u64,
    measured: Duration,
}

impl Score {
    /// Something ended now that was meant to begin at `intended`.
    pub fn record(&mut self, slice: &Slice, intended: Instant, now: Instant) {
        if slice.measures(intended) {
            self.latencies.record(now.saturating_duration_since(intended));
        }
        self.done += u64::from(slice.measures(now));
    }

    /// A slice is over, or breaks off now.
    pub fn end(&mut self, slice: &Slice) {
        self.measured += Instant::now().min(slice.end).saturating_duration_since(slice.measure_from);
    }

    /// What ended.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// The latencies so far.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// The latencies since they were last taken.
    pub fn take_latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.latencies)
    }

    /// How many of something were done per second; nothing where nothing was measured.
    pub fn rate_of(&self, count: u64) -> Option<f64> {
        ratio(count as f64, self.measured.as_secs_f64())
    }

    /// How much was done per second; nothing where nothing was measured.
    pub fn per_second(&self) -> Option<f64> {
        self.rate_of(self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired_run::Side;

    #[test]
    fn what_ends_after_its_slice_is_late_and_not_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let slice = Slice { side: Side::Server, measure_from: at(0), end: at(1000) };
        let mut score = Score::default();
        assert_eq!(score.per_second(), None);
        score.record(&slice, at(900), at(910));
        score.record(&slice, at(999), at(2999));
        score.record(&slice, at(1000), at(1001));
        assert_eq!((score.done(), score.latencies().count()), (1, 2));
        assert!((score.latencies().ms(1.0) - 2000.0).abs() < 2.0);
    }

    #[test]
    fn a_slice_that_breaks_off_counts_as_long_as_it_lasted() {
        let now = Instant::now();
        let mut score = Score::default();
        score.end(&Slice {
            side: Side::Server,
            measure_from: now + Duration::from_secs(60),
            end: now + Duration::from_secs(90),
        });
        assert_eq!(score.per_second(), None);
        let long_ago = now.checked_sub(Duration::from_secs(10)).unwrap();
        let slice = Slice { side: Side::Server, measure_from: long_ago, end: long_ago + Duration::from_secs(5) };
        score.record(&slice, long_ago, long_ago + Duration::from_secs(1));
        score.end(&slice);
        assert_eq!(score.per_second(), Some(0.2));
    }
}
