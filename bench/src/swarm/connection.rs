//! The writing side of one client: a socket, and the bytes it did not take yet.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::transport::{TransportError, TransportLayer};

/// Connections per source address. The system has 28,232 ports for them by default, and looks long for the last ones.
const CONNECTIONS_PER_SOURCE: usize = 12_500;

/// Connections of a process: the first of the next one has another source address.
pub(super) const CONNECTIONS_PER_PROCESS: usize = 2 * CONNECTIONS_PER_SOURCE;

/// What the system takes for a client that does not read; with less, it would hardly get going again.
const STUCK_BYTES: usize = 32 * 1024;

/// What the system takes for a client that reads again.
const RECOVERED_BYTES: usize = 256 * 1024;

/// How a read ended.
pub(super) enum Intake {
    /// So many bytes, and perhaps there are more.
    Some(usize),
    /// Nothing now.
    Blocked,
    /// Nothing ever again.
    Eof,
}

/// What a scenario may do with a client.
#[derive(Debug)]
pub struct Connection {
    id: usize,
    stream: Option<TcpStream>,
    /// What lies between the socket and the frames; nothing for plain TCP.
    layer: Option<Box<dyn TransportLayer>>,
    unsent: Vec<u8>,
    hangs_up: bool,
    is_stuck: bool,
}

impl Connection {
    pub(super) fn new(id: usize, stream: TcpStream, layer: Option<Box<dyn TransportLayer>>) -> Self {
        Self { id, stream: Some(stream), layer, unsent: Vec::new(), hangs_up: false, is_stuck: false }
    }

    /// Its number in the swarm.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Sends whole frames, at once where the socket takes them.
    pub fn send(&mut self, frames: &[u8]) {
        let Some(layer) = &mut self.layer else { return self.write(frames) };
        let mut out = Vec::new();
        // A layer that broke tells so when it reads.
        if layer.send(frames, &mut out).is_ok() {
            self.write(&out);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if !self.unsent.is_empty() {
            return self.unsent.extend_from_slice(bytes);
        }
        let Some(stream) = &mut self.stream else { return };
        // A socket that failed is readable too, and reading tells what happened.
        let sent = stream.write(bytes).unwrap_or(0);
        self.unsent.extend_from_slice(&bytes[sent..]);
    }

    /// Ends the connection at once, as a phone in a tunnel does: no port waits for late packets afterwards.
    pub fn hang_up(&mut self) {
        self.hangs_up = true;
    }

    /// Reads nothing any more, and lets the system take little in its place.
    pub fn get_stuck(&mut self) -> io::Result<()> {
        self.is_stuck = true;
        let Some(stream) = &self.stream else { return Ok(()) };
        SockRef::from(stream).set_recv_buffer_size(STUCK_BYTES)
    }

    /// Reads again.
    pub(super) fn recover(&mut self) -> io::Result<()> {
        self.is_stuck = false;
        let Some(stream) = &self.stream else { return Ok(()) };
        SockRef::from(stream).set_recv_buffer_size(RECOVERED_BYTES)
    }

    #[cfg(test)]
    pub(super) fn put_layer(&mut self, layer: Box<dyn TransportLayer>) {
        self.layer = Some(layer);
    }

    pub(super) fn is_hanging_up(&self) -> bool {
        self.hangs_up
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Begins the handshakes of the layer, where there is one.
    pub(super) fn open(&mut self) -> Result<(), TransportError> {
        let Some(layer) = &mut self.layer else { return Ok(()) };
        let mut out = Vec::new();
        layer.open(&mut out)?;
        self.write(&out);
        Ok(())
    }

    /// Whether frames may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.layer.as_ref().is_none_or(|layer| layer.is_open())
    }

    /// The frames that these bytes of the socket carry; none where the bytes are the frames.
    pub(super) fn unwrap(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, TransportError> {
        let Some(layer) = &mut self.layer else { return Ok(None) };
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        layer.receive(bytes, &mut frames, &mut out)?;
        self.write(&out);
        Ok(Some(frames))
    }

    /// Whether the connect has succeeded; the error is that of one that failed.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what could not be written before.
    pub(super) fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        if !self.unsent.is_empty() {
            let sent = stream.write(&self.unsent).unwrap_or(0);
            self.unsent.drain(..sent);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Intake> {
        let Some(stream) = &mut self.stream else { return Ok(Intake::Eof) };
        loop {
            return match stream.read(buffer) {
                Ok(0) => Ok(Intake::Eof),
                Ok(count) => Ok(Intake::Some(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Intake::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Closes the socket; dropping it also takes it out of epoll.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.unsent = Vec::new();
        self.layer = None;
        let Some(stream) = self.stream.take() else { return Ok(()) };
        if self.hangs_up {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }
}

/// Begins to connect; the `number`th connection decides from which address of loopback.
pub(super) fn connect(to: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source(to, number) {
        socket.bind(&source.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// 127.0.0.2 and so on, where one address has too few ports.
fn source(to: SocketAddr, number: usize) -> Option<SocketAddr> {
    let nth = number / CONNECTIONS_PER_SOURCE;
    if nth == 0 || !to.ip().is_loopback() || !to.is_ipv4() {
        return None;
    }
    let [high, low] = u16::try_from(nth + 1).ok()?.to_be_bytes();
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, high, low)), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_beyond_the_ports_of_an_address_come_from_another() {
        let loopback = "127.0.0.1:8002".parse().unwrap();
        assert_eq!(source(loopback, 12_499), None);
        assert_eq!(source(loopback, 12_500), Some("127.0.0.2:0".parse().unwrap()));
        assert_eq!(source(loopback, 12_500 * 256), Some("127.0.1.1:0".parse().unwrap()));
        assert_eq!(source("192.0.2.1:8002".parse().unwrap(), 25_000), None);
    }
}
