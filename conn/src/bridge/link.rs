//! One link: the stream to one logic node, attached anew whenever it breaks. One task owns the stream, the requests that went
//! over it, and the order of everything.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use gim_config::grpc::PeerChannel;
use gim_proto::{
    LINK_VERSION, ResultCode,
    logic::{Down, Hello, SignOut, Up, link_service_client::LinkServiceClient},
};
use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as GrpcRequest, Status, Streaming};

use super::{
    downlink,
    pending::{Pending, Purpose},
    reactors::Reactors,
    uplink::{self, LinkItem},
};
use crate::{metrics as names, session::Identity, settings::LinkSettings};

/// Messages between this task and the HTTP/2 stream: enough to keep it busy, few enough to feel its flow control.
const STREAM_MESSAGES: usize = 16;

/// Messages that wait for the stream; beyond, the distributor waits.
const OUTBOX_MESSAGES_MAX: usize = 4;

/// How often requests that wait too long are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// How long logic may take to say welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last messages may take when the node stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest message that is taken from logic, which itself packs far smaller ones.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the distributor has to know of a link.
#[derive(Debug, Clone, Copy)]
pub(super) enum LinkEvent {
    /// It takes requests.
    Attached(usize),
    /// It does not any more.
    Detached(usize),
}

/// See the module's documentation.
pub(super) struct Link {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) channel: PeerChannel,
    pub(super) hello: Hello,
    pub(super) settings: LinkSettings,
    pub(super) reactors: Reactors,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) queue: mpsc::Receiver<Vec<LinkItem>>,
}

/// An attached stream.
struct Stream {
    up: mpsc::Sender<Up>,
    down: Streaming<Down>,
}

/// Why a stream ended.
enum End {
    Stopped,
    Broken(Status),
}

impl Link {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = self.first_backoff();
        loop {
            let attached = tokio::select! {
                attached = attach(self.channel.clone(), self.hello.clone()) => attached,
                () = self.refuse_all() => return,
                () = stop.cancelled() => return,
            };
            match attached {
                Ok(stream) => {
                    backoff = self.first_backoff();
                    tracing::info!(logic = self.name, "link attached");
                    counter!(names::LINK_ATTACHED, "logic" => self.name.clone()).increment(1);
                    if let End::Broken(status) = self.serve(stream, &stop).await {
                        tracing::warn!(logic = self.name, %status, "link broke");
                    } else {
                        return;
                    }
                }
                Err(status) => tracing::warn!(logic = self.name, %status, retry = ?backoff, "cannot attach"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.refuse_all() => return,
                () = stop.cancelled() => return,
            }
            backoff = (backoff * 2).min(Duration::from_millis(self.settings.reconnect_max_ms));
        }
    }

    /// Serves a stream until it ends, and answers what it leaves open.
    async fn serve(&mut self, stream: Stream, stop: &CancellationToken) -> End {
        let Stream { up, mut down } = stream;
        self.tell(LinkEvent::Attached(self.index)).await;
        let mut pending = Pending::default();
        let mut outbox = VecDeque::new();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        let end = loop {
            tokio::select! {
                // Replies before requests: they are what lets paused connections go on.
                biased;
                message = down.message() => match message {
                    Ok(Some(message)) => downlink::handle(message, &mut pending, &self.reactors).await,
                    Ok(None) => break End::Broken(Status::unavailable("the peer ended the stream")),
                    Err(status) => break End::Broken(status),
                },
                // Never a plain send: logic may read on only after we took its replies, which is done here, too.
                permit = up.reserve(), if !outbox.is_empty() => match (permit, outbox.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    _ => break End::Broken(Status::unavailable("the stream takes nothing more")),
                },
                Some(batch) = self.queue.recv(), if outbox.len() < OUTBOX_MESSAGES_MAX => {
                    outbox.push_back(self.pack(batch, &mut pending));
                }
                _ = expiry.tick() => outbox.extend(self.expire(&mut pending).await),
                () = stop.cancelled() => break End::Stopped,
            }
        };
        if let End::Stopped = end {
            self.finish(&mut pending, outbox, up, down).await;
        }
        self.tell(LinkEvent::Detached(self.index)).await;
        counter!(names::REQUESTS_EXPIRED).increment(pending.len() as u64);
        for request in pending.take_all() {
            self.reactors.send(request.connection.reactor(), request.refused(ResultCode::TryAgainLater)).await;
        }
        end
    }

    fn pack(&self, batch: Vec<LinkItem>, pending: &mut Pending) -> Up {
        uplink::pack(batch, pending, Instant::now() + Duration::from_millis(self.settings.request_timeout_ms))
    }

    /// Sends what is queued, closes our direction, and lets logic end its own.
    async fn finish(
        &mut self,
        pending: &mut Pending,
        mut outbox: VecDeque<Up>,
        up: mpsc::Sender<Up>,
        mut down: Streaming<Down>,
    ) {
        self.queue.close();
        while let Some(batch) = self.queue.recv().await {
            outbox.push_back(self.pack(batch, pending));
        }
        // Takes `up` along and drops it at its end, which closes our direction.
        let send = async move {
            for message in outbox {
                if up.send(message).await.is_err() {
                    return;
                }
            }
        };
        let read = async move { while let Ok(Some(_)) = down.message().await {} };
        let both = async { tokio::join!(send, read) };
        if tokio::time::timeout(FINISH_TIMEOUT, both).await.is_err() {
            tracing::debug!(logic = self.name, "the peer did not end its direction in time");
        }
    }

    /// Answers requests whose time is over. A sign-in that logic may still finish is signed out behind it: the message that
    /// says so is returned.
    async fn expire(&self, pending: &mut Pending) -> Option<Up> {
        gauge!(names::REQUESTS_PENDING, "logic" => self.name.clone()).set(pending.len() as f64);
        let now = Instant::now();
        let mut sign_outs = Vec::new();
        while let Some(request) = pending.take_expired(now) {
            counter!(names::REQUESTS_EXPIRED).increment(1);
            tracing::warn!(request_id = request.request_id, connection = %request.connection, "logic did not answer in time");
            if let Purpose::SignIn(Identity { user_id, device_id }) = request.purpose {
                let connection_id = request.connection.number();
                sign_outs.push(uplink::state::sign_out(SignOut { connection_id, user_id, device_id }));
            }
            self.reactors.send(request.connection.reactor(), request.refused(ResultCode::TryAgainLater)).await;
        }
        (!sign_outs.is_empty()).then(|| self.pack(sign_outs, pending))
    }

    /// While there is no stream, what the distributor gave before it knew is answered. Ends when the distributor is gone.
    async fn refuse_all(&mut self) {
        while let Some(batch) = self.queue.recv().await {
            for request in batch.into_iter().filter_map(LinkItem::into_request) {
                self.reactors.send(request.connection.reactor(), request.refused(ResultCode::TryAgainLater)).await;
            }
        }
    }

    async fn tell(&self, event: LinkEvent) {
        // The distributor outlives the links; if it is gone, the process is ending.
        let _distributor_gone = self.events.send(event).await.is_err();
    }

    fn first_backoff(&self) -> Duration {
        Duration::from_millis(self.settings.reconnect_first_ms)
    }
}

/// Opens a stream and shakes hands.
async fn attach(channel: PeerChannel, hello: Hello) -> Result<Stream, Status> {
    let (up, outgoing) = mpsc::channel(STREAM_MESSAGES);
    let first = Up { hello: Some(hello), items: Vec::new() };
    up.send(first).await.map_err(|_| Status::internal("the stream took no hello"))?;
    let mut client = LinkServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let attach = async {
        let mut down = client.attach(GrpcRequest::new(ReceiverStream::new(outgoing))).await?.into_inner();
        let first = down.message().await?.and_then(|message| message.welcome);
        let welcome = first.ok_or_else(|| Status::failed_precondition("the peer said no welcome"))?;
        if welcome.version != LINK_VERSION {
            let problem = format!("the peer speaks link version {}, we speak {LINK_VERSION}", welcome.version);
            return Err(Status::failed_precondition(problem));
        }
        Ok(Stream { up, down })
    };
    let late = |_| Err(Status::deadline_exceeded("the peer said no welcome in time"));
    tokio::time::timeout(WELCOME_TIMEOUT, attach).await.unwrap_or_else(late)
}
