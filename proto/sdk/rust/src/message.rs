//! What the app sees of a message, with the wrapper of the sender taken off. No IO, no state.

use bytes::Bytes;
use gim_proto::{
    connect::{self, MessageCommand},
    logic::{GroupMessagePush, User, UserMessagePush},
};
use prost::Message as _;

use crate::wire::Target;

/// Who said a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender {
    /// The user.
    pub user_id: u64,
    /// The device on which it was said.
    pub device_id: u64,
    /// As the backend told it; empty where it tells none.
    pub nickname: String,
    /// As the backend told it.
    pub avatar_url: String,
    /// What the backend keeps of the user.
    pub extra: String,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MessageStatus {
    /// It is as it was sent.
    #[default]
    Normal,
    /// The sender took the message with this id back.
    Recalled,
    /// The server keeps it no longer.
    Expired,
}

/// A message as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The same for all receivers, and different for every message; 0 where the server gave none.
    pub message_id: u64,
    /// 1 a user's message, 2 a group's, 100 to 199 the server's notices, 200 to 299 typed contents, from 1000 on your own.
    pub command: i32,
    /// As it was sent.
    pub content: Bytes,
    /// What became of it.
    pub status: MessageStatus,
    /// Its number in the inbox; 0 where it is in none.
    pub seq: u64,
    /// Its number in the timeline of a large group; 0 elsewhere.
    pub group_seq: u64,
    /// Its number in the room; 0 elsewhere.
    pub room_seq: u64,
    /// 0 for none.
    pub group_id: u64,
    /// 0 for none.
    pub room_id: u64,
    /// Unix time in milliseconds.
    pub created_at_ms: i64,
    /// Who said it; none where a backend or the server did, and in what was recalled or expired.
    pub from: Option<Sender>,
    /// Whom it was said to, between two users; 0 elsewhere.
    pub to_user_id: u64,
    /// Whether this user said it, on whatever device.
    pub is_own: bool,
    /// Of what this device sent itself; empty elsewhere.
    pub client_msg_id: String,
}

impl Message {
    /// What came over the wire, as the user `own_user_id` sees it.
    pub fn from_wire(wire: &connect::Message, own_user_id: u64) -> Self {
        let created_at_ms =
            if wire.created_at_ms == 0 { wire.created_at.saturating_mul(1000) } else { wire.created_at_ms };
        let mut message = Self {
            message_id: wire.message_id,
            command: wire.command,
            content: wire.content.clone(),
            status: match wire.status() {
                connect::MessageStatus::MsNormal => MessageStatus::Normal,
                connect::MessageStatus::MsRecalled => MessageStatus::Recalled,
                connect::MessageStatus::MsExpired => MessageStatus::Expired,
            },
            seq: wire.seq,
            group_seq: wire.group_seq,
            room_seq: wire.room_seq,
            group_id: wire.group_id,
            room_id: wire.room_id,
            created_at_ms,
            ..Self::default()
        };
        if message.status == MessageStatus::Normal {
            message.unwrap(wire, own_user_id);
        }
        // A part of what was read holds all of it, thousands of bytes for a word: an app may keep its messages.
        message.content = Bytes::copy_from_slice(&message.content);
        message
    }

    /// Servers that do not say who speaks wrap what has the command of a user's message. A backend may push what it likes under these
    /// commands: what is no wrapper is as it came.
    fn unwrap(&mut self, wire: &connect::Message, own_user_id: u64) {
        let has_command = |command: MessageCommand| wire.command == command as i32;
        let is_of_group_by_command = has_command(MessageCommand::McGroupMessage);
        if !wire.is_from_user && !has_command(MessageCommand::McUserMessage) && !is_of_group_by_command {
            return;
        }
        let bytes = wire.content.clone();
        let opened = if wire.group_id != 0 || is_of_group_by_command {
            GroupMessagePush::decode(bytes).map(|push| (push.from_user, 0, push.content))
        } else {
            UserMessagePush::decode(bytes).map(|push| (push.from_user, push.to_user_id, push.content))
        };
        let Ok((Some(from), to_user_id, content)) = opened else { return };
        self.is_own = from.user_id == own_user_id;
        self.from = Some(sender(from));
        (self.content, self.to_user_id) = (content, to_user_id);
    }
}

fn sender(user: User) -> Sender {
    let User { user_id, device_id, nickname, avatar_url, extra } = user;
    Sender { user_id, device_id, nickname, avatar_url, extra }
}

/// The content as text; what is no UTF-8 in it is shown as `U+FFFD`.
pub fn text_of(message: &Message) -> String {
    String::from_utf8_lossy(&message.content).into_owned()
}

/// Where a message belongs: the other user, the group or the room. None for what a backend or the server said to this user, for what an
/// older server does not say whom it was said to, and for what was recalled or expired between two users: the one with the same `message_id`
/// tells.
pub fn conversation_of(message: &Message) -> Option<Target> {
    if message.group_id != 0 {
        Some(Target::Group(message.group_id))
    } else if message.room_id != 0 {
        Some(Target::Room(message.room_id))
    } else {
        let from = message.from.as_ref()?;
        let user_id = if message.is_own { message.to_user_id } else { from.user_id };
        (user_id != 0).then_some(Target::User(user_id))
    }
}
