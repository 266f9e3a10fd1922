//! So many per second, evenly: what a push to all may do in a turn. Time passed in.
//!
//! Always holds: over any time no more is allowed than the rate times that time, plus one burst.

/// What may be made up for at once after a pause, so that turns that come late do not slow it down.
const BURST_MS: u64 = 20;

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    per_s: u64,
    /// Thousandths of one.
    credit: u64,
    updated_ms: u64,
}

impl Pace {
    pub(super) fn new(per_s: u64) -> Self {
        Self { per_s: per_s.max(1), credit: 0, updated_ms: 0 }
    }

    /// How many may be done now.
    pub(super) fn allowed(&mut self, now_ms: u64) -> usize {
        let elapsed_ms = now_ms.saturating_sub(self.updated_ms);
        self.updated_ms = now_ms;
        let most = self.per_s.saturating_mul(BURST_MS).max(1000 + self.per_s);
        self.credit = self.credit.saturating_add(self.per_s.saturating_mul(elapsed_ms)).min(most);
        usize::try_from(self.credit / 1000).unwrap_or(usize::MAX)
    }

    /// So many were done.
    pub(super) fn spend(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(count as u64 * 1000);
    }

    /// Until one more is allowed.
    pub(super) fn wait_ms(&self) -> u64 {
        1000_u64.saturating_sub(self.credit).div_ceil(self.per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done_in(per_s: u64, turns_ms: impl Iterator<Item = u64>) -> usize {
        let mut pace = Pace::new(per_s);
        turns_ms
            .map(|now_ms| {
                let allowed = pace.allowed(now_ms);
                pace.spend(allowed);
                allowed
            })
            .sum()
    }

    #[test]
    fn the_rate_is_kept_whatever_the_turns() {
        assert_eq!(done_in(10_000, 1..=1000), 10_000);
        assert_eq!(done_in(10_000, (1..=1000).step_by(7)), 9_950);
        assert_eq!(done_in(3, 1..=1000), 3);
        assert_eq!(done_in(10_000, [5_000].into_iter()), 200, "a long pause is not made up for");
    }

    #[test]
    fn the_wait_ends_when_one_more_is_allowed() {
        let mut pace = Pace::new(4);
        assert_eq!((pace.allowed(0), pace.wait_ms()), (0, 250));
        assert_eq!((pace.allowed(249), pace.wait_ms()), (0, 1));
        assert_eq!((pace.allowed(250), pace.wait_ms()), (1, 0));
    }
}
