//! Accepting: a budget per turn, a pause when the process runs out of something, a spoken refusal when it is full.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use gim_legacy::Dialect;
use gim_proto::CloseReason;
use mio::{
    Interest,
    net::{TcpListener, TcpStream},
};

use super::Reactor;
use crate::{
    connection::Connection,
    ids::Source,
    net::socket::{self, AcceptOutcome},
    quota::{self, Full, IpSlot},
    session::Session,
    wire::{
        outbound::Kind,
        packet,
        tls::Tls,
        transport::{self, Entrance, Transport},
    },
};

/// A listener, and whether it is worth asking.
#[derive(Debug)]
pub(super) struct Acceptor {
    entrance: Entrance,
    /// What is spoken there, where that is not today's.
    dialect: Option<Dialect>,
    listener: TcpListener,
    ready: bool,
    paused_until_ms: Option<u64>,
    /// Accepted, and waits for the place of one that had to go.
    waiting: Option<(TcpStream, SocketAddr)>,
}

impl Acceptor {
    pub(super) fn new(entrance: Entrance, dialect: Option<Dialect>, listener: TcpListener) -> Self {
        Self { entrance, dialect, listener, ready: true, paused_until_ms: None, waiting: None }
    }

    pub(super) fn on_ready(&mut self) {
        self.ready = true;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_until_ms.is_some()
    }

    /// Whether the next turn should not sleep before it accepts.
    pub(super) fn wants_turn(&self, now_ms: u64) -> bool {
        (self.ready || self.waiting.is_some()) && self.paused_until_ms.is_none_or(|until| now_ms >= until)
    }
}

impl Reactor {
    // path 1/9: accept, admit, slot + generation
    pub(super) fn accept_connections(&mut self) {
        for index in 0..self.acceptors.len() {
            self.accept_through(index);
        }
    }

    fn accept_through(&mut self, index: usize) {
        for _ in 0..self.context.budget.accepts {
            let acceptor = &mut self.acceptors[index];
            if !acceptor.wants_turn(self.context.clock.now_ms()) {
                return;
            }
            acceptor.paused_until_ms = None;
            let (entrance, dialect) = (acceptor.entrance, acceptor.dialect);
            let accepted = acceptor.waiting.take().map(|(stream, peer)| AcceptOutcome::Accepted(stream, peer));
            match accepted.unwrap_or_else(|| socket::accept(&acceptor.listener)) {
                AcceptOutcome::Accepted(stream, peer) => {
                    let waiting = self.admit(entrance, dialect, stream, peer);
                    if waiting.is_some() {
                        self.acceptors[index].waiting = waiting;
                        return;
                    }
                }
                AcceptOutcome::Drained => acceptor.ready = false,
                AcceptOutcome::Retry => self.context.metrics.counts.accept_retries += 1,
                AcceptOutcome::Pause(_) if self.evict_unsigned(None) => return,
                AcceptOutcome::Pause(error) => self.pause_accepting(index, &error),
            }
        }
    }

    /// The listener stays ready: what waits there is accepted after the pause, without another event.
    pub(super) fn pause_accepting(&mut self, index: usize, error: &io::Error) {
        let pause_ms = self.context.budget.accept_pause_ms;
        self.context.metrics.counts.accept_pauses += 1;
        tracing::warn!(%error, pause_ms, "cannot accept connections");
        self.acceptors[index].paused_until_ms = Some(self.context.clock.now_ms() + pause_ms);
    }

    /// Returns the connection where it has to wait for the next turn, in which there is a place.
    fn admit(
        &mut self,
        entrance: Entrance,
        dialect: Option<Dialect>,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(TcpStream, SocketAddr)> {
        if self.context.drain.is_draining() {
            self.turn_away(entrance, dialect, &mut stream, peer, CloseReason::CrServerDraining);
            return None;
        }
        // A proxy's own address is not counted; its client's is when that is told.
        let is_proxy = self.context.site.proxies.contains(peer.ip());
        let ip_slot = if is_proxy { self.context.quota.take_unaddressed() } else { self.context.quota.take(peer.ip()) };
        let ip_slot = match ip_slot {
            Ok(ip_slot) => ip_slot,
            Err(full) => {
                let address = (full == Full::Address).then(|| quota::holder_of(peer.ip()));
                let is_of_use = full == Full::Address || !self.context.quota.is_beyond();
                if is_of_use && self.evict_unsigned(address) {
                    return Some((stream, peer));
                }
                self.turn_away(entrance, dialect, &mut stream, peer, full.into());
                return None;
            }
        };
        // A socket whose peer left already refuses its options; its end is read like any other's.
        if let Err(error) = socket::set_options(&stream, self.socket_options) {
            tracing::debug!(%error, %peer, "socket options were refused");
        }
        let tls = self.context.handshakes.config_of(entrance).map(Tls::new).transpose();
        match tls {
            Ok(tls) => {
                let transport = Transport::new(entrance, tls, is_proxy);
                self.install(stream, quota::holder_of(peer.ip()), ip_slot, transport, dialect);
            }
            Err(error) => {
                tracing::error!(%error, "a TLS connection could not begin");
                self.context.quota.give_back(ip_slot);
            }
        }
        None
    }

    fn install(
        &mut self,
        stream: TcpStream,
        address: IpAddr,
        ip_slot: IpSlot,
        transport: Option<Box<Transport>>,
        dialect: Option<Dialect>,
    ) {
        let session = Session::new(self.context.clock.now_ms(), &self.context.rules);
        let registry = self.poll.registry();
        let installed = self.table.insert_with(|slot, generation| {
            let mut stream = stream;
            let token = Source::Connection { slot, generation }.token();
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            let connection = Connection::new(stream, generation, session, ip_slot);
            Ok::<_, std::io::Error>(Connection { transport, dialect, ..connection })
        });
        match installed {
            Some(Ok(slot)) => {
                self.context.unsigned.add(slot, address);
                self.context.metrics.of_client(dialect).accepted += 1;
                self.context.metrics.opened(dialect);
                if let Some(mut peer) = self.peer(slot) {
                    peer.reschedule();
                }
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a connection could not be registered");
                self.context.quota.give_back(ip_slot);
            }
            None => {
                self.context.metrics.of_client(dialect).refused_connections += 1;
                self.context.quota.give_back(ip_slot);
            }
        }
    }

    /// Says why, as far as an empty socket buffer takes it, and closes.
    fn turn_away(
        &mut self,
        entrance: Entrance,
        dialect: Option<Dialect>,
        stream: &mut TcpStream,
        peer: SocketAddr,
        reason: CloseReason,
    ) {
        self.context.metrics.of_client(dialect).refused_connections += 1;
        self.context.metrics.closed(dialect, reason);
        let (reconnect_after_ms, endpoint) = self.context.drain.advice(reason, None, entrance, u64::from(peer.port()));
        let goodbye = packet::goodbye(reason, "", reconnect_after_ms, endpoint);
        let goodbye = self.context.worded(dialect, goodbye, Kind::Reply);
        let words = transport::turned_away(entrance, goodbye, reason);
        let told = words.map(|words| socket::write(stream, &words.parts().concat()));
        let rule = reason.rule();
        match self.context.log_limiter.grant(rule, self.context.clock.now_ms()) {
            Some(left_out) => tracing::warn!(%peer, reason = rule.label, left_out, "connection refused"),
            None => tracing::debug!(%peer, reason = rule.label, ?told, "connection refused"),
        }
    }
}
