//! A user's conversations: a list of them, and what the user sets of each. The list is made of what messages left anyway.
//!
//! Always holds: a page of the list costs a bounded number of statements, each with a bound, however much the user has; what is set is
//! durable before it is answered and before other devices are told.

use std::collections::HashMap;

use gim_proto::{
    ResultCode, check,
    connect::MessageCommand,
    logic::{
        Conversation, ConversationDeleteRequest, ConversationListReply, ConversationListRequest, ConversationPush,
        ConversationSetRequest, conversation as wire, conversation_push,
    },
};

use super::events::Events;
use crate::{
    domain::{
        caller::Caller,
        clock,
        conversation::{Cursor, Head, Peer, checked, merge},
        group::GroupRefusal,
        message::Message,
        message_id,
    },
    error::Error,
    settings::ConversationSettings,
    store::{
        self,
        conversation::{Change, Shown, State},
    },
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Conversations {
    pub(super) settings: ConversationSettings,
    pub(super) reads: store::UserReads,
    pub(super) heads: store::ConversationHeads,
    pub(super) conversations: store::Conversations,
    pub(super) events: Events,
}

impl Conversations {
    /// A page of the caller's conversations, the one with the newest message first.
    pub async fn list(&self, caller: Caller, request: ConversationListRequest) -> Result<ConversationListReply, Error> {
        let from = Cursor::decode(&request.after);
        let from = from.ok_or_else(|| check::invalid("after", "is not what a reply said in `next`"))?;
        let page_max = self.settings.page_max;
        let limit = if request.limit == 0 { page_max } else { request.limit.min(page_max) };
        let user_id = caller.user_id;
        let _turn = self.reads.turn(user_id).await?;
        let groups = self.heads.groups(user_id).await?;
        let direct = self.heads.users(user_id, from.before_seq, limit + 1).await?;
        let pinned = if from == Cursor::START { self.pinned(user_id, &groups).await? } else { Vec::new() };
        let (page, next) = merge(direct, groups, from, limit as usize);

        let mut described = self.describe(user_id, &[&pinned[..], &page[..]].concat()).await?;
        let mut of = |heads: Vec<Head>, is_pinned: bool| {
            let found = heads.into_iter().filter_map(|head| described.remove(&head.peer));
            found.filter(|conversation| conversation.is_pinned == is_pinned).collect()
        };
        let pinned = of(pinned, true);
        let conversations = of(page, false);
        Ok(ConversationListReply { conversations, next: next.map_or_else(Vec::new, Cursor::encode).into(), pinned })
    }

    /// What the caller pinned, in that order.
    async fn pinned(&self, user_id: u64, groups: &[Head]) -> Result<Vec<Head>, Error> {
        let peers = self.conversations.pinned(user_id, self.settings.pinned_max).await?;
        let user_ids: Vec<u64> = peers.iter().filter(|peer| !peer.is_group()).map(|peer| peer.id()).collect();
        let users = self.heads.users_named(user_id, &user_ids).await?;
        let heads = users.iter().chain(groups).map(|head| (head.peer, *head)).collect::<HashMap<_, _>>();
        Ok(peers.iter().filter_map(|peer| heads.get(peer).copied()).collect())
    }

    /// Everything about conversations, but for those that are hidden or deleted.
    async fn describe(&self, user_id: u64, heads: &[Head]) -> Result<HashMap<Peer, Conversation>, Error> {
        let peers: Vec<Peer> = heads.iter().map(|head| head.peer).collect();
        let states = self.conversations.states(user_id, &peers).await?;
        let state_of = |head: &Head| states.get(&head.peer).copied().unwrap_or_default();
        let seen: Vec<&Head> = heads.iter().filter(|head| is_seen(head, &state_of(head))).collect();
        let unread_after = |head: &&Head| (head.peer, state_of(head).read.0.max(state_of(head).cleared_seq));
        let with_news: Vec<(Peer, u64)> =
            seen.iter().filter(|head| head.seq > unread_after(head).1).map(unread_after).collect();
        let unread = self.conversations.unread(user_id, &with_news).await?;
        let message_ids: Vec<u64> = seen.iter().filter(|head| head.seq > 0).map(|head| head.message_id).collect();
        let shown = self.conversations.shown(&message_ids).await?;
        let describe = |head: &Head| {
            let unread = unread.get(&head.peer).copied().unwrap_or(0);
            (head.peer, to_wire(head, &state_of(head), unread, shown.get(&head.message_id)))
        };
        Ok(seen.into_iter().map(describe).collect())
    }

    /// Changes what the caller set of a conversation, and tells the caller's other devices.
    pub async fn set(&self, caller: Caller, request: ConversationSetRequest) -> Result<(), Error> {
        let ConversationSetRequest { peer, is_pinned, is_muted, is_marked_unread, is_hidden } = request;
        let peer = checked(peer)?;
        let head = self.head(caller.user_id, peer).await?;
        if is_pinned == Some(true) {
            self.check_pins(caller.user_id, peer).await?;
        }
        let change = Change {
            pinned_at_ms: is_pinned.map(|is_pinned| if is_pinned { clock::now_ms() } else { 0 }),
            is_muted,
            is_marked_unread,
            hidden_before_seq: is_hidden.map(|is_hidden| if is_hidden { head.seq + 1 } else { 0 }),
            cleared_seq: None,
        };
        self.conversations.change(caller.user_id, peer, change).await?;
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
        self.conversations.change(caller.user_id, peer, change).await?;
        let push = ConversationPush {
            is_pinned: Some(false),
            is_marked_unread: Some(false),
            deleted_up_to_seq: head.seq,
            ..ConversationPush::default()
        };
        self.tell(caller, peer, push).await;
        Ok(())
    }

    async fn check_pins(&self, user_id: u64, peer: Peer) -> Result<(), Error> {
        let pinned_max = self.settings.pinned_max;
        let pinned = self.conversations.pinned(user_id, pinned_max).await?;
        if pinned.len() >= pinned_max as usize && !pinned.contains(&peer) {
            return Err(Error::refused(ResultCode::NotAllowed, format!("at most {pinned_max} can be pinned")));
        }
        Ok(())
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
        self.events.tell(caller, vec![caller.user_id], MessageCommand::McConversation as i32, &push).await;
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
    Conversation {
        peer: Some(peer),
        is_large: head.is_large,
        content_left_out: shown.is_some_and(|shown| shown.is_content_left_out),
        active_at_ms: last_message
            .as_ref()
            .map_or_else(|| message_id::time_ms(head.message_id), |message| message.created_at_ms),
        last_message,
        unread,
        read_seq: state.read.0,
        read_message_id: state.read.1,
        peer_read_seq: state.peer_read.0,
        peer_read_message_id: state.peer_read.1,
        is_pinned: state.pinned_at_ms > 0,
        is_muted: state.is_muted,
        is_marked_unread: state.is_marked_unread,
    }
}
