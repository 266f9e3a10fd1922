//! From a frame to what happens: decode, ask the session, act. Steps 2 to 5 of the packet path on the reactor's side.

use gim_proto::{CloseReason, ResultCode, connect::PacketCommand};

use super::{REPLY_ARENA_BYTES, Reactor, uplink::UpItem};
use crate::{
    session::{Action, Phase, REQUEST_ID_BYTES_MAX},
    wire::{
        encoded::Encoded,
        intake::Flow,
        outbound::Kind,
        packet::{self, PacketView},
    },
};

impl Reactor {
    // path 4/9: dispatch, command → action
    pub(super) fn on_frame(&mut self, slot: usize, frame: &[u8]) -> Flow {
        self.metrics.counts.packets_in += 1;
        let Ok(packet) = PacketView::decode(frame) else {
            self.close(slot, CloseReason::CrBadFrame);
            return Flow::Stop;
        };
        let (now_ms, rules) = (self.now_ms, self.rules);
        let Some(connection) = self.table.get(slot) else { return Flow::Stop };
        match connection.session.on_packet(&packet, now_ms, &rules) {
            Action::Heartbeat => self.answer_heartbeat(slot, &packet),
            Action::Forward => self.forward(slot, &packet),
            Action::Refuse(code) => self.refuse(slot, &packet, code),
            Action::Close(reason) => self.close(slot, reason),
        }
        match self.table.get(slot) {
            Some(connection) if connection.session.pause(&rules).is_none() => Flow::Continue,
            _ => Flow::Stop,
        }
    }

    /// Answers from what this node knows; whether logic knows of something newer is asked in a batch with others.
    fn answer_heartbeat(&mut self, slot: usize, packet: &PacketView<'_>) {
        self.metrics.counts.heartbeats += 1;
        let Some(connection) = self.table.get(slot) else { return };
        let (seq, generation) = (connection.session.newest_seq(), connection.generation);
        let asks = connection.session.asks_newest_seq(self.now_ms, &self.rules);
        let identity = connection.session.identity().unwrap_or_default();
        packet::encode_into(packet.request_id, packet.command, &[], seq, &mut self.arena);
        self.send_from_arena(slot);
        if !asks {
            return;
        }
        let connection = self.connection_id(slot, generation);
        let Some(app) = self.app_of(slot) else { return };
        self.apps[app].uplink.push_question(UpItem::Heartbeat { connection, user_id: identity.user_id });
    }

    // path 5/9: to logic, from the reactor's side
    fn forward(&mut self, slot: usize, packet: &PacketView<'_>) {
        let Some(found) = self.table.get(slot) else { return };
        if found.session.phase() == Phase::SigningIn {
            return self.forward_sign_in(slot, packet);
        }
        let (identity, generation) = (found.session.identity().unwrap_or_default(), found.generation);
        let connection = self.connection_id(slot, generation);
        let command = packet.command;
        let Some(app) = self.app_of(slot) else { return };
        let taken = self.apps[app].uplink.push_packet(packet.request_id, packet.content, |request_id, content| {
            UpItem::Packet { connection, identity, command, request_id, content }
        });
        if !taken {
            self.metrics.counts.uplink_full += 1;
            if let Some(found) = self.table.get(slot) {
                found.session.on_forward_failed();
            }
            self.refuse(slot, packet, ResultCode::TryAgainLater);
        }
    }

    /// Hands a sign-in over. False where the bridge is so far behind that it has to be refused.
    #[must_use]
    pub(super) fn push_sign_in(&mut self, app: usize, slot: usize, packet: &PacketView<'_>) -> bool {
        let Some(found) = self.table.get(slot) else { return false };
        let (peer, generation) = (found.client_address(), found.generation);
        let connection = self.connection_id(slot, generation);
        self.apps[app].uplink.push_packet(packet.request_id, packet.content, |request_id, content| UpItem::SignIn {
            connection,
            peer,
            request_id,
            content,
        })
    }

    fn refuse(&mut self, slot: usize, packet: &PacketView<'_>, code: ResultCode) {
        self.metrics.counts.refused_packets += 1;
        if !wants_reply(packet) {
            return;
        }
        // Of one that is too long, the beginning has to do.
        let request_id = &packet.request_id[..packet.request_id.floor_char_boundary(REQUEST_ID_BYTES_MAX)];
        let frame = packet::refusal(request_id, packet.command, code);
        self.send(slot, frame, Kind::Reply);
    }

    fn send_from_arena(&mut self, slot: usize) {
        let frame = Encoded::from_headed(self.arena.split().freeze());
        self.send(slot, frame, Kind::Reply);
        if self.arena.capacity() < 256 {
            // Reuses the piece before, if none of its replies waits any more.
            self.arena.reserve(REPLY_ARENA_BYTES);
        }
    }
}

/// An ack is answered only where its sender gave it a request id.
fn wants_reply(packet: &PacketView<'_>) -> bool {
    packet.command != PacketCommand::PcMessageAck as i32 || !packet.request_id.is_empty()
}
