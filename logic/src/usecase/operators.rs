//! What operators ask: which conn nodes there are, an end to a user's connections, an end to a node.

use std::sync::Arc;

use gim_proto::{
    CloseReason, ResultCode, check,
    logic::{AttachedNode, DrainNodeRequest, KickUserRequest, ListNodesReply},
};

use crate::{delivery::nodes::Nodes, error::Error, shared_state::SharedState, store::revocation::ALL_DEVICES};

/// See the module's documentation.
#[derive(Debug)]
pub struct Operators {
    /// The name of this logic node.
    pub(super) node: String,
    pub(super) nodes: Arc<Nodes>,
    pub(super) shared: Arc<dyn SharedState>,
}

impl Operators {
    /// The attached conn nodes, and what they told of themselves.
    pub fn list_nodes(&self) -> ListNodesReply {
        let attached = self.nodes.infos().into_iter().map(|(key, info)| AttachedNode {
            name: info.name,
            epoch: key.epoch,
            addresses: Some(info.addresses),
            load: Some(info.load),
        });
        let mut nodes: Vec<AttachedNode> = attached.collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        ListNodesReply { logic_node: self.node.clone(), nodes }
    }

    /// Closes the connections of a user, of all devices or of one; returns how many there were.
    pub async fn kick_user(&self, request: KickUserRequest) -> Result<usize, Error> {
        let KickUserRequest { user_id, device_id } = request;
        check::id("user_id", user_id)?;
        if device_id != ALL_DEVICES {
            check::id("device_id", device_id)?;
        }
        let mut routes = self.shared.routes_of(&[user_id]).await?;
        routes.retain(|route| device_id == ALL_DEVICES || route.device_id == device_id);
        for route in &routes {
            self.nodes.kick(route, CloseReason::CrKicked, CloseReason::CrKicked.rule().text);
        }
        tracing::info!(user_id, device_id, connections = routes.len(), "an operator closed the connections of a user");
        Ok(routes.len())
    }

    /// Asks a conn node to send its clients away, and to end.
    pub fn drain_node(&self, request: &DrainNodeRequest) -> Result<(), Error> {
        let attached = self.nodes.infos().into_iter().find(|(_, info)| info.name == request.node);
        let Some((key, _)) = attached else {
            return Err(Error::refused(
                ResultCode::BadRequest,
                format!("node: no conn node `{}` is attached", request.node),
            ));
        };
        tracing::info!(node = request.node, "an operator asked a conn node to drain");
        self.nodes.drain(&key);
        Ok(())
    }
}
