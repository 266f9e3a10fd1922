//! Ending connections: always with a reason, at most once, and without resetting the goodbye on its way.
//!
//! ```text
//!   None ──peer closed──▶ Settling ──all replies written──────────────┐
//!     ├───server closes──▶ Goodbye ──written──▶ Lingering ──peer ends──┼──▶ Dead ──end of turn──▶ slot free
//!     └───broken──────────────────────────────────────────────────────┘     (or the linger deadline)
//! ```
//!
//! At the linger deadline the socket is reset, so that the kernel does not keep what its peer will not take.

use std::io;

use gim_proto::CloseReason;

use super::{Reactor, peer::Peer, uplink::UpItem};
use crate::{
    connection::Ending,
    net::socket,
    session::Identity,
    wire::{
        encoded::{Encoded, Piece},
        outbound::Kind,
        packet,
        transport::Entrance,
    },
};

/// Why a client was too slow.
struct Slowness {
    /// The setting that it met.
    bound: &'static str,
    /// What it has not taken.
    waiting_bytes: usize,
}

impl Peer<'_> {
    /// Ends the connection. One that is ending already is left alone.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.close_saying(reason, "");
    }

    /// Ends the connection with a sentence for the client.
    pub(super) fn close_saying(&mut self, reason: CloseReason, message: &str) {
        self.close_coded(reason, message, None);
    }

    /// Ends the connection; `code` is that of a WebSocket's close frame, where the reason does not say enough.
    pub(super) fn close_coded(&mut self, reason: CloseReason, message: &str, code: Option<u16>) {
        self.close_worded(reason, message, code, |peer, goodbye| peer.worded(goodbye, Kind::Reply));
    }

    /// The same, where the goodbye may be in other words than the client was heard in.
    pub(super) fn close_worded(
        &mut self,
        reason: CloseReason,
        message: &str,
        code: Option<u16>,
        worded: impl FnOnce(&mut Self, Encoded) -> Option<Encoded>,
    ) {
        let Some(identity) = self.end(reason) else { return };
        if reason.rule().says_goodbye {
            let entrance = Entrance::of(self.connection.transport.as_deref());
            let advice = self.context.drain.advice(reason, self.app(), entrance, identity.device_id);
            let (reconnect_after_ms, endpoint) = advice;
            let goodbye = packet::goodbye(reason, message, reconnect_after_ms, endpoint);
            let goodbye = worded(self, goodbye);
            let words = match &self.connection.transport {
                None => [goodbye.map(|goodbye| goodbye.piece(Default::default())), None],
                Some(transport) => transport.last_words(goodbye, reason, code),
            };
            self.say_goodbye(words, reason);
        } else if reason == CloseReason::CrPeerClosed {
            self.connection.flags.ending = Ending::Settling;
            self.settle();
        } else {
            self.die();
        }
    }

    /// Ends the connection with an answer of its transport.
    pub(super) fn close_answering(&mut self, reason: CloseReason, answer: Piece) {
        if self.end(reason).is_some() {
            self.say_goodbye([Some(answer), None], reason);
        }
    }

    /// Ends the connection, whose socket takes nothing more.
    pub(super) fn close_broken(&mut self, reason: CloseReason) {
        // One that was ending already has its reason; it is over all the same.
        let _ended_now = self.end(reason).is_some();
        self.die();
    }

    /// Ends the connection, whose socket failed in an unusual way.
    pub(super) fn fail(&mut self, error: &io::Error) {
        tracing::debug!(%error, "a read failed");
        self.close_broken(CloseReason::CrIoError);
    }

    /// A connection whose peer is done is over once nothing is owed to it.
    pub(super) fn settle(&mut self) {
        let is_settled = self.connection.is_flushed() && self.connection.session.is_answered();
        if self.connection.flags.ending == Ending::Settling && is_settled {
            self.die();
        }
    }

    /// The outbound queue of an ending connection is empty.
    pub(super) fn after_last_byte(&mut self) {
        match self.connection.flags.ending {
            Ending::Settling => self.settle(),
            Ending::Goodbye => {
                self.connection.flags.ending = Ending::Lingering;
                if !socket::finish_writing(&self.connection.stream) || self.connection.flags.read_closed {
                    self.die();
                }
            }
            Ending::None | Ending::Lingering | Ending::Dead => {}
        }
    }

    /// Marks the connection for the end of the turn.
    pub(super) fn die(&mut self) {
        if self.connection.flags.ending == Ending::Dead {
            return;
        }
        self.connection.flags.ending = Ending::Dead;
        self.connection.intake.clear();
        if let Some(outbound) = self.connection.outbound.take() {
            self.context.writer.give_back_queue(outbound);
        }
        self.context.wheel.cancel(self.slot);
        self.context.dead.push(self.slot);
    }

    /// Takes the connection out of every index and tells logic. `None` where it is ending already.
    fn end(&mut self, reason: CloseReason) -> Option<Identity> {
        if !self.goes_on() {
            return None;
        }
        let (connection, identity) = (self.id(), self.identity());
        self.context.unsigned.remove(self.slot);
        self.leave_room();
        if let Some(app) = self.app() {
            let app = &mut self.context.apps[app];
            app.groups.leave_all(self.slot);
            if let Some(identity) = identity {
                app.devices.remove(identity.device_id, self.slot);
                app.signed_in -= 1;
                app.uplink.push(UpItem::SignOut { connection, identity });
            }
        }
        let slowness = (reason == CloseReason::CrSlowConsumer).then(|| self.slowness());
        self.connection.session.on_close(self.context.clock.now_ms());
        self.connection.congested_since_ms = None;
        self.connection.intake.clear();
        self.reschedule();
        let identity = identity.unwrap_or_default();
        self.log_end(identity, reason, slowness);
        Some(identity)
    }

    fn say_goodbye(&mut self, words: [Option<Piece>; 2], reason: CloseReason) {
        self.connection.flags.ending = Ending::Goodbye;
        let outbound = self.connection.outbound.get_or_insert_with(|| self.context.writer.take_queue());
        if reason == CloseReason::CrSlowConsumer {
            outbound.give_up();
        }
        words.into_iter().flatten().for_each(|piece| outbound.finish(piece));
        self.mark_dirty();
        if self.connection.flags.readable {
            // What a pause left unread: epoll tells nothing more while the peer waits for room to send.
            self.serve_next_turn();
        }
    }

    /// What a client that reads too slowly has met.
    fn slowness(&self) -> Slowness {
        let now_ms = self.context.clock.now_ms() as u32;
        let congested_ms = self.connection.congested_since_ms.map(|since_ms| u64::from(now_ms.wrapping_sub(since_ms)));
        let is_patience_over =
            congested_ms.is_some_and(|congested_ms| congested_ms >= self.context.writer.limits.soft_timeout_ms);
        let bound = if is_patience_over { "limits.outbound_soft_timeout_ms" } else { "limits.outbound_hard_bytes" };
        Slowness { bound, waiting_bytes: self.queued_bytes() }
    }

    fn log_end(&mut self, Identity { user_id, device_id }: Identity, reason: CloseReason, slowness: Option<Slowness>) {
        self.context.metrics.closed(self.connection.dialect, reason);
        let rule = reason.rule();
        let connection = self.id();
        let Some(left_out) = self.context.log_limiter.grant(rule, self.context.clock.now_ms()) else {
            tracing::debug!(%connection, user_id, device_id, reason = rule.label, "connection closed");
            return;
        };
        // The end of the network that we see, or behind a proxy what that told.
        let peer = self.connection.client_address().map(tracing::field::display);
        let (bound, waiting_bytes) = slowness.map(|Slowness { bound, waiting_bytes }| (bound, waiting_bytes)).unzip();
        tracing::warn!(
            %connection, user_id, device_id, reason = rule.label, peer, bound, waiting_bytes, left_out, "connection closed"
        );
    }
}

impl Reactor {
    /// Frees the slots of this turn's dead; dropping the stream closes the socket and takes it out of epoll.
    pub(super) fn reap(&mut self) {
        while let Some(slot) = self.context.dead.pop() {
            let Some(connection) = self.table.remove(slot) else { continue };
            if let Some(app) = connection.app {
                self.context.apps[app.get()].give_back();
            }
            self.context.metrics.gone(connection.dialect);
            if connection.flags.catching_up {
                self.context.held_pushes.take(slot);
            }
            self.context.quota.give_back(connection.ip_slot);
            if let Some(address) = connection.transport.and_then(|transport| transport.handshake.address()) {
                self.context.handshakes.end(address);
            }
        }
    }
}
