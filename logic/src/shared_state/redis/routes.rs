//! Routes in Redis: where users are connected, and what became of those who were heard of.
//!
//! A Redis that is short of memory may throw single keys away. Always holds: of a connection that is heard of, all that is stored is
//! looked at, so what was lost is told again within one heartbeat.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use foldhash::{HashMap, HashMapExt as _};
use gim_proto::logic::ConnectionUser;
use metrics::counter;
use redis::{Cmd, Value, cmd};

use super::{
    LISTS_LEASES, RedisState,
    client::read,
    scripts::{self, IDLE_MS, script},
};
use crate::{
    domain::route::{NodeKey, Route},
    metrics as names,
    shared_state::{PutRoutes, SharedStateError},
};

/// Of so many users who were heard of, one has the life of his routes prolonged: in a day each is heard of far more often.
const TOUCHED_OF: u32 = 16;

/// Connections of a node that are looked through at once.
const SCAN_CONNECTIONS: u32 = 1000;

impl RedisState {
    /// See [`SharedState::put_routes`](super::super::SharedState::put_routes).
    pub(super) async fn put(&self, routes: Vec<Route>) -> Result<PutRoutes, SharedStateError> {
        let routes: Vec<Route> = routes.into_iter().filter(|route| self.is_current(&route.node)).collect();
        let commands = routes.iter().flat_map(|route| self.put_commands(route, "")).collect();
        let answers = self.client.run_all(commands).await?.into_iter().step_by(3);
        let puts = routes.into_iter().zip(answers).map(|(route, answer)| Put::read(route, answer));
        let puts: Vec<Put> = puts.collect::<Result<_, _>>()?;
        let of_one_user = puts.iter().map(|put| put.of_user).max().unwrap_or(0);
        let rivals: HashSet<&str> =
            puts.iter().filter_map(|put| put.former.as_ref()).map(|(former, _)| former.node.name.as_str()).collect();
        if rivals.is_empty() {
            return Ok(PutRoutes { losers: Vec::new(), of_one_user });
        }

        let holders = self.holders(rivals).await?;
        let (mut losers, mut again) = (Vec::new(), Vec::new());
        for put in &puts {
            match &put.former {
                Some((former, _)) if put.is_in && is_held(&holders, &former.node) => losers.push(former.clone()),
                Some((former, _)) if !put.is_in && is_held(&holders, &former.node) => losers.push(put.route.clone()),
                Some((_, stored)) if !put.is_in => again.extend(self.put_commands(&put.route, stored)),
                _ => {}
            }
        }
        // They had lost to connections of processes that are gone.
        self.client.run_all(again).await?;
        Ok(PutRoutes { losers, of_one_user })
    }

    /// See [`SharedState::routes_of`](super::super::SharedState::routes_of).
    pub(super) async fn held_routes_of(&self, user_ids: &[u64]) -> Result<Vec<Route>, SharedStateError> {
        let known: Vec<String> = self.here().known_nodes.iter().cloned().collect();
        let get_routes = |user_id: &u64| {
            let mut command = cmd("HGETALL");
            command.arg(self.keys.user(*user_id));
            command
        };
        let commands = known.iter().map(|name| self.get_node(name)).chain(user_ids.iter().map(get_routes)).collect();
        let mut answers = self.client.run_all(commands).await?.into_iter();
        let mut holders = read_holders(known.iter().cloned(), answers.by_ref().take(known.len()))?;

        let mut routes = Vec::new();
        for (&user_id, answer) in user_ids.iter().zip(answers) {
            let stored: Vec<(u64, String)> = read(answer)?;
            routes.extend(stored.iter().filter_map(|(device_id, route)| scripts::decode(user_id, *device_id, route)));
        }
        let new_names: HashSet<&str> = routes.iter().map(|route| route.node.name.as_str()).collect();
        let new_names: Vec<&str> =
            new_names.into_iter().filter(|name| !known.iter().any(|known| known == name)).collect();
        if !new_names.is_empty() {
            let new_holders = self.holders(new_names).await?;
            self.here().known_nodes.extend(new_holders.keys().cloned());
            holders.extend(new_holders);
        }
        let (held, left): (Vec<Route>, Vec<Route>) =
            routes.into_iter().partition(|route| is_held(&holders, &route.node));
        let remove = |route: &Route| self.remove_command(route.user_id, route.device_id, &scripts::connection(route));
        if let Err(error) = self.client.run_all(left.iter().map(remove).collect()).await {
            tracing::debug!(%error, "routes of nodes that are gone stay a while longer");
        }
        Ok(held)
    }

    /// See [`SharedState::touch`](super::super::SharedState::touch).
    pub(super) async fn prolong(
        &self,
        node: &NodeKey,
        mut connections: Vec<ConnectionUser>,
    ) -> Result<Vec<ConnectionUser>, SharedStateError> {
        // Of an older conn, which does not tell enough to put them in again.
        connections.retain(|connection| connection.device_id != 0);
        if connections.is_empty() {
            return Ok(connections);
        }
        let mut listed = cmd("HMGET");
        listed.arg(self.keys.connections(node));
        listed.arg(connections.iter().map(|connection| connection.connection_id).collect::<Vec<_>>());
        let mut commands = vec![listed];
        commands.extend(connections.iter().flat_map(|connection| self.look_commands(connection)));
        let users = connections.iter().filter(|_| rand::random_range(0..TOUCHED_OF) == 0);
        commands.extend(users.map(|connection| prolong(self.keys.user(connection.user_id))));

        let mut answers = self.client.run_all(commands).await?.into_iter();
        let listed: Vec<Option<String>> = read(answers.next().unwrap_or(Value::Nil))?;
        let (mut lost, mut forgotten) = (Vec::new(), 0);
        for (connection, listed) in connections.into_iter().zip(listed) {
            let (route, device) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
            let (is_listed, is_routed) = (listed.is_some(), read::<Option<String>>(route)?.is_some());
            let has_device = read::<i64>(device)? == 1;
            if is_listed && is_routed && has_device {
                continue;
            }
            // What is missing of one that ended since it was heard of is this, and no more.
            let may_have_ended = !is_listed && !is_routed && has_device;
            forgotten += usize::from(!may_have_ended);
            lost.push(connection);
        }
        self.note_forgotten(forgotten);
        Ok(lost)
    }

    /// Asks for the route, and prolongs the life of its other way round.
    fn look_commands(&self, connection: &ConnectionUser) -> [Cmd; 2] {
        let mut route = cmd("HGET");
        route.arg(self.keys.user(connection.user_id)).arg(connection.device_id);
        [route, prolong(self.keys.device(connection.device_id))]
    }

    fn note_forgotten(&self, count: usize) {
        counter!(names::CONNECTIONS_FORGOTTEN).increment(count as u64);
        if count > 0 && !self.has_lost.swap(true, Ordering::Relaxed) {
            tracing::error!(
                count,
                "Redis forgot connections, which are told again: does it evict keys (maxmemory-policy)?"
            );
        }
    }

    /// The processes that hold the leases of these nodes.
    async fn holders<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<HashMap<String, Arc<NodeKey>>, SharedStateError> {
        let names: Vec<&str> = names.into_iter().collect();
        let answers = self.client.run_all(names.iter().map(|name| self.get_node(name)).collect()).await?;
        read_holders(names.into_iter().map(str::to_owned), answers)
    }

    pub(super) fn get_node(&self, name: &str) -> Cmd {
        let mut command = cmd("GET");
        command.arg(self.keys.node(name));
        command
    }

    fn put_commands(&self, route: &Route, discounted: &str) -> [Cmd; 3] {
        let mut put = script(scripts::PUT, &[self.keys.user(route.user_id)]);
        put.arg(route.device_id).arg(route.since_ms).arg(scripts::encode(route)).arg(IDLE_MS).arg(discounted);
        let mut device = cmd("SET");
        device.arg(self.keys.device(route.device_id)).arg(route.user_id).arg("PX").arg(IDLE_MS);
        let mut list =
            script(scripts::LIST, &[self.keys.connections(&route.node), self.keys.streams(&route.node.name)]);
        list.arg(route.connection_id).arg(format!("{}:{}", route.user_id, route.device_id));
        list.arg(LISTS_LEASES * self.lease_ms());
        [put, device, list]
    }

    pub(super) fn remove_command(&self, user_id: u64, device_id: u64, connection: &str) -> Cmd {
        let mut remove = script(scripts::REMOVE, &[self.keys.user(user_id)]);
        remove.arg(device_id).arg(connection);
        remove
    }

    pub(super) fn unlist_command(&self, node: &NodeKey, connection_ids: &[u64]) -> Cmd {
        let mut unlist = cmd("HDEL");
        unlist.arg(self.keys.connections(node)).arg(connection_ids);
        unlist
    }

    /// Takes out what a node did not announce again after it attached: it is gone.
    pub(super) async fn sweep_node(&self, node: &NodeKey, stream: u64) -> Result<(), SharedStateError> {
        let mut cursor = 0;
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(self.keys.connections(node)).arg(cursor).arg("COUNT").arg(SCAN_CONNECTIONS);
            let (next, listed): (u64, Vec<(u64, String)>) = self.client.run(scan).await?;
            let silent = listed.iter().filter(|(_, listed)| {
                let announced = listed.rsplit_once(':').and_then(|(_, at)| at.parse::<u64>().ok());
                announced.is_none_or(|announced| announced < stream)
            });
            let silent: Vec<u64> = silent.map(|(connection_id, _)| *connection_id).collect();
            self.remove_listed(node, &silent).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    pub(super) async fn remove_listed(&self, node: &NodeKey, connection_ids: &[u64]) -> Result<(), SharedStateError> {
        if connection_ids.is_empty() {
            return Ok(());
        }
        let mut find = cmd("HMGET");
        find.arg(self.keys.connections(node)).arg(connection_ids);
        let listed: Vec<Option<String>> = self.client.run(find).await?;
        let mut commands = vec![self.unlist_command(node, connection_ids)];
        for (connection_id, listed) in connection_ids.iter().zip(listed) {
            let Some(listed) = listed else { continue };
            let mut parts = listed.split(':').map(str::parse::<u64>);
            if let (Some(Ok(user_id)), Some(Ok(device_id))) = (parts.next(), parts.next()) {
                let connection = format!("{connection_id}:{}:{}", node.epoch, node.name);
                commands.push(self.remove_command(user_id, device_id, &connection));
            }
        }
        self.client.run_all(commands).await.map(drop)
    }
}

fn prolong(key: String) -> Cmd {
    let mut command = cmd("PEXPIRE");
    command.arg(key).arg(IDLE_MS);
    command
}

fn read_holders(
    names: impl IntoIterator<Item = String>,
    answers: impl IntoIterator<Item = Value>,
) -> Result<HashMap<String, Arc<NodeKey>>, SharedStateError> {
    let mut holders = HashMap::new();
    for (name, answer) in names.into_iter().zip(answers) {
        if let Some(epoch) = read::<Option<u64>>(answer)? {
            holders.insert(name.clone(), Arc::new(NodeKey { name, epoch }));
        }
    }
    Ok(holders)
}

fn is_held(holders: &HashMap<String, Arc<NodeKey>>, node: &NodeKey) -> bool {
    holders.get(&node.name).is_some_and(|holder| **holder == *node)
}

/// What became of one [`scripts::PUT`].
struct Put {
    route: Route,
    is_in: bool,
    /// The route that was there, and how it was stored.
    former: Option<(Route, String)>,
    /// How many routes the user has.
    of_user: usize,
}

impl Put {
    fn read(route: Route, answer: Value) -> Result<Self, SharedStateError> {
        let (is_in, former, of_user): (bool, Option<String>, usize) = read(answer)?;
        let former =
            former.and_then(|stored| Some((scripts::decode(route.user_id, route.device_id, &stored)?, stored)));
        let former = former.filter(|(former, _)| !former.is_same_connection(&route));
        Ok(Self { route, is_in, former, of_user })
    }
}
