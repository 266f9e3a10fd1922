//! The record of one connection: its socket, its session, and what it owes and is owed. Owned by one reactor.
//!
//! Always holds: an idle connection owns no heap memory. `intake` has some while a frame is unfinished, `outbound` while
//! something waits to be written, `transport` only where it is no plain TCP, or a proxy told who the client is.

use std::{mem::size_of, net::SocketAddr};

use gim_legacy::Dialect;
use mio::net::TcpStream;

use crate::{
    ids::AppIndex,
    quota::IpSlot,
    session::Session,
    wire::{
        encoded::Framing,
        intake::Intake,
        outbound::Outbound,
        transport::{Handshake, Transport},
    },
};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket, registered for reading and writing once and for all.
    pub stream: TcpStream,
    /// Which owner of its slot this is.
    pub generation: u32,
    /// What it may do.
    pub session: Session,
    /// Input that is no whole frame yet.
    pub intake: Intake,
    /// Output that the kernel has not taken yet.
    pub outbound: Option<Box<Outbound>>,
    /// The room that it subscribed to, if any.
    pub room: RoomPlace,
    /// Where it is counted for its address.
    pub ip_slot: IpSlot,
    /// What lies between the socket and the packets.
    pub transport: Option<Box<Transport>>,
    /// Since when more than the soft limit waits to be written.
    pub congested_since_ms: Option<u32>,
    /// What is known of its socket, and the lists that it is on.
    pub flags: Flags,
    /// The app that it signed in to, or is about to.
    pub app: Option<AppIndex>,
    /// How often its client sends a heartbeat, as the sign-in told; 0 where it did not.
    pub heartbeat_s: u16,
    /// What its client speaks, where that is not today's.
    pub dialect: Option<Dialect>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(stream: TcpStream, generation: u32, session: Session, ip_slot: IpSlot) -> Self {
        Self {
            stream,
            generation,
            session,
            intake: Intake::default(),
            outbound: None,
            room: RoomPlace::default(),
            ip_slot,
            transport: None,
            congested_since_ms: None,
            flags: Flags::default(),
            app: None,
            heartbeat_s: 0,
            dialect: None,
        }
    }

    /// How frames are told apart.
    pub fn framing(&self) -> Framing {
        self.transport.as_ref().map_or(Framing::LengthValue, |transport| transport.framing())
    }

    /// Whether packets cannot travel yet.
    pub fn is_opening(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.is_opening())
    }

    /// Whether it waits for a place among the TLS handshakes.
    pub fn awaits_handshake(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| transport.handshake == Handshake::Waiting)
    }

    /// The client's address, as far as it is known.
    pub fn client_address(&self) -> Option<SocketAddr> {
        let told = self.transport.as_ref().and_then(|transport| transport.client.as_deref().copied());
        told.or_else(|| self.stream.peer_addr().ok())
    }

    /// Whether its client can be told to sync.
    pub fn takes_hints(&self) -> bool {
        self.dialect.is_none_or(|dialect| dialect.packets().has_sync())
    }

    /// Whether nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        let tls = self.transport.as_ref().and_then(|transport| transport.tls.as_ref());
        self.outbound.is_none() && tls.is_none_or(|tls| tls.unsent().is_empty())
    }
}

/// A place among the members of a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomPlace {
    /// The room; 0 for none.
    pub room_id: u64,
    /// The place.
    pub index: u32,
}

/// The readiness word of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// There may be bytes to read: epoll will not tell again.
    pub readable: bool,
    /// The peer's end was announced: a short read is not the last one.
    pub read_closed: bool,
    /// The kernel took less than it was given: epoll will tell.
    pub write_blocked: bool,
    /// On the list of those to flush this turn.
    pub dirty: bool,
    /// On the list of those to serve next turn.
    pub runnable: bool,
    /// An inbox push was left out: the peer is owed a hint to sync.
    pub hint_owed: bool,
    /// Its client has to sync before it can be pushed to.
    pub catching_up: bool,
    /// How it ends.
    pub ending: Ending,
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// It has not begun.
    #[default]
    None,
    /// The peer said that it is done: what it is owed leaves first.
    Settling,
    /// A goodbye waits to be written.
    Goodbye,
    /// The goodbye left; the peer may still read it, so its input is discarded until it ends or the linger time does.
    Lingering,
    /// Nothing is left to do; the end of the turn frees the slot.
    Dead,
}

/// In debug builds mio keeps with every socket which epoll it is on.
const DEBUG_BYTES: usize = if cfg!(debug_assertions) { 16 } else { 0 };
const _: () = assert!(size_of::<Connection>() <= 128 + DEBUG_BYTES, "a million of these are held");
