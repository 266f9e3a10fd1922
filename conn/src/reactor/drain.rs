//! How a reactor ends: refuse → tell clients, so many per second, with a spread-out reconnect delay → deadline → over.

use gim_proto::CloseReason;

use super::Reactor;
use crate::{connection::Ending, settings::DrainSettings};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining { since_ms: u64, closed: u64, next_slot: usize },
    Over,
}

/// The phase of one reactor's end.
#[derive(Debug)]
pub(super) struct Drain {
    phase: Phase,
    settings: DrainSettings,
}

impl Drain {
    pub(super) fn new(settings: DrainSettings) -> Self {
        Self { phase: Phase::Running, settings }
    }

    pub(super) fn begin(&mut self, now_ms: u64) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining { since_ms: now_ms, closed: 0, next_slot: 0 };
        }
    }

    /// Whether new connections are refused.
    pub(super) fn is_running(&self) -> bool {
        self.phase != Phase::Running
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// What a goodbye recommends: when to come back, spread by `salt`, and where to.
    pub(super) fn advice(&self, reason: CloseReason, salt: u64) -> (u32, &str) {
        match reason {
            CloseReason::CrServerDraining | CloseReason::CrServerOverloaded => {
                (spread(salt, self.settings.reconnect_spread_ms), &self.settings.endpoint)
            }
            _ => (0, ""),
        }
    }
}

impl Reactor {
    /// Closes as many connections as the rate allows by now; those that wait for a reply come last.
    pub(super) fn drain_step(&mut self) {
        let Phase::Draining { since_ms, mut closed, mut next_slot } = self.drain.phase else { return };
        let elapsed_ms = self.now_ms - since_ms;
        let allowed = (elapsed_ms + 1) * self.drain.settings.closes_per_s / 1000 + 1;
        let is_late = elapsed_ms >= self.drain.settings.timeout_ms;
        while closed < allowed && next_slot < self.table.slots_end() {
            if let Some(connection) = self.table.peek(next_slot)
                && connection.flags.ending == Ending::None
                && (connection.session.in_flight() == 0 || is_late)
            {
                self.close(next_slot, CloseReason::CrServerDraining);
                closed += 1;
            }
            next_slot += 1;
        }
        if next_slot >= self.table.slots_end() {
            next_slot = 0;
        }
        let is_empty = self.table.len() == self.dead.len();
        let is_over = is_empty || elapsed_ms >= self.drain.settings.timeout_ms + self.rules.linger_ms;
        self.drain.phase = if is_over { Phase::Over } else { Phase::Draining { since_ms, closed, next_slot } };
    }
}

/// The same salt gets the same delay; many salts share the time evenly.
fn spread(salt: u64, spread_ms: u32) -> u32 {
    let mixed = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((mixed * u64::from(spread_ms)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_evenly() {
        let mut buckets = [0; 10];
        for salt in 0..10_000 {
            buckets[spread(salt, 1000) as usize / 100] += 1;
        }
        assert!(buckets.iter().all(|count| (800..1200).contains(count)), "{buckets:?}");
        assert_eq!(spread(7, 0), 0);
    }
}
