//! How packets travel: over TCP as they are, or with a layer between the socket and the frames.
//!
//! This is the seam for transports. A layer is a [`TransportLayer`], one per client, without IO: bytes of the socket on one side,
//! frames of `uvarint(len) ‖ Packet` on the other, whatever the transport makes of them in between. So the scenarios know
//! one kind of frame, and TCP pays nothing for the others.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::ValueEnum;

use super::{
    older::{Dialect, Reworded},
    tls::Tls,
    web::{self, WebSocket},
};

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Frames on a TCP connection.
    Tcp,
    /// WebSocket, a binary message per packet.
    Ws,
    /// As TCP, in TLS.
    Tls,
    /// WebSocket in TLS.
    Wss,
}

impl Transport {
    /// Whether it needs a certificate of the server.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
            Self::Tls => "tls",
            Self::Wss => "wss",
        })
    }
}

/// A layer gave up; the sentence that says why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// A layer between the socket of one client and its frames.
pub trait TransportLayer: fmt::Debug + Send {
    /// The socket is connected: appends what to say first.
    fn open(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError>;

    /// Whether frames may be sent: all handshakes are over.
    fn is_open(&self) -> bool;

    /// Appends to `out` what carries these whole frames.
    fn send(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError>;

    /// Takes bytes of the socket: appends to `frames` the frames that they carry, and to `out` what they ask for (the next
    /// step of a handshake, a pong).
    fn receive(&mut self, bytes: &[u8], frames: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), TransportError>;
}

/// A door of the server: where it is, and how to talk there.
#[derive(Debug, Clone)]
pub struct ServerEndpoint {
    /// Where clients connect.
    pub address: SocketAddr,
    transport: Transport,
    host: Arc<str>,
    path: Arc<str>,
    /// Of a baseline, where no handshake comes first.
    is_bare: bool,
    /// What clients speak there, where that is not today's.
    dialect: Option<Dialect>,
}

impl ServerEndpoint {
    /// A door for plain TCP.
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            address,
            transport: Transport::Tcp,
            host: Arc::default(),
            path: Arc::default(),
            is_bare: false,
            dialect: None,
        }
    }

    /// The same door, for clients that speak this.
    pub fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect: Some(dialect), ..self }
    }

    /// The door that a server names in its place; nothing where that is no address.
    pub fn moved_to(&self, name: &str) -> Option<Self> {
        let name = name.split_once("://").map_or(name, |(_, rest)| rest);
        let host = name.find('/').map_or(name, |at| &name[..at]);
        let address = host.to_socket_addrs().ok()?.next()?;
        Some(Self { address, host: host.into(), ..self.clone() })
    }

    /// A door of a baseline whose bytes look as those of this one, without handshakes and encryption: so that clients have the
    /// same work with both.
    pub fn bare(&self, address: SocketAddr) -> Self {
        let transport = if self.is_web() { Transport::Ws } else { Transport::Tcp };
        Self { address, transport, is_bare: true, ..self.clone() }
    }

    /// What a baseline writes at its door for a frame.
    pub fn carry(&self, frame: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        if self.is_web() { web::message_of(&frame) } else { Ok(frame) }
    }

    fn is_web(&self) -> bool {
        matches!(self.transport, Transport::Ws | Transport::Wss)
    }

    /// A door for any transport; `name` is the URL or the `host:port` that people gave, for the handshake.
    pub fn new(transport: Transport, address: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let name = name.split_once("://").map_or(name, |(_, rest)| rest);
        let (host, path) = name.find('/').map_or((name, "/ws"), |at| name.split_at(at));
        let endpoint = Self { address, transport, host: host.into(), path: path.into(), is_bare: false, dialect: None };
        endpoint.layer().with_context(|| format!("--transport {transport} to {name}"))?;
        Ok(endpoint)
    }

    /// A layer for one more client; none for plain TCP.
    pub(super) fn layer(&self) -> Result<Option<Box<dyn TransportLayer>>, TransportError> {
        let web = || WebSocket::new(&self.host, &self.path);
        let layer: Option<Box<dyn TransportLayer>> = match self.transport {
            Transport::Tcp => None,
            Transport::Ws if self.is_bare => Some(Box::new(WebSocket::opened())),
            Transport::Ws => Some(Box::new(web())),
            Transport::Tls => Some(Box::new(Tls::new(&self.host, None)?)),
            Transport::Wss => Some(Box::new(Tls::new(&self.host, Some(web()))?)),
        };
        Ok(match self.dialect {
            None => layer,
            Some(dialect) => Some(Box::new(Reworded::new(dialect, layer))),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A layer that says hello, waits for an answer of one byte, and turns every bit from then on.
    #[derive(Debug, Default)]
    pub struct Turned {
        is_open: bool,
    }

    impl TransportLayer for Turned {
        fn open(&mut self, out: &mut Vec<u8>) -> Result<(), TransportError> {
            out.extend_from_slice(b"hello");
            Ok(())
        }

        fn is_open(&self) -> bool {
            self.is_open
        }

        fn send(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), TransportError> {
            out.extend(frames.iter().map(|byte| !byte));
            Ok(())
        }

        fn receive(&mut self, bytes: &[u8], frames: &mut Vec<u8>, _out: &mut Vec<u8>) -> Result<(), TransportError> {
            let rest = if self.is_open { bytes } else { &bytes[1..] };
            if !self.is_open && bytes[0] != b'!' {
                return Err(TransportError("the peer did not say hello".into()));
            }
            self.is_open = true;
            frames.extend(rest.iter().map(|byte| !byte));
            Ok(())
        }
    }
}
