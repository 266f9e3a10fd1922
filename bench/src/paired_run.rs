//! The server and its baseline by turns: short slices of one, then of the other, in the same run, so that whatever else
//! this machine does meets both. The first part of each slice warms up, and lets what the slice before left over end.

use std::time::{Duration, Instant};

/// About how long one slice lasts.
const SLICE: Duration = Duration::from_secs(1);

/// The part of a slice that is not measured.
const WARM_UP: f64 = 0.25;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server under test.
    Server,
    /// The bare one.
    Baseline,
}

/// One slice.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Whose it is.
    pub side: Side,
    /// When measuring begins.
    pub measure_from: Instant,
    /// When it ends.
    pub end: Instant,
}

impl Slice {
    /// Whether what happens at this time counts.
    pub fn measures(&self, at: Instant) -> bool {
        at >= self.measure_from && at < self.end
    }
}

/// A time cut into slices, as many for either side, or all for the server.
#[derive(Debug, Clone, Copy)]
pub struct PairedRun {
    slices: u32,
    length: Duration,
    has_baseline: bool,
}

impl PairedRun {
    /// Cuts a time.
    pub fn new(total: Duration) -> Self {
        let pairs = (total.div_duration_f64(2 * SLICE).round() as u32).max(1);
        Self { slices: 2 * pairs, length: total / (2 * pairs), has_baseline: true }
    }

    /// Cuts a time in which there is nothing to compare with.
    pub fn alone(total: Duration) -> Self {
        Self { has_baseline: false, ..Self::new(total) }
    }

    /// How many slices there are.
    pub fn len(&self) -> u32 {
        self.slices
    }

    /// Whose one of them is.
    pub fn side(&self, number: u32) -> Side {
        if self.has_baseline && number.is_multiple_of(2) { Side::Baseline } else { Side::Server }
    }

    /// One of them, which begins now.
    pub fn begin(&self, number: u32) -> Slice {
        let side = self.side(number);
        let start = Instant::now();
        Slice { side, measure_from: start + self.length.mul_f64(WARM_UP), end: start + self.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_get_the_same_time() {
        for (seconds, expected) in [(1, 2), (2, 2), (10, 10)] {
            let paired = PairedRun::new(Duration::from_secs(seconds));
            let slices: Vec<_> = (0..paired.len()).map(|number| paired.begin(number)).collect();
            assert_eq!(slices.len(), expected);
            let server = slices.iter().filter(|slice| slice.side == Side::Server);
            assert_eq!(server.count(), expected / 2);
            assert!(slices.iter().all(|slice| slice.end - slice.measure_from < Duration::from_secs(1)));
            let alone = PairedRun::alone(Duration::from_secs(seconds));
            assert!((0..alone.len()).all(|number| alone.side(number) == Side::Server));
        }
    }
}
