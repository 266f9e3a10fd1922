//! What the server tells of conversations by messages that are stored nowhere: what another device of the user changed (140), and how far
//! somebody has read (141). No IO, no state.

use gim_proto::{
    connect::MessageCommand,
    logic::{ConversationPush, ConversationReadPush, conversation_push},
};
use prost::Message as _;

use crate::{message::Message, wire::Target};

/// What another device of the user changed; what is `None` is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationChange {
    /// A user or a group.
    pub target: Target,
    /// Pinned, or no longer.
    pub is_pinned: Option<bool>,
    /// Muted, or no longer.
    pub is_muted: Option<bool>,
    /// Marked as unread, or no longer.
    pub is_marked_unread: Option<bool>,
    /// Hidden, or no longer.
    pub is_hidden: Option<bool>,
    /// Deleted: messages up to this number in the history are gone for this user; 0 for none.
    pub deleted_up_to_seq: u64,
    /// Read up to this number in the history; 0 where the position is as it was.
    pub read_seq: u64,
    /// The message there.
    pub read_message_id: u64,
}

/// Somebody else has read up to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMark {
    /// Where: the user who read, or the group.
    pub target: Target,
    /// Who.
    pub user_id: u64,
    /// A `seq` of this user's inbox, in a group a `group_seq`.
    pub seq: u64,
    /// The message there.
    pub message_id: u64,
}

/// None for any other message.
pub fn conversation_change_of(message: &Message) -> Option<ConversationChange> {
    let push = ConversationPush::decode(of_server(message, MessageCommand::McConversation)?).ok()?;
    let target = match push.peer? {
        conversation_push::Peer::UserId(id) => Target::User(id),
        conversation_push::Peer::GroupId(id) => Target::Group(id),
    };
    Some(ConversationChange {
        target,
        is_pinned: push.is_pinned,
        is_muted: push.is_muted,
        is_marked_unread: push.is_marked_unread,
        is_hidden: push.is_hidden,
        deleted_up_to_seq: push.deleted_up_to_seq,
        read_seq: push.read_seq,
        read_message_id: push.read_message_id,
    })
}

/// None for any other message.
pub fn read_mark_of(message: &Message) -> Option<ReadMark> {
    let push = ConversationReadPush::decode(of_server(message, MessageCommand::McRead)?).ok()?;
    let target = if push.group_id == 0 { Target::User(push.user_id) } else { Target::Group(push.group_id) };
    Some(ReadMark { target, user_id: push.user_id, seq: push.seq, message_id: push.message_id })
}

fn of_server(message: &Message, command: MessageCommand) -> Option<bytes::Bytes> {
    (message.command == command as i32 && message.from.is_none()).then(|| message.content.clone())
}
