//! One connection of a gRPC caller: what it holds, how far it came, and how it is ended.
//!
//! Shared by the task of the connection, the tasks of its calls, and the sweep. Always holds: what a guard took is given back when the
//! guard is dropped, and a connection that was ended reads and writes nothing more.

use std::{
    cmp::Reverse,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use http::HeaderMap;
use slab::Slab;

use super::{
    answers::HeldAnswer,
    frames::Seen,
    peers::{Address, Bucket, Held, Peers},
    settings::Kind,
};

use crate::metrics as names;

/// What a wrong internal token costs of an address' budget of frames that ask for nothing.
const WRONG_TOKEN_COST: u32 = 100;
/// So many answers of a connection may be late before it is ended rather than its calls.
const LATE_ANSWERS_MAX: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) address: Arc<Address>,
    /// It may tell for whom it calls.
    is_proxy: bool,
    peers: Arc<Peers>,
    accepted_at: Instant,
    is_certified: AtomicBool,
    has_spoken: AtomicBool,
    is_service: AtomicBool,
    is_trusted: AtomicBool,
    is_ended: AtomicBool,
    ended: AtomicWaker,
    held: Held,
    /// Requests that are not whole.
    receiving: AtomicUsize,
    progress: Mutex<Progress>,
    /// Of frames that ask for nothing, once it is a service's.
    budget: Mutex<Bucket>,
    answers: Mutex<Slab<Arc<HeldAnswer>>>,
}

#[derive(Debug)]
struct Progress {
    begun: u64,
    completed: u64,
    idle_since: Instant,
    unfinished_since: Option<Instant>,
    /// Of HTTP/1.1, since the last call began or was answered: headers of the next one, if none is under way.
    bytes_since_call: usize,
    /// By HTTP/1.1, be it with a refusal.
    is_answered: bool,
}

/// Whose share a call takes from.
#[derive(Debug, Clone)]
enum CallShare {
    /// That of its connection, and of the address of that.
    Connection,
    /// That of a user, for whom a trusted service asks.
    User(Arc<Held>),
    /// That of an address, which has a connection's: a proxy or a trusted service calls for it.
    Client(Arc<Address>),
    /// Nobody's: a trusted service asks for itself.
    Nobody,
}

/// A part of a share; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    connection: Arc<Connection>,
    payer: CallShare,
    kind: Kind,
    amount: usize,
}

/// The place of a call, from its headers to the end of its answer.
#[derive(Debug)]
pub(super) struct CallPlace {
    call: Taken,
    /// Of its request and its answer.
    payer: CallShare,
}

impl Connection {
    pub(super) fn new(id: u64, address: Arc<Address>, is_proxy: bool, peers: Arc<Peers>, now: Instant) -> Self {
        let progress = Progress {
            begun: 0,
            completed: 0,
            idle_since: now,
            unfinished_since: None,
            bytes_since_call: 0,
            is_answered: false,
        };
        let budget = Mutex::new(Bucket::full(&peers.settings, now));
        Self {
            budget,
            id,
            address,
            is_proxy,
            peers,
            accepted_at: now,
            is_certified: AtomicBool::new(false),
            has_spoken: AtomicBool::new(false),
            is_service: AtomicBool::new(false),
            is_trusted: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            ended: AtomicWaker::new(),
            held: Held::default(),
            receiving: AtomicUsize::new(0),
            progress: Mutex::new(progress),
            answers: Mutex::default(),
        }
    }

    pub(super) fn is_certified(&self) -> bool {
        self.is_certified.load(Relaxed)
    }

    pub(super) fn certify(&self) {
        self.is_certified.store(true, Relaxed);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted.load(Relaxed)
    }

    /// Its first byte came.
    pub(super) fn speak(&self) {
        self.has_spoken.store(true, Relaxed);
    }

    /// Whether it may call internal services: it did.
    fn is_service(&self) -> bool {
        self.is_service.load(Relaxed)
    }

    /// A call of it showed what callers of internal services have to show. Where that is nothing, it goes before strangers and has
    /// shares like them.
    pub(super) fn admit_as_service(self: &Arc<Self>) {
        if self.is_service.swap(true, Relaxed) {
            return;
        }
        self.address.was_service.store(true, Relaxed);
        if self.peers.settings.asks_for_proof() {
            self.is_trusted.store(true, Relaxed);
            self.peers.trust(self);
        }
    }

    /// For whom a call with these headers is made, where it is a proxy that tells.
    pub(super) fn client(&self, headers: &HeaderMap, now: Instant) -> Option<Arc<Address>> {
        if self.is_proxy { self.peers.told_by_proxy(headers, now) } else { None }
    }

    /// The address of a client for which it calls, as the trusted service says whose it is.
    pub(super) fn told_by_service(&self, ip: IpAddr, now: Instant) -> Arc<Address> {
        self.peers.client(ip, now)
    }

    /// Whose share a call takes from that is for a user, or for whoever calls.
    fn payer(&self, user_id: Option<u64>, client: Option<Arc<Address>>) -> CallShare {
        match (client, user_id) {
            (Some(client), _) => CallShare::Client(client),
            _ if !self.is_trusted() => CallShare::Connection,
            (None, Some(user_id)) => CallShare::User(self.peers.user(user_id)),
            (None, None) => CallShare::Nobody,
        }
    }

    /// Nothing more is read or written.
    pub(super) fn end(&self, why: &'static str) {
        if !self.is_ended.swap(true, Release) {
            metrics::counter!(names::GRPC_CONNECTIONS_ENDED, "why" => why).increment(1);
            self.ended.wake();
        }
    }

    /// Ready once it was ended.
    pub(super) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        self.ended.register(context.waker());
        if self.is_ended.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn check_ended(&self) -> io::Result<()> {
        if self.is_ended.load(Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    pub(super) fn leave(&self) {
        self.peers.leave(self);
    }

    /// Takes a part of the payer's share, unless that is beyond the bound of a connection (or user), of its address, or of all. As much
    /// as the bound's floor is never refused because of others.
    fn take(self: &Arc<Self>, payer: &CallShare, kind: Kind, amount: usize) -> Option<Taken> {
        let taken = Taken { connection: self.clone(), payer: payer.clone(), kind, amount };
        let bound = self.peers.bound(kind);
        let of_connection = self.held.add(kind, amount);
        let (own, of_address) = match payer {
            CallShare::Nobody => return Some(taken),
            CallShare::User(held) => (held.add(kind, amount), 0),
            CallShare::Client(address) => (address.held.add(kind, amount), 0),
            CallShare::Connection => (of_connection, self.address.held.add(kind, amount)),
        };
        let all = self.peers.held.add(kind, amount);
        let fits_all = of_address <= bound.address && all <= bound.all;
        // What was taken beyond it is given back by the guard.
        (own <= bound.connection && (own <= bound.floor || fits_all)).then_some(taken)
    }

    /// A call begins, unless too many are under way: of a user (0 for one who is not known yet), or of an internal service, of which
    /// HTTP/2 lets those wait that are too many.
    pub(super) fn begin(
        self: &Arc<Self>,
        user_id: Option<u64>,
        client: Option<Arc<Address>>,
        now: Instant,
    ) -> Option<CallPlace> {
        let payer = self.payer(user_id, client);
        let call = self.take(if user_id.is_some() { &payer } else { &CallShare::Nobody }, Kind::Calls, 1)?;
        let mut progress = self.lock();
        progress.begun += 1;
        progress.idle_since = now;
        if std::mem::take(&mut progress.bytes_since_call) > 0 {
            progress.unfinished_since = None;
        }
        Some(CallPlace { call, payer })
    }

    pub(super) fn receive(&self, change: isize) {
        if change > 0 {
            self.receiving.fetch_add(1, Relaxed)
        } else {
            self.receiving.fetch_sub(1, Relaxed)
        };
    }

    /// What was read; an error ends the connection.
    pub(super) fn on_frames(&self, seen: Seen, now: Instant) -> io::Result<()> {
        let mut progress = self.lock();
        if seen.http_1_bytes > 0 {
            if self.held.of(Kind::Calls) == 0 {
                // What was read before was looked at, and is no whole head of a request.
                let is_long = progress.bytes_since_call > self.peers.settings.header_bytes_max as usize;
                progress.bytes_since_call += seen.http_1_bytes;
                progress.unfinished_since.get_or_insert(now);
                if is_long {
                    self.end("headers");
                }
            }
            return self.check_ended();
        }
        if seen.finished > 0 || !seen.is_unfinished {
            progress.unfinished_since = None;
        }
        if seen.is_unfinished {
            progress.unfinished_since.get_or_insert(now);
        }
        drop(progress);
        if seen.idle_frames > 0 && !self.spend(seen.idle_frames, now) {
            self.end("resets");
        }
        self.check_ended()
    }

    /// A request by HTTP/1.1 is answered: it is finished, also where no call began.
    pub(super) fn on_answer(&self, now: Instant) {
        let mut progress = self.lock();
        progress.is_answered = true;
        progress.idle_since = now;
        progress.unfinished_since = None;
        progress.bytes_since_call = 0;
    }

    /// It showed an internal token that is wrong; who guesses is ended.
    pub(super) fn on_wrong_token(&self, now: Instant) {
        if !self.is_trusted() && !self.address.spend(WRONG_TOKEN_COST, &self.peers.settings, now) {
            self.end("tokens");
        }
    }

    /// Strangers of an address share its budget; what they spend is nothing to a service that calls from there too.
    fn spend(&self, cost: u32, now: Instant) -> bool {
        let settings = &self.peers.settings;
        if self.is_service() {
            self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(cost, settings, now)
        } else {
            self.address.spend(cost, settings, now)
        }
    }

    /// An answer waits to be taken, until `untrack`.
    pub(super) fn track(&self, answer: Arc<HeldAnswer>) -> usize {
        self.lock_answers().insert(answer)
    }

    pub(super) fn untrack(&self, key: usize) {
        self.lock_answers().try_remove(key);
    }

    /// No call came yet.
    pub(super) fn is_silent(&self) -> bool {
        !self.is_trusted() && self.lock().begun == 0
    }

    /// Nothing of ours is under way: what there is waits for the caller.
    pub(super) fn is_left(&self) -> bool {
        let waits = self.receiving.load(Relaxed) + self.lock_answers().len();
        self.held.of(Kind::Calls) <= waits
    }

    /// Why it has to be ended, if it has to; answers that nobody took are let go.
    pub(super) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let settings = &self.peers.settings;
        let is_over =
            |since: Instant, timeout_ms| now.saturating_duration_since(since) >= Duration::from_millis(timeout_ms);
        let late = self.lock_answers().iter().filter(|(_, answer)| answer.expire(now, settings)).count();
        if self.is_trusted() {
            return None;
        }
        let is_idle = self.held.of(Kind::Calls) == 0 && !self.is_service();
        let progress = self.lock();
        if progress.begun == 0 && !progress.is_answered && is_over(self.accepted_at, settings.first_call_timeout_ms) {
            Some("silent")
        } else if progress.unfinished_since.is_some_and(|since| is_over(since, settings.request_timeout_ms)) {
            Some("unfinished")
        } else if late >= LATE_ANSWERS_MAX {
            Some("untaken")
        } else if is_idle && is_over(progress.idle_since, settings.idle_timeout_ms) {
            Some("idle")
        } else {
            None
        }
    }

    /// Who is of the least use has the least: those that never completed a call, the silent ones first, the idle ones, then all others,
    /// of these the one that waits longest. Last come services, the newest first: where nothing has to be shown, anybody can be one, but
    /// not an older one.
    pub(super) fn use_rank(&self) -> (bool, bool, bool, bool, Reverse<u64>, Instant) {
        let is_service = self.is_service();
        let progress = self.lock();
        let newness = Reverse(if is_service { self.id } else { 0 });
        let (has_completed, has_calls) = (progress.completed > 0, self.held.of(Kind::Calls) > 0);
        (is_service, has_completed, has_calls, self.has_spoken.load(Relaxed), newness, progress.idle_since)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_answers(&self) -> MutexGuard<'_, Slab<Arc<HeldAnswer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes more of the same; whether that fits.
    pub(super) fn add(&mut self, amount: usize) -> bool {
        let Some(mut more) = self.connection.take(&self.payer, self.kind, amount) else { return false };
        self.amount += std::mem::take(&mut more.amount);
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Self { connection, payer, kind, amount } = self;
        connection.held.subtract(*kind, *amount);
        match payer {
            CallShare::Nobody => return,
            CallShare::User(held) => held.subtract(*kind, *amount),
            CallShare::Client(address) => address.held.subtract(*kind, *amount),
            CallShare::Connection => connection.address.held.subtract(*kind, *amount),
        }
        connection.peers.held.subtract(*kind, *amount);
    }
}

impl CallPlace {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.call.connection
    }

    /// Whether so much fits the share that the call takes from, were there nothing else in it.
    pub(super) fn may_have(&self, kind: Kind, amount: usize) -> bool {
        matches!(self.payer, CallShare::Nobody) || amount <= self.call.connection.peers.bound(kind).connection
    }

    /// Takes a part of the share that the call takes from.
    pub(super) fn take(&self, kind: Kind, amount: usize) -> Option<Taken> {
        self.call.connection.take(&self.payer, kind, amount)
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        let mut progress = self.call.connection.lock();
        progress.completed += 1;
        progress.idle_since = Instant::now();
    }
}
