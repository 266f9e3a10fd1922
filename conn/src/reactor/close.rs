//! Ending connections: always with a reason, at most once, and without resetting the goodbye on its way.
//!
//! ```text
//!   None ──peer closed──▶ Settling ──all replies written──────────────┐
//!     ├───server closes──▶ Goodbye ──written──▶ Lingering ──peer ends──┼──▶ Dead ──end of turn──▶ slot free
//!     └───broken──────────────────────────────────────────────────────┘     (or the linger deadline)
//! ```

use std::io;

use gim_proto::CloseReason;

use super::{Reactor, uplink::UpItem};
use crate::{
    connection::Ending,
    net::socket,
    session::Identity,
    wire::{encoded::Piece, packet, transport::Entrance},
};

impl Reactor {
    /// Ends a connection. One that is ending already is left alone.
    pub(super) fn close(&mut self, slot: usize, reason: CloseReason) {
        self.close_saying(slot, reason, "");
    }

    /// Ends a connection with a sentence for the client.
    pub(super) fn close_saying(&mut self, slot: usize, reason: CloseReason, message: &str) {
        self.close_coded(slot, reason, message, None);
    }

    /// Ends a connection; `code` is that of a WebSocket's close frame, where the reason does not say enough.
    pub(super) fn close_coded(&mut self, slot: usize, reason: CloseReason, message: &str, code: Option<u16>) {
        let Some(identity) = self.end(slot, reason) else { return };
        if reason.rule().says_goodbye {
            let entrance = Entrance::of(self.table.peek(slot).and_then(|connection| connection.transport.as_deref()));
            let (reconnect_after_ms, endpoint) =
                self.drain.advice(reason, self.app_of(slot), entrance, identity.device_id);
            let goodbye = packet::goodbye(reason, message, reconnect_after_ms, endpoint);
            let Some(connection) = self.table.get(slot) else { return };
            let words = match &connection.transport {
                None => [Some(goodbye.piece(Default::default())), None],
                Some(transport) => transport.last_words(goodbye, reason, code),
            };
            self.say_goodbye(slot, words, reason);
        } else if reason == CloseReason::CrPeerClosed {
            if let Some(connection) = self.table.get(slot) {
                connection.flags.ending = Ending::Settling;
            }
            self.settle(slot);
        } else {
            self.die(slot);
        }
    }

    /// Ends a connection with an answer of its transport.
    pub(super) fn close_answering(&mut self, slot: usize, reason: CloseReason, answer: Piece) {
        if self.end(slot, reason).is_some() {
            self.say_goodbye(slot, [Some(answer), None], reason);
        }
    }

    /// Ends a connection whose socket takes nothing more.
    pub(super) fn close_broken(&mut self, slot: usize, reason: CloseReason) {
        // One that was ending already has its reason; it is over all the same.
        let _ended_now = self.end(slot, reason).is_some();
        self.die(slot);
    }

    /// Ends a connection whose socket failed in an unusual way.
    pub(super) fn fail(&mut self, slot: usize, error: &io::Error) {
        tracing::debug!(%error, "a read failed");
        self.close_broken(slot, CloseReason::CrIoError);
    }

    /// A connection whose peer is done is over once nothing is owed to it.
    pub(super) fn settle(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        let is_settled = connection.is_flushed() && connection.session.in_flight() == 0;
        if connection.flags.ending == Ending::Settling && is_settled {
            self.die(slot);
        }
    }

    /// The outbound queue of an ending connection is empty.
    pub(super) fn after_last_byte(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        match connection.flags.ending {
            Ending::Settling => self.settle(slot),
            Ending::Goodbye => {
                connection.flags.ending = Ending::Lingering;
                if !socket::finish_writing(&connection.stream) || connection.flags.read_closed {
                    self.die(slot);
                }
            }
            Ending::None | Ending::Lingering | Ending::Dead => {}
        }
    }

    /// Marks a connection for the end of the turn.
    pub(super) fn die(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        if connection.flags.ending == Ending::Dead {
            return;
        }
        connection.flags.ending = Ending::Dead;
        connection.intake.clear();
        if let Some(outbound) = connection.outbound.take() {
            self.outbound_pool.give_back(outbound);
        }
        self.wheel.cancel(slot);
        self.dead.push(slot);
    }

    /// Frees the slots of this turn's dead; dropping the stream closes the socket and takes it out of epoll.
    pub(super) fn reap(&mut self) {
        while let Some(slot) = self.dead.pop() {
            self.leave_app(slot);
            let Some(connection) = self.table.remove(slot) else { continue };
            self.quota.give_back(connection.ip_slot);
            if connection.transport.is_some_and(|transport| transport.in_handshake) {
                self.handshakes -= 1;
            }
        }
    }

    /// Takes a connection out of every index and tells logic. `None` where it is ending already.
    fn end(&mut self, slot: usize, reason: CloseReason) -> Option<Identity> {
        let connection = self.table.get(slot)?;
        if connection.flags.ending != Ending::None {
            return None;
        }
        let generation = connection.generation;
        let identity = connection.session.identity();
        let connection = self.connection_id(slot, generation);
        self.leave_room(slot);
        if let Some(app) = self.app_of(slot) {
            let app = &mut self.apps[app];
            app.groups.leave_all(slot);
            if let Some(identity) = identity {
                app.devices.remove(identity.device_id, slot);
                app.signed_in -= 1;
                app.uplink.push(UpItem::SignOut { connection, identity });
            }
        }
        if let Some(connection) = self.table.get(slot) {
            connection.session.on_close(self.now_ms);
            connection.congested_since_ms = None;
            connection.intake.clear();
        }
        self.reschedule(slot);
        self.log_end(slot, generation, identity.unwrap_or_default(), reason);
        Some(identity.unwrap_or_default())
    }

    fn say_goodbye(&mut self, slot: usize, words: [Option<Piece>; 2], reason: CloseReason) {
        let Some(connection) = self.table.get(slot) else { return };
        connection.flags.ending = Ending::Goodbye;
        let outbound = connection.outbound.get_or_insert_with(|| self.outbound_pool.take());
        if reason == CloseReason::CrSlowConsumer {
            outbound.give_up();
        }
        words.into_iter().flatten().for_each(|piece| outbound.finish(piece));
        let has_input = connection.flags.readable;
        self.mark_dirty(slot);
        if has_input {
            // What a pause left unread: epoll tells nothing more while the peer waits for room to send.
            self.serve_next_turn(slot);
        }
    }

    fn log_end(&mut self, slot: usize, generation: u32, identity: Identity, reason: CloseReason) {
        self.metrics.closed(reason);
        let rule = reason.rule();
        let connection = self.connection_id(slot, generation);
        let Identity { user_id, device_id } = identity;
        match self.log_limiter.grant(rule, self.now_ms) {
            Some(left_out) => {
                tracing::warn!(%connection, user_id, device_id, reason = rule.label, left_out, "connection closed");
            }
            None => tracing::debug!(%connection, user_id, device_id, reason = rule.label, "connection closed"),
        }
    }
}
