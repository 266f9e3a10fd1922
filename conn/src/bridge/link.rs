//! One link: the stream to one logic node, attached anew whenever it breaks. One task owns the stream, the requests that went
//! over it, and the order of everything.
//!
//! A link leaves its node in order when the node says that it stops, or when it is retired because discovery does not name the
//! node any more: the distributor keeps new items of its users back and says what is the last one for the stream; once that
//! is sent and everything is answered, the users move, and the stream is read until logic ends it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gim_config::{
    grpc::{self, GrpcSettings, PeerChannel},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    logic::{Down, NodeLoad, SignOut, Up, Welcome},
};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming};

use super::{
    attach::{AttachRefusal, attach},
    companions::Companions,
    downlink::{self, Said},
    link_handle::{LinkEvent, LinkHandle},
    node::NodeState,
    reactors::Reactors,
    recent_sign_outs::RecentSignOuts,
    request_metrics,
    requests::{PendingRequests, Purpose, Request},
    room_gate::RoomGate,
    uplink::{self, LinkItem},
};
use crate::{metrics as names, session::Identity, settings::LinkSettings};

/// The app whose logic is that of the node's own operator.
const FIRST_APP: &str = "0";

/// Messages that wait for the stream; beyond, the distributor waits.
const OUTBOX_MESSAGES_MAX: usize = 4;

/// How often requests that wait too long are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// How long the last messages may take when the node stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long logic may go on pushing over a stream whose users have moved.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts links.
#[derive(Debug, Clone)]
pub(super) struct LinkMaker {
    /// Whose links they are: a label of metrics.
    pub(super) app_id: String,
    pub(super) rooms: Arc<RoomGate>,
    pub(super) node: NodeState,
    pub(super) grpc: GrpcSettings,
    pub(super) settings: LinkSettings,
    pub(super) reactors: Reactors,
    pub(super) companions: Arc<Companions>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) problems: mpsc::Sender<String>,
    pub(super) has_problem: Arc<AtomicBool>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) next_id: Arc<AtomicU64>,
}

impl LinkMaker {
    /// Starts a link to a logic node, whose certificate is for `server_name` where that is given. It ends in order when the
    /// returned token is cancelled.
    pub(super) async fn start(&self, peer: Endpoint, server_name: Option<&str>) -> Result<CancellationToken, String> {
        let (sender, queue) = mpsc::channel(self.settings.queue_batches_max);
        let retire = CancellationToken::new();
        let link = Link {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            name: peer.to_string(),
            channel: grpc::named_channel(&peer, server_name, &self.grpc, None)?,
            maker: self.clone(),
            queue,
            retire: retire.clone(),
            streams: 0,
            recent_sign_outs: RecentSignOuts::new(Duration::from_millis(self.settings.request_timeout_ms)),
            refusal: AttachRefusal::default(),
        };
        link.begin_to_count();
        let handle = LinkHandle::new(link.id, self.app_id.clone(), link.name.clone(), sender);
        link.tell(LinkEvent::Added(handle)).await;
        self.tasks.spawn(link.run());
        Ok(retire)
    }
}

/// See the module's documentation.
struct Link {
    id: u64,
    name: String,
    channel: PeerChannel,
    maker: LinkMaker,
    queue: mpsc::Receiver<Vec<LinkItem>>,
    retire: CancellationToken,
    /// How many there were; the last one's number.
    streams: u64,
    recent_sign_outs: RecentSignOuts,
    refusal: AttachRefusal,
}

/// An attached stream.
struct Stream {
    up: Option<mpsc::Sender<Up>>,
    down: Streaming<Down>,
    /// The name of the logic node.
    node: String,
    outbox: VecDeque<Up>,
    pending: PendingRequests,
    /// What was last told of this node.
    told: NodeLoad,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The distributor was asked for the last item.
    Leaving,
    /// The last item is in the outbox.
    Emptying,
    /// The users have moved; what still comes down is taken until then.
    Left(tokio::time::Instant),
}

/// Why a stream ended.
enum End {
    Stopped,
    Left,
    Broken(Status),
}

impl Link {
    async fn run(mut self) {
        let mut backoff = self.first_backoff();
        let longest_backoff = Duration::from_millis(self.maker.settings.reconnect_max_ms);
        let (stop, retire) = (self.maker.stop.clone(), self.retire.clone());
        while !retire.is_cancelled() {
            let hello = self.maker.node.hello();
            let told = hello.load.unwrap_or_default();
            let attached = tokio::select! {
                attached = attach(self.channel.clone(), hello) => attached,
                () = self.refuse_all() => return,
                () = retire.cancelled() => break,
                () = stop.cancelled() => return,
            };
            let is_admitted = |(.., welcome): &(_, _, Welcome)| self.maker.companions.admit(self.id, welcome);
            match attached.and_then(|attached| is_admitted(&attached).map(|()| attached)) {
                Ok((up, down, Welcome { node, .. })) => {
                    let attached_at = Instant::now();
                    self.refusal = AttachRefusal::default();
                    tracing::info!(logic = self.name, node, "link attached");
                    self.counter(names::LINK_ATTACHED).increment(1);
                    let attached = gauge!(names::LINKS, "app" => self.maker.app_id.clone());
                    attached.increment(1.0);
                    let stream = Stream {
                        up: Some(up),
                        down,
                        node,
                        outbox: VecDeque::new(),
                        pending: PendingRequests::default(),
                        told,
                        phase: Phase::Serving,
                    };
                    let end = self.serve(stream).await;
                    attached.decrement(1.0);
                    self.maker.companions.leave(self.id);
                    match end {
                        End::Broken(status) => tracing::warn!(logic = self.name, %status, "link broke"),
                        End::Left => tracing::info!(logic = self.name, "link ended in order"),
                        End::Stopped => return,
                    }
                    // A stream that breaks at once, again and again, is not a reason to announce everybody ten times a second.
                    if attached_at.elapsed() >= longest_backoff {
                        backoff = self.first_backoff();
                    }
                }
                Err(status) => self.note_refusal(&status),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.refuse_all() => return,
                () = retire.cancelled() => break,
                () = stop.cancelled() => return,
            }
            backoff = (backoff * 2).min(longest_backoff);
        }
        self.tell(LinkEvent::Removed(self.id)).await;
    }

    /// Serves a stream until it ends, and answers what it leaves open.
    async fn serve(&mut self, mut stream: Stream) -> End {
        self.streams += 1;
        self.tell(LinkEvent::Attached { id: self.id, node: stream.node.clone() }).await;
        let (stop, retire) = (self.maker.stop.clone(), self.retire.clone());
        let mut draining = self.maker.node.draining();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        let mut load = tokio::time::interval(Duration::from_millis(self.maker.settings.load_interval_ms));
        let end = loop {
            let is_serving = stream.phase == Phase::Serving;
            tokio::select! {
                // Replies before requests: they are what lets paused connections go on.
                biased;
                message = stream.down.message() => match message {
                    Ok(Some(message)) => {
                        let said = downlink::handle(message, &mut stream.pending, &self.maker.reactors, &self.maker.rooms).await;
                        match said {
                            Said::Leaving if is_serving => self.begin_to_leave(&mut stream).await,
                            Said::Drain => self.ask_to_drain(),
                            Said::Leaving | Said::Nothing => {}
                        }
                    }
                    Ok(None) if stream.has_left() => break End::Left,
                    Ok(None) => break End::Broken(Status::unavailable("the peer ended the stream")),
                    Err(status) => break End::Broken(status),
                },
                // Never a plain send: logic may read on only after we took its replies, which is done here, too.
                permit = reserve(&stream.up), if !stream.outbox.is_empty() => match (permit, stream.outbox.pop_front()) {
                    (Ok(permit), Some(message)) => drop(permit.send(message)),
                    _ => break End::Broken(Status::unavailable("the stream takes nothing more")),
                },
                Some(batch) = self.queue.recv(), if stream.outbox.len() < OUTBOX_MESSAGES_MAX => {
                    let batch = self.within_window(batch, &stream.pending).await;
                    self.send(batch, &mut stream);
                }
                _ = expiry.tick() => self.expire(&mut stream).await,
                _ = load.tick() => self.tell_load(&mut stream),
                _ = changed(&mut draining) => self.tell_load(&mut stream),
                () = retire.cancelled(), if is_serving => self.begin_to_leave(&mut stream).await,
                () = over(stream.phase) => break End::Left,
                () = stop.cancelled() => break End::Stopped,
            }
            if stream.is_empty() {
                stream.up = None;
                stream.phase = Phase::Left(tokio::time::Instant::now() + LEAVE_TIMEOUT);
                self.tell(LinkEvent::Left(self.id)).await;
            }
        };
        if let End::Stopped = end {
            self.finish(&mut stream).await;
        }
        self.tell(LinkEvent::Detached(self.id)).await;
        self.counter(names::REQUESTS_EXPIRED).increment(stream.pending.len() as u64);
        let open: Vec<Request> = stream.pending.take_all().collect();
        let (code, now) = (ResultCode::TryAgainLater.number(), Instant::now());
        self.show(&stream.pending, now);
        open.iter().for_each(|request| stream.pending.note_end(request, code, now));
        let mut lost = self.recent_sign_outs.take();
        lost.extend(open.iter().filter_map(sign_out_of));
        if matches!(end, End::Broken(_)) && !lost.is_empty() {
            self.tell(LinkEvent::Lost(lost)).await;
        }
        for request in open {
            self.refuse(request).await;
        }
        end
    }

    /// What of a batch may go to logic, beside what is there; requests beyond, and calls beyond theirs, are answered now.
    async fn within_window(&self, batch: Vec<LinkItem>, pending: &PendingRequests) -> Vec<LinkItem> {
        let LinkSettings { requests_max, calls_max, .. } = self.maker.settings;
        let mut call_places = calls_max.saturating_sub(pending.calls());
        let mut places = requests_max.saturating_sub(pending.len() - pending.calls());
        if batch.len() <= places.min(call_places) {
            return batch;
        }
        let mut within = Vec::with_capacity(batch.len());
        for item in batch {
            let LinkItem::Request(request, item) = item else {
                within.push(item);
                continue;
            };
            let left = if request.is_call() { &mut call_places } else { &mut places };
            if *left == 0 {
                self.counter(names::REQUESTS_BEYOND).increment(1);
                self.refuse(request).await;
            } else {
                *left -= 1;
                within.push(LinkItem::Request(request, item));
            }
        }
        within
    }

    async fn refuse(&self, request: Request) {
        let reactor = request.connection.reactor();
        self.maker.reactors.send(reactor, request.refused(ResultCode::TryAgainLater)).await;
    }

    /// Says what waits for answers.
    fn show(&self, pending: &PendingRequests, now: Instant) {
        self.gauge(names::REQUESTS_PENDING).set(pending.len() as f64);
        self.gauge(names::REQUESTS_OLDEST_SECONDS).set(pending.oldest(now).as_secs_f64());
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        gauge!(name, "app" => self.maker.app_id.clone(), "logic" => self.name.clone())
    }

    fn begin_to_count(&self) {
        request_metrics::begin();
        for name in [names::LINK_ATTACHED, names::REQUESTS_EXPIRED, names::REQUESTS_BEYOND] {
            self.counter(name).increment(0);
        }
    }

    fn counter(&self, name: &'static str) -> Counter {
        counter!(name, "app" => self.maker.app_id.clone(), "logic" => self.name.clone())
    }

    /// The logic of another app is another customer's: the node is none of theirs.
    fn ask_to_drain(&self) {
        if self.maker.app_id == FIRST_APP {
            tracing::info!("an operator asks this node to drain");
            self.maker.node.ask_to_drain();
        } else {
            tracing::warn!(app = self.maker.app_id, "the logic of an app asks this node to drain, which it may not");
        }
    }

    async fn begin_to_leave(&self, stream: &mut Stream) {
        tracing::info!(logic = self.name, node = stream.node, "leaving a logic node; its users move");
        stream.phase = Phase::Leaving;
        // A single logic node that is replaced would otherwise keep the next one out for as long as it takes to leave.
        self.maker.companions.leave(self.id);
        self.tell(LinkEvent::Leaving { id: self.id, stream: self.streams }).await;
    }

    /// Puts a batch into the outbox.
    fn send(&mut self, batch: Vec<LinkItem>, stream: &mut Stream) {
        let now = Instant::now();
        self.recent_sign_outs.note(&batch, now);
        let deadline = now + Duration::from_millis(self.maker.settings.request_timeout_ms);
        let packed = uplink::pack(batch, &mut stream.pending, deadline);
        if !packed.message.items.is_empty() && stream.up.is_some() {
            stream.outbox.push_back(packed.message);
        }
        // Another stream's last word is none of this one's.
        if packed.last_of == Some(self.streams) && stream.phase == Phase::Leaving {
            stream.phase = Phase::Emptying;
        }
    }

    /// Tells logic how full this node is, where that changed.
    fn tell_load(&mut self, stream: &mut Stream) {
        let load = self.maker.node.load();
        if load != stream.told && stream.up.is_some() {
            stream.told = load;
            self.send(vec![uplink::state::node_load(load)], stream);
        }
    }

    /// Sends what is queued, closes our direction, and lets logic end its own.
    async fn finish(&mut self, stream: &mut Stream) {
        self.queue.close();
        while let Some(batch) = self.queue.recv().await {
            self.send(batch, stream);
        }
        // Takes `up` along and drops it at its end, which closes our direction.
        let (up, outbox) = (stream.up.take(), std::mem::take(&mut stream.outbox));
        let send = async move {
            let Some(up) = up else { return };
            for message in outbox {
                if up.send(message).await.is_err() {
                    return;
                }
            }
        };
        let read = async { while let Ok(Some(_)) = stream.down.message().await {} };
        let both = async { tokio::join!(send, read) };
        if tokio::time::timeout(FINISH_TIMEOUT, both).await.is_err() {
            tracing::debug!(logic = self.name, "the peer did not end its direction in time");
        }
    }

    /// Answers requests whose time is over. A sign-in that logic may still finish is signed out behind it.
    async fn expire(&mut self, stream: &mut Stream) {
        let now = Instant::now();
        self.show(&stream.pending, now);
        let mut sign_outs = Vec::new();
        while let Some(request) = stream.pending.take_expired(now) {
            stream.pending.note_end(&request, ResultCode::TryAgainLater.number(), now);
            self.counter(names::REQUESTS_EXPIRED).increment(1);
            tracing::warn!(request_id = request.request_id, connection = %request.connection, "logic did not answer in time");
            sign_outs.extend(sign_out_of(&request).map(uplink::state::sign_out));
            self.refuse(request).await;
        }
        if !sign_outs.is_empty() {
            self.send(sign_outs, stream);
        }
    }

    /// While there is no stream, what the distributor gave before it knew is answered. Ends when the distributor is gone.
    async fn refuse_all(&mut self) {
        while let Some(batch) = self.queue.recv().await {
            self.pass_sign_outs_on(&batch);
            for request in batch.into_iter().filter_map(LinkItem::into_request) {
                self.refuse(request).await;
            }
        }
    }

    /// Never waits for the distributor, which may be waiting for this link to take something.
    fn pass_sign_outs_on(&mut self, batch: &[LinkItem]) {
        self.recent_sign_outs.note(batch, Instant::now());
        if let Ok(place) = self.maker.events.try_reserve() {
            let lost = self.recent_sign_outs.take();
            if !lost.is_empty() {
                place.send(LinkEvent::Lost(lost));
            }
        }
    }

    /// Notes why logic cannot be attached to. Where it will not have this node, that is said: once, whichever link finds out.
    fn note_refusal(&mut self, status: &Status) {
        let name_timeout = Duration::from_millis(self.maker.settings.name_timeout_ms);
        let is_final = self.refusal.note(&self.name, status, name_timeout);
        if is_final && !self.maker.has_problem.swap(true, Ordering::Relaxed) {
            // There is a place for each app's; without a listener the process is ending.
            let _nobody_listens = self.maker.problems.try_send(status.message().to_owned()).is_err();
        }
    }

    async fn tell(&self, event: LinkEvent) {
        // The distributor outlives the links; if it is gone, the process is ending.
        let _distributor_gone = self.maker.events.send(event).await.is_err();
    }

    fn first_backoff(&self) -> Duration {
        Duration::from_millis(self.maker.settings.reconnect_first_ms)
    }
}

impl Stream {
    /// Whether it has said its last word and has every answer.
    fn is_empty(&self) -> bool {
        self.phase == Phase::Emptying && self.outbox.is_empty() && self.pending.len() == 0
    }

    fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left(_))
    }
}

/// What has to follow a sign-in that was not answered: logic may finish it yet.
fn sign_out_of(request: &Request) -> Option<SignOut> {
    let Purpose::SignIn(Identity { user_id, device_id }) = request.purpose else { return None };
    Some(SignOut { connection_id: request.connection.number(), user_id, device_id })
}

/// Ends when a stream whose users have moved should be over.
async fn over(phase: Phase) {
    match phase {
        Phase::Left(deadline) => tokio::time::sleep_until(deadline).await,
        _ => std::future::pending().await,
    }
}

/// A place in the stream; never where our direction is closed.
async fn reserve(up: &Option<mpsc::Sender<Up>>) -> Result<mpsc::OwnedPermit<Up>, mpsc::error::SendError<()>> {
    match up {
        Some(up) => up.clone().reserve_owned().await,
        None => std::future::pending().await,
    }
}

/// Ends when the value changed; never where nobody changes it any more.
async fn changed(value: &mut watch::Receiver<bool>) {
    if value.changed().await.is_err() {
        std::future::pending().await
    }
}
