//! Clients of the other transports: WebSocket by tungstenite, and length-value frames over any stream.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use gim_proto::connect::{CloseNotice, Message as PushedMessage, Packet, PacketCommand, Reply, SignInRequest};
use prost::Message as _;
use tungstenite::{Message, WebSocket, protocol::CloseFrame};

use super::{PATIENCE, TOKEN};

/// A WebSocket client.
pub struct WebClient<S>(pub WebSocket<S>);

/// What a WebSocket client received.
#[derive(Debug)]
pub enum Received {
    Packet(Packet),
    Pong(Vec<u8>),
    Close(Option<CloseFrame>),
    End,
}

/// A connection with deadlines.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn sign_in_packet(user_id: u64, device_id: u64) -> Packet {
    let content = SignInRequest { user_id, device_id, token: TOKEN.into(), ..SignInRequest::default() }.encode_to_vec();
    packet(PacketCommand::PcSignIn as i32, "in", content)
}

pub fn packet(command: i32, request_id: &str, content: Vec<u8>) -> Packet {
    Packet { request_id: request_id.into(), command, content: content.into(), seq: 0 }
}

/// A masked frame with any first byte.
pub fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// PROXY protocol v2: a proxy's word about its client.
pub fn proxy_header(client: &str) -> Vec<u8> {
    use ppp::v2::{Builder, Command, Protocol, Version};
    let client: SocketAddr = client.parse().unwrap();
    let server = if client.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
    let addresses: (SocketAddr, SocketAddr) = (client, server.parse().unwrap());
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses).build().unwrap()
}

impl WebClient<TcpStream> {
    pub fn connect(address: SocketAddr) -> Self {
        Self::open(tcp(address), "/ws")
    }

    /// Signed in by its first packet.
    pub fn sign_in(address: SocketAddr, user_id: u64, device_id: u64) -> Self {
        let mut client = Self::connect(address);
        client.send(&sign_in_packet(user_id, device_id));
        assert_eq!(Reply::decode(client.packet().content).unwrap().code, 0);
        client
    }
}

impl<S: Read + Write> WebClient<S> {
    pub fn open(stream: S, target: &str) -> Self {
        let (socket, _) = tungstenite::client(format!("ws://conn.test{target}"), stream).unwrap();
        Self(socket)
    }

    pub fn send(&mut self, packet: &Packet) {
        self.0.send(Message::binary(packet.encode_to_vec())).unwrap();
    }

    pub fn receive(&mut self) -> Received {
        match self.0.read() {
            Ok(Message::Binary(bytes)) => Received::Packet(Packet::decode(bytes).unwrap()),
            Ok(Message::Pong(bytes)) => Received::Pong(bytes.to_vec()),
            Ok(Message::Close(frame)) => Received::Close(frame),
            Ok(other) => panic!("{other:?}"),
            Err(tungstenite::Error::ConnectionClosed) => Received::End,
            Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                Received::End
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub fn packet(&mut self) -> Packet {
        match self.receive() {
            Received::Packet(packet) => packet,
            other => panic!("{other:?}"),
        }
    }

    pub fn message(&mut self) -> PushedMessage {
        let packet = self.packet();
        assert_eq!(packet.command, PacketCommand::PcMessage as i32);
        PushedMessage::decode(packet.content).unwrap()
    }

    pub fn heartbeat(&mut self) {
        self.send(&packet(PacketCommand::PcHeartbeat as i32, "beat", Vec::new()));
        assert_eq!(self.packet().request_id, "beat");
    }

    /// Reads to the end: the reason of the CLOSE packet, and the code of the close frame.
    pub fn ending(&mut self) -> (Option<CloseNotice>, Option<u16>) {
        let (mut notice, mut code) = (None, None);
        loop {
            match self.receive() {
                Received::Packet(packet) if packet.command == PacketCommand::PcClose as i32 => {
                    notice = Some(CloseNotice::decode(packet.content).unwrap());
                }
                Received::Packet(_) | Received::Pong(_) => {}
                Received::Close(frame) => code = frame.map(|frame| frame.code.into()),
                Received::End => return (notice, code),
            }
        }
    }
}

/// Length-value frames over any stream.
pub struct ValueClient<S>(pub S);

impl<S: Read + Write> ValueClient<S> {
    pub fn send(&mut self, packet: &Packet) {
        self.0.write_all(&packet.encode_length_delimited_to_vec()).unwrap();
        self.0.flush().unwrap();
    }

    pub fn receive(&mut self) -> Packet {
        let mut length = 0usize;
        for shift in (0..).step_by(7) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Packet::decode(&body[..]).unwrap()
    }

    pub fn sign_in(&mut self, user_id: u64, device_id: u64) -> Reply {
        self.send(&sign_in_packet(user_id, device_id));
        Reply::decode(self.receive().content).unwrap()
    }

    pub fn heartbeat(&mut self) {
        self.send(&packet(PacketCommand::PcHeartbeat as i32, "beat", Vec::new()));
        assert_eq!(self.receive().request_id, "beat");
    }
}
