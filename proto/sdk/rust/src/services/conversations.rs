//! The user's conversations as the server has them: which there are, how far each was read, and what the user set of it.

use bytes::Bytes;
use gim_proto::logic::{
    self, ConversationDeleteRequest, ConversationListReply, ConversationListRequest, ConversationReadRequest,
    ConversationReadersReply, ConversationReadersRequest, ConversationSetRequest, conversation,
    conversation_delete_request, conversation_read_request, conversation_set_request,
};

use super::PAGES_MAX;
use crate::{client::Client, error::GimError, message::Message, wire::Target};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// A user or a group.
    pub target: Target,
    /// Whether the group is a large one.
    pub is_large: bool,
    /// The newest message, with the number that it has in the history; none in a group where nothing was said since the user came into it.
    pub newest: Option<Message>,
    /// Whether the content of `newest` is long and was left out.
    pub is_content_left_out: bool,
    /// One line for what `newest` says, as [`crate::preview_of`] has it, also where the content was left out.
    pub preview: String,
    /// Which user said it; 0 for a backend, the server, and what is kept no longer.
    pub newest_sender_id: u64,
    /// When something was last said; in a group without a message when the user came into it.
    pub active_at_ms: i64,
    /// 100 means more than 99.
    pub unread: u32,
    /// How far this user has read: a `seq` with a user, a `group_seq` in a group; 0 for nothing.
    pub read_seq: u64,
    /// The message there.
    pub read_message_id: u64,
    /// How far the other user has read.
    pub peer_read_seq: u64,
    /// The message there.
    pub peer_read_message_id: u64,
    /// Before all others.
    pub is_pinned: bool,
    /// Without a sound.
    pub is_muted: bool,
    /// By the user.
    pub is_marked_unread: bool,
}

/// What is set of a conversation; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConversationFields {
    /// Before all others.
    pub is_pinned: Option<bool>,
    /// Without a sound.
    pub is_muted: Option<bool>,
    /// A read takes it away.
    pub is_marked_unread: Option<bool>,
    /// Out of the list until a newer message comes.
    pub is_hidden: Option<bool>,
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationPage {
    /// On the first page only, and in no other list.
    pub pinned: Vec<Conversation>,
    /// The one with the newest message first.
    pub conversations: Vec<Conversation>,
    /// None on the last page.
    pub next: Option<Bytes>,
}

/// Who of a group has read up to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readers {
    /// A page of them.
    pub user_ids: Vec<u64>,
    /// How many they are, on the first page: 1000 means more than 999.
    pub count: u32,
    /// None on the last page.
    pub next: Option<Bytes>,
}

/// See [`Client::conversations`].
#[derive(Debug, Clone, Copy)]
pub struct Conversations<'a> {
    pub(super) client: &'a Client,
}

impl Conversations<'_> {
    /// All of them: first those that are pinned, the one that was pinned last first; then the others, the one with the newest message
    /// first. One that gets a message meanwhile may come twice.
    pub async fn list(&self) -> Result<Vec<Conversation>, GimError> {
        let (mut all, mut after) = (Vec::new(), Bytes::new());
        for _ in 0..PAGES_MAX {
            let page = self.page(after).await?;
            all.extend(page.pinned);
            all.extend(page.conversations);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(all)
    }

    /// One page. `after` is the `next` of the page before, and empty for the first; a page may be empty although there are more.
    pub async fn page(&self, after: Bytes) -> Result<ConversationPage, GimError> {
        let request = ConversationListRequest { after, limit: 0, without_contents: false };
        let reply: ConversationListReply = self.client.rpc("logic.ConversationExtService/List", &request).await?;
        let convert = |found: Vec<logic::Conversation>| {
            found.into_iter().filter_map(|wire| conversation_of(wire, self.client.user_id())).collect()
        };
        Ok(ConversationPage {
            pinned: convert(reply.pinned),
            conversations: convert(reply.conversations),
            next: some(reply.next),
        })
    }

    /// The user's other devices are told.
    pub async fn set(&self, target: Target, fields: ConversationFields) -> Result<(), GimError> {
        let ConversationFields { is_pinned, is_muted, is_marked_unread, is_hidden } = fields;
        let peer = match target {
            Target::User(id) => Some(conversation_set_request::Peer::UserId(id)),
            Target::Group(id) => Some(conversation_set_request::Peer::GroupId(id)),
            Target::Room(_) => None,
        };
        let request = ConversationSetRequest { peer, is_pinned, is_muted, is_marked_unread, is_hidden };
        self.client.repeatable_rpc("logic.ConversationExtService/Set", &request).await
    }

    /// Says that the user has read up to a message. The other user is told, and the members of a group that is not too large, and the
    /// user's other devices. A position never goes back.
    pub async fn read(&self, target: Target, message_id: u64) -> Result<(), GimError> {
        let peer = match target {
            Target::User(id) => Some(conversation_read_request::Peer::UserId(id)),
            Target::Group(id) => Some(conversation_read_request::Peer::GroupId(id)),
            Target::Room(_) => None,
        };
        let request = ConversationReadRequest { peer, seq: 0, message_id };
        self.client.repeatable_rpc("logic.ConversationExtService/Read", &request).await
    }

    /// Who of a group has read up to a message, by pages.
    pub async fn readers(&self, group_id: u64, message_id: u64, after: Bytes) -> Result<Readers, GimError> {
        let request = ConversationReadersRequest { group_id, seq: 0, message_id, after, limit: 0 };
        let reply: ConversationReadersReply =
            self.client.repeatable_rpc("logic.ConversationExtService/Readers", &request).await?;
        let user_ids = reply.readers.iter().map(|reader| reader.user_id).collect();
        Ok(Readers { user_ids, count: reply.count, next: some(reply.next) })
    }

    /// Takes all messages up to now from this user's view, on all devices. The others keep theirs.
    pub async fn delete(&self, target: Target) -> Result<(), GimError> {
        let peer = match target {
            Target::User(id) => Some(conversation_delete_request::Peer::UserId(id)),
            Target::Group(id) => Some(conversation_delete_request::Peer::GroupId(id)),
            Target::Room(_) => None,
        };
        self.client.rpc("logic.ConversationExtService/Delete", &ConversationDeleteRequest { peer }).await
    }
}

fn some(next: Bytes) -> Option<Bytes> {
    (!next.is_empty()).then_some(next)
}

fn conversation_of(wire: logic::Conversation, own_user_id: u64) -> Option<Conversation> {
    let target = match wire.peer? {
        conversation::Peer::UserId(id) => Target::User(id),
        conversation::Peer::GroupId(id) => Target::Group(id),
    };
    Some(Conversation {
        target,
        is_large: wire.is_large,
        newest: wire.last_message.map(|message| Message::from_wire(&message, own_user_id)),
        is_content_left_out: wire.content_left_out,
        preview: wire.preview,
        newest_sender_id: wire.last_sender_id,
        active_at_ms: wire.active_at_ms,
        unread: wire.unread,
        read_seq: wire.read_seq,
        read_message_id: wire.read_message_id,
        peer_read_seq: wire.peer_read_seq,
        peer_read_message_id: wire.peer_read_message_id,
        is_pinned: wire.is_pinned,
        is_muted: wire.is_muted,
        is_marked_unread: wire.is_marked_unread,
    })
}
