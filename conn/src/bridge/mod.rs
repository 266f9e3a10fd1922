//! Between the reactors and logic: the only asynchronous code of this crate, and the only place that knows Tokio.
//!
//! ```text
//!   reactors ══ UpBatch, bounded ══▶ distributor ══ bounded ══▶ link ══ gRPC stream ══▶ logic   (one link per logic node)
//!       ▲                                                        │
//!       └────────────── Command, bounded, then a wake ───────────┘
//! ```
//!
//! Always holds: a user's packets go to one link, in order; every packet that was handed over is answered once, by logic or,
//! where its link broke or logic was too slow, with "try again later".

mod calls;
mod distributor;
mod downlink;
mod link;
mod pending;
mod reactors;
mod tallies;
mod uplink;

use std::sync::Arc;

use crossbeam_channel::Receiver;
use gim_config::{grpc, ready::ReadyPart};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{reactor::uplink::UpBatch, settings::ConnSettings};

pub use calls::PushCalls;
pub use reactors::{ReactorHandle, Reactors};

/// The running bridge.
#[derive(Debug)]
pub struct Bridge {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the distributor and a link per logic node.
pub fn start(
    settings: &ConnSettings,
    batches: Receiver<UpBatch>,
    notify: Arc<Notify>,
    reactors: Reactors,
    ready: ReadyPart,
) -> Result<Bridge, String> {
    let stop = CancellationToken::new();
    let (link_events, events) = mpsc::channel(64);
    let mut tasks = Vec::new();
    let mut links = Vec::new();
    // Tells logic this start of the process from any other one.
    let epoch = rand::random_range(1..=u64::MAX);
    for (index, peer) in settings.logic.iter().enumerate() {
        let (sender, queue) = mpsc::channel(settings.link.queue_batches_max);
        let link = link::Link {
            index,
            name: peer.to_string(),
            channel: grpc::channel(peer, &settings.grpc, None)?,
            hello: gim_proto::logic::Hello { version: gim_proto::LINK_VERSION, node: settings.node.clone(), epoch },
            settings: settings.link.clone(),
            reactors: reactors.clone(),
            events: link_events.clone(),
            queue,
        };
        tasks.push(tokio::spawn(link.run(stop.clone())));
        links.push(distributor::LinkHandle::new(peer.to_string(), sender));
    }
    let distributor = distributor::Distributor::new(links, reactors, ready, &settings.link);
    tasks.insert(0, tokio::spawn(distributor.run(batches, notify, events, stop.clone())));
    Ok(Bridge { stop, tasks })
}

impl Bridge {
    /// Sends what the reactors said last, then ends. To be called when the reactors have ended.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the bridge failed");
            }
        }
    }
}
