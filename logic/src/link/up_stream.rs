//! One stream, read: each item goes where its order is kept and nobody else's is held up.
//!
//! Requests of one user run one after the other, in a queue of that user, until the inbox writer has them; waiting for
//! the commit is left to a task of its own. Everything about rooms runs through one other queue. Always holds: a request
//! in flight owns a permit until its reply leaves.

use std::{sync::Arc, time::Instant};

use gim_config::request_shares::{self, BeyondShare};
use gim_proto::{
    BUSINESS_COMMAND_MIN, ResultCode,
    connect::PacketCommand,
    logic::{
        Announce, ClientPacket, SignIn, SignInResult, Up, UpItem, announce::What, down_item::Item,
        up_item::Item as UpItemKind,
    },
};
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tonic::Streaming;
use tracing::Instrument as _;

use super::{
    context::{Context, LinkParts, QueuedItem, put_off, refusal},
    packet,
    user_queues::{Entered, FullQueue},
};
use crate::{
    delivery::nodes::NodeLink,
    domain::caller::{Caller, log_id},
    metrics as names,
};

/// Sign-ins of a stream under way, and commands that wait for the business, each for the time of a call at most. Those beyond are
/// put off at once: a business that hangs must not take the places of requests that do not need it, nor one that is slow with
/// commands those of sign-ins.
const SIGN_INS_MAX: usize = 8192;
const COMMANDS_MAX: usize = 4096;

/// A task is begun for every sign-in and send, and copied as a whole, so it stays small: what is large and rare, as a call of the
/// business, is boxed.
const TASK_BYTES_MAX: usize = 4096;

/// A stream, from the handshake to its end.
pub(super) struct UpStream {
    context: Arc<Context>,
    sign_in_places: Arc<Semaphore>,
    command_places: Arc<Semaphore>,
}

impl UpStream {
    pub(super) fn new(parts: Arc<LinkParts>, link: Arc<NodeLink>) -> Self {
        let context = Arc::new(Context::new(parts, link));
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
                self.in_user_queue(sign_out.user_id, QueuedItem::SignOut(sign_out), None);
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
        // How far one has got may be told for each message.
        let tells_place = [PacketCommand::PcMessageAck as i32, PacketCommand::PcRead as i32].contains(&packet.command);
        let cost = if tells_place { request_shares::ACK } else { request_shares::REQUEST };
        if let Err(beyond) = self.context.use_cases().request_shares.take(packet.user_id, cost, Instant::now()) {
            return self.refuse(packet.request_no, beyond);
        }
        if packet.command >= BUSINESS_COMMAND_MIN {
            self.business_packet(packet);
            return;
        }
        if packet.command == PacketCommand::PcCall as i32 {
            self.call(packet);
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
                let bytes = packet.content.len();
                self.in_user_queue(packet.user_id, QueuedItem::Packet(packet, permit), Some(bytes));
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

    fn call(&self, packet: ClientPacket) {
        let context = self.context.clone();
        match context.parts.calls.enter(packet.user_id) {
            Ok(permit) => {
                self.context.tasks.spawn(async move {
                    let ClientPacket { request_no, user_id, device_id, request_id, content, .. } = packet;
                    let caller = Caller { user_id, device_id };
                    let reply = Box::pin(context.parts.calls.answer(caller, content, &request_id)).await;
                    context.reply(request_no, reply, None, permit.of_answer());
                });
            }
            Err(code) => {
                context.link.notice(refusal(packet.request_no, code));
            }
        }
    }

    /// Does an item after all earlier ones of the same user. A packet says how many bytes it has.
    fn in_user_queue(&self, user_id: u64, item: QueuedItem, packet_bytes: Option<usize>) {
        let context = self.context.clone();
        match self.context.user_queues.enter(user_id, item, packet_bytes) {
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
            Entered::Full(QueuedItem::Packet(packet, permit), full) => {
                let (bound, code) = match full {
                    FullQueue::OfUser => ("user", ResultCode::TooManyRequests),
                    FullQueue::OfAll => ("all", ResultCode::TryAgainLater),
                };
                counter!(names::USER_QUEUES_FULL, "bound" => bound).increment(1);
                context.link.queue.reply(refusal(packet.request_no, code), permit);
            }
            Entered::Full(QueuedItem::SignOut(_) | QueuedItem::Interest { .. }, _) => {
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
