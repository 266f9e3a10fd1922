//! Who is connected, and what each holds: the shares of gRPC callers.
//!
//! A connection is a stranger's until a first call to an internal service showed the token or certificate that the settings ask for;
//! from then on it is trusted, and what it asks for users is counted for these. Where the settings ask for nothing, nobody is
//! trusted. Used by the tasks of connections and calls, and by one task that sweeps. Always holds: strangers
//! have no more than `grpc.connections_max` connections, and one that comes beyond it takes the place of one that is of less use, so
//! that whoever has something to ask gets in, the links of our own services first of all.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue};

use super::{
    connection::Connection,
    settings::{Bound, GrpcSettings, Kind},
};
use crate::{
    metrics as names,
    networks::{Networks, holder_of},
};

/// Addresses beyond these are forgotten as soon as they have no connection.
const ADDRESSES_MAX: usize = 16_384;
/// Where proxies tell for whom they call.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// How long a stop waits for what strangers have under way but for work of ours.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What one connection, one address, or all together hold.
#[derive(Debug, Default)]
pub(super) struct Held([AtomicUsize; 3]);

impl Held {
    pub(super) fn add(&self, kind: Kind, amount: usize) -> usize {
        self.0[kind as usize].fetch_add(amount, Relaxed) + amount
    }

    pub(super) fn subtract(&self, kind: Kind, amount: usize) {
        self.0[kind as usize].fetch_sub(amount, Relaxed);
    }

    pub(super) fn of(&self, kind: Kind) -> usize {
        self.0[kind as usize].load(Relaxed)
    }
}

/// What is known of an address; of IPv6, of its network of 64 bits.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) held: Held,
    /// A service of ours called from there once: it can come again.
    pub(super) was_service: AtomicBool,
    bucket: Mutex<Bucket>,
    /// Of calls for clients.
    calls: Mutex<Bucket>,
}

/// A budget: of frames that ask for nothing and of wrong tokens, or of calls.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
    refused_until: Option<Instant>,
}

/// All callers of one server.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) settings: GrpcSettings,
    /// No more than half of the files of the process.
    connections_max: usize,
    /// Who tells for whom they call.
    proxies: Networks,
    pub(super) held: Held,
    table: Mutex<Table>,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Peer>,
    /// Those for whom trusted services ask just now.
    users: HashMap<u64, Weak<Held>>,
    strangers: usize,
    trusted: usize,
    stopping_since: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    address: Arc<Address>,
    strangers: Vec<Arc<Connection>>,
    trusted: Vec<Arc<Connection>>,
}

impl Peers {
    pub(super) fn new(settings: &GrpcSettings, proxies: Networks, files: usize) -> Self {
        Self {
            proxies,
            settings: settings.clone(),
            connections_max: settings.connections_max.min(files / 2).max(1),
            held: Held::default(),
            table: Mutex::default(),
            next_id: AtomicU64::new(0),
        }
    }

    /// A connection from there, unless the address is refused for a while.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Option<Arc<Connection>> {
        let is_proxy = self.proxies.contains(ip);
        let ip = holder_of(ip);
        let mut table = self.lock();
        if table.stopping_since.is_some() {
            return None;
        }
        let place = table.addresses.entry(ip).or_insert_with(|| Peer::new(self.new_address(ip, now)));
        if place.address.is_refused(now) {
            metrics::counter!(names::GRPC_CONNECTIONS_REFUSED).increment(1);
            return None;
        }
        let address = place.address.clone();
        let is_full = place.strangers.len() >= self.settings.connections_per_address_max && !is_proxy;
        let fullest = || table.addresses.iter().max_by_key(|(_, place)| place.strangers.len()).map(|(ip, _)| *ip);
        let victim_at = if is_full {
            Some(ip)
        } else if table.strangers >= self.connections_max {
            fullest()
        } else {
            None
        };
        if let Some(victim_at) = victim_at {
            table.evict_at(victim_at);
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection::new(id, address, is_proxy, self.clone(), now));
        table.strangers += 1;
        table.addresses.get_mut(&ip)?.strangers.push(connection.clone());
        Some(connection)
    }

    /// It showed that it is a service's.
    pub(super) fn trust(&self, connection: &Arc<Connection>) {
        let mut table = self.lock();
        if table.remove(connection) {
            table.trusted += 1;
            if let Some(place) = table.addresses.get_mut(&connection.address.ip) {
                place.trusted.push(connection.clone());
            }
        }
    }

    /// An address for which a proxy or a trusted service calls.
    pub(super) fn client(&self, ip: IpAddr, now: Instant) -> Arc<Address> {
        let ip = holder_of(ip);
        let mut table = self.lock();
        table.addresses.entry(ip).or_insert_with(|| Peer::new(self.new_address(ip, now))).address.clone()
    }

    /// For whom a proxy calls, as `X-Forwarded-For` tells.
    pub(super) fn told_by_proxy(&self, headers: &HeaderMap, now: Instant) -> Option<Arc<Address>> {
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        Some(self.client(self.proxies.client_of(lines.into_iter())?, now))
    }

    /// What a user holds, for whom trusted services ask.
    pub(super) fn user(&self, user_id: u64) -> Arc<Held> {
        let mut table = self.lock();
        let held = table.users.get(&user_id).and_then(Weak::upgrade).unwrap_or_default();
        table.users.insert(user_id, Arc::downgrade(&held));
        held
    }

    /// It is gone.
    pub(super) fn leave(&self, connection: &Connection) {
        self.lock().remove(connection);
    }

    /// Ends what is silent, idle, unfinished or untaken for too long, and while stopping what nobody waits for.
    pub(super) fn sweep(&self, now: Instant) {
        let (mut connections, stopping_since) = (Vec::new(), self.lock().stopping_since);
        {
            let mut table = self.lock();
            let forgets = table.addresses.len() > ADDRESSES_MAX;
            table.addresses.retain(|_, place| {
                connections.extend(place.strangers.iter().chain(&place.trusted).cloned());
                !place.is_empty()
                    || Arc::strong_count(&place.address) > 1
                    || (!forgets && !place.address.is_forgotten(now, &self.settings))
            });
            table.users.retain(|_, held| held.strong_count() > 0);
            metrics::gauge!(names::GRPC_CONNECTIONS, "caller" => "stranger").set(table.strangers as f64);
            metrics::gauge!(names::GRPC_CONNECTIONS, "caller" => "service").set(table.trusted as f64);
        }
        for kind in Kind::ALL {
            metrics::gauge!(names::GRPC_HELD, "kind" => kind.name()).set(self.held.of(kind) as f64);
        }
        for connection in connections {
            let is_left = |since| now.duration_since(since) >= STOP_GRACE && connection.is_left();
            let why = if stopping_since.is_some_and(|since| connection.is_silent() || is_left(since)) {
                Some("stopping")
            } else {
                connection.overdue(now)
            };
            if let Some(why) = why {
                connection.end(why);
            }
        }
    }

    /// From now on nobody is let in, and who has nothing under way is ended.
    pub(super) fn stop(&self, now: Instant) {
        self.lock().stopping_since.get_or_insert(now);
        self.sweep(now);
    }

    pub(super) fn bound(&self, kind: Kind) -> Bound {
        self.settings.bound(kind)
    }

    fn new_address(&self, ip: IpAddr, now: Instant) -> Arc<Address> {
        let bucket = Mutex::new(Bucket::full(&self.settings, now));
        let calls = Mutex::new(Bucket::of(self.settings.address_calls_burst, now));
        Arc::new(Address { ip, held: Held::default(), was_service: AtomicBool::new(false), bucket, calls })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Address {
    /// Takes so much of the budget of this address; beyond it, new connections of it are refused for a while.
    pub(super) fn spend(&self, cost: u32, settings: &GrpcSettings, now: Instant) -> bool {
        let mut bucket = self.lock();
        let is_within = bucket.spend(cost, settings, now);
        if !is_within && !self.was_service.load(Relaxed) {
            bucket.refused_until = Some(now + Duration::from_millis(settings.refused_for_ms));
        }
        is_within
    }

    /// Takes what a call costs of what this address may ask for, if so much is left; else, how long until it is.
    pub(super) fn take_calls(&self, cost: u32, settings: &GrpcSettings, now: Instant) -> Result<(), Duration> {
        if settings.address_calls_per_s == 0 {
            return Ok(());
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.fill_at(settings.address_calls_per_s, settings.address_calls_burst, now);
        let lack = f64::from(cost) - calls.tokens;
        if lack > 0.0 {
            return Err(Duration::from_secs_f64(lack / f64::from(settings.address_calls_per_s)));
        }
        calls.tokens -= f64::from(cost);
        Ok(())
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.lock().refused_until.is_some_and(|until| now < until)
    }

    fn is_forgotten(&self, now: Instant, settings: &GrpcSettings) -> bool {
        // With a cost of nothing it is but brought up to date.
        let _is_left = self.take_calls(0, settings, now).is_ok();
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).tokens;
        if calls < f64::from(settings.address_calls_burst) {
            return false;
        }
        let mut bucket = self.lock();
        bucket.fill(settings, now);
        bucket.tokens >= f64::from(settings.resets_burst) && bucket.refused_until.is_none_or(|until| until <= now)
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    pub(super) fn full(settings: &GrpcSettings, now: Instant) -> Self {
        Self::of(settings.resets_burst, now)
    }

    fn of(burst: u32, now: Instant) -> Self {
        Self { tokens: f64::from(burst), filled_at: now, refused_until: None }
    }

    /// Whether so much was left.
    pub(super) fn spend(&mut self, cost: u32, settings: &GrpcSettings, now: Instant) -> bool {
        self.fill(settings, now);
        self.tokens -= f64::from(cost);
        let is_within = self.tokens >= 0.0;
        self.tokens = self.tokens.max(0.0);
        is_within
    }

    fn fill(&mut self, settings: &GrpcSettings, now: Instant) {
        self.fill_at(settings.resets_per_s, settings.resets_burst, now);
    }

    fn fill_at(&mut self, per_s: u32, burst: u32, now: Instant) {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * f64::from(per_s);
        self.tokens = (self.tokens + gained).min(f64::from(burst));
        self.filled_at = now;
    }
}

impl Table {
    /// Whether it was a stranger's that was still counted.
    fn remove(&mut self, connection: &Connection) -> bool {
        let Entry::Occupied(mut place) = self.addresses.entry(connection.address.ip) else { return false };
        let Peer { strangers, trusted, .. } = place.get_mut();
        if let Some(index) = strangers.iter().position(|other| other.id == connection.id) {
            strangers.swap_remove(index);
            self.strangers -= 1;
            return true;
        }
        if let Some(index) = trusted.iter().position(|other| other.id == connection.id) {
            trusted.swap_remove(index);
            self.trusted -= 1;
        }
        false
    }

    fn evict_at(&mut self, ip: IpAddr) {
        let strangers = self.addresses.get(&ip).map(|place| &place.strangers);
        let victim = strangers.and_then(|all| all.iter().min_by_key(|connection| connection.use_rank())).cloned();
        if let Some(victim) = victim {
            victim.end("evicted");
            self.remove(&victim);
        }
    }
}

impl Peer {
    fn new(address: Arc<Address>) -> Self {
        Self { address, strangers: Vec::new(), trusted: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.strangers.is_empty() && self.trusted.is_empty()
    }
}
