//! What a conn node is told in place of pushes that were dropped: whom to tell to sync, and which large groups got further. Plain
//! data of a [`NodeQueue`](super::node_queue::NodeQueue), under its lock.
//!
//! Always holds: what is remembered is bounded; what is beyond it is counted, and learnt from heartbeats.

use foldhash::{HashMap, HashSet};
use metrics::counter;

use super::item_batch::ItemBatch;
use crate::metrics as names;

/// Connections that are remembered to be told their newest seq. Those beyond learn it from their heartbeat.
const OWED_HINTS_MAX: usize = 65_536;

/// Large groups that are remembered likewise.
const OWED_GROUPS_MAX: usize = 65_536;

/// The same, of pushes that one user caused beyond his share.
const OWED_PER_USER_MAX: usize = 8_192;

/// What has to be told in place of dropped pushes.
#[derive(Debug, Default)]
pub(super) struct OwedNews {
    connections: HashMap<u64, u64>,
    groups: HashSet<u64>,
}

/// How much is remembered of dropped pushes.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwedLimits {
    pub(super) connections: usize,
    pub(super) groups: usize,
}

impl OwedLimits {
    pub(super) const OF_ALL: Self = Self { connections: OWED_HINTS_MAX, groups: OWED_GROUPS_MAX };
    pub(super) const OF_USER: Self = Self { connections: OWED_PER_USER_MAX, groups: OWED_PER_USER_MAX };
}

impl OwedNews {
    pub(super) fn add_connections(&mut self, owed_hints: &[(u64, u64)], max: usize) {
        for &(connection_id, user_id) in owed_hints {
            if self.connections.len() >= max && !self.connections.contains_key(&connection_id) {
                counter!(names::LINK_HINTS_LOST).increment(1);
            } else {
                self.connections.insert(connection_id, user_id);
            }
        }
    }

    pub(super) fn add_group(&mut self, group_id: u64, max: usize) {
        if self.groups.len() < max {
            self.groups.insert(group_id);
        } else if !self.groups.contains(&group_id) {
            counter!(names::LINK_HINTS_LOST).increment(1);
        }
    }

    /// Hands over what is to be told.
    pub(super) fn settle(&mut self, batch: &mut ItemBatch) {
        batch.owed_hints.extend(std::mem::take(&mut self.connections));
        batch.owed_groups.extend(std::mem::take(&mut self.groups));
    }
}
