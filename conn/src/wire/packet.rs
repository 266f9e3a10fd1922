//! The packet inside a frame: decoded as a view that borrows from the frame, encoded once into shared bytes.
//!
//! This is the seam where the dialect of an older client would be decoded into the same [`PacketView`].

use bytes::{Buf, Bytes, BytesMut};
use gim_proto::{
    CloseReason, ResultCode,
    connect::{CloseNotice, PacketCommand, Reply},
};
use prost::{
    Message as _,
    encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, skip_field,
    },
};

use super::{encoded, encoded::Encoded, frame};

/// A packet whose text and content lie in the frame that it came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketView<'a> {
    /// Chosen by the client, repeated in the reply.
    pub request_id: &'a str,
    /// A [`PacketCommand`], or a number that belongs to the business.
    pub command: i32,
    /// What is inside depends on the command.
    pub content: &'a [u8],
}

/// Why a frame holds no packet.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// Not protobuf.
    #[error("the frame is no packet: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A length points beyond the frame, or a field has the wrong wire type.
    #[error("the frame is no packet: field {0} is malformed")]
    Malformed(u32),
    /// The request id is no UTF-8.
    #[error("the frame is no packet: the request id is no UTF-8")]
    RequestId,
}

impl<'a> PacketView<'a> {
    /// Decodes the body of a frame, as prost would decode a `Packet`, without copying.
    pub fn decode(mut body: &'a [u8]) -> Result<Self, PacketError> {
        let mut view = Self::default();
        while body.has_remaining() {
            let (tag, wire_type) = decode_key(&mut body)?;
            match tag {
                1 => {
                    let text = length_delimited(&mut body, tag, wire_type)?;
                    view.request_id = str::from_utf8(text).map_err(|_| PacketError::RequestId)?;
                }
                2 => view.command = varint(&mut body, tag, wire_type)? as i32,
                3 => view.content = length_delimited(&mut body, tag, wire_type)?,
                // A client's packets carry no seq that would mean anything; it has to be a number all the same.
                4 => drop(varint(&mut body, tag, wire_type)?),
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default())?,
            }
        }
        Ok(view)
    }
}

/// Which app a sign-in is for. Everything else in it is for the bridge and logic to read.
pub fn app_of_sign_in(content: &[u8]) -> Result<u32, prost::DecodeError> {
    /// `SignInRequest`, seen by somebody who cares for nothing but the app: decoding it allocates nothing.
    #[derive(prost::Message)]
    struct App {
        #[prost(uint32, tag = "16")]
        app_id: u32,
    }
    App::decode(content).map(|app| app.app_id)
}

/// Appends a packet with its headers. Allocates nothing where `bytes` has room.
pub fn encode_into(request_id: &str, command: i32, content: &[u8], seq: u64, bytes: &mut BytesMut) {
    let command = command as u64; // as int32 travels: sign-extended
    let length = field_bytes(request_id.len()) + number_bytes(command) + field_bytes(content.len()) + number_bytes(seq);
    bytes.reserve(encoded::header_bytes(length) + length);
    encoded::put_headers(length, bytes);
    put_field(1, request_id.as_bytes(), bytes);
    put_number(2, command, bytes);
    put_field(3, content, bytes);
    put_number(4, seq, bytes);
}

/// Encodes a packet into bytes of its own.
pub fn encode(request_id: &str, command: i32, content: &[u8], seq: u64) -> Encoded {
    let mut bytes = BytesMut::new();
    encode_into(request_id, command, content, seq, &mut bytes);
    Encoded::from_headed(bytes.freeze())
}

/// Encodes a packet from the server that is no reply.
pub fn notice(command: PacketCommand, content: &[u8], seq: u64) -> Encoded {
    encode("", command as i32, content, seq)
}

/// Encodes the reply to a packet: its command and request id repeated, a [`Reply`] inside.
pub fn reply(request_id: &str, command: i32, reply: &Reply) -> Encoded {
    encode(request_id, command, &reply.encode_to_vec(), 0)
}

/// Encodes a reply that says only why the request was not done.
pub fn refusal(request_id: &str, command: i32, code: ResultCode) -> Encoded {
    refusal_saying(request_id, command, code, code.text().to_owned())
}

/// The same, where there is more to say than the code does.
pub fn refusal_saying(request_id: &str, command: i32, code: ResultCode, message: String) -> Encoded {
    reply(request_id, command, &Reply { code: code.number(), message, data: Bytes::new() })
}

/// Encodes the last packet of a connection.
pub fn goodbye(reason: CloseReason, message: &str, reconnect_after_ms: u32, endpoint: &str) -> Encoded {
    let message = if message.is_empty() { reason.rule().text } else { message }.to_owned();
    let notice = CloseNotice { reason: reason as i32, message, reconnect_after_ms, endpoint: endpoint.to_owned() };
    self::notice(PacketCommand::PcClose, &notice.encode_to_vec(), 0)
}

fn field_bytes(length: usize) -> usize {
    if length == 0 { 0 } else { 1 + frame::prefix_bytes(length) + length }
}

fn number_bytes(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

fn put_field(tag: u32, value: &[u8], bytes: &mut BytesMut) {
    if !value.is_empty() {
        encode_key(tag, WireType::LengthDelimited, bytes);
        encode_varint(value.len() as u64, bytes);
        bytes.extend_from_slice(value);
    }
}

fn put_number(tag: u32, value: u64, bytes: &mut BytesMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, bytes);
        encode_varint(value, bytes);
    }
}

fn length_delimited<'a>(body: &mut &'a [u8], tag: u32, wire_type: WireType) -> Result<&'a [u8], PacketError> {
    if wire_type != WireType::LengthDelimited {
        return Err(PacketError::Malformed(tag));
    }
    let length = usize::try_from(decode_varint(body)?).map_err(|_| PacketError::Malformed(tag))?;
    let (value, rest) = body.split_at_checked(length).ok_or(PacketError::Malformed(tag))?;
    *body = rest;
    Ok(value)
}

fn varint(body: &mut &[u8], tag: u32, wire_type: WireType) -> Result<u64, PacketError> {
    if wire_type != WireType::Varint {
        return Err(PacketError::Malformed(tag));
    }
    Ok(decode_varint(body)?)
}

#[cfg(test)]
mod tests {
    use gim_proto::connect::{Packet, SignInRequest};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_frame_is_an_empty_packet() {
        assert_eq!(PacketView::decode(&[]).unwrap(), PacketView::default());
    }

    #[test]
    fn the_last_of_a_repeated_field_counts_and_unknown_ones_do_not() {
        let mut bytes = Packet { command: 1, ..Packet::default() }.encode_to_vec();
        bytes.extend([0xfa, 0x01, 0x02, 9, 9]); // field 31
        bytes.extend(Packet { command: 7, ..Packet::default() }.encode_to_vec());
        assert_eq!(PacketView::decode(&bytes).unwrap().command, 7);
    }

    #[test]
    fn the_view_lies_inside_the_frame() {
        let packet = Packet { request_id: "r".into(), command: 7, content: vec![1, 2, 3].into(), seq: 0 };
        let bytes = packet.encode_to_vec();
        let view = PacketView::decode(&bytes).unwrap();
        assert!(bytes.as_ptr_range().contains(&view.content.as_ptr()));
    }

    #[test]
    fn the_app_of_a_sign_in_is_read_and_everything_else_in_it_passed_over() {
        let request = SignInRequest { user_id: 1, device_id: 2, token: "token".into(), app_id: 300 };
        assert_eq!(app_of_sign_in(&request.encode_to_vec()), Ok(300));
        assert_eq!(app_of_sign_in(&SignInRequest { app_id: 0, ..request }.encode_to_vec()), Ok(0));
        assert!(app_of_sign_in(&[0x80]).is_err());
    }

    proptest! {
        #[test]
        fn a_packet_decodes_as_prost_decodes_it(
            request_id in ".{0,40}", command: i32, seq: u64, content in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let packet = Packet { request_id, command, content: content.into(), seq };
            let bytes = packet.encode_to_vec();
            let view = PacketView::decode(&bytes).unwrap();
            prop_assert_eq!(view.request_id, &packet.request_id);
            prop_assert_eq!(view.command, packet.command);
            prop_assert_eq!(view.content, &packet.content[..]);
        }

        #[test]
        fn a_packet_is_encoded_as_prost_encodes_it(
            request_id in ".{0,40}", command: i32, seq: u64, content in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let ours = encode(&request_id, command, &content, seq);
            let packet = Packet { request_id, command, content: content.into(), seq };
            prop_assert_eq!(ours.packet().to_vec(), packet.encode_to_vec());
        }

        #[test]
        fn arbitrary_bytes_are_judged_as_prost_judges_them(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            match (PacketView::decode(&bytes), Packet::decode(&bytes[..])) {
                (Ok(view), Ok(packet)) => {
                    prop_assert_eq!(view.command, packet.command);
                    prop_assert_eq!(view.content, &packet.content[..]);
                }
                (Err(_), Err(_)) => {}
                (view, packet) => prop_assert!(false, "{view:?} but {packet:?}"),
            }
        }
    }
}
