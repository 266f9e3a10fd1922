//! The shared state of several logic nodes, in Redis.
//!
//! Each logic node renews the leases of the conn nodes that are attached to it, and keeps in memory only what it has to say
//! again: which nodes those are, and the rooms they have subscribers in. Where Redis forgot a lease (it was emptied, or away
//! for longer than the lease), or another process of Redis answers (it was started again, maybe with an old snapshot, or another
//! server took over), the nodes concerned are asked to announce everything again. Seqs of rooms are reserved in the database, and
//! such a process gives none of those that a former one might have given, so they never go back. Any task; no lock is held across
//! an await.

mod client;
mod rooms;
mod scripts;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt as _};
use redis::{Cmd, Value, cmd};
use tonic::async_trait;

use self::{
    client::{RedisClient, read},
    scripts::{IDLE_MS, Keys, script},
};
use super::{Kept, Published, RoomMessage, SharedState, SharedStateError};
use crate::{
    domain::{
        clock::{self, SteadyClock},
        locate::NodeInfo,
        route::{NodeKey, Route},
    },
    settings::{RedisTarget, RoomSettings, SharedStateSettings},
    store::RoomSeqs,
};

/// A list of a node's connections outlives its lease by so many leases: it is of no use without it.
const LISTS_LEASES: u64 = 4;

/// Of so many users who were heard of, one has the life of his routes prolonged: in a day each is heard of far more often.
const TOUCHED_OF: u32 = 16;

/// Connections of a node that are looked through at once.
const SCAN_CONNECTIONS: u32 = 1000;

/// Routes and rooms in Redis.
#[derive(Debug)]
pub struct RedisState {
    client: RedisClient,
    keys: Keys,
    /// The name of this logic node.
    name: String,
    /// Names and numbers that this process holds, and as whom.
    claims: Vec<String>,
    holder: String,
    lease: Duration,
    room_settings: RoomSettings,
    room_seqs: RoomSeqs,
    here: Mutex<Here>,
    time: SharedTime,
}

/// The clock of the Redis server, as it was at the last renewal and our own clock went on since.
#[derive(Debug, Default)]
struct SharedTime {
    /// What is to be added to our clock.
    ahead_ms: AtomicI64,
    steady: SteadyClock,
}

impl SharedTime {
    /// The server's clock, asked for just now.
    fn set(&self, server_ms: i64, own_ms: i64) {
        self.ahead_ms.store(server_ms.saturating_sub(own_ms), Ordering::Relaxed);
    }

    /// Its time now. Never goes back, also where another server with another clock takes over.
    fn at(&self, own_ms: i64) -> i64 {
        self.steady.at_least(own_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed)))
    }
}

/// What this process has to say again.
#[derive(Debug, Default)]
struct Here {
    attached: HashMap<String, Attached>,
    /// Rooms, and the nodes that have subscribers in them.
    rooms: HashMap<u64, HashSet<Arc<NodeKey>>>,
    rooms_refreshed: Option<Instant>,
    /// Names of nodes that may hold a lease, to ask for along with the routes of users.
    known_nodes: HashSet<String>,
}

#[derive(Debug)]
struct Attached {
    key: Arc<NodeKey>,
    /// Detached since, if it is.
    detached: Option<Instant>,
    /// The number of its stream, and when it attached; connections that were not announced since then are to be taken out.
    unswept: Option<(u64, Instant)>,
}

impl RedisState {
    /// Takes the name and the number of this logic node, waiting as long as a former process of the same name may still
    /// hold them; refuses where another one does.
    pub async fn start(
        settings: &SharedStateSettings,
        node: &str,
        node_number: u16,
        lease: Duration,
        room_settings: RoomSettings,
        room_seqs: RoomSeqs,
    ) -> Result<Self, SharedStateError> {
        let target = RedisTarget::parse(&settings.url).map_err(SharedStateError::Failed)?;
        let client =
            RedisClient::new(&target, settings).map_err(|error| SharedStateError::Failed(error.to_string()))?;
        let keys = Keys::new(&settings.key_prefix);
        let claims = vec![keys.logic(format_args!("node:{node}")), keys.logic(format_args!("number:{node_number}"))];
        let holder = format!("{node}:{:016x}", rand::random::<u64>());
        let (name, here, time) = (node.to_owned(), Mutex::default(), SharedTime::default());
        let state = Self { client, keys, name, claims, holder, lease, room_settings, room_seqs, here, time };
        let patience = Instant::now() + lease + lease / 2;
        let mut said = String::new();
        loop {
            match state.claim().await {
                Ok(()) => return Ok(state),
                Err(error @ SharedStateError::Failed(_)) => return Err(error),
                Err(error) if Instant::now() > patience => return Err(error),
                Err(error) => {
                    let problem = error.to_string();
                    if problem != said {
                        tracing::info!(error = problem, "waiting to become this logic node");
                        said = problem;
                    }
                }
            }
            tokio::time::sleep(lease / 10).await;
        }
    }

    /// Round trips to Redis and commands in them so far.
    pub fn usage(&self) -> (u64, u64) {
        self.client.usage()
    }

    /// Takes or keeps what this process needs to be the only one to have.
    async fn claim(&self) -> Result<(), SharedStateError> {
        let claim = |key: &String| {
            let mut command = script(scripts::CLAIM, std::slice::from_ref(key));
            command.arg(&self.holder).arg(self.lease_ms());
            command
        };
        let renew = |key: &String| {
            let mut command = script(scripts::RENEW, std::slice::from_ref(key));
            command.arg(&self.holder).arg(self.lease_ms());
            command
        };
        let mut commands: Vec<Cmd> = self.claims.iter().flat_map(|key| [claim(key), renew(key)]).collect();
        commands.push(cmd("TIME"));
        let mut answers = self.client.prove(commands).await?;
        if let Some(time) = answers.pop() {
            let (seconds, micros): (i64, i64) = read(time)?;
            self.time.set(seconds * 1000 + micros / 1000, clock::now_ms());
        }
        for (key, answer) in self.claims.iter().zip(answers.into_iter().step_by(2)) {
            let holder: String = read(answer)?;
            if holder != self.holder {
                let what = key.rsplit_once("logic:").map_or(key.as_str(), |(_, what)| what).to_owned();
                return Err(SharedStateError::Taken { what, holder });
            }
        }
        Ok(())
    }

    /// Renews the lease of a node, or lets it begin to run out where nothing is told of it.
    fn renew_node(&self, node: &NodeKey, about: Option<Vec<u8>>) -> Cmd {
        let name = &node.name;
        let keys = [
            self.keys.node(name),
            self.keys.attached_to(name),
            self.keys.streams(name),
            self.keys.connections(node),
            self.keys.about(name),
        ];
        let mut command = script(scripts::RENEW_NODE, &keys);
        command.arg(node.epoch).arg(self.lease_ms()).arg(&self.name).arg(LISTS_LEASES * self.lease_ms());
        if let Some(about) = about {
            command.arg(about);
        }
        command
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process is, as far as is known here, the newest of its name, and attached or only just not any more.
    fn is_current(&self, node: &NodeKey) -> bool {
        let here = self.here();
        let attached = here.attached.get(&node.name).filter(|attached| *attached.key == *node);
        attached.is_some_and(|attached| attached.detached.is_none_or(|since| since.elapsed() < self.lease))
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

    fn get_node(&self, name: &str) -> Cmd {
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

    fn remove_command(&self, user_id: u64, device_id: u64, connection: &str) -> Cmd {
        let mut remove = script(scripts::REMOVE, &[self.keys.user(user_id)]);
        remove.arg(device_id).arg(connection);
        remove
    }

    fn unlist_command(&self, node: &NodeKey, connection_ids: &[u64]) -> Cmd {
        let mut unlist = cmd("HDEL");
        unlist.arg(self.keys.connections(node)).arg(connection_ids);
        unlist
    }

    /// Takes out what a node did not announce again after it attached: it is gone.
    async fn sweep_node(&self, node: &NodeKey, stream: u64) -> Result<(), SharedStateError> {
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

    async fn remove_listed(&self, node: &NodeKey, connection_ids: &[u64]) -> Result<(), SharedStateError> {
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
}

impl Put {
    fn read(route: Route, answer: Value) -> Result<Self, SharedStateError> {
        let (is_in, former): (bool, Option<String>) = read(answer)?;
        let former =
            former.and_then(|stored| Some((scripts::decode(route.user_id, route.device_id, &stored)?, stored)));
        let former = former.filter(|(former, _)| !former.is_same_connection(&route));
        Ok(Self { route, is_in, former })
    }
}

#[async_trait]
impl SharedState for RedisState {
    async fn attach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError> {
        let name = &node.name;
        let keys = [self.keys.node(name), self.keys.attached_to(name), self.keys.streams(name)];
        let mut attach = script(scripts::ATTACH, &keys);
        attach.arg(node.epoch).arg(self.lease_ms()).arg(&self.name).arg(LISTS_LEASES * self.lease_ms());
        let (former, stream, is_attached): (Option<u64>, u64, bool) = self.client.run(attach).await?;
        if !is_attached {
            return Err(SharedStateError::NameTaken(name.clone()));
        }
        let former = former.filter(|&epoch| epoch != node.epoch);
        if let Some(epoch) = former {
            let mut forget = cmd("DEL");
            forget.arg(self.keys.connections(&NodeKey { name: node.name.clone(), epoch }));
            self.client.run::<()>(forget).await?;
        }
        let unswept = Some((stream, Instant::now()));
        let mut here = self.here();
        here.known_nodes.insert(node.name.clone());
        here.attached.insert(node.name.clone(), Attached { key: node.clone(), detached: None, unswept });
        Ok(())
    }

    async fn detach_node(&self, node: &Arc<NodeKey>) -> Result<(), SharedStateError> {
        {
            let mut here = self.here();
            let Some(attached) = here.attached.get_mut(&node.name).filter(|attached| attached.key == *node) else {
                return Ok(());
            };
            attached.detached = Some(Instant::now());
            attached.unswept = None;
        }
        // The lease begins to run out now, not at its last renewal.
        self.client.run::<i64>(self.renew_node(node, None)).await.map(drop)
    }

    async fn renew(&self, infos: Vec<(Arc<NodeKey>, NodeInfo)>) -> Result<Vec<Arc<NodeKey>>, SharedStateError> {
        self.claim().await?;
        if infos.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands: Vec<Cmd> =
            infos.iter().map(|(node, info)| self.renew_node(node, Some(scripts::encode_info(info)))).collect();
        let (mut list, mut expire) = (cmd("SADD"), cmd("PEXPIRE"));
        list.arg(self.keys.nodes()).arg(infos.iter().map(|(node, _)| node.name.as_str()).collect::<Vec<_>>());
        expire.arg(self.keys.nodes()).arg(IDLE_MS);
        commands.extend([list, expire]);
        let answers = self.client.run_all(commands).await?;
        let mut forgotten = Vec::new();
        for ((node, _), answer) in infos.into_iter().zip(answers) {
            if read::<i64>(answer)? != 1 {
                forgotten.push(node);
            }
        }
        Ok(forgotten)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, SharedStateError> {
        let mut list = cmd("SMEMBERS");
        list.arg(self.keys.nodes());
        let names: Vec<String> = self.client.run(list).await?;
        let get = |name: &String| {
            let mut command = cmd("GET");
            command.arg(self.keys.about(name));
            command
        };
        let answers = self.client.run_all(names.iter().map(get).collect()).await?;
        let (mut infos, mut gone) = (Vec::new(), Vec::new());
        for (name, answer) in names.into_iter().zip(answers) {
            match read::<Option<Vec<u8>>>(answer)? {
                Some(about) => infos.extend(scripts::decode_info(&name, &about)),
                None => gone.push(name),
            }
        }
        {
            let mut here = self.here();
            let attached: Vec<String> = here.attached.keys().cloned().collect();
            here.known_nodes = infos.iter().map(|info| info.name.clone()).chain(attached).collect();
        }
        if !gone.is_empty() {
            let mut forget = cmd("SREM");
            forget.arg(self.keys.nodes()).arg(gone);
            self.client.run::<()>(forget).await?;
        }
        Ok(infos)
    }

    fn now_ms(&self) -> i64 {
        self.time.at(clock::now_ms())
    }

    async fn put_routes(&self, routes: Vec<Route>) -> Result<Vec<Route>, SharedStateError> {
        let routes: Vec<Route> = routes.into_iter().filter(|route| self.is_current(&route.node)).collect();
        let commands = routes.iter().flat_map(|route| self.put_commands(route, "")).collect();
        let answers = self.client.run_all(commands).await?.into_iter().step_by(3);
        let puts = routes.into_iter().zip(answers).map(|(route, answer)| Put::read(route, answer));
        let puts: Vec<Put> = puts.collect::<Result<_, _>>()?;
        let rivals: HashSet<&str> =
            puts.iter().filter_map(|put| put.former.as_ref()).map(|(former, _)| former.node.name.as_str()).collect();
        if rivals.is_empty() {
            return Ok(Vec::new());
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
        Ok(losers)
    }

    async fn remove_route(&self, route: &Route) -> Result<(), SharedStateError> {
        let remove = self.remove_command(route.user_id, route.device_id, &scripts::connection(route));
        let unlist = self.unlist_command(&route.node, &[route.connection_id]);
        self.client.run_all(vec![remove, unlist]).await.map(drop)
    }

    async fn remove_connections(&self, node: &Arc<NodeKey>, connection_ids: &[u64]) -> Result<(), SharedStateError> {
        self.remove_listed(node, connection_ids).await
    }

    async fn routes_of(&self, user_ids: &[u64]) -> Result<Vec<Route>, SharedStateError> {
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

    async fn user_of_device(&self, device_id: u64) -> Result<Option<u64>, SharedStateError> {
        let mut find = cmd("GET");
        find.arg(self.keys.device(device_id));
        let Some(user_id) = self.client.run::<Option<u64>>(find).await? else { return Ok(None) };
        let is_there = self.routes_of(&[user_id]).await?.iter().any(|route| route.device_id == device_id);
        Ok(is_there.then_some(user_id))
    }

    async fn touch(&self, user_ids: &[u64]) -> Result<(), SharedStateError> {
        let prolong = |user_id: &u64| {
            let mut command = cmd("PEXPIRE");
            command.arg(self.keys.user(*user_id)).arg(IDLE_MS);
            command
        };
        let some = user_ids.iter().filter(|_| rand::random_range(0..TOUCHED_OF) == 0);
        self.client.run_all(some.map(prolong).collect()).await.map(drop)
    }

    async fn set_interest(&self, room_id: u64, node: &Arc<NodeKey>, interested: bool) -> Result<(), SharedStateError> {
        self.note_interest(room_id, node, interested).await
    }

    async fn publish(&self, message: RoomMessage) -> Result<Published, SharedStateError> {
        self.publish_in_room(message).await
    }

    async fn retained(&self, room_id: u64, seq: u64) -> Result<Kept, SharedStateError> {
        self.kept(room_id, seq).await
    }

    async fn sweep(&self) -> Result<(), SharedStateError> {
        let mut due = Vec::new();
        {
            let mut here = self.here();
            here.attached.retain(|_, node| node.detached.is_none_or(|since| since.elapsed() < self.lease));
            for node in here.attached.values_mut() {
                if let Some((stream, _)) = node.unswept.take_if(|(_, since)| since.elapsed() >= self.lease) {
                    due.push((node.key.clone(), stream));
                }
            }
        }
        for (node, stream) in due {
            self.sweep_node(&node, stream).await?;
        }
        self.refresh_interests().await
    }

    async fn close(&self) -> Result<(), SharedStateError> {
        let release = |key: &String| {
            let mut command = script(scripts::RELEASE, std::slice::from_ref(key));
            command.arg(&self.holder);
            command
        };
        self.client.run_all(self.claims.iter().map(release).collect()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn nodes_whose_clocks_are_an_hour_apart_agree_on_what_came_later() {
        let (ahead, behind) = (SharedTime::default(), SharedTime::default());
        // The server says the same to both; their own clocks do not.
        ahead.set(10_000_000, 10_000_000 + HOUR_MS);
        behind.set(10_000_000, 10_000_000 - HOUR_MS);
        assert_eq!(ahead.at(10_000_100 + HOUR_MS), 10_000_100);
        assert_eq!(behind.at(10_000_200 - HOUR_MS), 10_000_200, "later, though its clock says two hours earlier");
    }

    #[test]
    fn another_server_with_a_clock_an_hour_behind_turns_no_time_back() {
        let time = SharedTime::default();
        time.set(10_000_000, 0);
        assert_eq!(time.at(5), 10_000_005);
        time.set(10_000_000 - HOUR_MS, 0);
        assert_eq!(time.at(10), 10_000_005);
    }
}
