//! History: a part of a conversation, from a number back or on, around a message, or from a time on. Between two users it is as the
//! caller's own inbox holds it, of a group its timeline.
//!
//! Always holds: of whatever conversation and from wherever, a page is read by one index, up to the bytes that it may have.

use std::{sync::Arc, time::Instant};

use gim_config::request_shares::RequestShares;
use gim_proto::{
    check, connect,
    logic::{HistoryExtent, HistoryReply, HistoryRequest},
};
use prost::Message as _;

use super::syncs::{PageFor, fitting, requests_of_page};
use crate::{
    domain::{
        caller::Caller,
        conversation::{Peer, checked, no_message},
        group::GroupRefusal,
        message::Message,
        message_id,
    },
    error::Error,
    store::{self, HistoryPart, Limit},
};

/// What it costs to count a conversation, in requests.
const REQUESTS_OF_EXTENT: u64 = 4;

/// What stands around the extent in a page.
const EXTENT_ENVELOPE_BYTES: usize = 2;

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
    pub(super) places: store::ConversationPlaces,
    pub(super) shares: Arc<RequestShares>,
}

/// Which part of a conversation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Before(u64),
    After(u64),
    Around(u64),
    From(i64),
}

/// A conversation, as the caller may read it.
#[derive(Debug, Clone, Copy)]
struct Readable {
    user_id: u64,
    peer: Peer,
    /// What came after this.
    after_seq: u64,
}

impl Histories {
    /// A page of a conversation, newest first: what the caller got of it, and nothing else.
    pub async fn read(
        &self,
        caller: Caller,
        request: HistoryRequest,
        page_for: PageFor,
    ) -> Result<HistoryReply, Error> {
        let peer = checked(request.peer)?;
        let asked = Asked::checked(&request)?;
        let messages = if request.limit == 0 { self.page_max } else { request.limit.min(self.page_max) };
        let mut limit = Limit { messages, bytes: page_for.bytes_max(self.packet_bytes_max) };
        let _turn = self.reads.turn(caller.user_id).await?;
        let readable = self.readable(caller.user_id, peer).await?;
        let mut extent = None;
        if request.with_extent {
            let (count, first_seq, last_seq) = self.places.extent(caller.user_id, peer, readable.after_seq).await?;
            let counted = HistoryExtent { count, first_seq, last_seq };
            limit.bytes = limit.bytes.saturating_sub(counted.encoded_len() + EXTENT_ENVELOPE_BYTES);
            extent = Some(counted);
            self.shares.charge(caller.user_id, REQUESTS_OF_EXTENT, Instant::now());
        }
        let page = HistoryReply { extent, ..self.page(readable, asked, limit).await? };
        self.shares.charge(caller.user_id, requests_of_page(&page), Instant::now());
        Ok(page)
    }

    async fn page(&self, readable: Readable, asked: Asked, limit: Limit) -> Result<HistoryReply, Error> {
        let Readable { user_id, peer, .. } = readable;
        match asked {
            Asked::Before(seq) => {
                let (messages, has_more) = self.part(readable, HistoryPart::before(seq), limit).await?;
                Ok(HistoryReply { messages, has_more, ..HistoryReply::default() })
            }
            Asked::After(seq) => self.page_after(readable, seq, limit).await,
            Asked::From(from_ms) => {
                let last_id_before = message_id::least_at(from_ms).saturating_sub(1);
                let seq = self.places.seek(user_id, peer, last_id_before).await?;
                self.page_after(readable, seq, limit).await
            }
            Asked::Around(message_id) => {
                let seq = self.places.find(user_id, peer, message_id).await?;
                let seq = seq.filter(|seq| *seq > readable.after_seq);
                let seq = seq.ok_or_else(|| no_message("around_message_id", message_id))?;
                self.page_around(readable, seq, limit).await
            }
        }
    }

    async fn page_after(&self, readable: Readable, seq: u64, limit: Limit) -> Result<HistoryReply, Error> {
        let (mut messages, has_newer) = self.part(readable, HistoryPart::after(seq), limit).await?;
        messages.reverse();
        Ok(HistoryReply { messages, has_newer, ..HistoryReply::default() })
    }

    /// The message at a number with those before it, in half of the bytes, and those after it in what is left.
    async fn page_around(&self, readable: Readable, seq: u64, limit: Limit) -> Result<HistoryReply, Error> {
        let older = Limit { messages: limit.messages.div_ceil(2), bytes: limit.bytes / 2 };
        let (mut messages, has_more) = self.part(readable, HistoryPart::before(seq + 1), older).await?;
        let bytes_left = limit.bytes.saturating_sub(messages.iter().map(bytes_in_page).sum());
        let newer = Limit { messages: limit.messages / 2, bytes: bytes_left };
        let (mut page, mut has_newer) = self.part(readable, HistoryPart::after(seq), newer).await?;
        if page.iter().map(bytes_in_page).sum::<usize>() > bytes_left {
            // The only one, which is too long.
            (page, has_newer) = (Vec::new(), true);
        }
        page.reverse();
        page.append(&mut messages);
        Ok(HistoryReply { messages: page, has_more, has_newer, extent: None })
    }

    /// Messages of a part, in the order in which it is read, and whether there are more; at least one, if there is one.
    async fn part(
        &self,
        readable: Readable,
        part: HistoryPart,
        limit: Limit,
    ) -> Result<(Vec<connect::Message>, bool), Error> {
        let part = part.beyond(readable.after_seq);
        // One more than fits tells whether there are more.
        let read = Limit { messages: limit.messages + 1, ..limit };
        let (found, to_wire): (_, fn(&Message, u64) -> connect::Message) = match readable.peer {
            Peer::User(peer_id) => {
                (self.inboxes.history(readable.user_id, peer_id, part, read).await?, Message::to_wire_at)
            }
            Peer::Group(group_id) => (self.groups.history(group_id, part, read).await?, Message::to_wire_in_timeline),
        };
        let count = found.len();
        let page = found.into_iter().take(limit.messages as usize);
        let mut messages: Vec<_> = page.map(|(seq, message)| to_wire(&message, seq)).collect();
        messages.truncate(fitting(&messages, limit.bytes));
        let has_more = messages.len() < count;
        Ok((messages, has_more))
    }

    /// What the caller may read: what came after joining, and after what was deleted.
    async fn readable(&self, user_id: u64, peer: Peer) -> Result<Readable, Error> {
        let joined_after = match peer {
            Peer::User(_) => 0,
            Peer::Group(group_id) => {
                let joined_after = self.groups.joined_after(group_id, user_id).await?;
                joined_after.ok_or(GroupRefusal::NotInGroup(group_id))?
            }
        };
        let states = self.conversations.states(user_id, &[peer]).await?;
        let cleared = states.get(&peer).map_or(0, |state| state.cleared_seq);
        Ok(Readable { user_id, peer, after_seq: joined_after.max(cleared) })
    }
}

impl Asked {
    /// As a request says it: in one field, or in none, which stands for the newest messages.
    fn checked(request: &HistoryRequest) -> Result<Self, Error> {
        let HistoryRequest { before_seq, after_seq, around_message_id, from_ms, .. } = *request;
        let said = [before_seq > 0, after_seq.is_some(), around_message_id > 0, from_ms != 0];
        if said.into_iter().filter(|is_said| *is_said).count() > 1 {
            let problem = "only one of before_seq, after_seq, around_message_id and from_ms may be set";
            return Err(check::invalid("before_seq", problem).into());
        }
        Ok(match after_seq {
            Some(0) => Self::After(0),
            Some(seq) => Self::After(check::id("after_seq", seq)?),
            None if before_seq > 0 => Self::Before(check::id("before_seq", before_seq)?),
            None if around_message_id > 0 => Self::Around(check::id("around_message_id", around_message_id)?),
            None if from_ms < 0 => return Err(check::invalid("from_ms", "must not be negative").into()),
            None if from_ms > 0 => Self::From(from_ms),
            None => Self::Before(check::ID_MAX),
        })
    }
}

/// What a message takes of a page, with what stands around it.
fn bytes_in_page(message: &connect::Message) -> usize {
    message.encoded_len() + 6
}
