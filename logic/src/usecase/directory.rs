//! Where to connect: answered from what was known of the conn nodes a moment ago, so that a question costs no round trip.

use std::sync::{Arc, PoisonError, RwLock};

use gim_proto::{
    ResultCode, check,
    logic::{Backoff, LocateReply, LocateRequest},
};

use crate::{
    delivery::nodes::Nodes,
    domain::locate::{self, NodeInfo, Question},
    error::Error,
    settings::GatewaySettings,
};

const PLATFORM_BYTES_MAX: usize = 32;

/// Other nodes that a conn node is told of.
const PEERS_MAX: usize = 16;

/// The conn nodes of all logic nodes, as they were seen last.
#[derive(Debug)]
pub struct Directory {
    settings: GatewaySettings,
    known: RwLock<Arc<[NodeInfo]>>,
    attached: Arc<Nodes>,
}

impl Directory {
    /// Knows nobody yet; `attached` are the nodes that are told of the others.
    pub fn new(settings: GatewaySettings, attached: Arc<Nodes>) -> Self {
        Self { settings, known: RwLock::new(Arc::new([])), attached }
    }

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
        let settings = &self.settings;
        let question = Question { platform: &request.platform, room_id: request.room_id };
        let nodes = locate::locate(&self.known(), question, settings.fullness(), settings.nodes_max, rand::random);
        if nodes.is_empty() {
            return Err(Error::refused(ResultCode::TryAgainLater, "no conn node takes connections just now"));
        }
        let backoff = Backoff { first_ms: settings.backoff_first_ms, max_ms: settings.backoff_max_ms };
        Ok(LocateReply { nodes, heartbeat_s: settings.heartbeat_s, backoff: Some(backoff) })
    }

    /// Takes over what is known of the conn nodes, and tells each attached one, where that changed, which others take clients.
    pub fn update(&self, nodes: Vec<NodeInfo>) {
        let full_permille = self.settings.full_permille;
        self.attached.tell_peers(|name| locate::peers_of(name, &nodes, full_permille, PEERS_MAX));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = nodes.into();
    }

    fn known(&self) -> Arc<[NodeInfo]> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
