//! A channel to a service of one node, or of several: those that are away are passed over.
//!
//! On the tasks of calls, with a task for each node that is away and for each name that is looked up; these end with the last clone. Always
//! holds: a call goes to another node only where the first one never had it; while all are away each of them is tried; and no call
//! waits to find out whether a node is back.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use tokio::{net::TcpStream, sync::watch};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

use super::{CONNECT_TIMEOUT, called_peer::CalledPeer};
use crate::{
    dns_name::{self, DnsName},
    listen::Endpoint,
    metrics as names,
};

/// How soon it is looked whether a node is back, or a name has addresses: at first, and later.
const TRY_AGAIN_FIRST: Duration = Duration::from_millis(100);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(3);
/// How often a name is looked up that has addresses, and how long that may take.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// A node is given up that is missing in so many answers in a row: some name servers leave a part out by turns.
const MISSING_MAX: usize = 2;
/// Addresses of one name; those beyond are left out.
const ADDRESSES_MAX: usize = 64;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Result<http::Response<Body>, BoxError>;

/// See the module. Clones share everything.
#[derive(Debug, Clone)]
pub struct NodesChannel(Way);

#[derive(Debug, Clone)]
enum Way {
    One(Channel, Arc<CalledPeer>),
    Several(Arc<Several>),
}

#[derive(Debug)]
struct Several {
    nodes: watch::Sender<Vec<Arc<Node>>>,
    /// Counts calls, which go round.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    /// Where it is called.
    endpoint: Endpoint,
    /// The name that it was found by.
    name: Option<DnsName>,
    channel: Channel,
    peer: CalledPeer,
    is_away: AtomicBool,
    /// In how many answers in a row it was missing.
    missing: AtomicUsize,
}

/// Makes the channel to a node, whose certificate is for a name where that is given.
pub(super) type Connect = Arc<dyn Fn(&Endpoint, Option<&str>) -> Result<Channel, String> + Send + Sync>;

impl NodesChannel {
    /// To the one node that there is.
    pub(super) fn one(endpoint: &Endpoint, channel: Channel) -> Self {
        Self(Way::One(channel, Arc::new(CalledPeer::new(endpoint))))
    }

    /// To each of these. Must be called on a Tokio runtime.
    pub(super) fn several(endpoints: &[Endpoint], connect: Connect) -> Result<Self, String> {
        let (mut nodes, mut dns_names) = (Vec::new(), Vec::new());
        for endpoint in endpoints {
            match DnsName::of(endpoint).transpose()? {
                Some(name) => dns_names.push(name),
                None => nodes.push(Node::new(endpoint.clone(), None, connect(endpoint, None)?)),
            }
        }
        if let ([node], []) = (&nodes[..], &dns_names[..]) {
            return Ok(Self::one(&node.endpoint, node.channel.clone()));
        }
        let several = Arc::new(Several { nodes: watch::Sender::new(nodes), next: AtomicUsize::new(0) });
        for name in dns_names {
            tokio::spawn(look_up_again_and_again(name, Arc::downgrade(&several), connect.clone()));
        }
        Ok(Self(Way::Several(several)))
    }
}

impl Service<http::Request<Body>> for NodesChannel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.0 {
            Way::One(channel, _) => channel.poll_ready(context).map_err(Into::into),
            Way::Several(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match &mut self.0 {
            Way::One(channel, peer) => {
                let (began, answer, peer) = (Instant::now(), channel.call(request), peer.clone());
                Box::pin(async move { peer.noted(answer.await).map_err(|error| peer.named(error.into(), began)) })
            }
            Way::Several(several) => Box::pin(several.clone().call(request)),
        }
    }
}

impl Several {
    /// What is called here is one message, which every node can be given.
    async fn call(self: Arc<Self>, request: http::Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let message = body.collect().await?.to_bytes();
        let mut problem = None;
        for node in self.candidates().await {
            let (began, body) = (Instant::now(), Body::new(Full::new(message.clone())));
            match node.call(http::Request::from_parts(parts.clone(), body)).await {
                Err(error) if never_left(&*error) => {
                    node.pass_over(&*error);
                    problem = Some(node.peer.named(error, began));
                }
                answer => return answer.map_err(|error| node.peer.named(error, began)),
            }
        }
        Err(problem.unwrap_or_else(|| Status::unavailable("no node is known yet").into()))
    }

    /// Whom to ask, one after the other; those that are away only where all are.
    async fn candidates(&self) -> Vec<Arc<Node>> {
        let mut found = self.nodes.subscribe();
        let is_known = found.wait_for(|nodes| !nodes.is_empty());
        // Until a name was looked up for the first time.
        let Ok(Ok(nodes)) = tokio::time::timeout(CONNECT_TIMEOUT, is_known).await else { return Vec::new() };
        let (away, mut there): (Vec<_>, Vec<_>) = nodes.iter().cloned().partition(|node| node.is_away.load(Relaxed));
        if there.is_empty() {
            there = away;
        }
        let first = self.next.fetch_add(1, Relaxed) % there.len();
        there.rotate_left(first);
        there
    }

    /// These are the nodes of a name from now on.
    fn take(&self, name: &DnsName, addresses: &BTreeSet<SocketAddr>, connect: &Connect) {
        let wanted: Vec<Endpoint> = addresses.iter().map(|address| name.node_at(*address)).collect();
        self.nodes.send_if_modified(|nodes| {
            let before = nodes.len();
            nodes.retain(|node| node.name.as_ref() != Some(name) || node.stays_after(wanted.contains(&node.endpoint)));
            let mut is_changed = nodes.len() != before;
            for endpoint in wanted {
                if nodes.iter().any(|node| node.name.as_ref() == Some(name) && node.endpoint == endpoint) {
                    continue;
                }
                match connect(&endpoint, Some(&name.host)) {
                    Ok(channel) => nodes.push(Node::new(endpoint, Some(name.clone()), channel)),
                    Err(problem) => tracing::error!(%endpoint, problem, "a node cannot be called"),
                }
                is_changed = true;
            }
            is_changed
        });
    }
}

impl Node {
    fn new(endpoint: Endpoint, name: Option<DnsName>, channel: Channel) -> Arc<Self> {
        let peer = CalledPeer::new(&endpoint);
        Arc::new(Self { endpoint, name, channel, peer, is_away: AtomicBool::new(false), missing: AtomicUsize::new(0) })
    }

    /// Whether it is one of its name still, after an answer in which it is or is not.
    fn stays_after(&self, is_found: bool) -> bool {
        let missing = if is_found { 0 } else { self.missing.load(Relaxed) + 1 };
        self.missing.store(missing, Relaxed);
        missing < MISSING_MAX
    }

    async fn call(&self, request: http::Request<Body>) -> Answer {
        let mut channel = self.channel.clone();
        Ok(self.peer.noted(channel.ready().await?.call(request).await)?)
    }

    /// Others are asked until somebody listens there again.
    fn pass_over(self: &Arc<Self>, error: &(dyn std::error::Error + 'static)) {
        metrics::counter!(names::GRPC_NODES_PASSED_OVER).increment(1);
        if !self.is_away.swap(true, Relaxed) {
            tracing::warn!(node = %self.endpoint, error = super::root_cause(error), "a node is away; those that are there are asked in its place");
            tokio::spawn(watch_for(Arc::downgrade(self)));
        }
    }
}

/// Whether what failed was the way there, so that no node had the call.
fn never_left(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_cancelled = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        if is_cancelled || error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Until somebody listens at the address of the node, or nobody asks any more.
async fn watch_for(node: Weak<Node>) {
    let mut pause = TRY_AGAIN_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(TRY_AGAIN_MAX);
        let Some(node) = node.upgrade() else { return };
        let text = node.endpoint.to_string();
        let address = text.rsplit_once("://").map_or(text.as_str(), |(_, address)| address);
        if let Ok(Ok(_stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            node.is_away.store(false, Relaxed);
            tracing::info!(node = %node.endpoint, "a node is there again");
            return;
        }
    }
}

/// Until nobody asks any more. An answer that fails, or is empty, takes no node away.
async fn look_up_again_and_again(name: DnsName, several: Weak<Several>, connect: Connect) {
    let mut pause = TRY_AGAIN_FIRST;
    let mut is_failing = false;
    loop {
        let answer = look_up(&name).await;
        let Some(several) = several.upgrade() else { return };
        let problem = answer.map(|addresses| several.take(&name, &addresses, &connect)).err();
        drop(several);
        match &problem {
            Some(problem) if !is_failing => {
                tracing::warn!(name = name.host, %problem, "nodes cannot be looked up; those known stay");
            }
            None if is_failing => tracing::info!(name = name.host, "nodes can be looked up again"),
            _ => {}
        }
        is_failing = problem.is_some();
        let wait = if is_failing { pause } else { LOOK_UP_INTERVAL };
        pause = if is_failing { (pause * 2).min(TRY_AGAIN_MAX) } else { TRY_AGAIN_FIRST };
        tokio::time::sleep(wait).await;
    }
}

/// The nodes of a name.
async fn look_up(name: &DnsName) -> io::Result<BTreeSet<SocketAddr>> {
    let asked = tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host((name.host.as_str(), name.port)));
    let found = asked.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let addresses = dns_name::nodes_at(found, ADDRESSES_MAX);
    if addresses.is_empty() { Err(io::Error::other("the name has no addresses")) } else { Ok(addresses) }
}
