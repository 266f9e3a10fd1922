//! What lies between the socket of a connection and its packets, for all but plain TCP: the header of a proxy, then TLS, then
//! WebSocket, each where it is wanted. Boxed, so that a plain connection pays for a pointer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use gim_proto::CloseReason;
use rustls::ServerConfig;
use tungstenite::http::StatusCode;

use super::{
    encoded::{Encoded, Framing, Piece},
    http,
    tls::Tls,
    ws::{close, frames::Unfinished},
};

/// The ways in. Each listener is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// Length-value frames on TCP.
    Tcp,
    /// WebSocket.
    WebSocket,
    /// As TCP, in TLS.
    Tls,
    /// WebSocket in TLS.
    WebSocketTls,
}

/// The TLS of new connections, by what is inside.
#[derive(Debug, Clone)]
pub struct TlsConfigs {
    /// Of [`Entrance::Tls`].
    pub tcp: Arc<ServerConfig>,
    /// Of [`Entrance::WebSocketTls`].
    pub web_socket: Arc<ServerConfig>,
}

/// How far a WebSocket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Web {
    /// The connection is none.
    None,
    /// Its request is awaited.
    Opening,
    /// Messages travel.
    Open,
}

/// How far a TLS handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The connection begins with none, or it is over.
    None,
    /// Its first byte is awaited.
    Silent,
    /// Its first bytes are there and wait for a place.
    Waiting,
    /// It got a place, for this address; what waited has not been looked at.
    Granted(IpAddr),
    /// It has a place, for this address.
    UnderWay(IpAddr),
}

impl Handshake {
    /// For whom it has a place.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Granted(address) | Self::UnderWay(address) => Some(address),
            Self::None | Self::Silent | Self::Waiting => None,
        }
    }
}

/// The layers of one connection.
#[derive(Debug)]
pub struct Transport {
    /// TLS, if any.
    pub tls: Option<Box<Tls>>,
    /// Fragments of a message that is not whole.
    pub unfinished: Unfinished,
    /// WebSocket, if any.
    pub web: Web,
    /// The first bytes may be the header of a proxy.
    pub expects_proxy: bool,
    /// Who the client is, where a proxy told.
    pub client: Option<Box<SocketAddr>>,
    /// The handshake of `tls`.
    pub handshake: Handshake,
}

impl Entrance {
    /// Whether connections begin with a TLS handshake.
    pub fn is_sealed(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketTls)
    }

    /// Whether connections begin with an HTTP request, inside of TLS if there is any.
    pub fn is_web(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }
}

impl Entrance {
    /// The way in that a connection with these layers came through.
    pub fn of(transport: Option<&Transport>) -> Self {
        let Some(transport) = transport else { return Self::Tcp };
        match (transport.tls.is_some(), transport.web != Web::None) {
            (false, false) => Self::Tcp,
            (false, true) => Self::WebSocket,
            (true, false) => Self::Tls,
            (true, true) => Self::WebSocketTls,
        }
    }
}

impl TlsConfigs {
    /// The TLS of connections through this entrance.
    pub fn of(&self, entrance: Entrance) -> Option<&Arc<ServerConfig>> {
        match entrance {
            Entrance::Tcp | Entrance::WebSocket => None,
            Entrance::Tls => Some(&self.tcp),
            Entrance::WebSocketTls => Some(&self.web_socket),
        }
    }
}

impl Transport {
    /// The layers of a new connection.
    pub fn new(entrance: Entrance, tls: Option<Tls>, expects_proxy: bool) -> Option<Box<Self>> {
        let handshake = if tls.is_some() { Handshake::Silent } else { Handshake::None };
        let web = if entrance.is_web() { Web::Opening } else { Web::None };
        let transport = Self { tls: tls.map(Box::new), unfinished: None, web, expects_proxy, client: None, handshake };
        transport.is_needed().then(|| Box::new(transport))
    }

    /// Whether there is any layer left.
    pub fn is_needed(&self) -> bool {
        self.tls.is_some() || self.web != Web::None || self.expects_proxy || self.client.is_some()
    }

    /// Whether its TLS handshake is not over.
    pub fn in_handshake(&self) -> bool {
        self.handshake != Handshake::None
    }

    /// Whether packets cannot travel yet.
    pub fn is_opening(&self) -> bool {
        self.expects_proxy || self.in_handshake() || self.web == Web::Opening
    }

    /// How frames are told apart.
    pub fn framing(&self) -> Framing {
        if self.web == Web::None { Framing::LengthValue } else { Framing::WebSocket }
    }

    /// The last words to a peer: the packet, and what the layers say besides.
    pub fn last_words(&self, packet: Option<Encoded>, reason: CloseReason, code: Option<u16>) -> [Option<Piece>; 2] {
        if self.expects_proxy || self.in_handshake() {
            return [None, None];
        }
        match self.web {
            Web::None => [packet.map(|packet| packet.piece(Framing::LengthValue)), None],
            Web::Opening => [Some(http_refusal(reason).into()), None],
            Web::Open => {
                let close = close::frame(code.unwrap_or_else(|| close::code_of(reason)), reason.rule().text);
                [packet.map(|packet| packet.piece(Framing::WebSocket)), Some(close.into())]
            }
        }
    }
}

/// What is said through an entrance to somebody who is not let in; nothing where TLS would have to come first.
pub fn turned_away(entrance: Entrance, packet: Option<Encoded>, reason: CloseReason) -> Option<Piece> {
    match entrance {
        Entrance::Tcp => packet.map(|packet| packet.piece(Framing::LengthValue)),
        Entrance::WebSocket => Some(http_refusal(reason).into()),
        Entrance::Tls | Entrance::WebSocketTls => None,
    }
}

fn http_refusal(reason: CloseReason) -> bytes::Bytes {
    let status = match reason {
        CloseReason::CrSignInDeadline => StatusCode::REQUEST_TIMEOUT,
        CloseReason::CrServerDraining | CloseReason::CrServerOverloaded | CloseReason::CrAddressFull => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_REQUEST,
    };
    http::refusal(status, &[], reason.rule().text)
}
