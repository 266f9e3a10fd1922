//! One reactor: one thread, one epoll, and every connection that the kernel gave to its listener. Nothing it owns is shared;
//! the world talks to it through [`command_queue`], it talks to the world through [`uplink`], and all reactors count in one [`Quota`].
//!
//! A turn has a fixed order, and [`Reactor::turn`] reads as this list:
//!
//! ```text
//!   poll → commands → socket events → handshakes → leftovers → timers → accepts → drain → fan-out → flush → hand over → reap
//! ```
//!
//! Always holds: handlers only queue; writing happens in `flush`, once per connection and turn; slots are freed in `reap`, so
//! an event, timer or command handled in this turn can never meet a newer owner of its slot.

pub mod apps;
pub mod command_queue;
pub mod table;
pub mod uplink;
pub mod wake;
pub mod wheel;

mod accept;
mod catching_up;
mod close;
mod context;
mod devices;
mod drain;
mod fanout;
mod flush;
mod groups;
mod handshakes;
mod log_limiter;
mod packets;
mod peer;
mod read;
mod renditions;
mod rooms;
mod seal;
#[cfg(test)]
mod tests;
mod timers;
mod transport;
mod unsigned;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use gim_legacy::Dialect;
use mio::{Events, Interest, Poll, Token, net::TcpListener};

use crate::{
    clock::Clock,
    ids::{LISTENERS_MAX, Source},
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
use catching_up::HeldPushes;
use context::Context;
use drain::Drain;
use flush::Writer;
use handshakes::Handshakes;
use log_limiter::LogLimiter;
use packets::ReplyArena;
use read::Reader;
use renditions::Renditions;
use table::Table;
use unsigned::Unsigned;
use wake::WakeFlag;
use wheel::Wheel;

/// Longest sleep of a reactor that has no deadline to meet.
const SLEEP_MS_MAX: u64 = 1_000;

/// How soon to try again what the bridge had no room for.
const BEHIND_RETRY_MS: u64 = 1;

/// How long a reactor that has ended tries to hand over what it said last.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines per second about ends that an operator should see, of all reactors together (or one of each, where there are more).
pub const LOG_LINES_PER_S_MAX: u64 = 20;

/// Everything that a reactor is built from.
#[derive(Debug)]
pub struct Parts {
    /// Which reactor of the process this is.
    pub index: usize,
    /// Its epoll, on which `wake` is registered.
    pub poll: Poll,
    /// Its own listeners, one per entrance and dialect.
    pub listeners: Vec<ListenerParts>,
    /// The apps that its connections may be of, at least one; what they ask of it comes through their command queues.
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

/// What an [`Acceptor`] is built from.
#[derive(Debug)]
pub struct ListenerParts {
    /// What its connections begin with.
    pub entrance: Entrance,
    /// What is spoken there, where that is not today's.
    pub dialect: Option<Dialect>,
    /// The socket.
    pub listener: TcpListener,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    busy_poll: Duration,
    acceptors: Vec<Acceptor>,
    socket_options: SocketOptions,
    wake: Arc<WakeFlag>,
    table: Table,
    context: Context,
}

impl Reactor {
    /// Registers the listeners and is ready to run.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let mut acceptors = Vec::new();
        let metrics = ReactorMetrics::new(parts.index, parts.listeners.iter().filter_map(|listener| listener.dialect));
        for (index, ListenerParts { entrance, dialect, mut listener }) in parts.listeners.into_iter().enumerate() {
            debug_assert!(index < LISTENERS_MAX);
            parts.poll.registry().register(&mut listener, Source::Listener(index).token(), Interest::READABLE)?;
            acceptors.push(Acceptor::new(entrance, dialect, listener));
        }
        let context = Context {
            index: parts.index,
            rules: parts.rules,
            site: parts.site,
            handshake_timeout_ms: parts.handshake_timeout_ms,
            clock: Clock::start(),
            wheel: Wheel::default(),
            apps: Apps::new(parts.apps, parts.index, &parts.limits, &parts.push_all),
            quota: parts.quota,
            unsigned: Unsigned::default(),
            handshakes: Handshakes::new(parts.tls, &parts.limits, parts.turn.handshakes),
            reader: Reader::new(parts.turn.read_bytes),
            writer: Writer::new(&parts.limits, parts.turn.write_bytes),
            replies: ReplyArena::new(),
            renditions: Renditions::default(),
            held_pushes: HeldPushes::default(),
            drain: Drain::new(parts.drain),
            moved_members: Vec::new(),
            dead: Vec::new(),
            metrics,
            log_limiter: LogLimiter::new(parts.log_lines_per_s),
            budget: parts.turn,
        };
        Ok(Self {
            poll: parts.poll,
            busy_poll: parts.busy_poll,
            acceptors,
            socket_options: parts.socket_options,
            wake: parts.wake,
            table: Table::default(),
            context,
        })
    }

    /// Runs until it is drained. An error means that epoll itself failed.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(self.context.budget.events);
        while !self.context.drain.is_over() {
            self.turn(&mut events)?;
        }
        // What the last turns had to say must reach logic, or it would think these devices online until the lease ends.
        let ended = Instant::now();
        while !self.context.apps.flush() && ended.elapsed() < LAST_WORD_TIMEOUT {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Waits for something to do, and does it. An error means that epoll itself failed.
    pub fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        self.context.clock.read();
        self.context.handshakes.begin_turn();
        self.drain_command_queues();
        for event in events.iter() {
            match Source::of_token(event.token()) {
                Source::Wake => {}
                Source::Listener(index) => self.acceptors[index].on_ready(),
                Source::Connection { slot, generation } => self.on_socket_event(slot, generation, event),
            }
        }
        self.grant_handshakes();
        self.serve_leftovers();
        self.expire_timers();
        self.relieve_full_addresses();
        self.accept_connections();
        self.drain_step();
        self.fan_out();
        self.flush_dirty();
        self.end_evicted();
        self.context.apps.flush();
        self.reap();
        self.forget_renditions();
        self.context.metrics.publish(self.table.len());
        self.context.apps.publish();
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
        let Context { apps, wheel, reader, writer, handshakes, drain, .. } = &self.context;
        let now_ms = self.context.clock.now_ms();
        let has_leftovers = apps.have_leftovers()
            || !reader.runnable.is_empty()
            || !writer.dirty.is_empty()
            || wheel.has_due(now_ms)
            || handshakes.has_next()
            || self.acceptors.iter().any(|acceptor| acceptor.wants_turn(now_ms));
        if has_leftovers {
            return Duration::ZERO;
        }
        if apps.are_behind() {
            return Duration::from_millis(BEHIND_RETRY_MS);
        }
        let ticking = !wheel.is_empty() || drain.is_draining() || self.acceptors.iter().any(Acceptor::is_paused);
        let sleep_ms = if ticking { wheel.sleep_ms(now_ms) } else { SLEEP_MS_MAX };
        Duration::from_millis(sleep_ms.min(apps.broadcast_wait_ms().unwrap_or(SLEEP_MS_MAX)))
    }
}

/// A poll and the flag that wakes it.
pub fn open_poll() -> io::Result<(Poll, Arc<WakeFlag>)> {
    let poll = Poll::new()?;
    let token: Token = Source::Wake.token();
    let waker = mio::Waker::new(poll.registry(), token)?;
    Ok((poll, Arc::new(WakeFlag::new(waker))))
}
