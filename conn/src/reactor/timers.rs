//! Deadlines: one per connection, looked at when the wheel says so and filed anew if traffic moved it.

use gim_proto::CloseReason;

use super::Reactor;
use crate::{
    connection::{Connection, Ending},
    session::Phase,
};

impl Reactor {
    pub(super) fn expire_timers(&mut self) {
        for _ in 0..self.budget.timers {
            let Some(slot) = self.wheel.expire(self.now_ms) else { return };
            self.on_deadline(slot);
        }
    }

    /// Files a connection under the first time at which it may have to end.
    pub(super) fn reschedule(&mut self, slot: usize) {
        let deadline_ms = match self.table.peek(slot) {
            Some(connection) => self.deadline_ms(connection),
            None => return,
        };
        self.wheel.schedule(slot, deadline_ms);
    }

    fn on_deadline(&mut self, slot: usize) {
        let Some(connection) = self.table.peek(slot) else { return };
        if self.now_ms < self.deadline_ms(connection) {
            self.reschedule(slot);
            return;
        }
        if connection.flags.ending != Ending::None {
            self.die(slot);
        } else if let Some(reason) = connection.session.on_deadline(self.now_ms, &self.rules) {
            self.close(slot, reason);
        } else if connection.is_opening() {
            self.close(slot, CloseReason::CrSignInDeadline);
        } else {
            self.close(slot, CloseReason::CrSlowConsumer);
        }
    }

    fn deadline_ms(&self, connection: &Connection) -> u64 {
        let mut session = connection.session.deadline_ms(&self.rules);
        if connection.session.phase() == Phase::Unsigned && connection.is_opening() {
            session = session.min(session - self.rules.sign_in_timeout_ms + self.handshake_timeout_ms);
        }
        match connection.congested_since_ms {
            // The clock of congestion counts around after 49 days; its patience is far shorter.
            Some(since) if connection.flags.ending == Ending::None => {
                let waited = u64::from((self.now_ms as u32).wrapping_sub(since));
                session.min((self.now_ms + self.limits.outbound_soft_timeout_ms).saturating_sub(waited))
            }
            _ => session,
        }
    }
}
