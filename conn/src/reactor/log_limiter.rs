//! Which ends of connections are told loudly in the log. Peers can cause them, so such lines come evenly and only so often; a
//! line says how many before it were left out. The metric counts every end.

use gim_proto::close::CloseRule;

use crate::token_bucket::{Rate, TokenBucket};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct LogLimiter {
    rate: Rate,
    bucket: TokenBucket,
    left_out: u64,
}

impl LogLimiter {
    pub(super) fn new(lines_per_s: u64) -> Self {
        Self { rate: Rate::even(lines_per_s), bucket: TokenBucket::default(), left_out: 0 }
    }

    /// Whether an end is to be told loudly; with it, how many were not since the last that was.
    pub(super) fn grant(&mut self, rule: CloseRule, now_ms: u64) -> Option<u64> {
        if !rule.is_notable {
            return None;
        }
        if self.bucket.available(now_ms, self.rate) == 0 {
            self.left_out += 1;
            return None;
        }
        self.bucket.spend(1);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::CloseReason;

    use super::*;

    #[test]
    fn a_flood_of_ends_becomes_a_few_lines_that_tell_the_rest() {
        let mut limiter = LogLimiter::new(20);
        let (mut told, mut left_out) = (0, 0);
        for now_ms in 1_000..11_000 {
            assert_eq!(limiter.grant(CloseReason::CrKicked.rule(), now_ms), None, "nobody has to see that");
            if let Some(more) = limiter.grant(CloseReason::CrRateLimited.rule(), now_ms) {
                told += 1;
                left_out += more;
            }
        }
        assert!((199..=201).contains(&told), "{told}");
        assert_eq!(told + left_out + limiter.left_out, 10_000);
    }
}
