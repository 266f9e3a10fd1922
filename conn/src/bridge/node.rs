//! What this node tells logic of itself: who it is, where clients reach it, how full it is. Shared by all links; any task.

use std::sync::Arc;

use gim_proto::{
    LINK_VERSION,
    logic::{Hello, NodeAddresses, NodeLoad},
};
use tokio::sync::watch;

use crate::{quota::Quota, settings::LimitSettings};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct NodeState {
    name: String,
    /// Tells logic this start of the process from any other one.
    epoch: u64,
    addresses: NodeAddresses,
    /// Longest frames of clients, before and after their sign-in.
    frame_bytes_max: [usize; 2],
    quota: Arc<Quota>,
    is_draining: watch::Sender<bool>,
    /// Whether an operator wants it to.
    is_to_drain: watch::Sender<bool>,
}

impl NodeState {
    /// A node that is about to start.
    pub fn new(name: String, addresses: NodeAddresses, limits: &LimitSettings, quota: Arc<Quota>) -> Self {
        let epoch = rand::random_range(1..=u64::MAX);
        let frame_bytes_max = [limits.unsigned_frame_bytes_max, limits.frame_bytes_max];
        Self {
            name,
            epoch,
            addresses,
            frame_bytes_max,
            quota,
            is_draining: watch::Sender::new(false),
            is_to_drain: watch::Sender::new(false),
        }
    }

    /// From now on nobody new is to be sent to it.
    pub fn drain(&self) {
        self.is_draining.send_replace(true);
    }

    /// An operator wants the node to drain, and to end.
    pub(super) fn ask_to_drain(&self) {
        self.is_to_drain.send_replace(true);
    }

    /// Waits until an operator does.
    pub fn asked_to_drain(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut is_to_drain = self.is_to_drain.subscribe();
        async move {
            if is_to_drain.wait_for(|is_to_drain| *is_to_drain).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Tells of [`NodeState::drain`].
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.is_draining.subscribe()
    }

    /// The first word of a stream.
    pub(super) fn hello(&self) -> Hello {
        let [unsigned_frame_bytes_max, frame_bytes_max] =
            self.frame_bytes_max.map(|bytes| bytes.try_into().unwrap_or(u32::MAX));
        Hello {
            version: LINK_VERSION,
            node: self.name.clone(),
            epoch: self.epoch,
            addresses: Some(self.addresses.clone()),
            load: Some(self.load()),
            unsigned_frame_bytes_max,
            frame_bytes_max,
        }
    }

    /// How full it is now.
    pub(super) fn load(&self) -> NodeLoad {
        let (connections, connections_max) = self.quota.usage();
        NodeLoad {
            connections: connections as u64,
            connections_max: connections_max as u64,
            is_draining: *self.is_draining.borrow(),
        }
    }
}
