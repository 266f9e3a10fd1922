//! What strangers can cause again and again, and is told seldom: the next line says how many were left out. Any task; the time is passed
//! in.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines, where nothing else is said.
const INTERVAL: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub struct Seldom {
    interval: Duration,
    at_once: u32,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    /// From when on nothing is counted of what was told.
    full_at: Option<Instant>,
    left_out: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::every(INTERVAL)
    }
}

impl Seldom {
    /// A line in each such time.
    pub const fn every(interval: Duration) -> Self {
        Self::bursts(1, interval)
    }

    /// So many lines at once, and one more in each such time.
    pub const fn bursts(at_once: u32, interval: Duration) -> Self {
        Self { interval, at_once, told: Mutex::new(Told { full_at: None, left_out: 0 }) }
    }

    /// Whether it is to be told now; with it, how many were not since the last one that was.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = told.full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        if full_at.duration_since(now) > self.interval * self.at_once {
            told.left_out += 1;
            return None;
        }
        told.full_at = Some(full_at);
        Some(std::mem::take(&mut told.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_later_how_many_were_not() {
        let (seldom, begun) = (Seldom::default(), Instant::now());
        let due = |after_s: u64| seldom.due(begun + Duration::from_secs(after_s));
        assert_eq!([due(0), due(1), due(9), due(10), due(15), due(30)], [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn a_burst_is_told_and_then_one_in_each_interval() {
        let (seldom, begun) = (Seldom::bursts(3, Duration::from_secs(10)), Instant::now());
        let due = |after_s: u64| seldom.due(begun + Duration::from_secs(after_s));
        assert_eq!([due(0), due(0), due(0), due(0)], [Some(0), Some(0), Some(0), None]);
        assert_eq!([due(10), due(10), due(29), due(29)], [Some(1), None, Some(1), None]);
        assert_eq!((0..5).filter(|_| due(1_000).is_some()).count(), 3, "no more than a burst is saved");
    }
}
