//! What the tasks of one stream share: the use cases, the queues in which its items wait, and the way back down.
//!
//! Any task of the stream. Always holds: a sign-out that overtakes its sign-in is remembered until that ends.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use gim_config::ready::ReadyPart;
use gim_proto::{
    ResultCode,
    connect::Reply,
    logic::{ClientPacket, PacketReply, RoomSubscribed, SignOut, down_item::Item},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::{calls::Calls, room_queue::RoomQueue, user_queues::UserQueues};
use crate::{
    delivery::{
        catch_up::CatchUp,
        nodes::{NodeLink, Nodes},
    },
    settings::LimitSettings,
    usecase::UseCases,
};

/// What the streams of conn nodes work with.
#[derive(Debug)]
pub struct LinkParts {
    /// The name of this logic node.
    pub node: String,
    /// What conn nodes have to let in, and no more.
    pub limits: LimitSettings,
    /// The attached nodes.
    pub nodes: Arc<Nodes>,
    /// Ready while this node shares what it has to with other logic nodes; meanwhile nobody is let in.
    pub companions: ReadyPart,
    /// What they are told in place of messages that did not reach them.
    pub catch_up: CatchUp,
    /// What their items ask for.
    pub use_cases: Arc<UseCases>,
    /// What their clients call.
    pub calls: Calls,
}

/// What the tasks of a stream share.
pub(super) struct Context {
    pub parts: Arc<LinkParts>,
    pub link: Arc<NodeLink>,
    pub tasks: TaskTracker,
    pub sign_ins: SignInsUnderWay,
    pub user_queues: UserQueues<QueuedItem>,
    pub room_queue: RoomQueue<QueuedItem>,
}

/// What has to be done one after the other.
pub(super) enum QueuedItem {
    Packet(ClientPacket, OwnedSemaphorePermit),
    SignOut(SignOut),
    Interest { room_id: u64, interested: bool },
}

impl Context {
    pub(super) fn new(parts: Arc<LinkParts>, link: Arc<NodeLink>) -> Self {
        let (sign_ins, user_queues) = (SignInsUnderWay::default(), UserQueues::default());
        Self { parts, link, tasks: TaskTracker::new(), sign_ins, user_queues, room_queue: RoomQueue::default() }
    }

    pub(super) fn use_cases(&self) -> &UseCases {
        &self.parts.use_cases
    }

    /// Answers a packet.
    pub(super) fn reply(
        &self,
        request_no: u64,
        reply: Reply,
        subscribed: Option<RoomSubscribed>,
        permit: OwnedSemaphorePermit,
    ) {
        let Reply { code, message, data } = reply;
        let reply = PacketReply { request_no, code, message, data, subscribed, ..PacketReply::default() };
        self.link.queue.reply(Item::PacketReply(reply), permit);
    }

    /// Answers a send, whose message took this seq in the inbox of its sender.
    pub(super) fn reply_to_send(&self, request_no: u64, reply: Reply, inbox_seq: u64, permit: OwnedSemaphorePermit) {
        let Reply { code, message, data } = reply;
        let reply = PacketReply { request_no, code, message, data, inbox_seq, ..PacketReply::default() };
        self.link.queue.reply(Item::PacketReply(reply), permit);
    }
}

/// The answer to a packet that was not looked at.
pub(super) fn refusal(request_no: u64, code: ResultCode) -> Item {
    let (code, message) = (code.number(), code.text().to_owned());
    Item::PacketReply(PacketReply { request_no, code, message, ..PacketReply::default() })
}

/// The answer to a request that there is no room for.
pub(super) fn put_off() -> Reply {
    let code = ResultCode::TryAgainLater;
    Reply { code: code.number(), message: code.text().to_owned(), ..Reply::default() }
}

/// Sign-ins wait for the business while their connection may already end: the sign-out is remembered for them.
#[derive(Debug, Default)]
pub(super) struct SignInsUnderWay {
    is_cancelled: Mutex<HashMap<u64, bool>>,
}

impl SignInsUnderWay {
    pub(super) fn begin(&self, connection_id: u64) {
        self.lock().insert(connection_id, false);
    }

    pub(super) fn cancel(&self, connection_id: u64) {
        if let Some(is_cancelled) = self.lock().get_mut(&connection_id) {
            *is_cancelled = true;
        }
    }

    /// Whether the connection is gone by now.
    pub(super) fn end(&self, connection_id: u64) -> bool {
        self.lock().remove(&connection_id).unwrap_or(false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, bool>> {
        self.is_cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_out_is_remembered_for_a_sign_in_under_way() {
        let sign_ins = SignInsUnderWay::default();
        sign_ins.begin(1);
        sign_ins.begin(2);
        sign_ins.cancel(1);
        sign_ins.cancel(3);
        assert_eq!([1, 2, 3].map(|connection_id| sign_ins.end(connection_id)), [true, false, false]);
        assert!(sign_ins.lock().is_empty());
    }
}
