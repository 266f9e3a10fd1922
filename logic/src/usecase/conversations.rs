//! A user's conversations: a list of them, and what the user sets of each. The list is made of what messages left anyway.
//!
//! Always holds: a page of the list costs a bounded number of statements, each with a bound, however much the user has, and two of them
//! at most run at once; what is set is durable before it is answered and before other devices are told.

use std::collections::{HashMap, HashSet};

use futures_util::try_join;
use gim_proto::{
    ResultCode, check,
    connect::MessageCommand,
    logic::{
        Conversation, ConversationDeleteRequest, ConversationListReply, ConversationListRequest, ConversationPush,
        ConversationSetRequest, conversation as wire, conversation_push,
    },
};
use prost::Message as _;

use super::{device_news::DeviceNews, syncs::PageFor};
use crate::{
    domain::{
        caller::Caller,
        clock,
        conversation::{Cursor, Head, Peer, checked, merge},
        group::GroupRefusal,
        message::Message,
        message_id,
        preview::preview_of,
    },
    error::Error,
    settings::ConversationSettings,
    store::{
        self,
        conversation::{Change, ChangeOutcome, Shown, State},
    },
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Conversations {
    pub(super) settings: ConversationSettings,
    /// Bytes in a page on a long connection.
    pub(super) packet_bytes_max: usize,
    pub(super) reads: store::UserReads,
    pub(super) heads: store::ConversationHeads,
    pub(super) conversations: store::Conversations,
    pub(super) news: DeviceNews,
}

impl Conversations {
    /// A page of the caller's conversations, the one with the newest message first.
    pub async fn list(
        &self,
        caller: Caller,
        request: ConversationListRequest,
        page_for: PageFor,
    ) -> Result<ConversationListReply, Error> {
        let from = Cursor::decode(&request.after);
        let from = from.ok_or_else(|| check::invalid("after", "is not what a reply said in `next`"))?;
        let page_max = self.settings.page_max;
        let limit = if request.limit == 0 { page_max } else { request.limit.min(page_max) };
        let user_id = caller.user_id;
        let _turn = self.reads.turn(user_id).await?;
        let users = async { Ok(self.heads.users(user_id, from.before_seq, limit + 1).await?) };
        let (direct, (groups, pinned)) = try_join!(users, self.groups_and_pinned(user_id))?;
        let pinned_peers: HashSet<Peer> = pinned.iter().map(|head| head.peer).collect();
        let pinned = if from == Cursor::START { pinned } else { Vec::new() };
        let (page, next) = merge(direct, groups, from, limit as usize);
        let is_other = |head: &&Head| !pinned_peers.contains(&head.peer);
        let others: Vec<Head> = page.iter().filter(is_other).copied().collect();

        let mut described =
            self.describe(user_id, &[&pinned[..], &others[..]].concat(), !request.without_contents).await?;
        let bytes_max = page_for.bytes_max(self.packet_bytes_max);
        let mut bytes_left = bytes_max;
        let mut reply = ConversationListReply::default();
        for head in &pinned {
            let Some(conversation) = described.remove(&head.peer) else { continue };
            // Half of the page is for the others.
            let bytes_of_pinned = bytes_left.saturating_sub(bytes_max / 2);
            let conversation = shortened(Conversation { is_pinned: true, ..conversation }, bytes_of_pinned);
            bytes_left = bytes_left.saturating_sub(bytes_in_page(&conversation));
            reply.pinned.push(conversation);
        }
        let mut fitting = page.len();
        for (index, head) in page.iter().enumerate() {
            let Some(conversation) = described.remove(&head.peer) else { continue };
            let bytes = bytes_in_page(&conversation);
            if bytes > bytes_left && !reply.conversations.is_empty() {
                fitting = index;
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            reply.conversations.push(Conversation { is_pinned: false, ..conversation });
        }
        let next = if fitting < page.len() { Some(from.behind(&page[..fitting])) } else { next };
        reply.next = next.map_or_else(Vec::new, Cursor::encode).into();
        Ok(reply)
    }

    /// How much is unread in the conversations that the first page of a list has.
    pub async fn unread_total(&self, user_id: u64) -> Result<u32, Error> {
        let limit = self.settings.page_max;
        let _turn = self.reads.turn(user_id).await?;
        let users = async { Ok::<_, Error>(self.heads.users(user_id, Cursor::START.before_seq, limit + 1).await?) };
        let groups = async { Ok(self.heads.groups(user_id).await?) };
        let (direct, groups) = try_join!(users, groups)?;
        let (page, _) = merge(direct, groups, Cursor::START, limit as usize);
        let described = self.describe(user_id, &page, false).await?;
        Ok(described.values().map(|conversation| conversation.unread).sum())
    }

    /// The caller's groups, and what the caller pinned, in that order.
    async fn groups_and_pinned(&self, user_id: u64) -> Result<(Vec<Head>, Vec<Head>), Error> {
        let groups = self.heads.groups(user_id).await?;
        let peers = self.conversations.pinned(user_id, self.settings.pinned_max).await?;
        let user_ids: Vec<u64> = peers.iter().filter(|peer| !peer.is_group()).map(|peer| peer.id()).collect();
        let users = self.heads.users_named(user_id, &user_ids).await?;
        let heads = users.iter().chain(&groups).map(|head| (head.peer, *head)).collect::<HashMap<_, _>>();
        let pinned = peers.iter().filter_map(|peer| heads.get(peer).copied()).collect();
        Ok((groups, pinned))
    }

    /// Everything about conversations, but for those that are hidden or deleted.
    async fn describe(
        &self,
        user_id: u64,
        heads: &[Head],
        with_contents: bool,
    ) -> Result<HashMap<Peer, Conversation>, Error> {
        let peers: Vec<Peer> = heads.iter().map(|head| head.peer).collect();
        let message_ids: Vec<u64> = heads.iter().filter(|head| head.seq > 0).map(|head| head.message_id).collect();
        let (states, shown) =
            try_join!(self.conversations.states(user_id, &peers), self.conversations.shown(&message_ids))?;
        let state_of = |head: &Head| states.get(&head.peer).copied().unwrap_or_default();
        let seen: Vec<&Head> = heads.iter().filter(|head| is_seen(head, &state_of(head))).collect();
        let unread_after = |head: &&Head| (head.peer, state_of(head).read.0.max(state_of(head).cleared_seq));
        // After what the user wrote herself nothing is unread.
        let is_own = |head: &Head| shown.get(&head.message_id).is_some_and(|shown| shown.message.sender_id == user_id);
        let has_news = |head: &&&Head| head.seq > unread_after(head).1 && !is_own(head);
        let with_news: Vec<(Peer, u64)> = seen.iter().filter(has_news).map(unread_after).collect();
        let unread = self.conversations.unread(user_id, &with_news).await?;
        let describe = |head: &Head| {
            let unread = unread.get(&head.peer).copied().unwrap_or(0);
            let conversation = to_wire(head, &state_of(head), unread, shown.get(&head.message_id));
            (head.peer, if with_contents { conversation } else { without_content(conversation) })
        };
        Ok(seen.into_iter().map(describe).collect())
    }

    /// Changes what the caller set of a conversation, and tells the caller's other devices.
    pub async fn set(&self, caller: Caller, request: ConversationSetRequest) -> Result<(), Error> {
        let ConversationSetRequest { peer, is_pinned, is_muted, is_marked_unread, is_hidden } = request;
        let peer = checked(peer)?;
        let found = self.head(caller.user_id, peer).await;
        let is_unpinned_alone = (is_pinned, is_muted, is_marked_unread, is_hidden) == (Some(false), None, None, None);
        let head = match found {
            Err(Error::Refused(_)) if is_unpinned_alone && self.is_known(caller.user_id, peer).await? => None,
            found => Some(found?),
        };
        let change = Change {
            pinned_at_ms: is_pinned.map(|is_pinned| if is_pinned { clock::now_ms() } else { 0 }),
            is_muted,
            is_marked_unread,
            hidden_before_seq: is_hidden.map(|is_hidden| head.filter(|_| is_hidden).map_or(0, |head| head.seq + 1)),
            cleared_seq: None,
        };
        self.change(caller.user_id, peer, change).await?;
        let push = ConversationPush { is_pinned, is_muted, is_marked_unread, is_hidden, ..ConversationPush::default() };
        self.tell(caller, peer, push).await;
        Ok(())
    }

    /// Takes all messages of a conversation from the caller's view, and tells the caller's other devices.
    pub async fn delete(&self, caller: Caller, request: ConversationDeleteRequest) -> Result<(), Error> {
        let peer = checked(request.peer)?;
        let head = self.head(caller.user_id, peer).await?;
        let change = Change {
            pinned_at_ms: Some(0),
            is_muted: None,
            is_marked_unread: Some(false),
            hidden_before_seq: Some(head.seq + 1),
            cleared_seq: Some(head.seq),
        };
        self.change(caller.user_id, peer, change).await?;
        let push = ConversationPush {
            is_pinned: Some(false),
            is_marked_unread: Some(false),
            deleted_up_to_seq: head.seq,
            ..ConversationPush::default()
        };
        self.tell(caller, peer, push).await;
        Ok(())
    }

    async fn change(&self, user_id: u64, peer: Peer, change: Change) -> Result<(), Error> {
        let pinned_max = self.settings.pinned_max;
        match self.conversations.change(user_id, peer, change, pinned_max).await? {
            ChangeOutcome::Changed => Ok(()),
            ChangeOutcome::TooManyPinned => {
                Err(Error::refused(ResultCode::NotAllowed, format!("at most {pinned_max} can be pinned")))
            }
        }
    }

    /// Whether the user set something of it when it was one of hers.
    async fn is_known(&self, user_id: u64, peer: Peer) -> Result<bool, Error> {
        Ok(self.conversations.states(user_id, &[peer]).await?.contains_key(&peer))
    }

    async fn head(&self, user_id: u64, peer: Peer) -> Result<Head, Error> {
        let _turn = self.reads.turn(user_id).await?;
        match peer {
            Peer::User(peer_id) => {
                let head = self.heads.users_named(user_id, &[peer_id]).await?.pop();
                head.ok_or_else(|| no_conversation(peer_id))
            }
            Peer::Group(group_id) => {
                let head = self.heads.group(user_id, group_id).await?;
                Ok(head.ok_or(GroupRefusal::NotInGroup(group_id))?)
            }
        }
    }

    async fn tell(&self, caller: Caller, peer: Peer, push: ConversationPush) {
        let peer = match peer {
            Peer::User(user_id) => conversation_push::Peer::UserId(user_id),
            Peer::Group(group_id) => conversation_push::Peer::GroupId(group_id),
        };
        let push = ConversationPush { peer: Some(peer), ..push };
        self.news.tell(caller, vec![caller.user_id], MessageCommand::McConversation as i32, &push).await;
    }
}

/// Nothing was said between the two, in either direction.
fn no_conversation(peer_id: u64) -> Error {
    check::invalid("user_id", format!("there is no conversation with user {peer_id}")).into()
}

/// Whether it is in a list: neither deleted nor hidden, or something came after that.
fn is_seen(head: &Head, state: &State) -> bool {
    head.seq >= state.hidden_before_seq && (head.seq == 0 || head.seq > state.cleared_seq)
}

/// Without what its last message says, where that does not fit: what is pinned is in the first page, all of it.
fn shortened(conversation: Conversation, bytes_max: usize) -> Conversation {
    if bytes_in_page(&conversation) > bytes_max { without_content(conversation) } else { conversation }
}

fn without_content(mut conversation: Conversation) -> Conversation {
    if let Some(message) = &mut conversation.last_message
        && !message.content.is_empty()
    {
        message.content.clear();
        conversation.content_left_out = true;
    }
    conversation
}

/// What a conversation takes of a page, with what stands around it.
fn bytes_in_page(conversation: &Conversation) -> usize {
    conversation.encoded_len() + 6
}

fn to_wire(head: &Head, state: &State, unread: u32, shown: Option<&Shown>) -> Conversation {
    let peer = match head.peer {
        Peer::User(user_id) => wire::Peer::UserId(user_id),
        Peer::Group(group_id) => wire::Peer::GroupId(group_id),
    };
    let numbered = |message: &Message| match head.peer {
        Peer::User(_) => message.to_wire_at(head.seq),
        Peer::Group(_) => message.to_wire_in_timeline(head.seq),
    };
    let last_message = (head.seq > 0).then(|| match shown {
        Some(shown) => numbered(&shown.message),
        None => numbered(&Message::expired(head.message_id)),
    });
    let conversation = Conversation {
        peer: Some(peer),
        is_large: head.is_large,
        content_left_out: false,
        last_sender_id: shown.map_or(0, |shown| shown.message.sender_id),
        preview: shown.map_or_else(String::new, |shown| preview_of(&shown.message)),
        active_at_ms: last_message
            .as_ref()
            .map_or_else(|| message_id::time_ms(head.message_id), |message| message.created_at_ms),
        last_message,
        unread,
        read_seq: state.read.0,
        read_message_id: state.read.1,
        peer_read_seq: state.peer_read.0,
        peer_read_message_id: state.peer_read.1,
        // The list knows: not all that were pinned count as pinned.
        is_pinned: false,
        is_muted: state.is_muted,
        is_marked_unread: state.is_marked_unread,
    };
    if shown.is_some_and(|shown| shown.is_long) { without_content(conversation) } else { conversation }
}
