//! A packet for clients, encoded once for every framing: both headers stand before one copy of the packet.
//!
//! ```text
//!   up to 125 bytes   0x82 │ length │ packet                 WebSocket: all of it; length-value: from `length` on
//!   longer            WebSocket header │ prefix │ packet     one header is passed over, whichever is not wanted
//! ```
//!
//! Always holds: the bytes begin with a WebSocket header of a final binary frame, from which everything else follows.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::encode_varint;

use super::frame;

/// First byte of a final binary frame.
const BINARY: u8 = 0x82;

/// Longest payload whose length fits the second byte of a WebSocket frame, where it is spelled as in a length-value frame.
const SHORT_BYTES_MAX: usize = 125;

/// How frames are told apart on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// `uvarint(length) ‖ packet`.
    #[default]
    LengthValue,
    /// One binary message of WebSocket.
    WebSocket,
}

/// An encoded packet; clones share its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded(Bytes);

/// What one connection writes of shared bytes: their first `head` bytes, then those from `rest` on.
#[derive(Debug, Clone)]
pub struct Piece {
    bytes: Bytes,
    head: u8,
    rest: u8,
}

/// Bytes that the headers of a packet of this length take.
pub fn header_bytes(packet_bytes: usize) -> usize {
    let web = web_header_bytes(packet_bytes);
    if packet_bytes <= SHORT_BYTES_MAX { web } else { web + frame::prefix_bytes(packet_bytes) }
}

/// Writes the headers of a packet of this length, which has to follow.
pub fn put_headers(packet_bytes: usize, bytes: &mut BytesMut) {
    put_web_header(BINARY, packet_bytes, bytes);
    if packet_bytes > SHORT_BYTES_MAX {
        encode_varint(packet_bytes as u64, bytes);
    }
}

/// Writes the header of an unmasked WebSocket frame.
pub fn put_web_header(first: u8, payload_bytes: usize, bytes: &mut BytesMut) {
    bytes.put_u8(first);
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length), _) if payload_bytes <= SHORT_BYTES_MAX => bytes.put_u8(length),
        (_, Ok(length)) => {
            bytes.put_u8(126);
            bytes.put_u16(length);
        }
        _ => {
            bytes.put_u8(127);
            bytes.put_u64(payload_bytes as u64);
        }
    }
}

impl Encoded {
    /// Takes bytes that [`put_headers`] and a packet made.
    pub fn from_headed(bytes: Bytes) -> Self {
        debug_assert!(bytes.first() == Some(&BINARY));
        Self(bytes)
    }

    /// Encodes a packet that is there already.
    pub fn of(packet: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(header_bytes(packet.len()) + packet.len());
        put_headers(packet.len(), &mut bytes);
        bytes.put_slice(packet);
        Self::from_headed(bytes.freeze())
    }

    /// The length-value frame.
    pub fn length_value(self) -> Bytes {
        let (web, prefix) = self.headers();
        let start = if prefix == 0 { web / 2 } else { web };
        self.0.slice(start..)
    }

    /// What a connection with this framing writes.
    pub fn piece(self, framing: Framing) -> Piece {
        match (framing, self.headers()) {
            (Framing::LengthValue, _) => self.length_value().into(),
            (Framing::WebSocket, (_, 0)) => self.0.into(),
            (Framing::WebSocket, (web, prefix)) => Piece { bytes: self.0, head: web as u8, rest: (web + prefix) as u8 },
        }
    }

    /// Whether both are clones of one.
    pub fn shares_bytes_with(&self, other: &Self) -> bool {
        std::ptr::eq(&raw const *self.0, &raw const *other.0)
    }

    /// Where the bytes are, which is the same for clones.
    pub fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The packet without any header.
    pub fn packet(&self) -> &[u8] {
        let (web, prefix) = self.headers();
        &self.0[web + prefix..]
    }

    /// Lengths of the WebSocket header, and of the prefix after it.
    fn headers(&self) -> (usize, usize) {
        match self.0.get(1) {
            None => (0, 0),
            Some(126) => (4, prefix_after(&self.0, 4)),
            Some(127) => (10, prefix_after(&self.0, 10)),
            Some(_) => (2, 0),
        }
    }
}

impl Piece {
    /// How many bytes are written.
    pub fn len(&self) -> usize {
        usize::from(self.head) + self.bytes.len() - usize::from(self.rest)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts, in the order in which they are written.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.bytes[..usize::from(self.head)], &self.bytes[usize::from(self.rest)..]]
    }

    /// Holds no more memory than its own bytes from now on.
    pub fn detach(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, head: 0, rest: 0 }
    }
}

fn web_header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=SHORT_BYTES_MAX => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn prefix_after(bytes: &[u8], start: usize) -> usize {
    bytes.iter().skip(start).take(frame::PREFIX_BYTES_MAX).take_while(|&&byte| byte & 0x80 != 0).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_of_a_packet_serves_both_framings_at_every_length() {
        for length in [0, 1, 125, 126, 127, 128, 16_383, 16_384, 65_535, 65_536, 3_000_000] {
            let packet: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let encoded = Encoded::of(&packet);
            assert_eq!(encoded.0.len(), header_bytes(length) + length);
            assert_eq!(encoded.packet(), packet);

            let value = encoded.clone().piece(Framing::LengthValue);
            let mut expected = Vec::new();
            prost::encode_length_delimiter(length, &mut expected).unwrap();
            expected.extend_from_slice(&packet);
            assert_eq!(value.parts().concat(), expected);
            assert_eq!(value.len(), expected.len());

            let web = encoded.piece(Framing::WebSocket);
            let mut expected = Vec::new();
            let header = tungstenite::protocol::frame::FrameHeader {
                opcode: tungstenite::protocol::frame::coding::OpCode::from(2),
                ..Default::default()
            };
            header.format(length as u64, &mut expected).unwrap();
            expected.extend_from_slice(&packet);
            assert_eq!(web.parts().concat(), expected);
            assert_eq!(web.len(), expected.len());
        }
    }

    #[test]
    fn nothing_encoded_is_nothing_written() {
        for framing in [Framing::LengthValue, Framing::WebSocket] {
            assert!(Encoded::default().piece(framing).is_empty());
        }
    }
}
