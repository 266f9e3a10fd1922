//! What others ask of a reactor: commands through a bounded channel per app, at most a budget of them per turn.
//!
//! Every command that names a connection carries its id; one that names a connection that is gone does nothing, is counted,
//! and where logic should know, is answered.

use std::sync::Arc;

use gim_proto::{CloseReason, logic::NodeAddresses};

use super::{Reactor, peer::Peer, uplink::UpItem};
use crate::{
    connection::RoomPlace,
    ids::ConnectionId,
    session::{Identity, Phase, Rules},
    settings::OutboundLimits,
    wire::{encoded::Encoded, outbound::Kind, transport::TlsConfigs},
};

/// Something that a reactor shall do. Frames are encoded already.
#[derive(Debug)]
pub enum Command {
    /// Logic let a connection in.
    SignedIn {
        /// Which.
        connection: ConnectionId,
        /// Who it is.
        identity: Identity,
        /// Newest seq of the user's inbox.
        newest_seq: u64,
        /// The large groups that the user is in.
        large_group_ids: Vec<u64>,
        /// The reply.
        frame: Encoded,
    },
    /// Logic did not.
    SignInRefused {
        /// Which.
        connection: ConnectionId,
        /// The reply.
        frame: Encoded,
    },
    /// Logic answered a packet.
    Reply {
        /// Of which connection.
        connection: ConnectionId,
        /// The reply, where the client asked for one.
        frame: Option<Encoded>,
        /// A room that was counted for this packet, and is not joined after all.
        room_released: Option<u64>,
        /// The seq that what it sent took in its user's inbox; 0 for none.
        inbox_seq: u64,
    },
    /// Logic answered a call.
    CallReply {
        /// Of which connection.
        connection: ConnectionId,
        /// The reply.
        frame: Encoded,
    },
    /// Logic answered a subscription, or moves a connection into a room by itself.
    Subscribe {
        /// Which.
        connection: ConnectionId,
        /// The room; 0 leaves.
        room_id: u64,
        /// The reply, where this answers a packet.
        reply: Option<Encoded>,
        /// What the room kept, oldest first.
        retained: Vec<Encoded>,
    },
    /// Messages for connections.
    Push(Vec<PushItem>),
    /// Messages for devices, wherever they are.
    PushToDevices {
        /// To whom which.
        pushes: Vec<(u64, Encoded)>,
        /// Told whose devices are here.
        tell_found: TellFound,
    },
    /// A message for everybody in a room.
    PushToRoom {
        /// The room.
        room_id: u64,
        /// The message.
        frame: Encoded,
        /// Whether it overtakes.
        urgent: bool,
    },
    /// Connections whose users came into a large group, or left it.
    GroupMemberships {
        /// The group.
        group_id: u64,
        /// Who is in it from now on.
        joined: Vec<ConnectionId>,
        /// Who is not any more.
        left: Vec<ConnectionId>,
    },
    /// A message for everybody in a large group.
    PushToGroup {
        /// The group.
        group_id: u64,
        /// Its place in the timeline; 0 for a message that is not persisted.
        seq: u64,
        /// The device that needs no copy; 0 for none.
        origin_device_id: u64,
        /// The message.
        frame: Encoded,
    },
    /// How far large groups got: `(group id, newest seq)`s.
    GroupHeads(Vec<(u64, u64)>),
    /// A message for everybody.
    PushToAll {
        /// Named when everybody has it.
        message_id: u64,
        /// The message.
        frame: Encoded,
    },
    /// The newest seqs that logic knows of.
    NewestSeq(Vec<(ConnectionId, u64)>),
    /// End a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
        /// What to tell the client, where there is more to say than the reason does.
        message: String,
    },
    /// Begin TLS connections with these from now on; those that are there keep theirs.
    Tls(TlsConfigs),
    /// Hold connections, and pages that want one, to these from now on.
    Rules {
        /// Of every session.
        rules: Rules,
        /// Of what waits to be written to each.
        outbound: OutboundLimits,
        /// Pages that may connect; empty for all.
        origins: Vec<String>,
    },
    /// Where to send those who are sent away.
    Peers(Arc<Vec<NodeAddresses>>),
    /// Tell the bridge of every live connection.
    Announce,
    /// Close everybody in an orderly way, then end.
    Drain,
}

/// Most entries of one command: a reactor stops between commands, not within one.
pub const ENTRIES_MAX: usize = 256;

impl Command {
    /// How much it does for connections at once: messages that it hands to them, and groups that it puts one into.
    pub(super) fn deliveries(&self) -> usize {
        match self {
            Self::Push(items) => items.len(),
            Self::PushToDevices { pushes, .. } => pushes.len(),
            Self::SignedIn { large_group_ids, .. } => large_group_ids.len(),
            _ => 0,
        }
    }
}

/// Tells whoever asked which devices a reactor has. It must not wait.
pub struct TellFound(Box<dyn FnOnce(Vec<u64>) + Send>);

impl TellFound {
    /// Tells by calling `tell`.
    pub fn new(tell: impl FnOnce(Vec<u64>) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl std::fmt::Debug for TellFound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TellFound").finish_non_exhaustive()
    }
}

/// One message for one connection.
#[derive(Debug)]
pub struct PushItem {
    /// For whom.
    pub connection: ConnectionId,
    /// Its inbox seq; 0 for a message that is not persisted.
    pub seq: u64,
    /// The message.
    pub frame: Encoded,
}

impl Reactor {
    /// Does what the logic of one app asks for.
    // path 8/9: command queue → outbound queue
    pub(super) fn on_command(&mut self, app: usize, command: Command) {
        let own = &mut self.context.apps[app];
        match command {
            Command::SignedIn { connection, identity, newest_seq, large_group_ids, frame } => {
                self.on_signed_in(app, connection, identity, newest_seq, &large_group_ids, frame);
            }
            Command::SignInRefused { connection, frame } => match self.peer_of(app, connection) {
                Some(mut peer) => {
                    peer.context.apps[app].groups.leave_all(peer.slot);
                    peer.leave_app();
                    peer.on_sign_in_refused(frame);
                }
                None => self.count_stale(),
            },
            Command::Reply { connection, frame, room_released, inbox_seq } => {
                if let Some(room_id) = room_released {
                    own.uplink.push(UpItem::RoomLeft(room_id));
                }
                self.on_reply(app, connection, frame, inbox_seq);
            }
            Command::CallReply { connection, frame } => match self.peer_of(app, connection) {
                Some(mut peer) => peer.on_call_reply(frame),
                None => self.count_stale(),
            },
            Command::Subscribe { connection, room_id, reply, retained } => {
                self.on_subscribed(app, connection, room_id, reply, retained);
            }
            Command::Push(items) => items.into_iter().for_each(|item| self.on_push(app, item)),
            Command::PushToDevices { pushes, tell_found } => self.on_push_to_devices(app, pushes, tell_found),
            Command::PushToRoom { room_id, frame, urgent } => own.rooms.push(room_id, frame, urgent),
            Command::GroupMemberships { group_id, joined, left } => {
                self.on_group_memberships(app, group_id, joined, left);
            }
            Command::PushToGroup { group_id, seq, origin_device_id, frame } => {
                own.groups.push(group_id, seq, origin_device_id, frame);
            }
            Command::GroupHeads(heads) => {
                heads.into_iter().for_each(|(group_id, newest_seq)| own.groups.on_head(group_id, newest_seq));
            }
            Command::PushToAll { message_id, frame } => self.push_to_all(app, message_id, frame),
            Command::NewestSeq(seqs) => {
                seqs.into_iter().for_each(|(connection, seq)| self.on_newest_seq(app, connection, seq))
            }
            Command::Close { connection, reason, message } => match self.peer_of(app, connection) {
                Some(mut peer) => peer.close_saying(reason, &message),
                None => self.count_stale(),
            },
            Command::Announce => own.announce_from = Some(0),
            Command::Tls(configs) => self.context.handshakes.configure(configs),
            Command::Rules { rules, outbound, origins } => self.context.take_rules(rules, outbound, origins),
            Command::Peers(peers) => self.context.drain.learn(app, peers),
            Command::Drain => self.context.drain.begin(self.context.clock.now_ms()),
        }
    }

    fn count_stale(&mut self) {
        self.context.metrics.counts.stale_commands += 1;
    }

    fn on_signed_in(
        &mut self,
        app: usize,
        connection: ConnectionId,
        identity: Identity,
        newest_seq: u64,
        large_group_ids: &[u64],
        frame: Encoded,
    ) {
        let now_ms = self.context.clock.now_ms();
        let found = self.peer_of(app, connection);
        let is_in = found.is_some_and(|peer| peer.connection.session.on_signed_in(identity, newest_seq, now_ms));
        let slot = connection.slot();
        let own = &mut self.context.apps[app];
        if !is_in {
            // It left while logic was deciding: logic holds a route to it now, and has to let that go.
            own.uplink.push(UpItem::SignOut { connection, identity });
            return self.count_stale();
        }
        own.signed_in += 1;
        own.devices.insert(identity.device_id, slot, &self.table);
        own.groups.begin(slot, large_group_ids);
        if let Some(mut peer) = self.peer(slot) {
            peer.reschedule();
            peer.begin_catching_up();
            peer.send(frame, Kind::Reply);
            peer.resume();
        }
    }

    fn on_reply(&mut self, app: usize, connection: ConnectionId, frame: Option<Encoded>, inbox_seq: u64) {
        match self.peer_of(app, connection) {
            Some(mut peer) => {
                peer.connection.session.on_own_message(inbox_seq);
                peer.on_reply(frame);
            }
            None => self.count_stale(),
        }
    }

    fn on_subscribed(
        &mut self,
        app: usize,
        connection: ConnectionId,
        room_id: u64,
        reply: Option<Encoded>,
        retained: Vec<Encoded>,
    ) {
        let is_answer = reply.is_some();
        // The bridge counted a subscription when it sent it up; a move by logic is counted now.
        if !is_answer && room_id != 0 {
            self.context.apps[app].uplink.push(UpItem::RoomJoined(room_id));
        }
        let Some(mut peer) = self.live_peer_of(app, connection) else {
            if room_id != 0 {
                self.context.apps[app].uplink.push(UpItem::RoomLeft(room_id));
            }
            if is_answer {
                self.on_reply(app, connection, reply, 0);
            }
            return;
        };
        peer.leave_room();
        if room_id != 0 {
            peer.join_room(app, room_id);
        }
        if is_answer {
            peer.on_reply(reply);
        }
        for frame in retained {
            peer.send(frame, Kind::Room);
        }
    }

    fn on_push(&mut self, app: usize, item: PushItem) {
        let PushItem { connection, seq, frame } = item;
        let is_taken = self.peer_of(app, connection).is_some_and(|mut peer| peer.take_push(seq, frame));
        if !is_taken {
            self.count_stale();
            self.context.apps[app].uplink.push(UpItem::Gone(connection));
        }
    }

    fn on_push_to_devices(&mut self, app: usize, pushes: Vec<(u64, Encoded)>, tell_found: TellFound) {
        let mut found = Vec::new();
        for (device_id, frame) in pushes {
            if let Some(slot) = self.context.apps[app].devices.find(device_id, &self.table)
                && let Some(mut peer) = self.peer(slot)
            {
                peer.send(frame, Kind::Room);
                found.push(device_id);
            }
        }
        (tell_found.0)(found);
    }

    fn on_newest_seq(&mut self, app: usize, connection: ConnectionId, seq: u64) {
        match self.live_peer_of(app, connection) {
            Some(mut peer) if peer.connection.session.newest_seq() < seq => {
                peer.connection.session.on_newest_seq(seq);
                peer.hint_to_sync();
            }
            Some(_) => {}
            None => self.count_stale(),
        }
    }
}

impl Peer<'_> {
    /// A sign-in was refused, by logic or before it came there.
    pub(super) fn on_sign_in_refused(&mut self, frame: Encoded) {
        let frame = self.refused_sign_in(frame);
        self.send(frame, Kind::Reply);
        match self.connection.session.on_sign_in_refused(&self.context.rules) {
            Some(reason) => self.close(reason),
            None => {
                self.count_unsigned_again();
                self.resume();
            }
        }
    }

    fn on_reply(&mut self, frame: Option<Encoded>) {
        self.connection.session.on_reply();
        if let Some(frame) = frame {
            self.send_reply(frame);
        }
        self.resume();
        self.settle();
    }

    /// Reading was not paused for it.
    fn on_call_reply(&mut self, frame: Encoded) {
        self.connection.session.on_call_over();
        self.send(frame, Kind::Reply);
        self.settle();
    }

    /// False where it is not signed in. Logic writes a route just before it lets a connection in, so that a push can come before
    /// the answer. Such a one is left out, as the client waits for its sign-in first, and made up for by a hint; clients of dialects sync
    /// first of all.
    fn take_push(&mut self, seq: u64, frame: Encoded) -> bool {
        match self.connection.session.phase() {
            Phase::Unsigned | Phase::Closing => return false,
            Phase::SigningIn => {
                if self.connection.session.on_newest_seq(seq) {
                    self.connection.flags.hint_owed = self.connection.dialect.is_none();
                    self.context.metrics.of_client(self.connection.dialect).inbox_skipped += 1;
                }
            }
            Phase::Live => {
                self.connection.session.on_newest_seq(seq);
                match seq {
                    0 => self.send(frame, Kind::Room),
                    _ if self.connection.flags.catching_up => self.hold(seq, frame),
                    _ => self.send(frame, Kind::Inbox),
                }
            }
        }
        true
    }

    fn join_room(&mut self, app: usize, room_id: u64) {
        let index = self.context.apps[app].rooms.join(room_id, self.slot);
        self.connection.room = RoomPlace { room_id, index };
    }

    /// Leaves the room, if it is in one, and tells the bridge.
    pub(super) fn leave_room(&mut self) {
        let RoomPlace { room_id, index } = std::mem::take(&mut self.connection.room);
        let Some(app) = self.app().filter(|_| room_id != 0) else { return };
        let app = &mut self.context.apps[app];
        if let Some(moved) = app.rooms.leave(room_id, index) {
            self.context.moved_members.push((moved, index));
        }
        app.uplink.push(UpItem::RoomLeft(room_id));
    }
}
