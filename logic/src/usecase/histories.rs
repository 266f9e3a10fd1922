//! History: a conversation read backwards: between two users as the caller's own inbox holds it, of a group its timeline.

use std::{sync::Arc, time::Instant};

use gim_config::request_shares::RequestShares;
use gim_proto::{
    check, connect,
    logic::{HistoryReply, HistoryRequest, history_request},
};

use super::syncs::{PageFor, fitting, requests_of_page};
use crate::{
    domain::{caller::Caller, conversation::Peer, group::GroupRefusal, message::Message},
    error::Error,
    store::{self, Limit},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Histories {
    /// Messages in a page where the client does not say, or asks for more.
    pub(super) page_max: u32,
    /// Bytes in a page on a long connection.
    pub(super) packet_bytes_max: usize,
    pub(super) reads: store::UserReads,
    pub(super) inboxes: store::Inboxes,
    pub(super) groups: store::Groups,
    pub(super) conversations: store::Conversations,
    pub(super) shares: Arc<RequestShares>,
}

impl Histories {
    /// A page of a conversation, newest first: what the caller got of it, and nothing else.
    pub async fn read(
        &self,
        caller: Caller,
        request: HistoryRequest,
        page_for: PageFor,
    ) -> Result<HistoryReply, Error> {
        let peer = request.peer.ok_or_else(|| check::invalid("peer", "must be set"))?;
        let before_seq = match request.before_seq {
            0 => check::ID_MAX,
            seq => check::id("before_seq", seq)?,
        };
        let page_max = self.page_max;
        let limit = if request.limit == 0 { page_max } else { request.limit.min(page_max) };
        let read = Limit { messages: limit + 1, bytes: page_for.bytes_max(self.packet_bytes_max) };
        let _turn = self.reads.turn(caller.user_id).await?;
        let page = match peer {
            history_request::Peer::UserId(peer_id) => {
                check::id("user_id", peer_id)?;
                let cleared_seq = self.cleared_seq(caller, Peer::User(peer_id)).await?;
                let mut found = self.inboxes.history(caller.user_id, peer_id, before_seq, read).await?;
                found.retain(|(seq, _)| *seq > cleared_seq);
                page(found, limit, read.bytes, Message::to_wire_at)
            }
            history_request::Peer::GroupId(group_id) => {
                check::id("group_id", group_id)?;
                let joined_after = self.joined_after(caller, group_id).await?;
                let after_seq = joined_after.max(self.cleared_seq(caller, Peer::Group(group_id)).await?);
                let found = self.groups.history(group_id, after_seq, before_seq, read).await?;
                page(found, limit, read.bytes, Message::to_wire_in_timeline)
            }
        };
        self.shares.charge(caller.user_id, requests_of_page(&page), Instant::now());
        Ok(page)
    }

    /// Up to where the caller deleted a conversation.
    async fn cleared_seq(&self, caller: Caller, peer: Peer) -> Result<u64, Error> {
        let states = self.conversations.states(caller.user_id, &[peer]).await?;
        Ok(states.get(&peer).map_or(0, |state| state.cleared_seq))
    }

    async fn joined_after(&self, caller: Caller, group_id: u64) -> Result<u64, Error> {
        let joined_after = self.groups.joined_after(group_id, caller.user_id).await?;
        Ok(joined_after.ok_or(GroupRefusal::NotInGroup(group_id))?)
    }
}

/// Of one message more than fits, the page and whether something is left.
fn page(
    found: Vec<(u64, Message)>,
    limit: u32,
    bytes_max: usize,
    to_wire: fn(&Message, u64) -> connect::Message,
) -> HistoryReply {
    let count = found.len();
    let page = found.into_iter().take(limit as usize);
    let mut messages: Vec<_> = page.map(|(seq, message)| to_wire(&message, seq)).collect();
    messages.truncate(fitting(&messages, bytes_max));
    HistoryReply { has_more: messages.len() < count, messages }
}
