//! Addresses in settings, and listening on them.
//!
//! An [`Endpoint`] is `host:port` for a listener, or a URL for a peer; the port is always written out, so that
//! `--port-offset` can shift it. An empty one is off.

use std::{
    fmt, io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpSocket;

/// Connects that the kernel queues; the system's net.core.somaxconn caps it. One beyond is not heard, though who connects is told that it
/// was.
const CONNECTS_MAX: u32 = 4_096;

/// An address: `127.0.0.1:8002`, `[::1]:8002`, `http://logic:8010`, or empty for "off".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// All before the port, with its colon.
    head: String,
    port: u16,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The name has no address.
    #[error("cannot listen on {0}: it has no address")]
    NoAddress(String),
    /// Somebody else listens there.
    #[error("cannot listen on {0}: the port is already taken")]
    Taken(SocketAddr),
    /// Anything else that the system said.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// What the settings say that it should show or believe is of no use.
    #[error("settings: {0}")]
    Settings(String),
}

impl ListenError {
    /// Puts the address into words for an error of `bind` or `listen`.
    pub fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken(address),
            _ => Self::Refused { address: address.to_string(), source },
        }
    }
}

/// Where those of these listen that are on, as far as their names have addresses.
pub fn addresses(listeners: &[&Endpoint]) -> Vec<SocketAddr> {
    let on = listeners.iter().filter(|endpoint| !endpoint.is_off());
    on.filter_map(|endpoint| endpoint.socket_address().ok()).collect()
}

impl Endpoint {
    /// Parses an address that is known to be well-formed, as defaults are.
    ///
    /// # Panics
    /// Where it is not.
    pub fn new(text: &str) -> Self {
        Self::parse(text).expect("a default address is well-formed")
    }

    /// Whether the listener or peer is switched off.
    pub fn is_off(&self) -> bool {
        self.head.is_empty()
    }

    /// The port; 0 where the endpoint is off, or any free one is meant.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same with a port that is so much higher. Port 0 (any free one) stays.
    pub fn shifted(&self, offset: u16) -> Result<Self, String> {
        let port = if self.port == 0 { Some(0) } else { self.port.checked_add(offset) };
        let port = port.ok_or_else(|| format!("--port-offset: {self} plus {offset} is over 65535"))?;
        Ok(Self { head: self.head.clone(), port })
    }

    /// The socket address to bind; names are resolved.
    pub fn socket_address(&self) -> Result<SocketAddr, ListenError> {
        let text = self.to_string();
        let mut addresses =
            text.to_socket_addrs().map_err(|source| ListenError::Refused { address: text.clone(), source })?;
        addresses.next().ok_or(ListenError::NoAddress(text))
    }

    /// Whether only this host can reach a listener here.
    pub fn is_loopback(&self) -> bool {
        self.is_off() || self.socket_address().is_ok_and(|address| address.ip().is_loopback())
    }

    /// Whether it is an address of this host alone at which somebody listens now.
    pub fn is_answered_here(&self) -> bool {
        const PATIENCE: Duration = Duration::from_millis(100);
        let text = self.to_string();
        let address = text.rsplit_once("://").map_or(text.as_str(), |(_, address)| address);
        let Ok(address) = address.parse::<SocketAddr>() else { return false };
        address.ip().is_loopback() && TcpStream::connect_timeout(&address, PATIENCE).is_ok()
    }

    /// Refuses what is no address of a gRPC service.
    pub fn check_service(&self) -> Result<(), String> {
        let text = self.to_string();
        match ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
            true => Ok(()),
            false => Err(format!("`{text}` must have the form http://host:port or https://host:port")),
        }
    }

    /// Opens a Tokio listener here.
    pub async fn listen(&self) -> Result<tokio::net::TcpListener, ListenError> {
        let address = self.socket_address()?;
        listen_at(address).map_err(|source| ListenError::new(address, source))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let problem = || format!("`{text}` is no address: it needs the form host:port");
        let (head, port) = text.strip_suffix('/').unwrap_or(text).rsplit_once(':').ok_or_else(problem)?;
        let port = port.parse().map_err(|_| problem())?;
        if head.is_empty() {
            return Err(problem());
        }
        Ok(Self { head: format!("{head}:"), port })
    }
}

fn listen_at(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart, connections of the process before may still be there.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(CONNECTS_MAX)
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(&address.to_string())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() { Ok(()) } else { write!(formatter, "{}{}", self.head, self.port) }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip_through_text() {
        for text in ["127.0.0.1:8002", "[::1]:1", "http://logic:8010", "http://[::1]:8010", ""] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for text in ["127.0.0.1", ":80", "host:port", "host:65536", "host:-1"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_shift_but_never_wrap_around() {
        let shifted = |text: &str, offset| Endpoint::new(text).shifted(offset).map(|endpoint| endpoint.to_string());
        assert_eq!(shifted("http://127.0.0.1:8010", 100).unwrap(), "http://127.0.0.1:8110");
        assert!(shifted("http://127.0.0.1:8110", 60_000).is_err());
        assert_eq!(shifted("127.0.0.1:0", 100).unwrap(), "127.0.0.1:0");
    }

    #[tokio::test]
    async fn connects_wait_by_the_hundreds_until_they_are_accepted() {
        let listener = Endpoint::new("127.0.0.1:0").listen().await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
        let connected: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
        for _ in &connected {
            let accepted = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
            assert!(accepted.expect("each of them was heard").is_ok());
        }
    }

    #[test]
    fn who_listens_on_this_host_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::new(&format!("http://{}", listener.local_addr().unwrap()));
        assert!(endpoint.is_answered_here());
        drop(listener);
        assert!(!endpoint.is_answered_here() && !Endpoint::new("dns+http://logic:8010").is_answered_here());
    }

    #[test]
    fn only_loopback_is_loopback() {
        assert!(Endpoint::new("127.0.0.1:1").is_loopback());
        assert!(Endpoint::new("[::1]:1").is_loopback());
        assert!(!Endpoint::new("0.0.0.0:1").is_loopback());
    }
}
