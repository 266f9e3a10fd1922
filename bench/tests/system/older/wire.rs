//! Frames of whatever dialect, over TCP and over WebSocket. Every wait has a deadline.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use bytes::{Buf as _, BytesMut};
use tungstenite::{Message, WebSocket};

use crate::server::DEADLINE;

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tcp,
    WebSocket,
}

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

    pub fn send(&mut self, frame: &impl prost::Message) {
        match self {
            Self::Tcp(stream, _) => stream.write_all(&frame.encode_length_delimited_to_vec()).unwrap(),
            Self::WebSocket(socket) => socket.send(Message::binary(frame.encode_to_vec())).unwrap(),
        }
    }

    /// The next frame; none where the server ended the connection.
    pub fn receive<M: prost::Message + Default>(&mut self) -> Option<M> {
        match self {
            Self::Tcp(stream, received) => loop {
                let mut front = &received[..];
                if let Ok(length) = prost::decode_length_delimiter(&mut front)
                    && front.len() >= length
                {
                    received.advance(received.len() - front.len());
                    return Some(M::decode(received.split_to(length)).unwrap());
                }
                let mut chunk = [0; 4096];
                match stream.read(&mut chunk).unwrap() {
                    0 => return None,
                    count => received.extend_from_slice(&chunk[..count]),
                }
            },
            Self::WebSocket(socket) => loop {
                match socket.read() {
                    Ok(Message::Binary(bytes)) => return Some(M::decode(bytes).unwrap()),
                    Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return None,
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
