//! A WebSocket as a client speaks it: tungstenite over two buffers in memory. No IO.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use tungstenite::{
    Error, Message,
    handshake::{client::generate_key, derive_accept_key},
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

use super::{Address, TransportError};
use crate::wire::PACKET_BYTES_MAX;

/// Most bytes of the answer to the request, and most headers in it.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const SUBPROTOCOL: &str = "gim";

pub(super) struct WebSocket {
    request: String,
    accept: String,
    is_open: bool,
    context: WebSocketContext,
    memory: Memory,
}

impl WebSocket {
    pub(super) fn new(address: &Address) -> Self {
        let Address { authority, path, .. } = address;
        let key = generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .max_message_size(Some(PACKET_BYTES_MAX))
            .max_frame_size(Some(PACKET_BYTES_MAX));
        Self {
            request,
            accept: derive_accept_key(key.as_bytes()),
            is_open: false,
            context: WebSocketContext::new(Role::Client, Some(config)),
            memory: Memory::default(),
        }
    }

    pub(super) fn begin(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request).into_bytes()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn encode(&mut self, packet: Bytes, out: &mut BytesMut) -> Result<(), TransportError> {
        self.context.write(&mut self.memory, Message::Binary(packet)).map_err(|_| TransportError::Closed)?;
        self.flush(out)
    }

    pub(super) fn decode(
        &mut self,
        read: &mut BytesMut,
        packets: &mut Vec<Bytes>,
        out: &mut BytesMut,
    ) -> Result<(), TransportError> {
        if !self.is_open && !self.read_answer(read)? {
            return Ok(());
        }
        self.memory.read.extend_from_slice(read);
        read.clear();
        loop {
            match self.context.read(&mut self.memory) {
                Ok(Message::Binary(packet)) => packets.push(packet),
                Ok(Message::Text(_)) => return Err(TransportError::Garbage),
                // tungstenite answers them.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Err(TransportError::Closed),
                Err(_) => return Err(TransportError::Garbage),
            }
        }
        self.flush(out)
    }

    fn flush(&mut self, out: &mut BytesMut) -> Result<(), TransportError> {
        match self.context.flush(&mut self.memory) {
            Ok(()) | Err(Error::ConnectionClosed) => {}
            Err(_) => return Err(TransportError::Closed),
        }
        out.extend_from_slice(&self.memory.written);
        self.memory.written.clear();
        Ok(())
    }

    /// Returns whether the whole answer is there.
    fn read_answer(&mut self, read: &mut BytesMut) -> Result<bool, TransportError> {
        let refused = |why: &str| TransportError::Upgrade(why.to_owned());
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        let length = match answer.parse(read) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if read.len() <= ANSWER_BYTES_MAX => return Ok(false),
            Ok(_) | Err(_) => return Err(refused("its answer is no HTTP")),
        };
        if answer.code != Some(101) {
            return Err(refused(&format!("HTTP status {}", answer.code.unwrap_or_default())));
        }
        let is_accept = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("sec-websocket-accept");
        if answer.headers.iter().find(is_accept).is_none_or(|header| header.value != self.accept.as_bytes()) {
            return Err(refused("its answer is to another request"));
        }
        read.advance(length);
        self.is_open = true;
        Ok(true)
    }
}

/// What was read, and what is to be written.
#[derive(Default)]
struct Memory {
    read: BytesMut,
    written: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.read.len().min(buffer.len());
        self.read.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
