//! What a server does, as far as a client can tell: an inbox, a large group, a room, sends that are stored once. No IO, no time.

use std::collections::BTreeMap;

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    connect::{
        CloseNotice, CloseReason, Message, Packet, PacketCommand, Reply, SendReply, SendRequest, SubscribeRoomRequest,
        send_request,
    },
    logic::{GroupPage, SyncReply, SyncRequest, User, UserMessagePush},
};
use prost::Message as _;
use rand::{RngExt as _, rngs::StdRng};

pub const USER_ID: u64 = 7;
pub const GROUP_ID: u64 = 9;
pub const ROOM_ID: u64 = 5;
const COMMAND: i32 = 2001;
const PAGE_MESSAGES: usize = 5;
/// Requests that are put off, and sign-ins whose token is refused, of a hundred.
const PUT_OFF_PERCENT: u32 = 10;

#[derive(Default)]
pub struct Server {
    pub inbox: Vec<Message>,
    pub timeline: Vec<Message>,
    pub room: Vec<Message>,
    /// By their client_msg_id: message id and seq.
    pub stored: BTreeMap<String, (u64, u64)>,
    /// Whether the present connection is signed in, and in the room.
    is_signed_in: bool,
    is_in_room: bool,
    /// Refuses nothing any more.
    pub is_kind: bool,
    next_message_id: u64,
}

impl Server {
    /// One that refuses nothing.
    pub fn kind() -> Self {
        Self { is_kind: true, ..Self::default() }
    }

    /// A connection is new, or gone.
    pub fn reset(&mut self) {
        (self.is_signed_in, self.is_in_room) = (false, false);
    }

    fn message_id(&mut self) -> u64 {
        self.next_message_id += 1;
        self.next_message_id
    }

    /// Somebody writes to the user; what is pushed, if the user is there.
    pub fn store_in_inbox(&mut self, content: Bytes, is_pushed: bool) -> Option<Packet> {
        let (seq, message_id) = (self.inbox.len() as u64 + 1, self.message_id());
        let message = Message { command: COMMAND, content, seq, prev_seq: seq - 1, message_id, ..Message::default() };
        self.inbox.push(message.clone());
        (is_pushed && self.is_signed_in).then(|| pushed(&message))
    }

    pub fn store_in_group(&mut self, content: Bytes, is_pushed: bool) -> Option<Packet> {
        let (group_seq, message_id) = (self.timeline.len() as u64 + 1, self.message_id());
        let (group_id, prev_group_seq) = (GROUP_ID, group_seq - 1);
        let message = Message {
            command: COMMAND,
            content,
            group_id,
            group_seq,
            prev_group_seq,
            message_id,
            ..Message::default()
        };
        self.timeline.push(message.clone());
        (is_pushed && self.is_signed_in).then(|| pushed(&message))
    }

    pub fn publish(&mut self, content: Bytes) -> Option<Packet> {
        let (room_seq, message_id) = (self.room.len() as u64 + 1, self.message_id());
        let message =
            Message { command: COMMAND, content, room_id: ROOM_ID, room_seq, message_id, ..Message::default() };
        self.room.push(message.clone());
        self.is_in_room.then(|| pushed(&message))
    }

    pub fn hint(&self) -> Option<Packet> {
        let (command, seq) = (PacketCommand::PcSyncHint as i32, self.inbox.len() as u64);
        self.is_signed_in.then(|| Packet { command, seq, ..Packet::default() })
    }

    pub fn goodbye(&mut self) -> Packet {
        let reason = CloseReason::CrServerDraining as i32;
        let content = CloseNotice { reason, reconnect_after_ms: 700, ..CloseNotice::default() }.encode_to_vec();
        Packet { command: PacketCommand::PcClose as i32, content: content.into(), ..Packet::default() }
    }

    /// What it says to a packet.
    pub fn receive(&mut self, packet: &Packet, random: &mut StdRng) -> Vec<Packet> {
        let command = PacketCommand::try_from(packet.command).unwrap_or(PacketCommand::PcUnknown);
        if command == PacketCommand::PcHeartbeat {
            return vec![Packet { seq: self.inbox.len() as u64, ..packet.clone() }];
        }
        if command == PacketCommand::PcMessageAck {
            return Vec::new();
        }
        let is_refused = !self.is_kind && random.random_range(0..100) < PUT_OFF_PERCENT;
        let mut packets = Vec::new();
        let reply = match command {
            PacketCommand::PcSignIn if is_refused => code(ResultCode::SignInAgain),
            PacketCommand::PcSignIn => {
                self.is_signed_in = true;
                Reply::default()
            }
            _ if !self.is_signed_in => code(ResultCode::SignInAgain),
            _ if is_refused => code(ResultCode::TryAgainLater),
            PacketCommand::PcSync => {
                let request = SyncRequest::decode(packet.content.clone()).unwrap();
                data(&self.sync(&request))
            }
            PacketCommand::PcSend => data(&self.send(&SendRequest::decode(packet.content.clone()).unwrap())),
            PacketCommand::PcSubscribeRoom => {
                let request = SubscribeRoomRequest::decode(packet.content.clone()).unwrap();
                self.is_in_room = request.room_id == ROOM_ID;
                let missed = self.room.iter().filter(|message| request.from_start || message.room_seq > request.seq);
                packets.extend(missed.map(pushed));
                Reply::default()
            }
            _ => code(ResultCode::UnknownCommand),
        };
        packets.push(Packet { content: reply.encode_to_vec().into(), ..packet.clone() });
        packets
    }

    fn sync(&self, request: &SyncRequest) -> SyncReply {
        let start = usize::try_from(request.seq).unwrap();
        let group_cursor = request.group_cursors.iter().find(|cursor| cursor.group_id == GROUP_ID);
        let group_start = group_cursor.map_or(0, |cursor| usize::try_from(cursor.seq).unwrap());
        let (messages, has_more) = page(&self.inbox, start);
        let (group_messages, group_has_more) = page(&self.timeline, group_start);
        let newest_seq = self.timeline.len() as u64;
        let group = GroupPage { group_id: GROUP_ID, has_more: group_has_more, newest_seq, messages: group_messages };
        let groups = Vec::from_iter((!group.messages.is_empty()).then_some(group));
        SyncReply { messages, has_more, groups, groups_have_more: group_has_more, start_seq: 0 }
    }

    fn send(&mut self, request: &SendRequest) -> SendReply {
        if let Some(&(message_id, seq)) = self.stored.get(&request.client_msg_id) {
            return SendReply { message_id, seq, duplicate: true, ..SendReply::default() };
        }
        let is_to_group = matches!(request.target, Some(send_request::Target::GroupId(_)));
        // The device that sends gets no push.
        let (message_id, seq) = if is_to_group {
            self.store_in_group(request.content.clone(), false);
            self.timeline.last().map(|message| (message.message_id, message.group_seq)).unwrap()
        } else {
            let from_user = Some(User { user_id: USER_ID, ..User::default() });
            let push = UserMessagePush { from_user, to_user_id: 8, content: request.content.clone() };
            self.store_in_inbox(push.encode_to_vec().into(), false);
            let last = self.inbox.last_mut().unwrap();
            last.is_from_user = true;
            (last.message_id, last.seq)
        };
        self.stored.insert(request.client_msg_id.clone(), (message_id, seq));
        SendReply { message_id, seq, ..SendReply::default() }
    }
}

fn page(messages: &[Message], start: usize) -> (Vec<Message>, bool) {
    let end = messages.len().min(start + PAGE_MESSAGES);
    (messages[start.min(end)..end].to_vec(), end < messages.len())
}

fn pushed(message: &Message) -> Packet {
    let content = message.encode_to_vec().into();
    Packet { command: PacketCommand::PcMessage as i32, content, ..Packet::default() }
}

fn code(code: ResultCode) -> Reply {
    Reply { code: code as i32, ..Reply::default() }
}

fn data(message: &impl prost::Message) -> Reply {
    Reply { data: message.encode_to_vec().into(), ..Reply::default() }
}
