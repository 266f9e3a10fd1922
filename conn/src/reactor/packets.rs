//! From a frame to what happens: decode, ask the session, act.

use bytes::BytesMut;
use gim_proto::{CloseReason, ResultCode, metadata::REQUEST_ID_BYTES_MAX};

use super::{
    peer::Peer,
    uplink::{UpItem, UplinkShare},
};
use crate::{
    session::{Action, Phase},
    wire::{
        encoded::{self, Encoded},
        intake::Flow,
        outbound::Kind,
        packet::{self, PacketView},
    },
};

/// Replies that a reactor makes itself are cut from pieces of this size.
const REPLY_ARENA_BYTES: usize = 16 * 1024;

/// The piece is followed by a new one when less than this is left of it.
const REPLY_ARENA_BYTES_MIN: usize = 256;

/// Where the replies that a reactor makes itself are cut from, so that none of them costs an allocation.
#[derive(Debug)]
pub(super) struct ReplyArena(BytesMut);

impl ReplyArena {
    pub(super) fn new() -> Self {
        Self(BytesMut::with_capacity(REPLY_ARENA_BYTES))
    }

    /// The answer to a packet, without content.
    fn encode(&mut self, packet: &PacketView<'_>, seq: u64) -> Encoded {
        packet::encode_into(packet.request_id, packet.command, &[], seq, &mut self.0);
        self.cut()
    }

    /// A packet that is there already.
    pub(super) fn copy(&mut self, packet: &[u8]) -> Encoded {
        encoded::put_headers(packet.len(), &mut self.0);
        self.0.extend_from_slice(packet);
        self.cut()
    }

    fn cut(&mut self) -> Encoded {
        let frame = Encoded::from_headed(self.0.split().freeze());
        if self.0.capacity() < REPLY_ARENA_BYTES_MIN {
            // Reuses the piece before, if none of its replies waits any more.
            self.0.reserve(REPLY_ARENA_BYTES);
        }
        frame
    }
}

impl Peer<'_> {
    // path 3/9: dispatch, command → action
    pub(super) fn on_frame(&mut self, frame: &[u8]) -> Flow {
        if let Some(dialect) = self.connection.dialect {
            return self.on_worded_frame(dialect, frame);
        }
        self.context.metrics.counts.packets_in += 1;
        match PacketView::decode(frame) {
            Ok(packet) => self.on_packet(&packet),
            Err(_) => self.on_bad_frame(frame),
        }
    }

    fn on_bad_frame(&mut self, frame: &[u8]) -> Flow {
        if self.connection.session.phase() != Phase::Unsigned || !self.close_on_stranger(frame) {
            self.close(CloseReason::CrBadFrame);
        }
        Flow::Stop
    }

    pub(super) fn on_packet(&mut self, packet: &PacketView<'_>) -> Flow {
        match self.connection.session.on_packet(packet, self.context.clock.now_ms(), &self.context.rules) {
            Action::Heartbeat => self.answer_heartbeat(packet),
            Action::Forward => self.forward(packet),
            Action::Call => self.forward_call(packet),
            Action::Refuse(code) => self.refuse(packet, code),
            Action::Close(reason) => self.close(reason),
        }
        if self.is_paused() { Flow::Stop } else { Flow::Continue }
    }

    /// Answers from what this node knows; whether logic knows of something newer is asked in a batch with others.
    fn answer_heartbeat(&mut self, packet: &PacketView<'_>) {
        self.context.metrics.of_client(self.connection.dialect).heartbeats += 1;
        let reply = self.context.replies.encode(packet, self.connection.session.newest_seq());
        let now_ms = self.context.clock.now_ms();
        let asks = self.connection.session.asks_newest_seq(now_ms, &self.context.rules);
        let age_ms = now_ms.saturating_sub(self.connection.session.live_since_ms());
        let (connection, identity, app) = (self.id(), self.identity(), self.app());
        self.send(reply, Kind::Reply);
        if asks && let (Some(identity), Some(app)) = (identity, app) {
            let question = UpItem::Heartbeat { connection, identity, age_ms };
            self.context.apps[app].uplink.push_question(question);
        }
    }

    fn forward(&mut self, packet: &PacketView<'_>) {
        if self.connection.session.phase() == Phase::SigningIn {
            return self.forward_sign_in(packet);
        }
        if !self.hand_over(packet, UplinkShare::Packets) {
            self.connection.session.on_forward_failed();
            self.refuse(packet, ResultCode::TryAgainLater);
        }
    }

    fn forward_call(&mut self, packet: &PacketView<'_>) {
        if !self.hand_over(packet, UplinkShare::Calls) {
            self.connection.session.on_call_over();
            self.refuse(packet, ResultCode::TryAgainLater);
        }
    }

    /// Hands a packet of a live connection over. False where the bridge is so far behind that it has to be refused.
    fn hand_over(&mut self, packet: &PacketView<'_>, share: UplinkShare) -> bool {
        let (connection, identity) = (self.id(), self.identity().unwrap_or_default());
        let command = packet.command;
        let Some(app) = self.app() else { return true };
        let uplink = &mut self.context.apps[app].uplink;
        let item = |request_id, content| UpItem::Packet { connection, identity, command, request_id, content };
        let is_taken = uplink.push_packet(share, packet.request_id, packet.content, item);
        self.context.metrics.of_client(self.connection.dialect).uplink_full += u64::from(!is_taken);
        is_taken
    }

    /// Hands a sign-in over. False where the bridge is so far behind that it has to be refused.
    #[must_use]
    pub(super) fn push_sign_in(&mut self, app: usize, packet: &PacketView<'_>) -> bool {
        let (connection, peer) = (self.id(), self.connection.client_address());
        let uplink = &mut self.context.apps[app].uplink;
        uplink.push_packet(UplinkShare::Packets, packet.request_id, packet.content, |request_id, content| {
            UpItem::SignIn { connection, peer, request_id, content }
        })
    }

    fn refuse(&mut self, packet: &PacketView<'_>, code: ResultCode) {
        self.context.metrics.of_client(self.connection.dialect).refused_packets += 1;
        if packet::is_silent(packet.command, packet.request_id) {
            return;
        }
        // Of one that is too long, the beginning has to do.
        let request_id = &packet.request_id[..packet.request_id.floor_char_boundary(REQUEST_ID_BYTES_MAX)];
        let frame = match self.connection.dialect {
            // What other clients ask, and those of the port do not.
            Some(dialect) if code == ResultCode::UnknownCommand => {
                let sentence = format!("{}; this port is for clients of {}", code.text(), dialect.name());
                packet::refusal_saying(request_id, packet.command, code, sentence)
            }
            _ => packet::refusal(request_id, packet.command, code),
        };
        self.send(frame, Kind::Reply);
    }
}
