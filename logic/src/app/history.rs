//! History: a conversation read backwards, as the caller's own inbox holds it.

use gim_proto::{
    check,
    logic::{HistoryReply, HistoryRequest, history_request::Peer},
};

use super::{
    App, Caller,
    sync::{GRPC_PAGE_BYTES_MAX, fitting},
};
use crate::{domain::message::Message, error::Error};

impl App {
    /// A page of what the caller and a peer said to each other, newest first. Nobody else's inbox is looked at, so there is
    /// nothing in it that the caller did not get.
    pub async fn history(&self, caller: Caller, request: HistoryRequest) -> Result<HistoryReply, Error> {
        let peer = request.peer.ok_or_else(|| check::invalid("peer", "must be set"))?;
        let before_seq = match request.before_seq {
            0 => check::ID_MAX,
            seq => check::id("before_seq", seq)?,
        };
        let page_max = self.messages.history_page_max;
        let limit = if request.limit == 0 { page_max } else { request.limit.min(page_max) };
        let found = match peer {
            Peer::UserId(peer_id) => {
                check::id("user_id", peer_id)?;
                self.store.inboxes.history(caller.user_id, peer_id, before_seq, limit + 1).await?
            }
            Peer::GroupId(group_id) => {
                check::id("group_id", group_id)?;
                return Err(Error::refused(
                    gim_proto::ResultCode::GroupNotFound,
                    format!("there is no group {group_id}"),
                ));
            }
        };
        Ok(page(found, limit))
    }
}

/// Of one message more than fits, the page and whether something is left.
fn page(found: Vec<(u64, Message)>, limit: u32) -> HistoryReply {
    let count = found.len();
    let page = found.into_iter().take(limit as usize);
    let mut messages: Vec<_> = page.map(|(seq, message)| message.to_wire_at(seq)).collect();
    messages.truncate(fitting(&messages, GRPC_PAGE_BYTES_MAX));
    HistoryReply { has_more: messages.len() < count, messages }
}
