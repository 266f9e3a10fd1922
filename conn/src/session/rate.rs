//! How fast one connection may send: a token bucket in eight bytes.
//!
//! Below zero every packet is answered "too many requests"; a peer that goes on all the same, by as much again as the whole
//! burst, is closed.

use gim_proto::{CloseReason, ResultCode};

use super::{Action, Rules};
use crate::reactor::wheel::TICK_MS;

/// What a packet costs. Milliseconds times packets per second come in the same unit, so no rate is lost to rounding.
const PACKET: i32 = 1000;

/// What is left to one connection.
#[derive(Debug)]
pub struct Bucket {
    refilled_tick: u32,
    /// In thousandths of a packet.
    credit: i32,
}

impl Bucket {
    /// A bucket that has its whole burst.
    pub fn full(now: u32, rules: &Rules) -> Self {
        Self { refilled_tick: now, credit: burst(rules) }
    }

    /// Takes what one packet costs; returns what to do with a packet that is over the rate.
    pub fn take(&mut self, now: u32, rules: &Rules) -> Option<Action> {
        if rules.packets_per_s == 0 {
            return None;
        }
        let elapsed_ms = u64::from(now.saturating_sub(self.refilled_tick)) * TICK_MS;
        let earned = elapsed_ms.saturating_mul(rules.packets_per_s.into()).try_into().unwrap_or(i32::MAX);
        self.refilled_tick = now;
        self.credit = burst(rules).min(self.credit.saturating_add(earned)).saturating_sub(PACKET);
        if self.credit >= 0 {
            None
        } else if self.credit >= -burst(rules) {
            Some(Action::Refuse(ResultCode::TooManyRequests))
        } else {
            Some(Action::Close(CloseReason::CrRateLimited))
        }
    }
}

fn burst(rules: &Rules) -> i32 {
    rules.packets_burst.saturating_mul(PACKET as u32).try_into().unwrap_or(i32::MAX)
}
