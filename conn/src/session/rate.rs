//! How fast one connection may send: a token bucket in six bytes.
//!
//! Below zero every packet is answered "too many requests"; a peer that goes on all the same, by as much again as the whole
//! burst, is closed.

use gim_proto::{CloseReason, ResultCode};

use super::{Action, Rules};
use crate::reactor::wheel::TICK_MS;

/// What is left to one connection.
#[derive(Debug)]
pub struct Bucket {
    refilled_tick: u32,
    tokens: i32,
}

impl Bucket {
    /// A bucket that has its whole burst.
    pub fn full(now: u32, rules: &Rules) -> Self {
        Self { refilled_tick: now, tokens: burst(rules) }
    }

    /// Takes one packet's token; returns what to do with a packet that is over the rate.
    pub fn take(&mut self, now: u32, rules: &Rules) -> Option<Action> {
        if rules.packets_per_s == 0 {
            return None;
        }
        let elapsed_ms = u64::from(now.saturating_sub(self.refilled_tick)) * TICK_MS;
        let earned = elapsed_ms * u64::from(rules.packets_per_s) / 1000;
        if earned > 0 {
            self.tokens = burst(rules).min(self.tokens.saturating_add(i32::try_from(earned).unwrap_or(i32::MAX)));
            self.refilled_tick = now;
        }
        self.tokens -= 1;
        if self.tokens >= 0 {
            None
        } else if self.tokens >= -burst(rules) {
            Some(Action::Refuse(ResultCode::TooManyRequests))
        } else {
            Some(Action::Close(CloseReason::CrRateLimited))
        }
    }
}

fn burst(rules: &Rules) -> i32 {
    i32::try_from(rules.packets_burst).unwrap_or(i32::MAX / 2)
}
