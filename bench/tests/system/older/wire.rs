//! Frames of whatever dialect, over TCP and over WebSocket. Every wait has a deadline.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use bytes::{Buf as _, BytesMut};
use tungstenite::{Error, Message, WebSocket, error::ProtocolError};

use crate::server::{DEADLINE, Server};

/// Every [`Way`].
pub const WAYS: [Way; 2] = [Way::Tcp, Way::WebSocket];

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tcp,
    WebSocket,
}

/// What a client asks of whatever dialect.
#[derive(Debug, Clone)]
pub enum Asked {
    SignIn {
        user_id: u64,
        device_id: u64,
        token: String,
    },
    Heartbeat,
    /// Of a command or a type that nobody knows.
    Unknown(i32),
}

/// What it hears: the command or the type, the code, and the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub kind: i32,
    pub code: i32,
    pub message: String,
}

/// What is said before the end has this command, or type.
pub const GOODBYE: i32 = 0;

/// A connection.
pub enum Framed {
    Tcp(TcpStream, BytesMut),
    WebSocket(Box<WebSocket<TcpStream>>),
}

impl Framed {
    pub fn tcp(address: SocketAddr) -> Self {
        Self::Tcp(stream(address), BytesMut::new())
    }

    /// A WebSocket whose URL has this query.
    pub fn web_socket(address: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{address}/ws{query}");
        Self::WebSocket(Box::new(tungstenite::client(url, stream(address)).unwrap().0))
    }

    /// By either way.
    pub fn open(server: &Server, dialect: &str, way: Way) -> Self {
        let address = server.older_address(dialect, way == Way::WebSocket);
        match way {
            Way::Tcp => Self::tcp(address),
            Way::WebSocket => Self::web_socket(address, ""),
        }
    }

    /// To the listeners of today's clients.
    pub fn open_today(server: &Server, way: Way) -> Self {
        match way {
            Way::Tcp => Self::tcp(server.tcp_address()),
            Way::WebSocket => Self::web_socket(server.web_socket_address(), ""),
        }
    }

    pub fn send(&mut self, frame: &impl prost::Message) {
        self.send_bytes(&frame.encode_to_vec());
    }

    /// A frame of these bytes.
    pub fn send_bytes(&mut self, frame: &[u8]) {
        match self {
            Self::Tcp(stream, _) => {
                let mut bytes = Vec::new();
                prost::encode_length_delimiter(frame.len(), &mut bytes).unwrap();
                bytes.extend_from_slice(frame);
                let told = stream.write_all(&bytes);
                // Who was closed meanwhile finds out by reading.
                let ends = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(told.as_ref().err().is_none_or(|error| ends.contains(&error.kind())), "{told:?}");
            }
            Self::WebSocket(socket) => socket.send(Message::binary(frame.to_vec())).unwrap(),
        }
    }

    /// The next frame; none where the server ended the connection.
    pub fn receive<M: prost::Message + Default>(&mut self) -> Option<M> {
        self.receive_bytes().map(|frame| M::decode(&frame[..]).unwrap())
    }

    /// The same as bytes.
    pub fn receive_bytes(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Tcp(stream, received) => loop {
                let mut front = &received[..];
                if let Ok(length) = prost::decode_length_delimiter(&mut front)
                    && front.len() >= length
                {
                    received.advance(received.len() - front.len());
                    return Some(received.split_to(length).to_vec());
                }
                let mut chunk = [0; 4096];
                match stream.read(&mut chunk) {
                    Ok(0) => return None,
                    // What was said and not read any more.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                    count => received.extend_from_slice(&chunk[..count.unwrap()]),
                }
            },
            Self::WebSocket(socket) => loop {
                match socket.read() {
                    Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                    Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return None,
                    Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => return None,
                    Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return None,
                    other => drop(other.unwrap()),
                }
            },
        }
    }
}

fn stream(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}
