//! Where to connect: answered from what was known of the conn nodes a moment ago, so that a question costs no round trip.

use std::sync::{Arc, PoisonError, RwLock};

use gim_proto::{
    ResultCode, check,
    logic::{Backoff, LocateReply, LocateRequest, PeerNodes, down_item::Item},
};

use super::App;
use crate::{
    domain::locate::{self, NodeInfo, Question},
    error::Error,
    settings::GatewaySettings,
};

const PLATFORM_BYTES_MAX: usize = 32;

/// Other nodes that a conn node is told of.
const PEERS_MAX: usize = 16;

/// The conn nodes, as the keeper saw them last.
#[derive(Debug)]
pub struct Directory {
    settings: GatewaySettings,
    nodes: RwLock<Arc<[NodeInfo]>>,
}

impl Directory {
    /// Knows nobody yet.
    pub fn new(settings: GatewaySettings) -> Self {
        Self { settings, nodes: RwLock::new(Arc::new([])) }
    }

    fn nodes(&self) -> Arc<[NodeInfo]> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl App {
    /// The conn nodes that a client should try.
    pub fn locate(&self, request: &LocateRequest) -> Result<LocateReply, Error> {
        check::size("platform", &request.platform, PLATFORM_BYTES_MAX)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !request.platform.bytes().all(is_plain) {
            return Err(check::invalid("platform", "must consist of letters, digits, '-', '_' and '.'").into());
        }
        if request.room_id != 0 {
            check::id("room_id", request.room_id)?;
        }
        let settings = &self.directory.settings;
        let question = Question { platform: &request.platform, room_id: request.room_id };
        let nodes = locate::locate(&self.directory.nodes(), question, settings, rand::random);
        if nodes.is_empty() {
            return Err(Error::refused(ResultCode::TryAgainLater, "no conn node takes connections just now"));
        }
        let backoff = Backoff { first_ms: settings.backoff_first_ms, max_ms: settings.backoff_max_ms };
        Ok(LocateReply { nodes, heartbeat_s: settings.heartbeat_s, backoff: Some(backoff) })
    }

    /// Takes over what is known of the conn nodes, and tells each of them, where that changed, which others take clients.
    pub fn take_directory(&self, nodes: Vec<NodeInfo>) {
        for link in self.nodes.all() {
            let full_permille = self.directory.settings.full_permille;
            let peers = PeerNodes { nodes: locate::peers_of(&link.key.name, &nodes, full_permille, PEERS_MAX) };
            if link.learn_peers(&peers) {
                link.notice(Item::PeerNodes(peers));
            }
        }
        *self.directory.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes.into();
    }
}
