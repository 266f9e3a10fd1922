//! Who is where: a conn process, and a connection of a device on it.

use std::sync::Arc;

/// One run of a conn process. A restarted one has the same name and another epoch.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NodeKey {
    /// The name from its settings.
    pub name: String,
    /// Different for every start of the process.
    pub epoch: u64,
}

/// A live connection of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose.
    pub user_id: u64,
    /// From which device; a user has at most one route per device.
    pub device_id: u64,
    /// A `logic.DeviceType`.
    pub device_type: i32,
    /// On which conn process.
    pub node: Arc<NodeKey>,
    /// Which connection there.
    pub connection_id: u64,
    /// Signed in since, Unix milliseconds. Of two connections of a device the later one stays.
    pub since_ms: i64,
}

impl Route {
    /// Whether both name the same connection.
    pub fn is_same_connection(&self, other: &Route) -> bool {
        self.connection_id == other.connection_id && self.node == other.node
    }
}
