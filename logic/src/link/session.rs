//! One stream, read: each item goes where its order is kept and nobody else's is held up.
//!
//! Requests of one user run one after the other, in a queue of that user, until the inbox writer has them; waiting for
//! the commit is left to a task of its own. Everything about rooms runs through one other queue. Always holds: a request
//! in flight owns a permit until its reply leaves; a sign-out that overtakes its sign-in still removes the route.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use gim_config::request_shares::{self, BeyondShare};
use gim_proto::{
    BUSINESS_COMMAND_MIN, ResultCode,
    connect::{PacketCommand, Reply},
    logic::{
        Announce, ClientPacket, LiveConnection, NewestSeqQuestion, PacketReply, RoomSubscribed, SignIn, SignInResult,
        SignOut, Up, UpItem, announce::What, down_item::Item, up_item::Item as UpItemKind,
    },
};
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;
use tonic::Streaming;
use tracing::Instrument as _;

use super::{
    packet,
    room_queue::RoomQueue,
    service::LinkParts,
    user_queues::{Entered, UserQueues},
};
use crate::{
    delivery::nodes::NodeLink,
    domain::{
        caller::{Caller, log_id},
        route::Route,
    },
    error::Error,
    metrics as names,
    usecase::{
        UseCases,
        sign_ins::{NewConnection, SignedIn},
    },
};

/// Sign-ins of a stream under way, and commands that wait for the business, each for the time of a call at most. Those beyond are
/// put off at once: a business that hangs must not take the places of requests that do not need it, nor one that is slow with
/// commands those of sign-ins.
const SIGN_INS_MAX: usize = 8192;
const COMMANDS_MAX: usize = 4096;

/// A task is begun for every sign-in and send, and copied as a whole, so it stays small: what is large and rare, as a call of the
/// business, is boxed.
const TASK_BYTES_MAX: usize = 4096;

/// How long the requests of a stream that ended may take to finish, and their replies to leave.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A stream, from the handshake to its end.
pub(super) struct Session {
    context: Arc<Context>,
    sign_in_places: Arc<Semaphore>,
    command_places: Arc<Semaphore>,
}

/// What the tasks of a stream share.
pub(super) struct Context {
    pub parts: Arc<LinkParts>,
    pub link: Arc<NodeLink>,
    pub tasks: TaskTracker,
    sign_ins: SignInsUnderWay,
    user_queues: UserQueues<QueuedItem>,
    room_queue: RoomQueue<QueuedItem>,
}

/// What has to be done one after the other.
enum QueuedItem {
    Packet(ClientPacket, OwnedSemaphorePermit),
    SignOut(SignOut),
    Interest { room_id: u64, interested: bool },
}

impl Session {
    pub(super) fn new(parts: Arc<LinkParts>, link: Arc<NodeLink>) -> Self {
        let (sign_ins, user_queues) = (SignInsUnderWay::default(), UserQueues::default());
        let room_queue = RoomQueue::default();
        let context = Arc::new(Context { parts, link, tasks: TaskTracker::new(), sign_ins, user_queues, room_queue });
        let queue_context = context.clone();
        context.tasks.spawn(async move {
            while let Some(item) = queue_context.room_queue.next().await {
                queue_context.do_queued(item).await;
            }
        });
        let places = |count| Arc::new(Semaphore::new(count));
        Self { context, sign_in_places: places(SIGN_INS_MAX), command_places: places(COMMANDS_MAX) }
    }

    /// Reads the stream to its end, then finishes what is under way.
    pub(super) async fn run(self, first_items: Vec<UpItem>, up: Streaming<Up>, pump: JoinHandle<()>) {
        let link = self.context.link.clone();
        tokio::select! {
            () = link.stop.cancelled() => {}
            () = self.read(first_items, up) => match link.has_said_last() {
                // The node's users have moved; what is still pushed to it goes down until this service stops.
                true => link.stop.cancelled().await,
                false => link.stop.cancel(),
            },
        }
        self.context.room_queue.close();
        self.context.end(pump).await;
    }

    async fn read(&self, first_items: Vec<UpItem>, mut up: Streaming<Up>) {
        self.take(first_items).await;
        loop {
            match up.message().await {
                Ok(Some(up)) => self.take(up.items).await,
                Ok(None) => {
                    self.context.link.end_up();
                    return;
                }
                Err(status) => {
                    tracing::info!(node = self.context.link.key.name, %status, "the stream broke");
                    return;
                }
            }
        }
    }

    async fn take(&self, items: Vec<UpItem>) {
        counter!(names::LINK_UP_ITEMS).increment(items.len() as u64);
        let mut announced = Vec::new();
        for item in items {
            match item.item {
                Some(UpItemKind::Announce(Announce { what: Some(What::Connection(connection)) })) => {
                    announced.push(connection)
                }
                Some(kind) => {
                    self.context.announce(std::mem::take(&mut announced)).await;
                    self.dispatch(kind).await;
                }
                None => tracing::warn!("an item that this version does not know was skipped"),
            }
        }
        self.context.announce(announced).await;
    }

    async fn dispatch(&self, item: UpItemKind) {
        match item {
            UpItemKind::Announce(announce) => self.announce(announce.what).await,
            UpItemKind::SignIn(sign_in) => self.sign_in(sign_in),
            UpItemKind::SignOut(sign_out) => {
                self.context.sign_ins.cancel(sign_out.connection_id);
                self.in_user_queue(sign_out.user_id, QueuedItem::SignOut(sign_out), true);
            }
            UpItemKind::Packet(packet) => self.packet(packet).await,
            UpItemKind::RoomRelease(release) => self.interest(release.room_id, false),
            UpItemKind::NewestSeq(question) => {
                let (context, permit) = (self.context.clone(), self.permit().await);
                self.context.tasks.spawn(async move { context.newest_seqs(question, permit).await });
            }
            UpItemKind::PushResult(result) => self.context.forget(&result.gone_connection_ids).await,
            UpItemKind::RoomMembers(counts) => self.context.link.report.count_rooms(&counts.rooms),
            UpItemKind::PushAllDone(done) => self.context.link.report.end_push_to_all(done.message_id),
            UpItemKind::NodeLoad(load) => self.context.link.report.set_load(load),
        }
    }

    async fn announce(&self, what: Option<What>) {
        match what {
            Some(What::Connection(connection)) => self.context.announce(vec![connection]).await,
            Some(What::RoomId(room_id)) => self.interest(room_id, true),
            None => tracing::warn!("an announcement of nothing was skipped"),
        }
    }

    fn sign_in(&self, sign_in: SignIn) {
        let context = self.context.clone();
        let Ok(permit) = self.sign_in_places.clone().try_acquire_owned() else {
            let reply = put_off();
            let (request_no, code, message) = (sign_in.request_no, reply.code, reply.message);
            context.link.notice(Item::SignInResult(SignInResult {
                request_no,
                code,
                message,
                ..SignInResult::default()
            }));
            return;
        };
        context.sign_ins.begin(sign_in.connection_id);
        let since_ms = context.use_cases().connections.now_ms();
        let span = tracing::info_span!("sign_in", request_id = log_id(&sign_in.request_id), user_id = sign_in.user_id);
        let work = async move { context.sign_in(sign_in, since_ms, permit).await }.instrument(span);
        debug_assert!(size_of_val(&work) <= TASK_BYTES_MAX);
        self.context.tasks.spawn(work);
    }

    async fn packet(&self, packet: ClientPacket) {
        let is_ack = packet.command == PacketCommand::PcMessageAck as i32;
        let cost = if is_ack { request_shares::ACK } else { request_shares::REQUEST };
        if let Err(beyond) = self.context.use_cases().request_shares.take(packet.user_id, cost, Instant::now()) {
            return self.refuse(packet.request_no, beyond);
        }
        if packet.command >= BUSINESS_COMMAND_MIN {
            self.business_packet(packet);
            return;
        }
        let permit = self.permit().await;
        let context = self.context.clone();
        match PacketCommand::try_from(packet.command) {
            Ok(PacketCommand::PcSubscribeRoom) => {
                let full = context.room_queue.enter(packet.user_id, QueuedItem::Packet(packet, permit));
                if let Err(QueuedItem::Packet(packet, permit)) = full {
                    counter!(names::ROOM_QUEUE_FULL).increment(1);
                    context.reply(packet.request_no, put_off(), None, permit);
                }
            }
            Ok(PacketCommand::PcSend | PacketCommand::PcMessageAck) => {
                self.in_user_queue(packet.user_id, QueuedItem::Packet(packet, permit), false);
            }
            Ok(PacketCommand::PcSync) => {
                self.context.tasks.spawn(async move { packet::handle(&context, packet, permit).await });
            }
            _ => packet::handle(&context, packet, permit).await,
        }
    }

    /// Answers a packet that is beyond the share of its user. No permit is held meanwhile, which others may need: the packets that a
    /// connection may have under way bound how many of these wait.
    fn refuse(&self, request_no: u64, beyond: BeyondShare) {
        counter!(names::REQUESTS_BEYOND_SHARE).increment(1);
        let link = self.context.link.clone();
        self.context.tasks.spawn(async move {
            tokio::time::sleep(beyond.delay).await;
            if let Ok(permit) = link.in_flight.clone().acquire_owned().await {
                link.queue.reply(refusal(request_no, ResultCode::TooManyRequests), permit);
            }
        });
    }

    fn business_packet(&self, packet: ClientPacket) {
        let context = self.context.clone();
        match self.command_places.clone().try_acquire_owned() {
            Ok(permit) => {
                self.context.tasks.spawn(async move { packet::handle(&context, packet, permit).await });
            }
            Err(_) => {
                context.link.notice(refusal(packet.request_no, ResultCode::TryAgainLater));
            }
        }
    }

    /// Does an item after all earlier ones of the same user.
    fn in_user_queue(&self, user_id: u64, item: QueuedItem, must_enter: bool) {
        let context = self.context.clone();
        match self.context.user_queues.enter(user_id, item, must_enter) {
            Entered::Waits => {}
            Entered::Free(first) => {
                let work = async move {
                    let mut next = Some(first);
                    while let Some(item) = next {
                        context.do_queued(item).await;
                        next = context.user_queues.next(user_id);
                    }
                };
                debug_assert!(size_of_val(&work) <= TASK_BYTES_MAX);
                self.context.tasks.spawn(work);
            }
            Entered::Full(QueuedItem::Packet(packet, permit)) => {
                context.reply(packet.request_no, put_off(), None, permit);
            }
            Entered::Full(QueuedItem::SignOut(_) | QueuedItem::Interest { .. }) => {
                tracing::error!(user_id, "a queue turned away what must enter");
            }
        }
    }

    fn interest(&self, room_id: u64, interested: bool) {
        self.context.room_queue.enter_state(QueuedItem::Interest { room_id, interested });
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        let permit = self.context.link.in_flight.clone().acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }
}

/// The answer to a packet that was not looked at.
fn refusal(request_no: u64, code: ResultCode) -> Item {
    let (code, message) = (code.number(), code.text().to_owned());
    Item::PacketReply(PacketReply { request_no, code, message, ..PacketReply::default() })
}

/// The answer to a request that there is no room for.
fn put_off() -> Reply {
    let code = ResultCode::TryAgainLater;
    Reply { code: code.number(), message: code.text().to_owned(), ..Reply::default() }
}

impl Context {
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
        let reply = PacketReply { request_no, code: reply.code, message: reply.message, data: reply.data, subscribed };
        self.link.queue.reply(Item::PacketReply(reply), permit);
    }

    async fn do_queued(self: &Arc<Self>, item: QueuedItem) {
        match item {
            QueuedItem::Packet(packet, permit) => packet::handle(self, packet, permit).await,
            QueuedItem::SignOut(sign_out) => {
                let route = Route {
                    user_id: sign_out.user_id,
                    device_id: sign_out.device_id,
                    device_type: 0,
                    node: self.link.key.clone(),
                    connection_id: sign_out.connection_id,
                    since_ms: 0,
                };
                self.remove_route(&route).await;
            }
            QueuedItem::Interest { room_id, interested } => {
                if let Err(error) = self.use_cases().rooms.set_interest(room_id, &self.link.key, interested).await {
                    tracing::error!(%error, room_id, interested, "the interest of a node in a room was not noted");
                }
            }
        }
    }

    async fn sign_in(&self, sign_in: SignIn, since_ms: i64, permit: OwnedSemaphorePermit) {
        let caller = Caller { user_id: sign_in.user_id, device_id: sign_in.device_id };
        let connection_id = sign_in.connection_id;
        let connection = NewConnection { caller, node: self.link.key.clone(), connection_id, since_ms };
        let result = self.use_cases().sign_ins.sign_in(connection, &sign_in.token, log_id(&sign_in.request_id)).await;
        let is_cancelled = self.sign_ins.end(connection_id);

        let (mut evicted, mut held) = (Vec::new(), None);
        let answer = match result {
            Ok(SignedIn { route, newest_seq, large_group_ids, memberships, evicted: others }) => {
                if is_cancelled {
                    self.remove_route(&route).await;
                }
                (evicted, held) = (others, Some(memberships));
                tracing::debug!(device_id = caller.device_id, newest_seq, "signed in");
                let request_no = sign_in.request_no;
                SignInResult { request_no, newest_seq, large_group_ids, ..SignInResult::default() }
            }
            Err(error) => {
                let reply = error.into_reply();
                let (request_no, code, message) = (sign_in.request_no, reply.code, reply.message);
                SignInResult { request_no, code, message, ..SignInResult::default() }
            }
        };
        counter!(names::SIGN_INS, "code" => ResultCode::label(answer.code)).increment(1);
        self.link.queue.reply(Item::SignInResult(answer), permit);
        drop(held);
        evicted.iter().for_each(|one| self.use_cases().connections.evict(one));
    }

    /// Takes connections up that live on from an earlier stream, and tells them how far their inboxes got meanwhile.
    async fn announce(self: &Arc<Self>, connections: Vec<LiveConnection>) {
        if connections.is_empty() {
            return;
        }
        let routes = match self.use_cases().connections.take_up(&self.link.key, &connections).await {
            Ok(routes) => routes,
            Err(error) => {
                // Without their routes the node's users would be cut off unseen: it has to come again.
                tracing::error!(%error, node = self.link.key.name, "announced connections were not taken up");
                self.link.stop.cancel();
                return;
            }
        };
        if let Err(error) = self.use_cases().connections.close_revoked(&routes).await {
            tracing::error!(%error, node = self.link.key.name, "announced connections were not held against revocations");
            self.link.stop.cancel();
            return;
        }
        if let Err(error) = self.parts.catch_up.reconcile_groups(&self.link, &connections).await {
            tracing::error!(%error, node = self.link.key.name, "announced connections were not put into their groups");
            self.link.stop.cancel();
            return;
        }
        let named = connections.iter().map(|connection| (connection.connection_id, connection.user_id)).collect();
        let context = self.clone();
        self.tasks.spawn(async move { context.parts.catch_up.tell_newest_seqs(&context.link, named).await });
    }

    async fn newest_seqs(&self, question: NewestSeqQuestion, permit: OwnedSemaphorePermit) {
        let named: Vec<(u64, u64)> =
            question.connections.iter().map(|connection| (connection.connection_id, connection.user_id)).collect();
        if let Err(error) = self.use_cases().connections.touch(&self.link.key, question.connections).await {
            tracing::debug!(%error, "connections that were heard of were not looked after");
        }
        match self.parts.catch_up.newest_seqs(&named).await {
            Ok(answer) => self.link.queue.reply(Item::NewestSeq(answer), permit),
            Err(error) => {
                tracing::warn!(%error, "a question for newest seqs stays open; the next heartbeat asks again")
            }
        }
    }

    async fn forget(&self, connection_ids: &[u64]) {
        if let Err(error) = self.use_cases().connections.forget(&self.link.key, connection_ids).await {
            tracing::error!(%error, "connections that are gone keep their routes until the next push finds out");
        }
    }

    async fn remove_route(&self, route: &Route) {
        if let Err(error) = self.use_cases().connections.remove(route).await {
            tracing::error!(%error, "a connection that is gone keeps its route until the next push finds out");
        }
    }

    async fn end(&self, mut pump: JoinHandle<()>) {
        if let Err(error) = self.parts.nodes.detach(&self.link).await {
            tracing::error!(error = %Error::from(error), node = self.link.key.name, "the lease was not cut");
        }
        self.tasks.close();
        if tokio::time::timeout(END_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!(node = self.link.key.name, "requests outlived their stream");
        }
        self.link.queue.close();
        if tokio::time::timeout(END_TIMEOUT, &mut pump).await.is_err() {
            pump.abort();
        }
        tracing::info!(node = self.link.key.name, epoch = self.link.key.epoch, "detached");
    }
}

/// Sign-ins wait for the business while their connection may already end: the sign-out is remembered for them.
#[derive(Debug, Default)]
struct SignInsUnderWay {
    is_cancelled: Mutex<HashMap<u64, bool>>,
}

impl SignInsUnderWay {
    fn begin(&self, connection_id: u64) {
        self.lock().insert(connection_id, false);
    }

    fn cancel(&self, connection_id: u64) {
        if let Some(is_cancelled) = self.lock().get_mut(&connection_id) {
            *is_cancelled = true;
        }
    }

    /// Whether the connection is gone by now.
    fn end(&self, connection_id: u64) -> bool {
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
