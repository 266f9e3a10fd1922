//! The packet inside a frame: decoded as a view that borrows from the frame, encoded once into shared bytes.
//!
//! Called on a reactor's thread, and on Tokio by the bridge; nothing is kept between calls. Always holds: a view points into the frame and
//! copies nothing, and the content is never looked into.
//!
//! What an older client says comes here as the same [`PacketView`], out of `gim_legacy`.

use bytes::{Buf, Bytes, BytesMut};
use gim_proto::{
    CloseReason, ResultCode,
    connect::{CloseNotice, PacketCommand, Reply},
};
use prost::{
    Message as _,
    encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
        skip_field,
    },
};

use super::{encoded, encoded::Encoded, frame};

/// Tags of `connect.Packet`.
const REQUEST_ID: u32 = 1;
const COMMAND: u32 = 2;
const CONTENT: u32 = 3;
const SEQ: u32 = 4;

/// Tags of `connect.Message` that differ per receiver.
const MESSAGE_SEQ: u32 = 4;
const MESSAGE_PREV_SEQ: u32 = 18;

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

impl<'a> From<gim_legacy::packets::Packet<'a>> for PacketView<'a> {
    fn from(packet: gim_legacy::packets::Packet<'a>) -> Self {
        let gim_legacy::packets::Packet { request_id, command, content } = packet;
        Self { request_id, command, content }
    }
}

impl<'a> PacketView<'a> {
    /// Decodes the body of a frame, as prost would decode a `Packet`, without copying.
    pub fn decode(mut body: &'a [u8]) -> Result<Self, PacketError> {
        let mut view = Self::default();
        while body.has_remaining() {
            let (tag, wire_type) = decode_key(&mut body)?;
            match tag {
                REQUEST_ID => {
                    let text = length_delimited(&mut body, tag, wire_type)?;
                    view.request_id = str::from_utf8(text).map_err(|_| PacketError::RequestId)?;
                }
                COMMAND => view.command = varint(&mut body, tag, wire_type)? as i32,
                CONTENT => view.content = length_delimited(&mut body, tag, wire_type)?,
                // A client's packets carry no seq that would mean anything; it has to be a number all the same.
                SEQ => drop(varint(&mut body, tag, wire_type)?),
                _ => skip_field(wire_type, tag, &mut body, DecodeContext::default())?,
            }
        }
        Ok(view)
    }
}

/// The first bytes that a packet may have.
pub const KEYS: [u8; 4] =
    [(REQUEST_ID << 3 | 2) as u8, (COMMAND << 3) as u8, (CONTENT << 3 | 2) as u8, (SEQ << 3) as u8];

/// Whether the front of a TCP connection is that of a frame with a packet, which begins with one of these bytes; `None` as long as it
/// does not show.
pub fn may_begin(input: &[u8], keys: &[u8]) -> Option<bool> {
    let prefix = &input[..input.len().min(frame::PREFIX_BYTES_MAX)];
    let Some(last) = prefix.iter().position(|byte| byte & 0x80 == 0) else {
        return (prefix.len() == frame::PREFIX_BYTES_MAX).then_some(false);
    };
    if input[..=last] == [0] {
        return Some(true);
    }
    Some(keys.contains(input.get(last + 1)?))
}

/// What of a sign-in a reactor reads; everything else in it is for the bridge and logic. Decoding it allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SignInForReactor {
    /// Which app it is for.
    #[prost(uint32, tag = "16")]
    pub app_id: u32,
    /// How often the client sends a heartbeat; 0 where it does not say.
    #[prost(uint32, tag = "17")]
    pub heartbeat_s: u32,
}

/// Whether a packet is not answered: an ack or a read is only where its sender gave it a request id.
pub fn is_silent(command: i32, request_id: &str) -> bool {
    const MAY_BE_SILENT: [i32; 2] = [PacketCommand::PcMessageAck as i32, PacketCommand::PcRead as i32];
    request_id.is_empty() && MAY_BE_SILENT.contains(&command)
}

/// Appends a packet with its headers. Allocates nothing where `bytes` has room.
pub fn encode_into(request_id: &str, command: i32, content: &[u8], seq: u64, bytes: &mut BytesMut) {
    encode_around(request_id, command, content.len(), seq, bytes, |bytes| bytes.extend_from_slice(content));
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

/// Encodes a message of `connect.Message` for one receiver: what differs per receiver stands behind the shared body, as protobuf
/// fields may follow in any order. One allocation, and one copy of the body. A `seq` of 0 means that it is not persisted.
pub fn message(body: &[u8], seq: u64, prev_seq: u64) -> Encoded {
    let (seq, prev_seq) = if seq == 0 { (0, 0) } else { (seq, prev_seq) };
    let length = body.len() + number_bytes(MESSAGE_SEQ, seq) + number_bytes(MESSAGE_PREV_SEQ, prev_seq);
    let mut bytes = BytesMut::new();
    encode_around("", PacketCommand::PcMessage as i32, length, 0, &mut bytes, |bytes| {
        bytes.extend_from_slice(body);
        put_number(MESSAGE_SEQ, seq, bytes);
        put_number(MESSAGE_PREV_SEQ, prev_seq, bytes);
    });
    Encoded::from_headed(bytes.freeze())
}

/// Encodes the reply to a packet: its command and request id repeated, a [`Reply`] inside.
pub fn reply(request_id: &str, command: i32, reply: &Reply) -> Encoded {
    let mut bytes = BytesMut::new();
    encode_around(request_id, command, reply.encoded_len(), 0, &mut bytes, |bytes| {
        reply.encode(bytes).expect("a BytesMut grows");
    });
    Encoded::from_headed(bytes.freeze())
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

/// Appends a packet whose content, of this length, is written where it belongs instead of being copied there.
fn encode_around(
    request_id: &str,
    command: i32,
    content_bytes: usize,
    seq: u64,
    bytes: &mut BytesMut,
    put_content: impl FnOnce(&mut BytesMut),
) {
    let command = command as u64; // as int32 travels: sign-extended
    let numbers = number_bytes(COMMAND, command) + number_bytes(SEQ, seq);
    let length = field_bytes(request_id.len()) + field_bytes(content_bytes) + numbers;
    bytes.reserve(encoded::header_bytes(length) + length);
    encoded::put_headers(length, bytes);
    put_field_header(REQUEST_ID, request_id.len(), bytes);
    bytes.extend_from_slice(request_id.as_bytes());
    put_number(COMMAND, command, bytes);
    put_field_header(CONTENT, content_bytes, bytes);
    put_content(bytes);
    put_number(SEQ, seq, bytes);
}

fn field_bytes(length: usize) -> usize {
    if length == 0 { 0 } else { 1 + frame::prefix_bytes(length) + length }
}

fn number_bytes(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + encoded_len_varint(value) }
}

fn put_field_header(tag: u32, length: usize, bytes: &mut BytesMut) {
    if length != 0 {
        encode_key(tag, WireType::LengthDelimited, bytes);
        encode_varint(length as u64, bytes);
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
    use allocation_counter::measure;
    use gim_proto::connect::{Message, Packet, SignInRequest};
    use proptest::prelude::*;

    use super::{super::encoded::Framing, *};

    #[test]
    fn what_begins_no_packet_shows_at_its_first_field() {
        for packet in [Packet::default(), Packet { request_id: "r".repeat(200), ..Packet::default() }] {
            let bytes = packet.encode_length_delimited_to_vec();
            assert_eq!(may_begin(&bytes, &KEYS), Some(true));
            assert!((0..bytes.len()).all(|cut| may_begin(&bytes[..cut], &KEYS) != Some(false)));
        }
        for other in [&b"GET / HTTP/1.1"[..], b"EHLO a", &[0x16, 3, 1], &[0xff; 5], &[0x81, 0x01, 0x2a]] {
            assert_eq!(may_begin(other, &KEYS), Some(false), "{other:?}");
        }
    }

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
    fn a_reactor_reads_two_numbers_of_a_sign_in_and_passes_over_the_rest() {
        let request = SignInRequest { user_id: 1, device_id: 2, token: "token".into(), app_id: 300, heartbeat_s: 90 };
        let read = |request: &SignInRequest| SignInForReactor::decode(&request.encode_to_vec()[..]).unwrap();
        assert_eq!(read(&request), SignInForReactor { app_id: 300, heartbeat_s: 90 });
        let of_gim = SignInRequest { app_id: 0, heartbeat_s: 0, ..request };
        assert_eq!(read(&of_gim), SignInForReactor::default());
        assert!(SignInForReactor::decode(&[0x80][..]).is_err());
    }

    #[test]
    fn what_differs_per_receiver_is_part_of_the_message() {
        let body = Message { command: 1, content: vec![1, 2].into(), message_id: 9, ..Message::default() };
        for (seq, prev_seq) in [(0, 0), (1, 0), (300, 299), (u64::MAX, u64::MAX - 1)] {
            let packet = Packet::decode(message(&body.encode_to_vec(), seq, prev_seq).packet()).unwrap();
            assert_eq!(packet.command, PacketCommand::PcMessage as i32);
            assert_eq!(Message::decode(packet.content).unwrap(), Message { seq, prev_seq, ..body.clone() });
        }
        assert_eq!(message(b"as it is", 0, 7), notice(PacketCommand::PcMessage, b"as it is", 0));
    }

    #[test]
    fn a_reply_and_a_message_cost_one_allocation_of_their_length() {
        let body = [7; 1_000];
        let said = Reply { code: 1, message: "no".to_owned(), data: Bytes::from_static(&[7; 1_000]) };
        let made: [&dyn Fn() -> Encoded; 2] = [&|| message(&body, 300, 299), &|| reply("request-1", 5, &said)];
        for make in made {
            let mut encoded = Encoded::default();
            let cost = measure(|| encoded = make());
            let frame_bytes = encoded.piece(Framing::WebSocket).parts().concat().len() as u64;
            assert_eq!(cost.count_total, 1);
            assert!(cost.bytes_total <= frame_bytes + frame::PREFIX_BYTES_MAX as u64, "{cost:?} for {frame_bytes}");
        }
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
