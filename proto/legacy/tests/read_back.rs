//! Whatever clients of a dialect ask is answered under what they asked, and whatever the server says they can read.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "common/read_back.rs"]
mod read_back;

use std::sync::LazyLock;

use gim_legacy::{
    Dialect,
    packets::{Packet, UNKNOWN},
};
use gim_proto::connect::{Message, PacketCommand, Reply};
use proptest::{collection::vec, prelude::*};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

use self::read_back::Client;

static CLIENTS: LazyLock<Vec<Client>> = LazyLock::new(|| Dialect::all().map(Client::of).collect());

fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Numbers of all signs and sizes, those that mean something more often.
fn kinds() -> impl Strategy<Value = i32> {
    prop_oneof![-8..8, 100..125, any::<i32>()]
}

/// A card and what it stands before, in which texts may be none.
fn wrapped() -> impl Strategy<Value = Vec<u8>> {
    let text = || prop_oneof![".{0,8}".prop_map(String::into_bytes), vec(any::<u8>(), 0..8)];
    (text(), text(), vec(any::<u8>(), 0..40), any::<u64>()).prop_map(|(nickname, extra, content, to)| {
        let mut card = Vec::new();
        put_number(&mut card, 1, 5);
        put_bytes(&mut card, 3, &nickname);
        put_bytes(&mut card, 5, &extra);
        let mut wrapped = Vec::new();
        put_bytes(&mut wrapped, 1, &card);
        put_number(&mut wrapped, 2, to);
        put_bytes(&mut wrapped, 3, &content);
        wrapped
    })
}

fn messages() -> impl Strategy<Value = Message> {
    let content = prop_oneof![wrapped(), vec(any::<u8>(), 0..60)];
    let command = prop_oneof![0..4, 100..125, 200..216, any::<i32>()];
    let places = (0..3_u64, 0..3_u64, 0..3_u64, 0..3_u64);
    (command, content, places, 0..4, any::<bool>()).prop_map(
        |(command, content, (seq, room_id, group_id, group_seq), status, is_from_user)| Message {
            command,
            content: content.into(),
            seq,
            room_id,
            group_id,
            group_seq,
            status,
            is_from_user,
            ..Message::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_answer_repeats_what_was_asked(
        kind in kinds(), id: i64, text in ".{0,12}", content in vec(any::<u8>(), 0..24), code in 10_000..10_010,
    ) {
        let (mut input, mut message) = (Vec::new(), Vec::new());
        put_number(&mut input, 1, kind as u64);
        put_number(&mut input, 2, id as u64);
        put_bytes(&mut input, 3, &content);
        put_bytes(&mut message, 1, text.as_bytes());
        put_number(&mut message, 2, kind as u64);
        put_bytes(&mut message, 3, &content);
        for client in &*CLIENTS {
            client.is_answered_as_it_asked(&input, code);
            client.is_answered_as_it_asked(&message, code);
            client.is_answered_as_it_asked(&content, code);
        }
    }

    #[test]
    fn what_the_server_says_can_be_read(message in messages(), request_id in ".{0,12}", other: i32, has_more: bool) {
        let page = gim_proto::logic::SyncReply { messages: vec![message.clone()], has_more, ..Default::default() };
        let reply = Reply { data: page.encode_to_vec().into(), ..Reply::default() }.encode_to_vec();
        let message = message.encode_to_vec();
        let said = [
            (PacketCommand::PcMessage as i32, &message),
            (PacketCommand::PcSync as i32, &reply),
            (PacketCommand::PcSyncHint as i32, &reply),
            (UNKNOWN, &reply),
            (other, &reply),
            (other, &message),
        ];
        for client in &*CLIENTS {
            for (command, content) in said {
                client.reads_what_is_said(&Packet { request_id: &request_id, command, content });
            }
        }
    }
}
