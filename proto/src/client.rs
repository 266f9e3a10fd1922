//! A small blocking client of the long connection over TCP, for tests, tools and examples: frames of
//! `uvarint(len) ‖ Packet` (PROTOCOL.md part 1). One thread uses one client; every wait has a deadline.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message as _;

use crate::connect::{CallRequest, CloseNotice, Packet, PacketCommand, Reply, SignInRequest};

/// With this many bytes at hand, a length that cannot be decoded is broken rather than cut.
const LENGTH_BYTES_MAX: usize = 10;

/// Why a packet did not come.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing came before the deadline.
    #[error("no packet within {0:?}")]
    Timeout(Duration),
    /// The server ended the connection; what it said last, if it said something.
    #[error("the server closed the connection{}", .0.as_ref().map(|notice| format!(": {}", notice.message)).unwrap_or_default())]
    Closed(Option<CloseNotice>),
    /// The server sent bytes that are no packet.
    #[error("the server sent bytes that are no packet")]
    Decode(#[from] prost::DecodeError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One long connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: BytesMut,
    /// What came while a reply was awaited, oldest first.
    set_aside: VecDeque<Packet>,
    timeout: Duration,
    next_request: u64,
    app_id: u32,
    heartbeat_s: u32,
}

impl Client {
    /// Connects; every later wait lasts `timeout` at most.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, ClientError> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            received: BytesMut::new(),
            set_aside: VecDeque::new(),
            timeout,
            next_request: 1,
            app_id: 0,
            heartbeat_s: 0,
        })
    }

    /// The app that its sign-ins are for.
    #[must_use]
    pub fn of_app(self, app_id: u32) -> Self {
        Self { app_id, ..self }
    }

    /// How often it will send heartbeats, as its sign-ins tell.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat_s: u32) -> Self {
        Self { heartbeat_s, ..self }
    }

    /// The socket, for tests that write what is no packet.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes one packet.
    pub fn send(&mut self, packet: &Packet) -> Result<(), ClientError> {
        Ok(self.stream.write_all(&packet.encode_length_delimited_to_vec())?)
    }

    /// Writes bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next packet, whatever it is. A CLOSE packet ends in [`ClientError::Closed`].
    pub fn receive(&mut self) -> Result<Packet, ClientError> {
        match self.set_aside.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive_within(self.timeout),
        }
    }

    /// A packet that came while a reply was awaited, if one is left.
    pub fn take_set_aside(&mut self) -> Option<Packet> {
        self.set_aside.pop_front()
    }

    /// The next packet off the socket, waiting `timeout` at most.
    pub fn receive_within(&mut self, timeout: Duration) -> Result<Packet, ClientError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(packet) = self.take_packet()? {
                if packet.command == PacketCommand::PcClose as i32 {
                    return Err(ClientError::Closed(Some(CloseNotice::decode(packet.content)?)));
                }
                return Ok(packet);
            }
            self.fill(deadline, timeout)?;
        }
    }

    /// Sends a request and waits for its reply; what comes in between is kept for [`Client::receive`].
    pub fn request(&mut self, command: i32, content: impl Into<Bytes>) -> Result<Reply, ClientError> {
        let request_id = self.next_request.to_string();
        self.next_request += 1;
        self.send(&Packet { request_id: request_id.clone(), command, content: content.into(), seq: 0 })?;
        loop {
            let packet = self.receive_within(self.timeout)?;
            if packet.command == command && packet.request_id == request_id {
                return Ok(Reply::decode(packet.content)?);
            }
            self.set_aside.push_back(packet);
        }
    }

    /// Calls a method of an `*ExtService`, as in `logic.GroupExtService/Create`; the reply's data is the answer's message.
    pub fn call(&mut self, method: &str, message: &impl prost::Message) -> Result<Reply, ClientError> {
        let request = CallRequest { method: method.to_owned(), body: message.encode_to_vec().into() };
        self.request(PacketCommand::PcCall as i32, request.encode_to_vec())
    }

    /// Signs in; the reply says with its code whether it worked.
    pub fn sign_in(&mut self, user_id: u64, device_id: u64, token: &str) -> Result<Reply, ClientError> {
        let (token, app_id, heartbeat_s) = (token.to_owned(), self.app_id, self.heartbeat_s);
        let request = SignInRequest { user_id, device_id, token, app_id, heartbeat_s };
        self.request(PacketCommand::PcSignIn as i32, request.encode_to_vec())
    }

    /// Sends a heartbeat and returns the newest inbox seq that its answer tells.
    pub fn heartbeat(&mut self) -> Result<u64, ClientError> {
        let command = PacketCommand::PcHeartbeat as i32;
        self.send(&Packet { command, ..Packet::default() })?;
        loop {
            let packet = self.receive_within(self.timeout)?;
            if packet.command == command {
                return Ok(packet.seq);
            }
            self.set_aside.push_back(packet);
        }
    }

    fn take_packet(&mut self) -> Result<Option<Packet>, ClientError> {
        let mut peek = &self.received[..];
        let length = match prost::decode_length_delimiter(&mut peek) {
            Ok(length) => length,
            Err(_) if self.received.len() < LENGTH_BYTES_MAX => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let prefix = self.received.len() - peek.len();
        if peek.len() < length {
            return Ok(None);
        }
        self.received.advance(prefix);
        Ok(Some(Packet::decode(self.received.split_to(length).freeze())?))
    }

    fn fill(&mut self, deadline: Instant, timeout: Duration) -> Result<(), ClientError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Timeout(timeout));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ClientError::Closed(None)),
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(ClientError::Timeout(timeout)),
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(ClientError::Closed(None)),
                _ => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A client of a peer that writes `answer` and hangs up.
    fn client_of(answer: Vec<u8>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap(), Duration::from_secs(10)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        thread::spawn(move || peer.write_all(&answer));
        client
    }

    #[test]
    fn frames_that_came_together_are_told_apart() {
        let packets = [1, 2].map(|seq| Packet { seq, request_id: "x".repeat(200), ..Packet::default() });
        let mut client = client_of(packets.iter().flat_map(|packet| packet.encode_length_delimited_to_vec()).collect());
        assert_eq!([client.receive().unwrap(), client.receive().unwrap()], packets);
        assert!(matches!(client.receive(), Err(ClientError::Closed(None))));
    }

    #[test]
    fn a_goodbye_says_why() {
        let notice = CloseNotice { message: "replaced".into(), ..CloseNotice::default() };
        let command = PacketCommand::PcClose as i32;
        let packet = Packet { command, content: notice.encode_to_vec().into(), ..Packet::default() };
        let error = client_of(packet.encode_length_delimited_to_vec()).receive().unwrap_err();
        assert_eq!(error.to_string(), "the server closed the connection: replaced");
    }

    #[test]
    fn a_broken_length_is_no_endless_wait() {
        assert!(matches!(client_of(vec![0xff; 16]).receive(), Err(ClientError::Decode(_))));
    }
}
