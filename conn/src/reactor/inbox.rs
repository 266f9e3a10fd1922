//! What others ask of a reactor: commands through a bounded channel per app, at most a budget of them per turn.
//!
//! Every command that names a connection carries its id; one that names a connection that is gone does nothing, is counted,
//! and where logic should know, is answered (step 8 of the packet path).

use std::sync::Arc;

use gim_proto::{CloseReason, connect::PacketCommand, logic::NodeAddresses};

use super::{Reactor, uplink::UpItem};
use crate::{
    connection::RoomPlace,
    ids::ConnectionId,
    session::{Identity, Phase},
    wire::{encoded::Encoded, outbound::Kind, packet, transport::TlsConfigs},
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
    PushToDevices(Vec<(u64, Encoded)>),
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
    /// How many messages it hands to connections at once.
    pub(super) fn deliveries(&self) -> usize {
        match self {
            Self::Push(items) => items.len(),
            Self::PushToDevices(pushes) => pushes.len(),
            _ => 0,
        }
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
    // path 8/9: inbox → outbound queue
    pub(super) fn on_command(&mut self, app: usize, command: Command) {
        match command {
            Command::SignedIn { connection, identity, newest_seq, large_group_ids, frame } => {
                self.on_signed_in(app, connection, identity, newest_seq, &large_group_ids, frame);
            }
            Command::SignInRefused { connection, frame } => match self.find(app, connection) {
                Some(slot) => {
                    self.apps[app].groups.leave_all(slot);
                    self.leave_app(slot);
                    self.on_sign_in_refused(slot, frame);
                }
                None => self.metrics.counts.stale_commands += 1,
            },
            Command::Reply { connection, frame, room_released } => {
                if let Some(room_id) = room_released {
                    self.apps[app].uplink.push(UpItem::RoomLeft(room_id));
                }
                self.on_reply(app, connection, frame);
            }
            Command::Subscribe { connection, room_id, reply, retained } => {
                self.on_subscribed(app, connection, room_id, reply, retained);
            }
            Command::Push(items) => items.into_iter().for_each(|item| self.on_push(app, item)),
            Command::PushToDevices(pushes) => {
                for (device_id, frame) in pushes {
                    if let Some(slot) = self.apps[app].devices.find(device_id, &self.table) {
                        self.send(slot, frame, Kind::Room);
                    }
                }
            }
            Command::PushToRoom { room_id, frame, urgent } => self.apps[app].rooms.push(room_id, frame, urgent),
            Command::GroupMemberships { group_id, joined, left } => self.on_group_memberships(app, group_id, joined, left),
            Command::PushToGroup { group_id, seq, origin_device_id, frame } => {
                self.apps[app].groups.push(group_id, seq, origin_device_id, frame);
            }
            Command::GroupHeads(groups) => {
                let known = &mut self.apps[app].groups;
                groups.into_iter().for_each(|(group_id, newest_seq)| known.on_head(group_id, newest_seq));
            }
            Command::PushToAll { message_id, frame } => self.push_to_all(app, message_id, frame),
            Command::NewestSeq(seqs) => {
                seqs.into_iter().for_each(|(connection, seq)| self.on_newest_seq(app, connection, seq))
            }
            Command::Close { connection, reason, message } => match self.find(app, connection) {
                Some(slot) => self.close_saying(slot, reason, &message),
                None => self.metrics.counts.stale_commands += 1,
            },
            Command::Announce => self.apps[app].announce_from = Some(0),
            Command::Tls(configs) => self.tls = Some(configs),
            Command::Peers(peers) => self.drain.learn(app, peers),
            Command::Drain => self.drain.begin(self.now_ms),
        }
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
        let now_ms = self.now_ms;
        let signed_in = self.find(app, connection).filter(|&slot| {
            self.table.get(slot).is_some_and(|found| found.session.on_signed_in(identity, newest_seq, now_ms))
        });
        let Some(slot) = signed_in else {
            // It left while logic was deciding: logic holds a route to it now, and has to let that go.
            self.metrics.counts.stale_commands += 1;
            self.apps[app].uplink.push(UpItem::SignOut { connection, identity });
            return;
        };
        let app = &mut self.apps[app];
        app.signed_in += 1;
        app.devices.insert(identity.device_id, slot, &self.table);
        app.groups.begin(slot, large_group_ids);
        self.reschedule(slot);
        self.send(slot, frame, Kind::Reply);
        self.resume(slot);
    }

    /// A sign-in was refused, by logic or before it came there.
    pub(super) fn on_sign_in_refused(&mut self, slot: usize, frame: Encoded) {
        self.send(slot, frame, Kind::Reply);
        let rules = self.rules;
        let verdict = self.table.get(slot).and_then(|found| found.session.on_sign_in_refused(&rules));
        match verdict {
            Some(reason) => self.close(slot, reason),
            None => self.resume(slot),
        }
    }

    fn on_reply(&mut self, app: usize, connection: ConnectionId, frame: Option<Encoded>) {
        let Some(slot) = self.find(app, connection) else {
            self.metrics.counts.stale_commands += 1;
            return;
        };
        if let Some(found) = self.table.get(slot) {
            found.session.on_reply();
        }
        if let Some(frame) = frame {
            self.send(slot, frame, Kind::Reply);
        }
        self.resume(slot);
        self.settle(slot);
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
            self.apps[app].uplink.push(UpItem::RoomJoined(room_id));
        }
        let Some(slot) = self.find_live(app, connection) else {
            if room_id != 0 {
                self.apps[app].uplink.push(UpItem::RoomLeft(room_id));
            }
            if is_answer {
                self.on_reply(app, connection, reply);
            }
            return;
        };
        self.leave_room(slot);
        if room_id != 0 {
            self.join_room(app, slot, room_id);
        }
        if is_answer {
            self.on_reply(app, connection, reply);
        }
        for frame in retained {
            self.send(slot, frame, Kind::Room);
        }
    }

    fn on_push(&mut self, app: usize, item: PushItem) {
        let PushItem { connection, seq, frame } = item;
        match self.find_live(app, connection) {
            Some(slot) => {
                if let Some(found) = self.table.get(slot) {
                    found.session.on_newest_seq(seq);
                }
                self.send(slot, frame, if seq == 0 { Kind::Room } else { Kind::Inbox });
            }
            None if self.owe_hint_after_sign_in(app, connection, seq) => {}
            None => {
                self.metrics.counts.stale_commands += 1;
                self.apps[app].uplink.push(UpItem::Gone(connection));
            }
        }
    }

    /// Logic writes a route just before it lets a connection in, so that a push can come before the answer. It is left out,
    /// as the client waits for its sign-in first, and made up for by a hint. False where no sign-in is under way.
    fn owe_hint_after_sign_in(&mut self, app: usize, connection: ConnectionId, seq: u64) -> bool {
        let Some(slot) = self.find(app, connection) else { return false };
        let Some(found) = self.table.get(slot) else { return false };
        let is_signing_in = found.session.phase() == Phase::SigningIn;
        if is_signing_in && found.session.on_newest_seq(seq) {
            found.flags.hint_owed = true;
            self.metrics.counts.inbox_skipped += 1;
        }
        is_signing_in
    }

    fn on_newest_seq(&mut self, app: usize, connection: ConnectionId, seq: u64) {
        let Some(slot) = self.find_live(app, connection) else {
            self.metrics.counts.stale_commands += 1;
            return;
        };
        let is_news = self.table.get(slot).is_some_and(|found| found.session.on_newest_seq(seq));
        if is_news {
            self.metrics.counts.sync_hints += 1;
            self.send(slot, packet::notice(PacketCommand::PcSyncHint, &[], seq), Kind::Reply);
        }
    }

    /// The slot of a connection of this reactor, if it is still there and with this app.
    pub(super) fn find(&mut self, app: usize, connection: ConnectionId) -> Option<usize> {
        let slot = connection.slot();
        let found = self.table.get_owned(slot, connection.generation())?;
        found.app.is_some_and(|own| own.get() == app).then_some(slot)
    }

    /// The same, where it is signed in.
    pub(super) fn find_live(&mut self, app: usize, connection: ConnectionId) -> Option<usize> {
        let slot = self.find(app, connection)?;
        self.table.peek(slot)?.session.identity().map(|_| slot)
    }

    fn join_room(&mut self, app: usize, slot: usize, room_id: u64) {
        let index = self.apps[app].rooms.join(room_id, slot);
        if let Some(connection) = self.table.get(slot) {
            connection.room = RoomPlace { room_id, index };
        }
    }

    /// Leaves the room, if it is in one, and tells the bridge.
    pub(super) fn leave_room(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        let place = std::mem::take(&mut connection.room);
        let Some(app) = connection.app.filter(|_| place.room_id != 0) else { return };
        let app = &mut self.apps[app.get()];
        if let Some(moved) = app.rooms.leave(place.room_id, place.index)
            && let Some(other) = self.table.get(moved)
        {
            other.room.index = place.index;
        }
        app.uplink.push(UpItem::RoomLeft(place.room_id));
    }
}
