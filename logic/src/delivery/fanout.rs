//! From receivers to conn nodes: routes of a whole batch in one call, then one push per message and node.
//!
//! Persisted messages come from the inbox writer, in order, to the one task of [`Fanout::run`], which keeps that order; what
//! is not persisted is delivered on the task of its request.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::{HashMap, HashMapExt as _, HashSet};
use gim_config::traces;
use gim_proto::logic::{GroupMemberships, GroupPush, Push, PushTarget, down_item::Item};
use metrics::counter;
use prost::Message as _;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, mpsc};

use super::nodes::Nodes;
use crate::{
    domain::{
        message::{Delivery, GroupDelivery, Receiver},
        route::{NodeKey, Route},
    },
    metrics as names,
    shared_state::{SharedState, SharedStateError},
};

/// Connections in one push: more become several, so that no single item is large.
const PUSH_TARGETS_MAX: usize = 4096;

/// Connections that a target has room for at first: as many as fit into the smallest piece that an allocator gives out, and as most
/// users have devices.
const TARGET_CONNECTIONS: usize = 3;

/// Users who are remembered for a hint; with more, every connection is told.
const OWED_USERS_MAX: usize = 100_000;

/// Delivers messages. Clones share everything.
#[derive(Debug, Clone)]
pub struct Fanout {
    shared: Arc<dyn SharedState>,
    nodes: Arc<Nodes>,
    owed: Arc<Mutex<Owed>>,
    /// Written to while connections are told that their users came into large groups or left them.
    memberships: Arc<RwLock<()>>,
}

/// Users whose pushes could not be routed: they have to be told to sync when routes answer again.
#[derive(Debug, Default)]
pub struct Owed {
    /// Who, no user twice.
    pub user_ids: Vec<u64>,
    /// Whether there were more.
    pub is_overfull: bool,
}

impl Fanout {
    /// Over the routes of `shared`, into the queues of `nodes`.
    pub fn new(shared: Arc<dyn SharedState>, nodes: Arc<Nodes>) -> Self {
        Self { shared, nodes, owed: Arc::default(), memberships: Arc::default() }
    }

    /// Holds changes of who is in a large group back: whoever reads the groups of a user and tells a conn node keeps this
    /// from before the first until after the second, so that a change that he did not see reaches the node after it.
    pub async fn hold_memberships(&self) -> OwnedRwLockReadGuard<()> {
        self.memberships.clone().read_owned().await
    }

    /// Delivers what the inbox writer committed, until the writer ends.
    pub async fn run(self, mut committed: mpsc::Receiver<Vec<Delivery>>) {
        while let Some(deliveries) = committed.recv().await {
            if let Err(error) = self.deliver(&deliveries).await {
                let count = deliveries.len() as u64;
                counter!(names::FANOUT_FAILED).increment(count);
                tracing::debug!(%error, messages = count, "pushes were not routed; devices are told to sync later");
                self.owe(Owed::by(&deliveries));
            }
        }
    }

    /// Remembers users for a hint.
    pub fn owe(&self, more: Owed) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.user_ids.extend(more.user_ids);
        owed.user_ids.sort_unstable();
        owed.user_ids.dedup();
        owed.is_overfull |= more.is_overfull || owed.user_ids.len() > OWED_USERS_MAX;
        owed.user_ids.truncate(OWED_USERS_MAX);
    }

    /// Who is owed a hint, if anybody is; the caller takes it over.
    pub fn take_owed(&self) -> Option<Owed> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        (!owed.user_ids.is_empty()).then(|| std::mem::take(&mut *owed))
    }

    /// Queues messages for the nodes that hold connections of their receivers.
    pub async fn deliver(&self, deliveries: &[Delivery]) -> Result<(), SharedStateError> {
        let changes_memberships = deliveries.iter().any(|delivery| delivery.joined_or_left().next().is_some());
        let _memberships = if changes_memberships { Some(self.memberships.write().await) } else { None };
        let mut user_ids: Vec<u64> = deliveries.iter().flat_map(Delivery::user_ids).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let routes = self.shared.routes_of(&user_ids).await;
        let routes = match routes {
            Ok(routes) => routes,
            Err(error) => {
                // Large groups need no routes.
                deliveries.iter().for_each(|delivery| self.push_live(delivery));
                return Err(error);
            }
        };
        let mut routes_of: HashMap<u64, Vec<Route>> = HashMap::with_capacity(routes.len());
        for route in routes {
            routes_of.entry(route.user_id).or_default().push(route);
        }
        for delivery in deliveries {
            if let Some(group) = &delivery.group {
                self.tell_memberships(group, &routes_of);
            }
            self.push(delivery, &routes_of);
            self.push_live(delivery);
        }
        Ok(())
    }

    /// Tells nodes which of their connections are in a large group from now on, and which are not any more.
    fn tell_memberships(&self, group: &GroupDelivery, routes_of: &HashMap<u64, Vec<Route>>) {
        let mut per_node: HashMap<Arc<NodeKey>, GroupMemberships> = HashMap::new();
        let group_id = group.group_id;
        let mut add = |user_ids: &[u64], list: fn(&mut GroupMemberships) -> &mut Vec<u64>| {
            for route in user_ids.iter().flat_map(|user_id| routes_of.get(user_id).into_iter().flatten()) {
                let memberships = per_node.entry(route.node.clone()).or_default();
                list(memberships).push(route.connection_id);
            }
        };
        add(&group.joined, |memberships| &mut memberships.joined_connection_ids);
        add(&group.left, |memberships| &mut memberships.left_connection_ids);
        for (node, memberships) in per_node {
            self.nodes.notice(&node, Item::GroupMemberships(GroupMemberships { group_id, ..memberships }));
        }
    }

    /// Every node gets a message for a large group once; it knows which of its connections are in the group.
    fn push_live(&self, delivery: &Delivery) {
        let Some(group) = delivery.group.as_ref().filter(|group| group.is_live) else { return };
        let push = GroupPush {
            group_id: group.group_id,
            seq: group.seq,
            message: delivery.message.to_wire_in_timeline(group.seq).encode_to_vec().into(),
            origin_device_id: delivery.origin_device_id,
            request_id: delivery.request_id.to_string(),
            trace_context: delivery.request_id.trace.to_link(),
        };
        self.nodes.push_to_group(&push, delivery.caused_by);
        counter!(names::GROUP_PUSHES).increment(1);
        tracing::debug!(request_id = &*delivery.request_id, group_id = group.group_id, seq = group.seq, "group push");
    }

    fn push(&self, delivery: &Delivery, routes_of: &HashMap<u64, Vec<Route>>) {
        let per_node = targets_per_node(delivery, routes_of);
        if per_node.is_empty() {
            return;
        }
        let mut span = traces::within("fan-out", delivery.request_id.trace);
        span.note("gim.receivers", delivery.receivers.len() as i64);
        let body = delivery.message.encode();
        for (node, mut targets) in per_node {
            while !targets.is_empty() {
                let rest = targets.split_off(targets.len().min(PUSH_TARGETS_MAX));
                let (request_id, trace_context) = (delivery.request_id.to_string(), span.context().to_link());
                let push = Push { message: body.clone(), targets, request_id, trace_context };
                let hints = |push: &Push| hints_for(push, &node, delivery, routes_of);
                self.nodes.push_to_connections(&node, push, delivery.caused_by, hints);
                targets = rest;
            }
        }
        tracing::debug!(
            request_id = &*delivery.request_id,
            message_id = delivery.message.id,
            receivers = delivery.receivers.len(),
            "pushed"
        );
    }
}

impl Owed {
    /// Those who miss these deliveries and can sync them.
    fn by(deliveries: &[Delivery]) -> Self {
        let receivers = deliveries.iter().flat_map(|delivery| &delivery.receivers);
        let persisted = receivers.filter(|receiver| receiver.seq > 0).map(|receiver| receiver.user_id);
        let mut user_ids: Vec<u64> = persisted.collect();
        let persisted_count = user_ids.len();
        user_ids.extend(deliveries.iter().flat_map(Delivery::joined_or_left));
        // Who is in which large group is set right by announcing all connections anew.
        let is_overfull = user_ids.len() > persisted_count;
        Self { user_ids, is_overfull }
    }
}

/// Whom to tell to sync where a push was dropped: `(connection id, user id)` of its persisted receivers.
fn hints_for(
    push: &Push,
    node: &NodeKey,
    delivery: &Delivery,
    routes_of: &HashMap<u64, Vec<Route>>,
) -> Vec<(u64, u64)> {
    let ids = push.targets.iter().flat_map(|target| &target.connection_ids);
    let ids: HashSet<u64> = ids.copied().collect();
    let persisted = delivery.receivers.iter().filter(|receiver| receiver.seq > 0);
    let routes = persisted.flat_map(|receiver| routes_of.get(&receiver.user_id).into_iter().flatten());
    let dropped = routes.filter(|route| *route.node == *node && ids.contains(&route.connection_id));
    dropped.map(|route| (route.connection_id, route.user_id)).collect()
}

fn targets_per_node(
    delivery: &Delivery,
    routes_of: &HashMap<u64, Vec<Route>>,
) -> HashMap<Arc<NodeKey>, Vec<PushTarget>> {
    let mut per_node: HashMap<Arc<NodeKey>, Vec<PushTarget>> = HashMap::new();
    for receiver in &delivery.receivers {
        for route in routes_of.get(&receiver.user_id).into_iter().flatten() {
            let is_origin = receiver.user_id == delivery.caused_by && route.device_id == delivery.origin_device_id;
            if !is_origin {
                add_target(per_node.entry(route.node.clone()).or_default(), *receiver, route.connection_id);
            }
        }
    }
    per_node
}

/// Neighbours with the same seqs share a target: the devices of one user, and all receivers of what is not persisted.
fn add_target(targets: &mut Vec<PushTarget>, receiver: Receiver, connection_id: u64) {
    let last = targets.last_mut();
    match last.filter(|target| target.seq == receiver.seq && target.connection_ids.len() < PUSH_TARGETS_MAX) {
        Some(target) => target.connection_ids.push(connection_id),
        None => {
            let mut connection_ids = Vec::with_capacity(TARGET_CONNECTIONS);
            connection_ids.push(connection_id);
            targets.push(PushTarget { seq: receiver.seq, prev_seq: receiver.seq.saturating_sub(1), connection_ids });
        }
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;
    use crate::domain::message::Message;

    fn delivery(receivers: &[(u64, u64)], sender_id: u64, origin_device_id: u64) -> Delivery {
        Delivery {
            message: Message {
                id: 1,
                command: 1,
                content: bytes::Bytes::new(),
                sender_id,
                created_at_ms: 0,
                status: 0,
                group_id: 0,
            },
            receivers: receivers.iter().map(|&(user_id, seq)| Receiver { user_id, seq }).collect(),
            caused_by: sender_id,
            origin_device_id,
            request_id: "".into(),
            group: None,
        }
    }

    /// Routes as `(user, device, node, connection)`.
    fn routes(list: &[(u64, u64, &str, u64)]) -> HashMap<u64, Vec<Route>> {
        let mut routes_of: HashMap<u64, Vec<Route>> = HashMap::new();
        for &(user_id, device_id, name, connection_id) in list {
            let node = Arc::new(NodeKey { name: name.into(), epoch: 1 });
            let route = Route { user_id, device_id, device_type: 0, node, connection_id, since_ms: 0 };
            routes_of.entry(user_id).or_default().push(route);
        }
        routes_of
    }

    /// What a node gets, as `(seq, prev_seq, connections)`.
    fn targets(per_node: &HashMap<Arc<NodeKey>, Vec<PushTarget>>, name: &str) -> Vec<(u64, u64, Vec<u64>)> {
        let (_, targets) = per_node.iter().find(|(node, _)| node.name == name).unwrap();
        let target = |target: &PushTarget| (target.seq, target.prev_seq, target.connection_ids.clone());
        targets.iter().map(target).collect()
    }

    /// Who is told to sync where a node's targets with these connections are dropped.
    fn hints(delivery: &Delivery, routes: &HashMap<u64, Vec<Route>>, name: &str, dropped: &[u64]) -> Vec<(u64, u64)> {
        let target = PushTarget { connection_ids: dropped.to_vec(), ..PushTarget::default() };
        let push = Push { targets: vec![target], ..Push::default() };
        hints_for(&push, &NodeKey { name: name.into(), epoch: 1 }, delivery, routes)
    }

    #[test]
    fn each_node_gets_one_push_with_the_seqs_of_its_users() {
        let routes = routes(&[(7, 1, "a", 70), (7, 2, "a", 71), (7, 3, "b", 72), (8, 1, "a", 80)]);
        let delivery = delivery(&[(7, 5), (8, 2), (9, 1)], 0, 0);
        let per_node = targets_per_node(&delivery, &routes);
        assert_eq!(targets(&per_node, "a"), [(5, 4, vec![70, 71]), (2, 1, vec![80])]);
        assert_eq!(targets(&per_node, "b"), [(5, 4, vec![72])]);
        assert_eq!(hints(&delivery, &routes, "a", &[70, 71, 80]), [(70, 7), (71, 7), (80, 8)]);
        assert_eq!(
            hints(&delivery, &routes, "a", &[71]),
            [(71, 7)],
            "of a push that was cut, those in the dropped part"
        );
        assert_eq!(hints(&delivery, &routes, "b", &[72]), [(72, 7)]);
    }

    #[test]
    fn a_receiver_costs_one_allocation_and_its_further_devices_share_it() {
        let receivers: Vec<_> = (1..=1_000).map(|user_id| (user_id, 5 + user_id)).collect();
        let list: Vec<_> =
            (1..=1_000).flat_map(|user| (0..3).map(move |device| (user, device, "a", 3 * user + device))).collect();
        let (delivery, routes) = (delivery(&receivers, 0, 0), routes(&list));
        let mut connections = 0;
        let allocations = measure(|| {
            let per_node = targets_per_node(&delivery, &routes);
            connections = per_node.values().flatten().map(|target| target.connection_ids.len()).sum();
        });
        assert_eq!(connections, 3_000);
        // The list of connections of each receiver, which has room for three; the map of nodes; the list of targets, which doubles.
        assert!(allocations.count_total <= 1_000 + 1 + 10, "{allocations:?}");
    }

    #[test]
    fn the_device_that_sent_it_is_left_out_and_nobody_else() {
        let routes = routes(&[(7, 1, "a", 70), (7, 2, "a", 71), (8, 1, "a", 80)]);
        let per_node = targets_per_node(&delivery(&[(7, 5), (8, 5)], 7, 1), &routes);
        assert_eq!(targets(&per_node, "a"), [(5, 4, vec![71, 80])]);
        assert!(targets_per_node(&delivery(&[(7, 5)], 7, 0), &HashMap::new()).is_empty());
    }

    #[test]
    fn a_message_to_very_many_is_cut_into_several_targets_and_owes_no_hints() {
        let count = PUSH_TARGETS_MAX as u64 + 1;
        let list: Vec<_> = (1..=count).map(|user_id| (user_id, 1, "a", user_id)).collect();
        let receivers: Vec<_> = (1..=count).map(|user_id| (user_id, 0)).collect();
        let (delivery, routes) = (delivery(&receivers, 0, 0), routes(&list));
        let per_node = targets_per_node(&delivery, &routes);
        let lengths: Vec<usize> = targets(&per_node, "a").iter().map(|target| target.2.len()).collect();
        assert_eq!(lengths, [PUSH_TARGETS_MAX, 1]);
        let hints = hints(&delivery, &routes, "a", &[1, 2]);
        assert!(hints.is_empty(), "what is not persisted is not synced either");
    }
}
