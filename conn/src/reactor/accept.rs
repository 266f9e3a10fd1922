//! Accepting: a budget per turn, a pause when the process runs out of something, a spoken refusal when it is full.

use std::net::SocketAddr;

use bytes::Bytes;
use gim_proto::CloseReason;
use mio::{
    Interest,
    net::{TcpListener, TcpStream},
};

use super::{Reactor, quota::Share};
use crate::{
    connection::Connection,
    ids::Source,
    net::socket::{self, AcceptOutcome},
    session::Session,
    wire::packet,
};

/// The listener and whether it is worth asking.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    ready: bool,
    paused_until_ms: Option<u64>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, ready: true, paused_until_ms: None }
    }

    pub(super) fn on_ready(&mut self) {
        self.ready = true;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_until_ms.is_some()
    }

    /// Whether the next turn should not sleep before it accepts.
    pub(super) fn wants_turn(&self, now_ms: u64) -> bool {
        self.ready && self.paused_until_ms.is_none_or(|until| now_ms >= until)
    }
}

impl Reactor {
    // path 1/9: accept, admit, slot + generation
    pub(super) fn accept_connections(&mut self) {
        if !self.acceptor.wants_turn(self.now_ms) {
            return;
        }
        self.acceptor.paused_until_ms = None;
        for _ in 0..self.budget.accepts {
            match socket::accept(&self.acceptor.listener) {
                AcceptOutcome::Accepted(stream, peer) => self.admit(stream, peer),
                AcceptOutcome::Drained => {
                    self.acceptor.ready = false;
                    return;
                }
                AcceptOutcome::Retry => self.metrics.tally.accept_retries += 1,
                AcceptOutcome::Pause(error) => {
                    self.metrics.tally.accept_pauses += 1;
                    tracing::warn!(%error, pause_ms = self.budget.accept_pause_ms, "cannot accept connections");
                    self.acceptor.paused_until_ms = Some(self.now_ms + self.budget.accept_pause_ms);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        if self.drain.is_running() {
            return self.turn_away(&mut stream, peer, CloseReason::CrServerDraining);
        }
        let Some(share) = self.quota.take(peer.ip()) else {
            return self.turn_away(&mut stream, peer, CloseReason::CrServerOverloaded);
        };
        // A socket whose peer left already refuses its options; its end is read like any other's.
        if let Err(error) = socket::set_options(&stream, self.socket_options) {
            tracing::debug!(%error, %peer, "socket options were refused");
        }
        self.install(stream, share);
    }

    fn install(&mut self, stream: TcpStream, share: Share) {
        let session = Session::new(self.now_ms, &self.rules);
        let registry = self.poll.registry();
        let installed = self.table.insert_with(|slot, generation| {
            let mut stream = stream;
            let token = Source::Connection { slot, generation }.token();
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok::<_, std::io::Error>(Connection::new(stream, generation, session, share))
        });
        match installed {
            Some(Ok(slot)) => {
                self.metrics.tally.accepted += 1;
                self.reschedule(slot);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a connection could not be registered");
                self.quota.give_back(share);
            }
            None => {
                self.metrics.tally.refused_connections += 1;
                self.quota.give_back(share);
            }
        }
    }

    /// Says why, as far as an empty socket buffer takes it, and closes.
    fn turn_away(&mut self, stream: &mut TcpStream, peer: SocketAddr, reason: CloseReason) {
        self.metrics.tally.refused_connections += 1;
        self.metrics.closed(reason);
        let (reconnect_after_ms, endpoint) = self.drain.advice(reason, u64::from(peer.port()));
        let goodbye: Bytes = packet::goodbye(reason, "", reconnect_after_ms, endpoint);
        let told = socket::write(stream, &goodbye);
        tracing::debug!(%peer, reason = reason.rule().label, ?told, "connection refused");
    }
}
