//! Deadlines: one per connection, looked at when the wheel says so and filed anew if traffic moved it.

use gim_proto::CloseReason;

use super::{Reactor, peer::Peer};
use crate::{
    net::socket,
    session::{Phase, Rules},
};

impl Reactor {
    pub(super) fn expire_timers(&mut self) {
        for _ in 0..self.context.budget.timers {
            let Some(slot) = self.context.wheel.expire(self.context.clock.now_ms()) else { return };
            if let Some(mut peer) = self.peer(slot) {
                peer.on_deadline();
            }
        }
    }
}

impl Peer<'_> {
    /// Files the connection under the first time at which it may have to end.
    pub(super) fn reschedule(&mut self) {
        let deadline_ms = self.deadline_ms();
        self.context.wheel.schedule(self.slot, deadline_ms);
    }

    fn on_deadline(&mut self) {
        let now_ms = self.context.clock.now_ms();
        if now_ms < self.deadline_ms() {
            self.reschedule();
        } else if !self.goes_on() {
            // It was told, and had its time to take that.
            socket::forget_unsent(&self.connection.stream);
            self.die();
        } else if let Some(reason) = self.connection.session.on_deadline(now_ms, &self.rules()) {
            self.close(reason);
        } else if self.connection.is_opening() {
            self.close(CloseReason::CrSignInDeadline);
        } else {
            self.close(CloseReason::CrSlowConsumer);
        }
    }

    /// The rules for this very client.
    fn rules(&self) -> Rules {
        self.context.rules.for_heartbeat(self.connection.heartbeat_s)
    }

    fn deadline_ms(&self) -> u64 {
        let (context, session) = (&*self.context, &self.connection.session);
        let mut deadline_ms = session.deadline_ms(&self.rules());
        let is_opening = self.connection.is_opening() && !self.connection.awaits_handshake();
        if session.phase() == Phase::Unsigned && is_opening {
            let opened_ms = deadline_ms - context.rules.sign_in_timeout_ms;
            deadline_ms = deadline_ms.min(opened_ms + context.handshake_timeout_ms);
        }
        match self.connection.congested_since_ms {
            // The clock of congestion counts around after 49 days; its patience is far shorter.
            Some(since) if self.goes_on() => {
                let now_ms = context.clock.now_ms();
                let waited = u64::from((now_ms as u32).wrapping_sub(since));
                deadline_ms.min((now_ms + context.writer.limits.soft_timeout_ms).saturating_sub(waited))
            }
            _ => deadline_ms,
        }
    }
}
