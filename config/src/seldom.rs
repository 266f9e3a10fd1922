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
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    last: Option<Instant>,
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
        Self { interval, told: Mutex::new(Told { last: None, left_out: 0 }) }
    }

    /// Whether it is to be told now; with it, how many were not since the last one that was.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            told.left_out += 1;
            return None;
        }
        told.last = Some(now);
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
}
