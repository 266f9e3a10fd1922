//! Sync and ack: what a device missed, and how far it has read.
//!
//! Shared by tasks of Tokio, with nothing of its own that changes. Always holds: a page has no gap after the seq that it begins after, and
//! an ack beyond the newest message is refused.

use std::{sync::Arc, time::Instant};

use gim_config::request_shares::RequestShares;
use gim_proto::{
    check::{self, ID_MAX},
    logic::{MessageAckRequest, SyncReply, SyncRequest},
};
use prost::Message as _;

use crate::{
    domain::{
        caller::Caller,
        message::Message,
        refusal::{Numbered, Refusal},
    },
    error::Error,
    store::{
        self, Limit,
        work::{Ack, AckOutcome},
        writer::{PendingCommit, Writer},
    },
};

/// Messages in a page.
const PAGE_MESSAGES: u32 = 50;

/// Bytes in a page over gRPC, below what its clients accept in one message.
const GRPC_PAGE_BYTES_MAX: usize = 3 << 20;

/// A page of so many bytes costs its reader's share another request.
const BYTES_PER_REQUEST: usize = 16 << 10;

/// Where a page goes to.
#[derive(Debug, Clone, Copy)]
pub enum PageFor {
    /// A gRPC caller.
    Grpc,
    /// A packet on a long connection.
    Packet,
}

impl PageFor {
    /// Bytes of messages in a page.
    pub(super) fn bytes_max(self, packet_bytes_max: usize) -> usize {
        match self {
            Self::Grpc => GRPC_PAGE_BYTES_MAX,
            Self::Packet => packet_bytes_max,
        }
    }
}

/// What a reply has left for the pages of groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpaceLeft {
    pub bytes: usize,
    /// Whether nothing else is in the reply, so that one message may be longer.
    pub is_whole: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Syncs {
    /// Bytes in a page on a long connection.
    pub(super) packet_bytes_max: usize,
    pub(super) reads: store::UserReads,
    pub(super) inboxes: store::Inboxes,
    pub(super) groups: store::Groups,
    pub(super) shares: Arc<RequestShares>,
    pub(super) writer: Writer,
}

impl Syncs {
    /// A page of the caller's inbox.
    pub async fn sync(&self, caller: Caller, request: SyncRequest, page_for: PageFor) -> Result<SyncReply, Error> {
        let _turn = self.reads.turn(caller.user_id).await?;
        let inboxes = &self.inboxes;
        if request.seq > ID_MAX {
            return Err(check::invalid("seq", format!("must be from 0 to {ID_MAX}")).into());
        }
        let seq = match request.seq {
            0 if request.from_start => 0,
            0 => inboxes.largest_ack(caller.user_id).await?,
            seq => seq,
        };
        let bytes_max = page_for.bytes_max(self.packet_bytes_max);
        let limit = Limit { messages: PAGE_MESSAGES + 1, bytes: bytes_max };
        let page = inboxes.page(caller.user_id, seq, limit).await?;
        let (page, start_seq) = match page.first().map(|(first_seq, _)| first_seq - 1) {
            Some(start_seq) => (page, start_seq),
            None => self.page_behind_what_is_gone(caller.user_id, seq, limit).await?,
        };
        let count = page.len();
        let page = page.into_iter().take(PAGE_MESSAGES as usize);
        let mut messages: Vec<_> = page.map(|(seq, message)| message.to_wire_at(seq)).collect();
        messages.truncate(fitting(&messages, bytes_max));
        let mut reply = SyncReply { has_more: messages.len() < count, messages, ..SyncReply::default() };
        if start_seq != request.seq {
            reply.start_seq = start_seq;
        }
        if request.large_groups {
            let bytes_left = bytes_max.saturating_sub(reply.encoded_len());
            let space = SpaceLeft { bytes: bytes_left, is_whole: reply.messages.is_empty() };
            let groups = self.sync_groups(caller, &request.group_cursors, request.from_start, space).await?;
            (reply.groups, reply.groups_have_more) = groups;
        }
        self.shares.charge(caller.user_id, requests_of_page(&reply), Instant::now());
        Ok(reply)
    }

    /// The page after `seq` where there was none, and after which seq it begins: the newest one that was there before the
    /// inbox was looked at once more, for what came between must not be passed over.
    async fn page_behind_what_is_gone(
        &self,
        user_id: u64,
        seq: u64,
        limit: Limit,
    ) -> Result<(Vec<(u64, Message)>, u64), Error> {
        let newest_seq = self.inboxes.newest_seq(user_id).await?;
        if seq > newest_seq {
            return Err(beyond("seq", seq, newest_seq));
        }
        if seq == newest_seq {
            return Ok((Vec::new(), seq));
        }
        let page = self.inboxes.page(user_id, seq, limit).await?;
        let start_seq = page.first().map_or(newest_seq, |(first_seq, _)| first_seq - 1);
        Ok((page, start_seq))
    }

    /// Takes acks on; [`Syncs::finish_ack`] waits for them.
    pub async fn submit_ack(&self, caller: Caller, request: &MessageAckRequest) -> Result<SubmittedAck, Error> {
        let seq = request.device_ack;
        if seq != 0 || request.group_acks.is_empty() {
            check::id("device_ack", seq)?;
        }
        let mut submitted = SubmittedAck { of_groups: None, of_device: None };
        if !request.group_acks.is_empty() {
            match self.submit_group_acks(caller, &request.group_acks).await? {
                Ok(pending) => submitted.of_groups = Some(pending),
                Err(refusal) if seq == 0 => return Err(refusal.into()),
                Err(_) => {}
            }
        }
        if seq != 0 {
            let ack = Ack { user_id: caller.user_id, device_id: caller.device_id, seq };
            submitted.of_device = Some((seq, self.writer.submit_ack(ack)?));
        }
        Ok(submitted)
    }

    /// Waits until acks are noted.
    pub async fn finish_ack(submitted: SubmittedAck) -> Result<(), Error> {
        if let Some(pending) = submitted.of_groups {
            pending.committed().await?;
        }
        if let Some((seq, pending)) = submitted.of_device
            && let AckOutcome::Beyond { newest_seq } = pending.committed().await?
        {
            return Err(beyond("device_ack", seq, newest_seq));
        }
        Ok(())
    }
}

/// Requests that a page costs besides its own.
pub(super) fn requests_of_page(page: &impl prost::Message) -> u64 {
    (page.encoded_len() / BYTES_PER_REQUEST) as u64
}

/// Acks that wait for their commit.
#[derive(Debug)]
pub struct SubmittedAck {
    of_groups: Option<PendingCommit<()>>,
    /// Up to which seq, and its commit.
    of_device: Option<(u64, PendingCommit<AckOutcome>)>,
}

fn beyond(field: &'static str, seq: u64, newest_seq: u64) -> Error {
    Refusal::BeyondNewest { field, seq, of: Numbered::Inbox, newest_seq }.into()
}

/// How many messages fit; at least one, or nobody would get past it.
pub(super) fn fitting(messages: &[gim_proto::connect::Message], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |message: &&gim_proto::connect::Message| {
        bytes += message.encoded_len() + 6;
        bytes <= bytes_max
    };
    messages.iter().take_while(fits).count().max(1).min(messages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_to_its_bytes_but_holds_something() {
        let message = |bytes: usize| gim_proto::connect::Message {
            content: vec![0; bytes].into(),
            ..gim_proto::connect::Message::default()
        };
        assert_eq!(fitting(&[], 100), 0);
        assert_eq!(fitting(&[message(500)], 100), 1);
        assert_eq!(fitting(&[message(30), message(30), message(30)], 100), 2);
    }
}
