//! Latencies as HDR histograms, and the open-loop schedule they are measured against: from the time at which something
//! was *meant* to be sent, so that a server which makes its clients wait cannot hide it. Plain data, on any thread.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer ones count as this; nothing here waits that long.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// Shares of all whose latency a curve has.
const CURVE: [f64; 17] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999, 0.999999, 1.0];

/// Something that leaves later than this after its time is late through our fault.
const LATE: Duration = Duration::from_millis(20);

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

    /// Adds all of another distribution.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so this cannot fail.
        let _is_added = self.0.add(&other.0).is_ok();
    }

    /// The values that occur, in nanoseconds, and how often; [`Latencies::from_cells`] is the way back.
    pub fn cells(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|cell| (cell.value_iterated_to(), cell.count_at_value())).collect()
    }

    /// A distribution from its values and how often they occur.
    pub fn from_cells(cells: &[(u64, u64)]) -> Self {
        let mut latencies = Self::default();
        cells.iter().for_each(|&(value, count)| latencies.0.saturating_record_n(value, count));
        latencies
    }

    /// Points of the curve that a plot shows: a share of all, and the time in ms that it stays within.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let is_told = |quantile: f64| quantile == 1.0 || self.count() as f64 * (1.0 - quantile) >= 1.0;
        CURVE.into_iter().filter(|&quantile| is_told(quantile)).map(|quantile| (quantile, self.ms(quantile))).collect()
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

/// What a part is of a whole, where both were measured.
pub fn ratio(part: impl Into<Option<f64>>, whole: impl Into<Option<f64>>) -> Option<f64> {
    let (part, whole) = (part.into()?, whole.into()?);
    (whole > 0.0).then(|| part / whole)
}

/// The one in the middle, so that one stall in one round decides nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count.is_multiple_of(2) => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

/// When something is to be sent in an open loop: evenly, whatever the server does.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: Instant,
    interval: Duration,
    end: Option<Instant>,
    sent: u32,
    late: u32,
}

impl Schedule {
    /// `per_second` times a second from now on.
    pub fn new(start: Instant, per_second: f64) -> Self {
        Self { start, interval: Duration::from_secs_f64(1.0 / per_second), end: None, sent: 0, late: 0 }
    }

    /// Nothing is meant to be sent at this time, or later.
    pub fn until(self, end: Instant) -> Self {
        Self { end: Some(end), ..self }
    }

    /// The intended time of the next send, if it has come.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.next().filter(|intended| *intended <= now)?;
        self.sent += 1;
        self.late += u32::from(now - intended > LATE);
        Some(intended)
    }

    /// How many were sent, and how many of them late through our fault.
    pub fn sent(&self) -> (u32, u32) {
        (self.sent, self.late)
    }

    /// The intended time of the next send; none after the end.
    pub fn next(&self) -> Option<Instant> {
        let next = self.start + self.interval.mul_f64(self.sent.into());
        self.end.is_none_or(|end| next < end).then_some(next)
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
        assert_eq!(schedule.next(), Some(start + Duration::from_millis(3)));
        assert_eq!(schedule.sent(), (3, 0));
        assert!(schedule.due(start + Duration::from_millis(30)).is_some());
        assert_eq!(schedule.sent(), (4, 1));
    }

    #[test]
    fn a_schedule_that_ends_is_caught_up_with_and_then_over() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0).until(start + Duration::from_millis(3));
        let late = start + Duration::from_secs(1);
        assert_eq!(std::iter::from_fn(|| schedule.due(late)).count(), 3);
        assert_eq!((schedule.next(), schedule.sent()), (None, (3, 3)));
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn quantiles_keep_three_digits_and_bear_what_is_too_long() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        assert!((latencies.us(0.5) - 500.0).abs() < 1.0);
        assert!((latencies.ms(0.99) - 0.99).abs() < 0.002);
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.count(), 1001);
        assert_eq!((ratio(1.0, 0.0), ratio(1.0, 4.0), ratio(None::<f64>, 4.0)), (None, Some(0.25), None));
    }
}
