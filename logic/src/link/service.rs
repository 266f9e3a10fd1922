//! `LinkService.Attach`: the handshake of a stream, and its two ends.

use std::{sync::Arc, time::Duration};

use gim_config::refusals::Refusals;
use gim_proto::{
    LINK_VERSION, ResultCode,
    logic::{
        ConnectionSeq, Down, Hello, NewestSeqAnswer, NodeAddresses, Up, Welcome, down_item::Item,
        link_service_server::LinkService,
    },
};
use metrics::counter;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{groups, session::Session};
use crate::{delivery::nodes::NodeLink, domain::route::NodeKey, metrics as names, usecase::App};

/// How long a stream may be silent before it says hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages between the pump and HTTP/2: enough to keep the connection busy; what does not fit waits in the node's queue.
const DOWN_MESSAGES_MAX: usize = 2;

/// Connections in one newest-seq answer.
const HINTS_PER_ITEM: usize = 1024;

const NODE_BYTES_MAX: usize = 64;

const ADDRESS_BYTES_MAX: usize = 256;

/// The service.
#[derive(Debug, Clone)]
pub struct Link {
    app: Arc<App>,
    /// By the names of nodes.
    refusals: Arc<Refusals<String>>,
}

impl Link {
    /// Over the use cases of `app`.
    pub fn new(app: Arc<App>) -> Self {
        Self { app, refusals: Arc::default() }
    }

    /// Lets a node in that shows a good hello under a name that is free.
    async fn admit(&self, hello: Option<Hello>) -> Result<Arc<NodeLink>, Status> {
        let key = check_hello(hello.as_ref())?;
        let hello = hello.unwrap_or_default();
        let addresses = hello.addresses.unwrap_or_default();
        let link = self.app.nodes.attach(key, addresses, &*self.app.shared).await.map_err(crate::error::Error::from)?;
        link.report.set_load(hello.load.unwrap_or_default());
        Ok(link)
    }

    /// What will not do the next time either is said once for each node, which comes again and again.
    fn note_refusal(&self, node: String, status: &Status) {
        let problem = status.message();
        if !ResultCode::of_status(status).is_retryable() && self.refusals.is_news(node.clone(), problem) {
            tracing::warn!(node, problem, "a conn node is refused, and tries again and again");
        }
    }
}

#[tonic::async_trait]
impl LinkService for Link {
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
                self.note_refusal(node, &status);
                return Err(status);
            }
        };
        self.refusals.forget(&node);
        tracing::info!(node = link.key.name, epoch = link.key.epoch, "attached");

        let (down, stream) = mpsc::channel(DOWN_MESSAGES_MAX);
        let pump = tokio::spawn(pump(self.app.clone(), link.clone(), down));
        tokio::spawn(Session::new(self.app.clone(), link).run(first.items, up, pump));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
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
async fn pump(app: Arc<App>, link: Arc<NodeLink>, down: mpsc::Sender<Result<Down, Status>>) {
    let welcome = Welcome { version: LINK_VERSION, node: app.node.clone() };
    let mut message = Down { welcome: Some(welcome), items: Vec::new() };
    loop {
        if down.send(Ok(message)).await.is_err() {
            link.stop.cancel();
            link.queue.close();
            return;
        }
        let Some(batch) = link.queue.take().await else { return };
        if !batch.owed_hints.is_empty() {
            tokio::spawn(hint(app.clone(), link.clone(), batch.owed_hints));
        }
        if !batch.owed_groups.is_empty() {
            tokio::spawn(groups::tell_news(app.clone(), link.clone(), batch.owed_groups));
        }
        message = Down { welcome: None, items: batch.items };
    }
}

/// Tells connections the newest seq of their inbox, from which they see that a push was skipped.
pub async fn hint(app: Arc<App>, link: Arc<NodeLink>, connections: Vec<(u64, u64)>) {
    for part in connections.chunks(HINTS_PER_ITEM) {
        match newest_seqs(&app, part).await {
            Ok(answer) => {
                counter!(names::LINK_HINTS).increment(part.len() as u64);
                link.notice(Item::NewestSeq(answer));
            }
            Err(error) => {
                counter!(names::LINK_HINTS_LOST).increment(part.len() as u64);
                tracing::warn!(%error, "connections were not told their newest seq; their heartbeats tell it");
            }
        }
    }
}

/// The newest seqs of `(connection id, user id)`s.
pub(super) async fn newest_seqs(
    app: &App,
    connections: &[(u64, u64)],
) -> Result<NewestSeqAnswer, crate::store::StoreError> {
    let user_ids: Vec<u64> = connections.iter().map(|connection| connection.1).collect();
    let seqs = app.store.inboxes.newest_seqs(&user_ids).await?;
    let answer = |(&(connection_id, _), newest_seq): (&(u64, u64), u64)| ConnectionSeq { connection_id, newest_seq };
    Ok(NewestSeqAnswer { connections: connections.iter().zip(seqs).map(answer).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
