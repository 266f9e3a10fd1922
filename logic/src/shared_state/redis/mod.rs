//! The shared state of several logic nodes, in Redis.
//!
//! Each logic node renews the leases of the conn nodes that are attached to it, and keeps in memory only what it has to say
//! again: which nodes those are, and the rooms they have subscribers in. Where Redis forgot a lease (it was emptied, or away
//! for longer than the lease), or another process of Redis answers (it was started again, maybe with an old snapshot, or another
//! server took over), the nodes concerned are asked to announce everything again. Seqs of rooms are reserved in the database, and
//! such a process gives none of those that a former one might have given, so they never go back. Any task; no lock is held across
//! an await.

mod claims;
mod client;
mod metrics;
mod out_of_date;
mod retained_bytes;
mod rooms;
mod routes;
mod scripts;
mod trial;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;
use gim_config::patience::Patience;
use gim_proto::logic::ConnectionUser;
use redis::{Cmd, cmd};
use tonic::async_trait;

use self::{
    client::{RedisClient, read},
    out_of_date::Heard,
    retained_bytes::RetainedBytes,
    scripts::{IDLE_MS, Keys, script},
};
use super::{Kept, Published, PutRoutes, RoomMessage, SharedState, SharedStateError};
use crate::{
    domain::{
        clock::{self, SteadyClock},
        locate::NodeInfo,
        out_of_date::OutOfDate,
        route::{NodeKey, Route},
    },
    settings::{RedisTarget, RoomSettings, SharedStateSettings},
    store::RoomSeqs,
};

/// A list of a node's connections outlives its lease by so many leases: it is of no use without it.
const LISTS_LEASES: u64 = 4;

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
    /// What is one database's, and whose nodes hold it together.
    common: (String, String),
    lease: Duration,
    room_settings: RoomSettings,
    retained: Mutex<RetainedBytes>,
    room_seqs: RoomSeqs,
    here: Mutex<Here>,
    time: SharedTime,
    /// Whether a key was missing, which is said once.
    has_lost: AtomicBool,
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
    heard: Heard,
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
        (node, node_number): (&str, u16),
        deployment_id: u64,
        lease: Duration,
        room_settings: RoomSettings,
        room_seqs: RoomSeqs,
    ) -> Result<Self, SharedStateError> {
        let target = RedisTarget::parse(&settings.url).map_err(SharedStateError::Mistaken)?;
        let client = RedisClient::new(&target, settings)?;
        let mut patience = Patience::with("Redis");
        while let Err(error) = client.try_out(&target).await {
            match error {
                SharedStateError::Away(_) => patience.wait(&error).await,
                error => return Err(error),
            }
        }
        let keys = Keys::new(&settings.key_prefix);
        let claims = vec![keys.logic(format_args!("node:{node}")), keys.logic_number(node_number)];
        let holder = format!("{node}:{:016x}", rand::random::<u64>());
        let (name, here, time) = (node.to_owned(), Mutex::default(), SharedTime::default());
        let has_lost = AtomicBool::new(false);
        let retained_for = Duration::from_millis(room_settings.retained_ms);
        let retained = Mutex::new(RetainedBytes::new(room_settings.rooms_retained_bytes_max, retained_for));
        let common = (keys.logic("database"), format!("database:{deployment_id:x}"));
        let state = Self {
            client,
            keys,
            name,
            claims,
            holder,
            common,
            lease,
            room_settings,
            retained,
            room_seqs,
            here,
            time,
            has_lost,
        };
        if let Err(error) = state.join(patience).await {
            if let Err(error) = state.give_back().await {
                tracing::warn!(%error, "the name of this logic node stays taken until its lease is over");
            }
            return Err(error);
        }
        state.warn_of_eviction().await;
        Ok(state)
    }

    /// What Redis throws away when its memory is short is told again, but only at the next heartbeat.
    async fn warn_of_eviction(&self) {
        match self.client.run::<String>(script(scripts::MEMORY, &self.claims[..1])).await {
            Ok(info) => {
                if let Some(policy) = eviction_policy(&info) {
                    tracing::error!(
                        policy,
                        "Redis may evict keys of ours: users would be missed until their next heartbeat; set its \
                         maxmemory-policy to noeviction"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "Redis does not say whether it evicts keys"),
        }
    }

    /// Round trips to Redis and commands in them so far.
    pub fn usage(&self) -> (u64, u64) {
        self.client.usage()
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
}

/// The policy of a server that throws keys away, from what it says of its memory.
fn eviction_policy(info: &str) -> Option<&str> {
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim();
    (policy != "noeviction").then_some(policy)
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

    fn deployment(&self) -> String {
        self.here().heard.mark.clone()
    }

    async fn strangers(&self, numbers: &[u16]) -> Result<Vec<u16>, SharedStateError> {
        self.without_claim(numbers).await
    }

    async fn put_routes(&self, routes: Vec<Route>) -> Result<PutRoutes, SharedStateError> {
        self.put(routes).await
    }

    async fn remove_route(&self, route: &Route) -> Result<bool, SharedStateError> {
        let remove = self.remove_command(route.user_id, route.device_id, &scripts::connection(route));
        let unlist = self.unlist_command(&route.node, &[route.connection_id]);
        let mut answers = self.client.run_all(vec![remove, unlist]).await?.into_iter();
        Ok(answers.next().map(read::<u64>).transpose()?.is_some_and(|removed| removed > 0))
    }

    async fn remove_connections(&self, node: &Arc<NodeKey>, connection_ids: &[u64]) -> Result<(), SharedStateError> {
        self.remove_listed(node, connection_ids).await
    }

    async fn routes_of(&self, user_ids: &[u64]) -> Result<Vec<Route>, SharedStateError> {
        self.held_routes_of(user_ids).await
    }

    async fn user_of_device(&self, device_id: u64) -> Result<Option<u64>, SharedStateError> {
        let mut find = cmd("GET");
        find.arg(self.keys.device(device_id));
        let Some(user_id) = self.client.run::<Option<u64>>(find).await? else { return Ok(None) };
        let is_there = self.routes_of(&[user_id]).await?.iter().any(|route| route.device_id == device_id);
        Ok(is_there.then_some(user_id))
    }

    async fn touch(
        &self,
        node: &Arc<NodeKey>,
        connections: Vec<ConnectionUser>,
    ) -> Result<Vec<ConnectionUser>, SharedStateError> {
        self.prolong(node, connections).await
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

    async fn tell(&self, what: OutOfDate) -> Result<(), SharedStateError> {
        self.tell_all(what).await
    }

    async fn told(&self) -> Result<Vec<OutOfDate>, SharedStateError> {
        self.hear().await
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
        self.give_back().await
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
    fn a_policy_that_may_take_keys_is_told_from_one_that_does_not() {
        let says = |policy: &str| format!("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:{policy}\r\nx:1\r\n");
        assert_eq!(eviction_policy(&says("noeviction")), None);
        assert_eq!(eviction_policy(&says("allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(eviction_policy(""), None);
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
