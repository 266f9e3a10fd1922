//! Connections to a server: over TCP and WebSocket, with TLS or without. Each is a task of its own, which ends when its [`Socket`] is dropped.

mod address;
mod codec;
mod socket;
mod stream;
mod web;

pub(crate) use self::{
    address::{Address, Scheme},
    socket::{Socket, SocketEvent},
    stream::{Tls, open},
};

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A URL that is none, or with a scheme that is not known.
    #[error("{0:?} is no address: one begins with tcp://, tls://, ws:// or wss://")]
    Address(String),
    /// A URL that needs the feature `tls`.
    #[cfg(not(feature = "tls"))]
    #[error("this address needs the feature `tls` of gim-client")]
    WithoutTls,
    /// The settings of TLS, or the certificates of this host, are of no use.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(String),
    /// The socket failed, or the handshake of TLS.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server did not open a WebSocket.
    #[error("the server did not open a WebSocket: {0}")]
    Upgrade(String),
    /// The server sent bytes that are no packet.
    #[error("the server sent what is no packet")]
    Garbage,
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
}
