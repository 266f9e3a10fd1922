//! Packets in a stream of bytes: with their length before them, or as messages of a WebSocket. No IO.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Address, TransportError, web::WebSocket};
use crate::wire::PACKET_BYTES_MAX;

/// With this many bytes at hand, a length that cannot be decoded is broken rather than cut.
const LENGTH_BYTES_MAX: usize = 10;

pub(super) enum Codec {
    /// A varint with the length, then the packet.
    Prefixed,
    Web(Box<WebSocket>),
}

impl Codec {
    pub(super) fn new(address: &Address) -> Self {
        if address.scheme.is_web_socket() { Self::Web(Box::new(WebSocket::new(address))) } else { Self::Prefixed }
    }

    /// What is sent first; empty for nothing.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        match self {
            Self::Prefixed => Vec::new(),
            Self::Web(web) => web.begin(),
        }
    }

    /// Whether packets may be sent.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Prefixed => true,
            Self::Web(web) => web.is_open(),
        }
    }

    pub(super) fn encode(&mut self, packet: Bytes, out: &mut BytesMut) -> Result<(), TransportError> {
        match self {
            Self::Prefixed => {
                prost::encode_length_delimiter(packet.len(), out).map_err(|_| TransportError::Garbage)?;
                out.extend_from_slice(&packet);
                Ok(())
            }
            Self::Web(web) => web.encode(packet, out),
        }
    }

    /// Takes the whole packets off what was read; what has to be answered at once goes to `out`.
    pub(super) fn decode(
        &mut self,
        read: &mut BytesMut,
        packets: &mut Vec<Bytes>,
        out: &mut BytesMut,
    ) -> Result<(), TransportError> {
        match self {
            Self::Prefixed => {
                while let Some(packet) = take_prefixed(read)? {
                    packets.push(packet);
                }
                Ok(())
            }
            Self::Web(web) => web.decode(read, packets, out),
        }
    }
}

fn take_prefixed(read: &mut BytesMut) -> Result<Option<Bytes>, TransportError> {
    let mut peek = &read[..];
    let length = match prost::decode_length_delimiter(&mut peek) {
        Ok(length) if length <= PACKET_BYTES_MAX => length,
        Err(_) if read.len() < LENGTH_BYTES_MAX => return Ok(None),
        Ok(_) | Err(_) => return Err(TransportError::Garbage),
    };
    if peek.len() < length {
        return Ok(None);
    }
    read.advance(read.len() - peek.len());
    Ok(Some(read.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&[u8]]) -> Result<Vec<Bytes>, TransportError> {
        let (mut read, mut packets) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            Codec::Prefixed.decode(&mut read, &mut packets, &mut BytesMut::new())?;
        }
        Ok(packets)
    }

    #[test]
    fn packets_come_out_wherever_the_stream_is_cut() {
        let mut bytes = BytesMut::new();
        let packets = [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from(vec![7; 300])];
        for packet in &packets {
            Codec::Prefixed.encode(packet.clone(), &mut bytes).unwrap();
        }
        for cut in 0..=bytes.len() {
            let (one, other) = bytes.split_at(cut);
            assert_eq!(decoded(&[one, other]).unwrap(), packets, "cut at {cut}");
        }
    }

    #[test]
    fn a_length_that_is_none_or_too_much_is_garbage() {
        assert!(decoded(&[&[0xff; 16]]).is_err());
        assert!(decoded(&[&[0xff, 0xff, 0xff, 0x7f]]).is_err());
        assert!(decoded(&[&[0xff; 4]]).unwrap().is_empty());
    }
}
