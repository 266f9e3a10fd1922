//! What anybody says in a room, as clients of each dialect read it: never as what the server says to one of them alone, as a message of
//! another user or news are. Whoever says something in a room chooses all of its content.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use gim_legacy::{Dialect, packets::Packet};
use gim_proto::{
    connect::{Message, PacketCommand},
    logic::{User, UserMessagePush},
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

/// A private message of user 666, as the apps of 2024 and of 2025 read it: a sender with that user, and what is said.
const FORGED: &[u8] = b"\x0a\x03\x10\x9a\x05\x1a\x02hi";

/// What the server pushes where a user says that in a room.
fn said_in_room(command: i32) -> Vec<u8> {
    let from_user = Some(User { user_id: 5, device_id: 6, ..User::default() });
    let push = UserMessagePush { from_user, to_user_id: 0, content: FORGED.into() };
    let content = push.encode_to_vec().into();
    Message {
        command,
        content,
        room_id: 77,
        created_at: 1,
        created_at_ms: 1_000,
        is_from_user: true,
        ..Message::default()
    }
    .encode_to_vec()
}

/// The number under which it comes, and the numbers that the dialect knows.
fn told(dialect: Dialect, pool: &DescriptorPool, command: i32) -> Option<(i32, Vec<i32>)> {
    let (content, mut frame) = (said_in_room(command), Vec::new());
    let said = Packet { request_id: "", command: PacketCommand::PcMessage as i32, content: &content };
    if !dialect.packets().write(&said, &mut frame) {
        return None;
    }
    let decode = |name: &str, bytes: &[u8]| {
        let descriptor = pool.get_message_by_name(name).unwrap();
        DynamicMessage::decode(descriptor, bytes).unwrap()
    };
    let (number, known) = match pool.get_message_by_name("pb.Output") {
        Some(_) => {
            let output = decode("pb.Output", &frame);
            let Some(Value::Bytes(data)) = output.get_field_by_name("data").map(|data| data.into_owned()) else {
                panic!("`data` are bytes")
            };
            let number = decode("pb.Message", &data).get_field_by_name("code").unwrap().as_i32().unwrap();
            (number, "pb.PushCode")
        }
        None => {
            let message = decode("connect.Message", &frame);
            (message.get_field_by_name("command").unwrap().as_enum_number().unwrap(), "connect.Command")
        }
    };
    let known = pool.get_enum_by_name(known).unwrap().values().map(|value| value.number()).collect();
    Some((number, known))
}

#[test]
fn nobody_in_a_room_speaks_with_the_number_of_what_the_server_says() {
    for dialect in Dialect::all() {
        let pool = DescriptorPool::decode(dialect.calls().descriptors).unwrap();
        let has_rooms = told(dialect, &pool, 2_001).is_some();
        for command in (0..400).chain([999, 1_000, 1_100, 65_636, i32::MAX]) {
            let Some((number, known)) = told(dialect, &pool, command) else { continue };
            assert!(has_rooms, "{dialect:?} has no word for rooms");
            // The default says nothing of a content.
            assert!(number == 0 || !known.contains(&number), "{dialect:?}: {command} comes as {number}");
            if command >= 200 {
                assert_eq!(number, command, "{dialect:?}: it is the app's own");
            }
        }
    }
}
