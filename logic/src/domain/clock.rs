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

/// A time of this era in the words of RFC 3339, as `2026-11-30T06:30:00.000Z`.
pub fn rfc3339(time_ms: i64) -> String {
    let (days, of_day_ms) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    // Years that begin in March end with the day that some of them have more.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * months + 2) / 5 + 1, if months < 10 { months + 3 } else { months - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, ms) = (of_day_ms / 1_000, of_day_ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
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
    fn times_are_written_as_rfc_3339_says() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(time_ms), text);
        }
    }

    #[test]
    fn a_system_clock_that_steps_back_is_not_followed() {
        let clock = SteadyClock::default();
        assert_eq!([10, 5, 12].map(|now_ms| clock.at_least(now_ms)), [10, 10, 12]);
    }
}
