//! Nodes with their leases, and the routes of users: plain tables with the time as an argument.
//!
//! Always holds: a user has at most one route per device; every route is listed with its node, so that a node that is gone
//! takes its routes along; a route whose node's lease is over is never given out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::HashMap;

use crate::domain::route::{NodeKey, Route};

/// Another process has the name, and is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameTaken;

/// The tables.
#[derive(Debug)]
pub struct Presence {
    lease: Duration,
    routes: HashMap<u64, Vec<Route>>,
    users_of_devices: HashMap<u64, u64>,
    nodes: HashMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    key: Arc<NodeKey>,
    lease: Lease,
    /// Counts the streams of this process. A connection that a later stream did not announce is gone.
    stream: u32,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// Attached. Connections of earlier streams count until then, by which time the living ones are announced again.
    Attached { announced_by: Instant },
    /// Detached; over at this time.
    Until(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    user_id: u64,
    device_id: u64,
    stream: u32,
}

impl Node {
    fn is_valid(&self, now: Instant) -> bool {
        match self.lease {
            Lease::Attached { .. } => true,
            Lease::Until(end) => now < end,
        }
    }
}

impl Presence {
    /// Empty tables; a node that detached keeps its routes for `lease`.
    pub fn new(lease: Duration) -> Self {
        Self { lease, routes: HashMap::default(), users_of_devices: HashMap::default(), nodes: HashMap::default() }
    }

    /// A node's stream is there. Returns the process of the same name that this one takes the place of; an error, and nothing
    /// changed, where that one is attached.
    pub fn attach(&mut self, key: &Arc<NodeKey>, now: Instant) -> Result<Option<Arc<NodeKey>>, NameTaken> {
        let lease = Lease::Attached { announced_by: now + self.lease };
        match self.nodes.get_mut(&key.name) {
            Some(node) if node.key == *key => {
                node.lease = lease;
                node.stream += 1;
                return Ok(None);
            }
            Some(Node { lease: Lease::Attached { .. }, .. }) => return Err(NameTaken),
            _ => {}
        }
        let former = self.forget_node(&key.name);
        let node = Node { key: key.clone(), lease, stream: 1, connections: HashMap::default() };
        self.nodes.insert(key.name.clone(), node);
        Ok(former)
    }

    /// A node's stream broke.
    pub fn detach(&mut self, key: &NodeKey, now: Instant) {
        let end = now + self.lease;
        if let Some(node) = self.node_mut(key) {
            node.lease = Lease::Until(end);
        }
    }

    /// Whether this node process is the newest of its name, and its lease holds.
    pub fn is_valid(&self, key: &NodeKey, now: Instant) -> bool {
        self.nodes.get(&key.name).is_some_and(|node| *node.key == *key && node.is_valid(now))
    }

    /// Puts a connection in; returns the one that loses its device by that: an earlier one, or `route` itself.
    pub fn put(&mut self, route: Route, now: Instant) -> Option<Route> {
        if !self.is_valid(&route.node, now) {
            return None;
        }
        let former = self.find(route.user_id, route.device_id).cloned();
        if let Some(former) = &former
            && self.is_valid(&former.node, now)
            && !former.is_same_connection(&route)
            && former.since_ms > route.since_ms
        {
            return Some(route);
        }
        if let Some(former) = &former {
            self.remove(former);
        }
        self.insert(route.clone());
        former.filter(|former| !former.is_same_connection(&route) && self.is_valid(&former.node, now))
    }

    /// How many connections a user has, some of which may be gone.
    pub fn count(&self, user_id: u64) -> usize {
        self.routes.get(&user_id).map_or(0, Vec::len)
    }

    /// Takes a connection out, where it is still the one of its device.
    pub fn remove(&mut self, route: &Route) -> bool {
        let Some(routes) = self.routes.get_mut(&route.user_id) else { return false };
        let count = routes.len();
        routes.retain(|other| !(other.device_id == route.device_id && other.is_same_connection(route)));
        if routes.len() == count {
            return false;
        }
        if routes.is_empty() {
            self.routes.remove(&route.user_id);
        }
        if self.users_of_devices.get(&route.device_id) == Some(&route.user_id) {
            self.users_of_devices.remove(&route.device_id);
        }
        if let Some(node) = self.node_mut(&route.node) {
            node.connections.remove(&route.connection_id);
        }
        true
    }

    /// Takes a connection of a node out by its id alone.
    pub fn remove_connection(&mut self, key: &NodeKey, connection_id: u64) {
        let connection = self.node_mut(key).and_then(|node| node.connections.get(&connection_id).copied());
        let route = connection.and_then(|connection| self.find(connection.user_id, connection.device_id).cloned());
        if let Some(route) = route
            && route.connection_id == connection_id
            && *route.node == *key
        {
            self.remove(&route);
        }
    }

    /// The live connections of a user.
    pub fn routes(&self, user_id: u64, now: Instant) -> impl Iterator<Item = &Route> {
        let routes = self.routes.get(&user_id).into_iter().flatten();
        routes.filter(move |route| self.is_valid(&route.node, now))
    }

    /// The user who is connected from a device.
    pub fn user_of_device(&self, device_id: u64, now: Instant) -> Option<u64> {
        let user_id = *self.users_of_devices.get(&device_id)?;
        self.routes(user_id, now).any(|route| route.device_id == device_id).then_some(user_id)
    }

    /// Forgets nodes whose lease is over, which it returns, and connections that were not announced again in time.
    pub fn sweep(&mut self, now: Instant) -> Vec<Arc<NodeKey>> {
        let over = self.nodes.values().filter(|node| !node.is_valid(now)).map(|node| node.key.name.clone());
        let over: Vec<String> = over.collect();
        let forgotten = over.iter().filter_map(|name| self.forget_node(name)).collect();

        let mut silent = Vec::new();
        for node in self.nodes.values() {
            if matches!(node.lease, Lease::Attached { announced_by } if now >= announced_by) {
                let stale = node.connections.iter().filter(|(_, connection)| connection.stream != node.stream);
                silent.extend(stale.map(|(&connection_id, _)| (node.key.clone(), connection_id)));
            }
        }
        for (key, connection_id) in silent {
            self.remove_connection(&key, connection_id);
        }
        forgotten
    }

    fn insert(&mut self, route: Route) {
        let Some(node) = self.nodes.get_mut(&route.node.name) else { return };
        let connection = Connection { user_id: route.user_id, device_id: route.device_id, stream: node.stream };
        node.connections.insert(route.connection_id, connection);
        self.users_of_devices.insert(route.device_id, route.user_id);
        self.routes.entry(route.user_id).or_default().push(route);
    }

    fn find(&self, user_id: u64, device_id: u64) -> Option<&Route> {
        self.routes.get(&user_id)?.iter().find(|route| route.device_id == device_id)
    }

    fn node_mut(&mut self, key: &NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(&key.name).filter(|node| *node.key == *key)
    }

    fn forget_node(&mut self, name: &str) -> Option<Arc<NodeKey>> {
        let node = self.nodes.get(name)?;
        let key = node.key.clone();
        let connection_ids: Vec<u64> = node.connections.keys().copied().collect();
        for connection_id in connection_ids {
            self.remove_connection(&key, connection_id);
        }
        self.nodes.remove(name);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn node(name: &str, epoch: u64) -> Arc<NodeKey> {
        Arc::new(NodeKey { name: name.into(), epoch })
    }

    fn route(node: &Arc<NodeKey>, device_id: u64, connection_id: u64, since_ms: i64) -> Route {
        Route { user_id: 7, device_id, device_type: 0, node: node.clone(), connection_id, since_ms }
    }

    fn connections(presence: &Presence, now: Instant) -> Vec<u64> {
        let mut ids: Vec<u64> = presence.routes(7, now).map(|route| route.connection_id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_later_connection_of_a_device_stays_whichever_comes_first() {
        let (now, a, b) = (Instant::now(), node("a", 1), node("b", 1));
        let mut presence = Presence::new(LEASE);
        presence.attach(&a, now).unwrap();
        presence.attach(&b, now).unwrap();
        assert_eq!(presence.put(route(&a, 1, 10, 100), now), None);
        let loser = presence.put(route(&b, 1, 20, 200), now).unwrap();
        assert_eq!((loser.connection_id, &loser.node), (10, &a));
        let loser = presence.put(route(&a, 1, 11, 150), now).unwrap();
        assert_eq!(loser.connection_id, 11, "an older connection that is announced late loses");
        assert_eq!(presence.put(route(&b, 1, 20, 200), now), None, "announcing the same one again changes nothing");
        assert_eq!(presence.put(route(&a, 2, 12, 1), now), None, "another device is nobody's rival");
        assert_eq!(connections(&presence, now), [12, 20]);
    }

    #[test]
    fn a_late_sign_out_of_the_old_connection_is_harmless() {
        let (now, a) = (Instant::now(), node("a", 1));
        let mut presence = Presence::new(LEASE);
        presence.attach(&a, now).unwrap();
        presence.put(route(&a, 1, 10, 100), now);
        presence.put(route(&a, 1, 11, 200), now);
        presence.remove(&route(&a, 1, 10, 100));
        presence.remove_connection(&a, 10);
        assert_eq!(connections(&presence, now), [11]);
        presence.remove_connection(&a, 11);
        assert_eq!(connections(&presence, now), [0; 0]);
        assert_eq!(presence.user_of_device(1, now), None);
    }

    #[test]
    fn routes_end_with_the_lease_of_their_node_and_not_before() {
        let (start, a) = (Instant::now(), node("a", 1));
        let mut presence = Presence::new(LEASE);
        presence.attach(&a, start).unwrap();
        presence.put(route(&a, 1, 10, 100), start);
        presence.detach(&a, start);
        assert_eq!(connections(&presence, start + LEASE / 2), [10]);
        assert_eq!(connections(&presence, start + LEASE), [0; 0]);
        assert_eq!(presence.user_of_device(1, start + LEASE), None);
        assert_eq!(presence.sweep(start + LEASE), [a]);
        assert!(presence.routes.is_empty() && presence.users_of_devices.is_empty() && presence.nodes.is_empty());
    }

    #[test]
    fn a_node_that_comes_back_in_time_keeps_what_it_announces_again() {
        let (start, a) = (Instant::now(), node("a", 1));
        let mut presence = Presence::new(LEASE);
        presence.attach(&a, start).unwrap();
        presence.put(route(&a, 1, 10, 100), start);
        presence.put(route(&a, 2, 11, 100), start);
        presence.detach(&a, start);
        let back = start + LEASE / 2;
        presence.attach(&a, back).unwrap();
        assert_eq!(connections(&presence, back), [10, 11]);
        presence.put(route(&a, 1, 10, 100), back);
        presence.sweep(back + LEASE / 2);
        assert_eq!(connections(&presence, back), [10, 11], "there is still time to announce");
        presence.sweep(back + LEASE);
        assert_eq!(connections(&presence, back), [10], "what was not announced is gone");
    }

    #[test]
    fn a_restarted_node_has_no_routes_of_its_former_process() {
        let (now, old, new) = (Instant::now(), node("a", 1), node("a", 2));
        let mut presence = Presence::new(LEASE);
        presence.attach(&old, now).unwrap();
        presence.put(route(&old, 1, 10, 100), now);
        assert_eq!(presence.attach(&new, now), Err(NameTaken), "two processes of one name");
        assert_eq!(connections(&presence, now), [10]);
        presence.detach(&old, now);
        assert_eq!(presence.attach(&new, now), Ok(Some(old.clone())), "without waiting for the lease");
        assert_eq!(connections(&presence, now), [0; 0]);
        presence.put(route(&old, 1, 10, 100), now);
        presence.detach(&old, now);
        assert_eq!(connections(&presence, now), [0; 0], "a sign-in that ends late puts nothing back");
        assert!(presence.is_valid(&new, now + LEASE * 2));
    }
}
