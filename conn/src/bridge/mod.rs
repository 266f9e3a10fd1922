//! Between the reactors and logic, on Tokio. Besides the bridge only [`crate::start`] knows Tokio, to start and stop what is here;
//! nothing that a reactor runs does (`tests/source.rs`).
//!
//! ```text
//!   reactors ══ UpBatch, bounded ══▶ distributor ══ bounded ══▶ link ══ gRPC stream ══▶ logic   (one link per logic node)
//!       ▲                                                        │
//!       └────────────── Command, bounded, then a wake ───────────┘
//! ```
//!
//! Each app has a bridge of its own, with its own queues, streams and windows.
//!
//! [`discovery`] says which logic nodes there are. Always holds: a user's packets go to one link, in order, also when the user
//! moves to another one; every packet that was handed over is answered once, by logic or, where its link broke or logic was too
//! slow, with "try again later".

mod attach;
mod calls;
mod companions;
pub mod discovery;
mod distributor;
mod downlink;
mod link;
mod link_handle;
mod node;
mod reactors;
mod recent_sign_outs;
mod request_metrics;
mod requests;
mod room_gate;
mod room_resequencer;
mod tallies;
mod uplink;

use std::sync::Arc;

use gim_config::{dns_name::DnsName, ready::AnyPart};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::settings::App;

pub use calls::PushCalls;
pub use node::NodeState;
pub use reactors::{ReactorHandle, Reactors, UpEnd};

/// Events of links that the distributor has not seen yet.
const LINK_EVENTS_MAX: usize = 64;

/// The running bridge.
#[derive(Debug)]
pub struct Bridge {
    stop: CancellationToken,
    distributor: JoinHandle<()>,
    stop_links: CancellationToken,
    links: TaskTracker,
}

/// What the bridge works with.
pub struct Parts {
    /// What reactors hand over.
    pub up: UpEnd,
    /// The way back.
    pub reactors: Reactors,
    /// Whether some logic node is attached.
    pub ready: AnyPart,
    /// What logic is told of this node.
    pub node: NodeState,
    /// Of names among the logic nodes.
    pub resolver: Arc<dyn discovery::Resolve>,
    /// Told, once, why logic will not have this node.
    pub problems: mpsc::Sender<String>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Parts").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Starts the bridge of an app: the distributor, and a link per logic node.
pub async fn start(app: App, parts: Parts) -> Result<Bridge, String> {
    let Parts { up, reactors, ready, node, resolver, problems } = parts;
    let (stop, stop_links, links) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let (link_events, events) = mpsc::channel(LINK_EVENTS_MAX);
    let app_id = app.id.to_string();
    let rooms = Arc::new(room_gate::RoomGate::new(&app_id, reactors.clone(), &app.link));
    links.spawn(rooms.clone().run(stop_links.clone()));
    let maker = link::LinkMaker {
        app_id,
        rooms,
        node,
        grpc: app.grpc,
        settings: app.link.clone(),
        reactors: reactors.clone(),
        companions: Arc::default(),
        events: link_events,
        problems,
        has_problem: Arc::default(),
        tasks: links.clone(),
        stop: stop_links.clone(),
        next_id: Arc::default(),
    };
    let distributor = distributor::Distributor::new(reactors, ready, &app.link);
    let distributor = tokio::spawn(distributor.run(up, events, stop.clone()));
    for entry in &app.logic {
        match DnsName::of(entry) {
            None => drop(maker.start(entry.clone(), None).await?),
            Some(name) => {
                let link = app.link.clone();
                links.spawn(discovery::run(name?, resolver.clone(), link, maker.clone(), stop_links.clone()));
            }
        }
    }
    Ok(Bridge { stop, distributor, stop_links, links })
}

impl Bridge {
    /// Sends what the reactors said last, then ends. To be called when the reactors have ended.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.distributor.await {
            tracing::error!(%error, "the distributor failed");
        }
        self.stop_links.cancel();
        self.links.close();
        self.links.wait().await;
    }
}
