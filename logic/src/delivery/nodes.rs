//! The conn nodes that are attached to this logic node, by name. Any task.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use foldhash::HashMap;
use gim_proto::{
    CloseReason,
    logic::{DrainNode, GroupPush, Kick, Leaving, NodeAddresses, NodeLoad, PeerNodes, Push, PushAll, down_item::Item},
};
use metrics::gauge;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    node_queue::{NodeQueue, SERVICE},
    node_report::NodeReport,
};
use crate::{
    domain::{
        locate::NodeInfo,
        route::{NodeKey, Route},
    },
    metrics as names,
    settings::LinkSettings,
    shared_state::{SharedState, SharedStateError},
};

/// The attached nodes.
#[derive(Debug)]
pub struct Nodes {
    settings: LinkSettings,
    shared: Arc<dyn SharedState>,
    links: Mutex<HashMap<String, Arc<NodeLink>>>,
    /// Attaching and detaching change two places, here and the shared state: one at a time.
    transition: tokio::sync::Mutex<()>,
    /// A node came, of which others do not know yet.
    arrivals: Notify,
    /// Nobody new is attached.
    is_leaving: AtomicBool,
    stop: CancellationToken,
}

/// `(connection id, user id)`s.
pub type ConnectionsOfUsers = Vec<(u64, u64)>;

/// One attached node, and its stream.
#[derive(Debug)]
pub struct NodeLink {
    /// Which conn process.
    pub key: Arc<NodeKey>,
    /// Where clients reach it.
    pub addresses: NodeAddresses,
    /// What goes down to it.
    pub queue: NodeQueue,
    /// Requests under way.
    pub in_flight: Arc<Semaphore>,
    /// What the node told of itself.
    pub report: NodeReport,
    /// Whether the node ended its direction in order.
    has_ended_up: watch::Sender<bool>,
    is_leaving: AtomicBool,
    /// The other nodes that it was told of.
    peers: Mutex<PeerNodes>,
    /// Fires when the stream has to end: the node re-attached, takes nothing, or this service stops.
    pub stop: CancellationToken,
}

impl Nodes {
    /// Nobody is attached yet.
    pub fn new(settings: LinkSettings, shared: Arc<dyn SharedState>) -> Self {
        Self {
            settings,
            shared,
            links: Mutex::default(),
            transition: tokio::sync::Mutex::default(),
            arrivals: Notify::new(),
            is_leaving: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// What all logic nodes say that share users and rooms with this one.
    pub fn deployment(&self) -> String {
        self.shared.deployment()
    }

    /// A node attached. An older stream of the same process ends; where another process has its name, it is refused.
    pub async fn attach(&self, key: NodeKey, addresses: NodeAddresses) -> Result<Arc<NodeLink>, SharedStateError> {
        if self.is_leaving.load(Ordering::Relaxed) {
            return Err(SharedStateError::Away("this logic node is about to stop".into()));
        }
        let link = Arc::new(NodeLink {
            key: Arc::new(key),
            addresses,
            queue: NodeQueue::new(self.settings.clone()),
            in_flight: Arc::new(Semaphore::new(self.settings.in_flight_max)),
            report: NodeReport::default(),
            has_ended_up: watch::Sender::new(false),
            is_leaving: AtomicBool::new(false),
            peers: Mutex::default(),
            stop: self.stop.child_token(),
        });
        let _one_at_a_time = self.transition.lock().await;
        self.shared.attach_node(&link.key).await?;
        let former = self.lock().insert(link.key.name.clone(), link.clone());
        if let Some(former) = former {
            tracing::warn!(node = link.key.name, epoch = former.key.epoch, "replaced by a newer stream of the node");
            former.stop.cancel();
        }
        gauge!(names::LINK_NODES).set(self.lock().len() as f64);
        Ok(link)
    }

    /// What an attached node told of itself at first. Whoever waits for the [`arrival`](Self::arrival) of one is woken.
    pub fn introduce(&self, link: &NodeLink, load: NodeLoad) {
        link.report.set_load(load);
        self.arrivals.notify_one();
    }

    /// Waits until a node has come since the last time. For one task.
    pub async fn arrival(&self) {
        self.arrivals.notified().await;
    }

    /// A stream ended. Its node's lease begins to run out, unless a newer stream has taken its place.
    pub async fn detach(&self, link: &Arc<NodeLink>) -> Result<(), SharedStateError> {
        let _one_at_a_time = self.transition.lock().await;
        {
            let mut links = self.lock();
            if !links.get(&link.key.name).is_some_and(|current| Arc::ptr_eq(current, link)) {
                return Ok(());
            }
            links.remove(&link.key.name);
            gauge!(names::LINK_NODES).set(links.len() as f64);
        }
        self.shared.detach_node(&link.key).await
    }

    /// Queues a push to a room of a node, which a user caused. Where the node is not attached just now, nobody is there to get it.
    pub fn push(&self, node: &NodeKey, item: Item, caused_by: u64) {
        match self.find(node) {
            Some(link) => {
                link.queue.push(item, caused_by);
            }
            None => count_away(),
        }
    }

    /// Queues a push for connections of a node. Where the node is not attached just now, its devices learn of the message when
    /// it is again. `owed_hints` is asked where the push is dropped: `(connection id, user id)` of its persisted receivers.
    pub fn push_to_connections(
        &self,
        node: &NodeKey,
        push: Push,
        caused_by: u64,
        owed_hints: impl FnOnce(&Push) -> Vec<(u64, u64)>,
    ) {
        match self.find(node) {
            Some(link) => link.queue.push_to_connections(push, caused_by, owed_hints),
            None => count_away(),
        }
    }

    /// Queues the same push for every attached node; false, and nothing done, while one is busy with `under_way_max` others.
    pub fn push_to_all(&self, message_id: u64, message: &Bytes, under_way_max: usize) -> bool {
        // Held across the check and the push, so that two of them never both take the last place.
        let links = self.lock();
        if links.values().any(|link| link.report.pushes_to_all() >= under_way_max) {
            return false;
        }
        for link in links.values() {
            link.report.begin_push_to_all(message_id);
            let push = PushAll { message: message.clone(), message_id };
            if !link.queue.push(Item::PushAll(push), SERVICE) {
                link.report.end_push_to_all(message_id);
            }
        }
        true
    }

    /// Queues a message to a large group for every attached node.
    pub fn push_to_group(&self, push: &GroupPush, caused_by: u64) {
        let links: Vec<_> = self.lock().values().cloned().collect();
        for link in links {
            link.queue.push_to_group(push.clone(), caused_by);
        }
    }

    /// Whether a node is attached here.
    pub fn is_attached(&self, node: &NodeKey) -> bool {
        self.find(node).is_some()
    }

    /// Queues a notice for a node, if it is attached.
    pub fn notice(&self, node: &NodeKey, item: Item) {
        if let Some(link) = self.find(node) {
            link.notice(item);
        }
    }

    /// How many connections are in a room, on all attached nodes.
    pub fn room_members(&self, room_id: u64) -> u64 {
        self.lock().values().map(|link| link.report.members_of(room_id)).sum()
    }

    /// Closes a connection, and tells its client why.
    pub fn kick(&self, route: &Route, reason: CloseReason, text: &str) {
        let message = text.to_owned();
        let kick = Kick { connection_id: route.connection_id, reason: reason as i32, message };
        self.notice(&route.node, Item::Kick(kick));
    }

    /// Asks a node to send its clients away, and to end.
    pub fn drain(&self, node: &NodeKey) {
        self.notice(node, Item::DrainNode(DrainNode {}));
    }

    /// Tells each node, where that changed, which others take clients: `peers_of` its name.
    pub fn tell_peers(&self, peers_of: impl Fn(&str) -> Vec<NodeAddresses>) {
        for link in self.all() {
            let peers = PeerNodes { nodes: peers_of(&link.key.name) };
            if link.learn_peers(&peers) {
                link.notice(Item::PeerNodes(peers));
            }
        }
    }

    /// Ends the stream of a node: it comes back and announces its connections and rooms.
    pub fn reattach(&self, node: &NodeKey) {
        if let Some(link) = self.find(node) {
            link.stop.cancel();
        }
    }

    /// Ends the stream of every node, which comes back and announces everything.
    pub fn reattach_all(&self) {
        self.lock().values().for_each(|link| link.stop.cancel());
    }

    /// The attached nodes of these routes, each with its connections.
    pub fn links_of(&self, routes: &[Route]) -> Vec<(Arc<NodeLink>, ConnectionsOfUsers)> {
        let mut of_nodes: HashMap<&NodeKey, ConnectionsOfUsers> = HashMap::default();
        for route in routes {
            of_nodes.entry(&*route.node).or_default().push((route.connection_id, route.user_id));
        }
        of_nodes.into_iter().filter_map(|(node, connections)| Some((self.find(node)?, connections))).collect()
    }

    /// All attached nodes.
    fn all(&self) -> Vec<Arc<NodeLink>> {
        self.lock().values().cloned().collect()
    }

    /// What the attached nodes told of themselves.
    pub fn infos(&self) -> Vec<(Arc<NodeKey>, NodeInfo)> {
        let info = |link: &Arc<NodeLink>| {
            let (name, addresses) = (link.key.name.clone(), link.addresses.clone());
            (link.key.clone(), NodeInfo { name, addresses, load: link.report.load() })
        };
        self.lock().values().map(info).collect()
    }

    /// Tells every node that this service is about to stop, and waits until each has moved its users away, or the time for
    /// that is over.
    pub async fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        let links = self.all();
        for link in &links {
            link.is_leaving.store(true, Ordering::Relaxed);
            link.notice(Item::Leaving(Leaving {}));
        }
        let moved = async {
            for link in &links {
                link.moved().await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(self.settings.leave_timeout_ms), moved).await.is_err() {
            tracing::warn!("some conn nodes did not move their users away in time; their requests are put off");
        }
    }

    /// Ends every stream, and each that comes later.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    fn find(&self, node: &NodeKey) -> Option<Arc<NodeLink>> {
        self.lock().get(&node.name).filter(|link| *link.key == *node).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<NodeLink>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_away() {
    metrics::counter!(names::LINK_PUSHES_DROPPED, "bound" => "away").increment(1);
}

impl NodeLink {
    /// The node ended its direction of the stream in order.
    pub fn end_up(&self) {
        self.has_ended_up.send_replace(true);
    }

    /// Whether that was because it was told that this service is about to stop.
    pub fn has_said_last(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed) && *self.has_ended_up.borrow()
    }

    /// Waits until the node says nothing more.
    async fn moved(&self) {
        let mut has_ended_up = self.has_ended_up.subscribe();
        tokio::select! {
            // The link holds the sender.
            _ended = has_ended_up.wait_for(|has_ended| *has_ended) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Whether these are other peers than those that it was told of.
    fn learn_peers(&self, peers: &PeerNodes) -> bool {
        let mut told = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *told != *peers;
        if is_news {
            told.clone_from(peers);
        }
        is_news
    }

    /// Queues a notice. A node that has let too many gather is detached: it announces its connections when it comes back,
    /// and what the notices were about is decided again.
    pub fn notice(&self, item: Item) {
        if !self.queue.notice(item) {
            tracing::warn!(node = self.key.name, "detached, because it takes nothing from its stream");
            self.stop.cancel();
        }
    }
}
