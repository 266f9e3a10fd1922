//! So many per second, evenly, and so many at once after a pause: a token bucket in eight bytes. Every rate of this crate is
//! kept by one: packets of a connection, connections of a push to all, lines of a log. Time is passed in.
//!
//! Always holds: over any time no more is granted than the rate times that time, plus one burst.

/// What one token is worth. Milliseconds times tokens per second come in the same unit, so no rate is lost to rounding.
const TOKEN: i32 = 1000;

/// What an even rate makes up for at once, so that turns which come late do not slow it down.
const EVEN_BURST_MS: u64 = 20;

/// How fast a bucket fills, and how much it holds. The same for many buckets, and so no part of them.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    per_s: u64,
    /// In thousandths of a token.
    burst: i32,
}

/// What is left, in thousandths of a token, and when it was filled last.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenBucket {
    /// The clock counts around after 49 days; a bucket that rests as long has less than it may have.
    refilled_ms: u32,
    credit: i32,
}

/// What became of a token that was drawn whether or not it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// It was there.
    Granted,
    /// The bucket owes it.
    Over,
    /// The bucket owes more than its whole burst.
    FarOver,
}

impl Rate {
    /// So many tokens per second, and at most `burst` at once.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let burst = burst.saturating_mul(TOKEN as u32).try_into().unwrap_or(i32::MAX);
        Self { per_s: per_s.into(), burst }
    }

    /// So many tokens per second, one at least, as evenly as turns allow.
    pub fn even(per_s: u64) -> Self {
        let per_s = per_s.max(1);
        let burst = per_s.saturating_mul(EVEN_BURST_MS).max(per_s.saturating_add(TOKEN as u64));
        Self { per_s, burst: burst.try_into().unwrap_or(i32::MAX) }
    }
}

impl TokenBucket {
    /// A bucket that has its whole burst.
    pub fn full(now_ms: u64, rate: Rate) -> Self {
        Self { refilled_ms: now_ms as u32, credit: rate.burst }
    }

    /// How many whole tokens are there now.
    pub fn available(&mut self, now_ms: u64, rate: Rate) -> usize {
        self.refill(now_ms, rate);
        usize::try_from(self.credit / TOKEN).unwrap_or(0)
    }

    /// Takes tokens that are there.
    pub fn spend(&mut self, count: usize) {
        let cost = i32::try_from(count).unwrap_or(i32::MAX).saturating_mul(TOKEN);
        self.credit = self.credit.saturating_sub(cost);
    }

    /// Takes a token that may not be there.
    pub fn draw(&mut self, now_ms: u64, rate: Rate) -> Drawn {
        self.refill(now_ms, rate);
        self.spend(1);
        if self.credit >= 0 {
            Drawn::Granted
        } else if self.credit >= -rate.burst {
            Drawn::Over
        } else {
            Drawn::FarOver
        }
    }

    /// Until a token is there, counted from when it was last looked for.
    pub fn wait_ms(&self, rate: Rate) -> u64 {
        u64::try_from(TOKEN.saturating_sub(self.credit)).unwrap_or(0).div_ceil(rate.per_s)
    }

    fn refill(&mut self, now_ms: u64, rate: Rate) {
        let elapsed_ms = u64::from((now_ms as u32).wrapping_sub(self.refilled_ms));
        let earned = elapsed_ms.saturating_mul(rate.per_s).try_into().unwrap_or(i32::MAX);
        self.refilled_ms = now_ms as u32;
        self.credit = rate.burst.min(self.credit.saturating_add(earned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent_in(per_s: u64, turns_ms: impl Iterator<Item = u64>) -> usize {
        let (mut bucket, rate) = (TokenBucket::default(), Rate::even(per_s));
        turns_ms
            .map(|now_ms| {
                let available = bucket.available(now_ms, rate);
                bucket.spend(available);
                available
            })
            .sum()
    }

    #[test]
    fn the_rate_is_kept_whatever_the_turns() {
        assert_eq!(spent_in(10_000, 1..=1000), 10_000);
        assert_eq!(spent_in(10_000, (1..=1000).step_by(7)), 9_950);
        assert_eq!(spent_in(3, 1..=1000), 3);
        assert_eq!(spent_in(10_000, [5_000].into_iter()), 200, "a long pause is not made up for");
    }

    #[test]
    fn the_wait_ends_when_one_more_is_there() {
        let (mut bucket, rate) = (TokenBucket::default(), Rate::even(4));
        assert_eq!((bucket.available(0, rate), bucket.wait_ms(rate)), (0, 250));
        assert_eq!((bucket.available(249, rate), bucket.wait_ms(rate)), (0, 1));
        assert_eq!((bucket.available(250, rate), bucket.wait_ms(rate)), (1, 0));
    }

    #[test]
    fn who_draws_more_than_there_is_owes_it_and_is_far_over_in_the_end() {
        let rate = Rate::new(1, 2);
        let mut bucket = TokenBucket::full(0, rate);
        let drawn: Vec<Drawn> = (0..5).map(|_| bucket.draw(0, rate)).collect();
        assert_eq!(drawn, [Drawn::Granted, Drawn::Granted, Drawn::Over, Drawn::Over, Drawn::FarOver]);
        assert_eq!(bucket.draw(3_999, rate), Drawn::Over, "what is owed is paid first");
        assert_eq!(bucket.draw(5_000, rate), Drawn::Granted);
    }

    #[test]
    fn rates_beyond_what_a_bucket_can_count_are_as_good_as_none() {
        let (mut bucket, rate) = (TokenBucket::default(), Rate::even(u64::MAX));
        assert!(bucket.available(1, rate) > 1_000_000);
        assert_eq!(bucket.wait_ms(rate), 0);
    }
}
