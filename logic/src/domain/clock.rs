//! Unix time in milliseconds. Any thread.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970 by the system clock, which may step back.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that never steps back: of two sign-ins of a device the later one must win, whatever the system clock does.
#[derive(Debug, Default)]
pub struct SteadyClock {
    last_ms: AtomicI64,
}

impl SteadyClock {
    /// Now, and never before an earlier answer.
    pub fn now_ms(&self) -> i64 {
        self.at_least(now_ms())
    }

    /// The later of `now_ms` and every earlier answer.
    pub fn at_least(&self, now_ms: i64) -> i64 {
        self.last_ms.fetch_max(now_ms, Ordering::AcqRel).max(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_clock_that_steps_back_is_not_followed() {
        let clock = SteadyClock::default();
        assert_eq!([10, 5, 12].map(|now_ms| clock.at_least(now_ms)), [10, 10, 12]);
    }
}
