//! `LinkService.Attach`: the handshake of a stream, and its two ends.
//!
//! Runs on Tokio: for each stream one task reads it, and one moves what the node's queue holds into it. Always holds: a name has one
//! stream that is attached.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::refused_peers::RefusedPeers;
use gim_proto::{
    LINK_VERSION, ResultCode,
    logic::{
        Down, Hello, NodeAddresses, Up, Welcome,
        link_service_server::{LinkService, LinkServiceServer},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder};

use super::{context::LinkParts, up_stream::UpStream};
use crate::{
    delivery::nodes::NodeLink,
    domain::{device::ADDRESS_BYTES_MAX, route::NodeKey},
    error::Error,
    settings::{ENVELOPE_BYTES, LimitSettings},
};

/// How long a stream may be silent before it says hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages between the pump and HTTP/2: enough to keep the connection busy; what does not fit waits in the node's queue.
const DOWN_MESSAGES_MAX: usize = 2;

/// Largest message of a stream from a conn node.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

const NODE_BYTES_MAX: usize = 64;

/// The service.
#[derive(Debug, Clone)]
struct LinkEndpoint {
    parts: Arc<LinkParts>,
    /// By the names of nodes.
    refusals: Arc<RefusedPeers<String>>,
    misfits: Arc<RefusedPeers<String>>,
}

/// Adds the service to what is served.
pub fn add_to(routes: &mut RoutesBuilder, parts: LinkParts) {
    let endpoint = LinkEndpoint { parts: Arc::new(parts), refusals: Arc::default(), misfits: Arc::default() };
    let service = LinkServiceServer::new(endpoint)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    routes.add_service(service);
}

impl LinkEndpoint {
    /// Lets a node in that shows a good hello under a name that is free.
    async fn admit(&self, hello: Option<Hello>) -> Result<Arc<NodeLink>, Status> {
        let key = check_hello(hello.as_ref())?;
        match self.parts.companions.problem() {
            Some(problem) if problem.is_empty() => {
                let problem = "whether this logic node shares its Redis with the others is not known yet";
                return Err(Status::unavailable(problem));
            }
            Some(problem) => return Err(Status::failed_precondition(problem)),
            None => {}
        }
        let hello = hello.unwrap_or_default();
        if let Some(problem) = misfit(&hello, &self.parts.limits)
            && let Some(left_out) = self.misfits.due(&hello.node, &problem, Instant::now())
        {
            tracing::warn!(node = hello.node, problem, left_out, "the limits of a conn node do not fit ours");
        }
        let addresses = hello.addresses.unwrap_or_default();
        let link = self.parts.nodes.attach(key, addresses).await.map_err(Error::from)?;
        self.parts.nodes.introduce(&link, hello.load.unwrap_or_default());
        Ok(link)
    }

    /// What will not do the next time either is said once for each node, which comes again and again.
    fn note_refusal(&self, node: &String, status: &Status) {
        let problem = status.message();
        if !ResultCode::of_status(status).is_retryable()
            && let Some(left_out) = self.refusals.due(node, problem, Instant::now())
        {
            tracing::warn!(node, problem, left_out, "a conn node is refused, and tries again and again");
        }
    }
}

#[tonic::async_trait]
impl LinkService for LinkEndpoint {
    type AttachStream = ReceiverStream<Result<Down, Status>>;

    async fn attach(&self, request: Request<Streaming<Up>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, up.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello within 5 s"))??
            .ok_or_else(|| Status::invalid_argument("hello: the stream ended before it"))?;
        let node = first.hello.as_ref().map_or("", |hello| hello.node.as_str());
        let node = node[..node.floor_char_boundary(NODE_BYTES_MAX)].to_owned();
        let link = match self.admit(first.hello).await {
            Ok(link) => link,
            Err(status) => {
                self.note_refusal(&node, &status);
                return Err(status);
            }
        };
        self.refusals.forget(&node);
        tracing::info!(node = link.key.name, epoch = link.key.epoch, "attached");

        let (down, stream) = mpsc::channel(DOWN_MESSAGES_MAX);
        let pump = tokio::spawn(pump(self.parts.clone(), link.clone(), down));
        tokio::spawn(UpStream::new(self.parts.clone(), link).run(first.items, up, pump));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// What stands around the token in a sign-in's frame.
const SIGN_IN_BYTES: usize = 256;

/// Where one of the two would refuse what the other one's settings allow.
fn misfit(hello: &Hello, limits: &LimitSettings) -> Option<String> {
    let Hello { unsigned_frame_bytes_max, frame_bytes_max, .. } = *hello;
    let LimitSettings { content_bytes_max, token_bytes_max, .. } = *limits;
    if frame_bytes_max != 0 && (frame_bytes_max as usize) < content_bytes_max + ENVELOPE_BYTES {
        return Some(format!(
            "its limits.frame_bytes_max is {frame_bytes_max}, and a message of our limits.content_bytes_max \
             ({content_bytes_max}) needs {} in a frame",
            content_bytes_max + ENVELOPE_BYTES
        ));
    }
    if unsigned_frame_bytes_max != 0 && (unsigned_frame_bytes_max as usize) < token_bytes_max + SIGN_IN_BYTES {
        return Some(format!(
            "its limits.unsigned_frame_bytes_max is {unsigned_frame_bytes_max}, and a token of our \
             limits.token_bytes_max ({token_bytes_max}) needs {} in a frame",
            token_bytes_max + SIGN_IN_BYTES
        ));
    }
    if unsigned_frame_bytes_max as usize > token_bytes_max + ENVELOPE_BYTES {
        return Some(format!(
            "its limits.unsigned_frame_bytes_max is {unsigned_frame_bytes_max}, and tokens longer than our \
             limits.token_bytes_max ({token_bytes_max}) are refused"
        ));
    }
    None
}

fn check_hello(hello: Option<&Hello>) -> Result<NodeKey, Status> {
    let hello =
        hello.ok_or_else(|| Status::failed_precondition("hello: must be on the first message of the stream"))?;
    if hello.version != LINK_VERSION {
        let problem = format!(
            "hello.version: this logic speaks version {LINK_VERSION} of the link and the conn node version {}; \
             run both from the same release",
            hello.version
        );
        return Err(Status::failed_precondition(problem));
    }
    if hello.node.is_empty() || hello.node.len() > NODE_BYTES_MAX {
        return Err(Status::invalid_argument(format!("hello.node: must have 1 to {NODE_BYTES_MAX} bytes")));
    }
    let NodeAddresses { tcp, ws, tls, wss } = hello.addresses.clone().unwrap_or_default();
    if [&tcp, &ws, &tls, &wss].iter().any(|address| address.len() > ADDRESS_BYTES_MAX) {
        return Err(Status::invalid_argument(format!(
            "hello.addresses: each must have at most {ADDRESS_BYTES_MAX} bytes"
        )));
    }
    if hello.epoch == 0 {
        return Err(Status::invalid_argument("hello.epoch: must not be 0"));
    }
    Ok(NodeKey { name: hello.node.clone(), epoch: hello.epoch })
}

/// Moves what the queue holds into the stream, until the queue is closed and empty or the stream is gone.
async fn pump(parts: Arc<LinkParts>, link: Arc<NodeLink>, down: mpsc::Sender<Result<Down, Status>>) {
    let welcome = Welcome { version: LINK_VERSION, node: parts.node.clone(), deployment: parts.nodes.deployment() };
    let mut message = Down { welcome: Some(welcome), items: Vec::new() };
    loop {
        if down.send(Ok(message)).await.is_err() {
            link.stop.cancel();
            link.queue.close();
            return;
        }
        let Some(batch) = link.queue.take().await else { return };
        if !batch.owed_hints.is_empty() {
            let (parts, link) = (parts.clone(), link.clone());
            tokio::spawn(async move { parts.catch_up.tell_newest_seqs(&link, batch.owed_hints).await });
        }
        if !batch.owed_groups.is_empty() {
            let (parts, link) = (parts.clone(), link.clone());
            tokio::spawn(async move { parts.catch_up.tell_group_heads(&link, batch.owed_groups).await });
        }
        message = Down { welcome: None, items: batch.items };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_do_not_fit_are_told() {
        let limits = LimitSettings::default();
        let told = |unsigned_frame_bytes_max, frame_bytes_max| {
            misfit(&Hello { unsigned_frame_bytes_max, frame_bytes_max, ..Hello::default() }, &limits)
                .unwrap_or_default()
        };
        assert_eq!(told(0, 0), "", "an older conn node does not say");
        assert_eq!(told(16 << 10, 64 << 10), "", "the defaults fit");
        assert!(told(16 << 10, (64 << 10) - 1).starts_with("its limits.frame_bytes_max is 65535"));
        assert_eq!(told((12 << 10) + 256, 64 << 10), "");
        let short = told((12 << 10) + 255, 64 << 10);
        assert!(short.ends_with("a token of our limits.token_bytes_max (12288) needs 12544 in a frame"), "{short}");
        assert!(told(32 << 10, 64 << 10).starts_with("its limits.unsigned_frame_bytes_max is 32768"));
    }

    #[test]
    fn a_hello_is_checked_before_anything_else() {
        let hello = |version, node: &str, epoch| Hello { version, node: node.into(), epoch, ..Hello::default() };
        let problem = |hello: Option<Hello>| check_hello(hello.as_ref()).unwrap_err().message().to_owned();
        assert!(check_hello(Some(&hello(LINK_VERSION, "conn-1", 1))).is_ok());
        assert!(problem(None).starts_with("hello: must be on the first message"));
        assert!(
            problem(Some(hello(LINK_VERSION + 1, "conn-1", 1))).starts_with("hello.version: this logic speaks version")
        );
        assert!(problem(Some(hello(LINK_VERSION, "", 1))).starts_with("hello.node: "));
        assert!(problem(Some(hello(LINK_VERSION, &"n".repeat(65), 1))).starts_with("hello.node: "));
        assert_eq!(problem(Some(hello(LINK_VERSION, "conn-1", 0))), "hello.epoch: must not be 0");
    }
}
