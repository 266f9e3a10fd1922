//! One reactor: one thread, one epoll, and every connection that the kernel gave to its listener. Nothing it owns is shared;
//! the world talks to it through [`inbox`], it talks to the world through [`uplink`], and all reactors count in one [`Quota`].
//!
//! A turn has a fixed order, and [`Reactor::turn`] reads as this list:
//!
//! ```text
//!   poll → inbox → socket events → leftovers → timers → accepts → fan-out → flush → hand over → reap
//! ```
//!
//! Always holds: handlers only queue; writing happens in `flush`, once per connection and turn; slots are freed in `reap`, so
//! an event, timer or command handled in this turn can never meet a newer owner of its slot.

pub mod apps;
pub mod inbox;
pub mod table;
pub mod uplink;
pub mod wake;
pub mod wheel;

mod accept;
mod close;
mod devices;
mod drain;
mod fanout;
mod flush;
mod groups;
mod log_limiter;
mod packets;
mod read;
mod rooms;
mod seal;
#[cfg(test)]
mod tests;
mod timers;
mod transport;

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use mio::{Events, Interest, Poll, Token, net::TcpListener};

use crate::{
    ids::{ConnectionId, LISTENERS_MAX, Source},
    metrics::ReactorMetrics,
    net::socket::SocketOptions,
    quota::Quota,
    session::Rules,
    settings::{DrainSettings, LimitSettings, PushAllSettings, TurnSettings},
    wire::{
        transport::{Entrance, TlsConfigs},
        ws::upgrade::Site,
    },
};

use accept::Acceptor;
use apps::{AppParts, Apps};
use drain::Drain;
use flush::OutboundPool;
use log_limiter::LogLimiter;
use seal::Sealing;
use table::Table;
use wake::WakeFlag;
use wheel::Wheel;

/// Longest sleep of a reactor that has no deadline to meet.
const SLEEP_MS_MAX: u64 = 1_000;

/// How soon to try again what the bridge had no room for.
const BEHIND_RETRY_MS: u64 = 1;

/// How long a reactor that has ended tries to hand over what it said last.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Replies that a reactor makes itself are cut from pieces of this size.
const REPLY_ARENA_BYTES: usize = 16 * 1024;

/// Lines per second about ends that an operator should see, of all reactors together (or one of each, where there are more).
pub const LOG_LINES_PER_S_MAX: u64 = 20;

/// Everything that a reactor is built from.
#[derive(Debug)]
pub struct Parts {
    /// Which reactor of the process this is.
    pub index: usize,
    /// Its epoll, on which `wake` is registered.
    pub poll: Poll,
    /// Its own listeners, one per entrance.
    pub listeners: Vec<(Entrance, TcpListener)>,
    /// The apps that its connections may be of, at least one; what they ask of it comes through their inboxes.
    pub apps: Vec<AppParts>,
    /// How they wake it.
    pub wake: Arc<WakeFlag>,
    /// The rules of every session.
    pub rules: Rules,
    /// Where WebSockets are, and who may open them; also which proxies are believed.
    pub site: Site,
    /// The TLS of new connections, where there is an entrance for them.
    pub tls: Option<TlsConfigs>,
    /// How long a connection may take until packets can travel.
    pub handshake_timeout_ms: u64,
    /// Options of every accepted socket.
    pub socket_options: SocketOptions,
    /// How many connections there may be, in all reactors together.
    pub quota: Arc<Quota>,
    /// Bounds of one connection, and of one room.
    pub limits: LimitSettings,
    /// How pushes to all are spread, with `connections_per_s` already this reactor's share.
    pub push_all: PushAllSettings,
    /// Budgets of one turn.
    pub turn: TurnSettings,
    /// How long to ask epoll over and over before it sleeps.
    pub busy_poll: Duration,
    /// How it ends, with `closes_per_s` already this reactor's share.
    pub drain: DrainSettings,
    /// Lines that it may log about ends which an operator should see: its share of [`LOG_LINES_PER_S_MAX`].
    pub log_lines_per_s: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Reactor {
    index: usize,
    poll: Poll,
    acceptors: Vec<Acceptor>,
    site: Site,
    tls: Option<TlsConfigs>,
    handshake_timeout_ms: u64,
    socket_options: SocketOptions,
    rules: Rules,
    limits: LimitSettings,
    budget: TurnSettings,
    busy_poll: Duration,

    table: Table,
    wheel: Wheel,
    apps: Apps,
    quota: Arc<Quota>,
    /// TLS handshakes under way, and how many more steps of them this turn may do.
    handshakes: usize,
    handshake_steps_left: usize,

    wake: Arc<WakeFlag>,

    /// Every read goes here first. Lent out while a connection is served.
    scratch: Box<[u8]>,
    /// What was decrypted of one read, and what was unmasked of one message. Lent out likewise.
    plain: Vec<u8>,
    unmasked: Vec<u8>,
    sealing: Option<Sealing>,
    /// Replies that the reactor makes itself are cut from here.
    arena: BytesMut,
    outbound_pool: OutboundPool,
    /// Slots with something to write.
    dirty: Vec<usize>,
    /// Connections that ran out of budget, or whose pause was lifted.
    runnable: VecDeque<(usize, u32)>,
    /// Slots to free at the end of the turn.
    dead: Vec<usize>,

    drain: Drain,
    started: Instant,
    started_unix_ms: i64,
    /// The clock of this turn, in milliseconds since the start.
    now_ms: u64,
    metrics: ReactorMetrics,
    log_limiter: LogLimiter,
}

impl Reactor {
    /// Registers the listeners and is ready to run.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let mut acceptors = Vec::new();
        for (index, (entrance, mut listener)) in parts.listeners.into_iter().enumerate() {
            debug_assert!(index < LISTENERS_MAX);
            parts.poll.registry().register(&mut listener, Source::Listener(index).token(), Interest::READABLE)?;
            acceptors.push(Acceptor::new(entrance, listener));
        }
        Ok(Self {
            index: parts.index,
            poll: parts.poll,
            acceptors,
            site: parts.site,
            tls: parts.tls,
            handshake_timeout_ms: parts.handshake_timeout_ms,
            socket_options: parts.socket_options,
            rules: parts.rules,
            apps: Apps::new(parts.apps, parts.index, &parts.limits, &parts.push_all),
            outbound_pool: OutboundPool::new(&parts.limits),
            limits: parts.limits,
            scratch: vec![0; parts.turn.read_bytes].into(),
            plain: Vec::new(),
            unmasked: Vec::new(),
            sealing: None,
            budget: parts.turn,
            busy_poll: parts.busy_poll,
            table: Table::default(),
            wheel: Wheel::default(),
            quota: parts.quota,
            handshakes: 0,
            handshake_steps_left: 0,
            wake: parts.wake,
            arena: BytesMut::with_capacity(REPLY_ARENA_BYTES),
            dirty: Vec::new(),
            runnable: VecDeque::new(),
            dead: Vec::new(),
            drain: Drain::new(parts.drain),
            started: Instant::now(),
            started_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64),
            now_ms: 0,
            metrics: ReactorMetrics::new(parts.index),
            log_limiter: LogLimiter::new(parts.log_lines_per_s),
        })
    }

    /// Runs until it is drained. An error means that epoll itself failed.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(self.budget.events);
        while !self.drain.is_over() {
            self.turn(&mut events)?;
        }
        // What the last turns had to say must reach logic, or it would think these devices online until the lease ends.
        let ended = Instant::now();
        while !self.apps.flush() && ended.elapsed() < LAST_WORD_TIMEOUT {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Waits for something to do, and does it. An error means that epoll itself failed.
    pub fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        self.now_ms = self.started.elapsed().as_millis() as u64;
        self.handshake_steps_left = self.budget.handshakes;
        self.drain_inboxes();
        for event in events.iter() {
            match Source::of_token(event.token()) {
                Source::Wake => {}
                Source::Listener(index) => self.acceptors[index].on_ready(),
                Source::Connection { slot, generation } => self.on_socket_event(slot, generation, event),
            }
        }
        self.serve_leftovers();
        self.expire_timers();
        self.accept_connections();
        self.drain_step();
        self.fan_out();
        self.flush_dirty();
        self.apps.flush();
        self.reap();
        self.metrics.publish(self.table.len());
        self.apps.publish();
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = self.patience();
        let busy = patience.min(self.busy_poll);
        if !busy.is_zero() {
            let asleep_at = Instant::now() + busy;
            while Instant::now() < asleep_at {
                self.poll(events, Duration::ZERO)?;
                if !events.is_empty() {
                    return Ok(());
                }
            }
        }
        self.poll(events, patience)
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// How long nothing can happen that epoll would not tell.
    fn patience(&self) -> Duration {
        let has_leftovers = self.apps.have_leftovers()
            || !self.runnable.is_empty()
            || !self.dirty.is_empty()
            || self.wheel.has_due(self.now_ms)
            || self.acceptors.iter().any(|acceptor| acceptor.wants_turn(self.now_ms, self.has_handshakes_left()));
        if has_leftovers {
            return Duration::ZERO;
        }
        if self.apps.are_behind() {
            return Duration::from_millis(BEHIND_RETRY_MS);
        }
        let ticking =
            !self.wheel.is_empty() || self.drain.is_draining() || self.acceptors.iter().any(Acceptor::is_paused);
        let sleep_ms = if ticking { self.wheel.sleep_ms(self.now_ms) } else { SLEEP_MS_MAX };
        Duration::from_millis(sleep_ms.min(self.apps.broadcast_wait_ms().unwrap_or(SLEEP_MS_MAX)))
    }

    fn connection_id(&self, slot: usize, generation: u32) -> ConnectionId {
        ConnectionId::new(self.index, slot, generation)
    }

    fn unix_ms(&self, at_ms: u64) -> i64 {
        self.started_unix_ms + at_ms as i64
    }
}

/// A poll and the flag that wakes it.
pub fn open_poll() -> io::Result<(Poll, Arc<WakeFlag>)> {
    let poll = Poll::new()?;
    let token: Token = Source::Wake.token();
    let waker = mio::Waker::new(poll.registry(), token)?;
    Ok((poll, Arc::new(WakeFlag::new(waker))))
}
