//! Pushes to connections, rooms and everybody, also past those who do not read (REGRESSIONS 3, 6, 20, 31).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::time::Instant;

use common::{Harness, Script, inbox_push, next_message, room_push, subscribe};
use gim_proto::{
    CloseReason, ResultCode,
    client::Client,
    connect::{
        DeviceMessage, Message, Packet, PacketCommand, PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
    },
    logic::{
        ConnectionSeq, NewestSeqAnswer, PacketReply, PushAll, RoomMove, RoomSubscribed, SignIn, down_item, up_item,
    },
};
use prost::Message as _;

fn hint(client: &mut Client) -> u64 {
    let packet = client.receive().unwrap();
    assert_eq!(packet.command, PacketCommand::PcSyncHint as i32);
    packet.seq
}

#[test]
fn a_push_has_its_receivers_seqs_and_the_heartbeat_the_newest() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    let connection = harness.logic.next_sign_in().connection_id;
    harness.logic.say(inbox_push(connection, 41, b"hello"));
    let message = next_message(&mut client);
    assert_eq!((message.seq, message.prev_seq, message.content), (41, 40, "hello".into()));
    assert_eq!(client.heartbeat().unwrap(), 41);
}

#[test]
fn a_heartbeat_asks_for_the_newest_seq_and_news_become_a_hint() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    assert_eq!(client.heartbeat().unwrap(), 0);
    let asked = harness.logic.next(|item| match item {
        up_item::Item::NewestSeq(question) => Some(question.connections),
        _ => None,
    });
    assert_eq!((asked[0].connection_id, asked[0].user_id), (connection_id, 1));
    let answer = |newest_seq| {
        let connections = vec![ConnectionSeq { connection_id, newest_seq }];
        down_item::Item::NewestSeq(NewestSeqAnswer { connections })
    };
    harness.logic.say(answer(7));
    assert_eq!(hint(&mut client), 7);
    harness.logic.say(answer(7));
    harness.logic.say(inbox_push(connection_id, 8, b"next"));
    assert_eq!(next_message(&mut client).seq, 8, "the same seq is no news");
}

#[test]
fn what_a_client_sent_itself_is_no_news_to_it() {
    let harness = Harness::start(Script::Silent);
    let mut client = harness.connect();
    client.send(&Packet { command: PacketCommand::PcSignIn as i32, ..Packet::default() }).unwrap();
    let SignIn { connection_id, request_no, .. } = harness.logic.next_sign_in();
    harness.logic.let_in(request_no, 4);
    assert_eq!(client.receive().unwrap().command, PacketCommand::PcSignIn as i32);
    // Of 6 nothing is known here when 7 is answered: that may have to be synced.
    for (inbox_seq, known) in [(5, 5), (7, 5), (6, 6)] {
        let send = Packet { command: PacketCommand::PcSend as i32, request_id: "a".into(), ..Packet::default() };
        client.send(&send).unwrap();
        let request_no = harness.logic.next_packet().request_no;
        let reply = PacketReply { request_no, inbox_seq, ..PacketReply::default() };
        harness.logic.say(down_item::Item::PacketReply(reply));
        assert_eq!(client.receive().unwrap().command, PacketCommand::PcSend as i32);
        assert_eq!(client.heartbeat().unwrap(), known);
    }
    let newest = |newest_seq| {
        let connections = vec![ConnectionSeq { connection_id, newest_seq }];
        down_item::Item::NewestSeq(NewestSeqAnswer { connections })
    };
    harness.logic.say(newest(6));
    harness.logic.say(newest(7));
    assert_eq!(hint(&mut client), 7, "there was none of 6");
}

#[test]
fn a_push_before_the_answer_to_the_sign_in_becomes_a_hint_after_it() {
    let harness = Harness::start(Script::Silent);
    let mut client = harness.connect();
    let sign_in = Packet { command: PacketCommand::PcSignIn as i32, ..Packet::default() };
    client.send(&sign_in).unwrap();
    let asked = harness.logic.next_sign_in();
    harness.logic.say(inbox_push(asked.connection_id, 5, b"too early"));
    harness.logic.let_in(asked.request_no, 4);
    assert_eq!(client.receive().unwrap().command, PacketCommand::PcSignIn as i32);
    assert_eq!(hint(&mut client), 5);
    assert_eq!(client.heartbeat().unwrap(), 5);
    let is_reported = harness.logic.so_far().iter().any(|item| matches!(item, up_item::Item::PushResult(_)));
    assert!(!is_reported, "a connection that is about to be let in keeps its route");
}

#[test]
fn a_room_that_logic_picks_for_a_connection_that_is_gone_is_released() {
    let harness = Harness::start(Script::Obliging);
    let client = harness.sign_in(1, 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    drop(client);
    harness.logic.next_sign_out();
    let subscribed = Some(RoomSubscribed { room_id: 9, ..RoomSubscribed::default() });
    harness.logic.say(down_item::Item::RoomMove(RoomMove { connection_id, subscribed }));
    let released = harness.logic.next(|item| match item {
        up_item::Item::RoomRelease(release) => Some(release.room_id),
        _ => None,
    });
    assert_eq!(released, 9);
}

#[test]
fn moving_from_room_to_room_joins_the_second_and_leaves_the_first() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    subscribe(&mut client, 5);
    subscribe(&mut client, 6);
    let released = harness.logic.next(|item| match item {
        up_item::Item::RoomRelease(release) => Some(release.room_id),
        _ => None,
    });
    assert_eq!(released, 5);
    harness.logic.say(room_push(5, b"left"));
    harness.logic.say(room_push(6, b"joined"));
    assert_eq!(next_message(&mut client).content, "joined");
}

#[test]
fn leaving_a_room_that_nobody_else_is_in_and_pushing_to_it_harms_nothing() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    subscribe(&mut client, 5);
    subscribe(&mut client, 0);
    harness.logic.say(room_push(5, b"nobody"));
    subscribe(&mut client, 5);
    harness.logic.say(room_push(5, b"somebody"));
    assert_eq!(next_message(&mut client).content, "somebody");
}

#[test]
fn a_room_is_released_when_its_last_subscriber_goes_and_not_before() {
    let harness = Harness::start(Script::Obliging);
    let (mut first, mut second) = (harness.sign_in(1, 1), harness.sign_in(2, 2));
    subscribe(&mut first, 5);
    subscribe(&mut second, 5);
    drop(first);
    harness.logic.next_sign_out();
    harness.logic.say(room_push(5, b"one is left"));
    assert_eq!(next_message(&mut second).content, "one is left");
    drop(second);
    let mut seen = Vec::new();
    harness.logic.next(|item| match item {
        up_item::Item::RoomRelease(release) => {
            seen.push(release.room_id);
            Some(())
        }
        _ => None,
    });
    assert_eq!(seen, [5]);
}

#[test]
fn logic_moves_a_connection_into_a_room_whose_messages_come_first() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    let retained = vec![Message { room_seq: 3, room_id: 9, ..Message::default() }.encode_to_vec().into()];
    let subscribed = Some(RoomSubscribed { room_id: 9, retained, newest_seq: 0 });
    harness.logic.say(down_item::Item::RoomMove(RoomMove { connection_id, subscribed }));
    harness.logic.say(room_push(9, b"live"));
    assert_eq!(next_message(&mut client).room_seq, 3);
    assert_eq!(next_message(&mut client).content, "live");
}

#[test]
fn a_room_push_reaches_every_member_once_and_in_order() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.reactors = 2;
        settings.turn.deliveries = 3;
    });
    let mut clients: Vec<Client> = (1..=20).map(|id| harness.sign_in(id, id)).collect();
    clients.iter_mut().for_each(|client| subscribe(client, 5));
    for number in 0..50u8 {
        harness.logic.say(room_push(5, &[number]));
    }
    for client in &mut clients {
        let numbers: Vec<u8> = (0..50).map(|_| next_message(client).content[0]).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn a_push_to_all_reaches_everybody_who_signed_in() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.turn.deliveries = 3);
    let mut clients: Vec<Client> = (1..=10).map(|id| harness.sign_in(id, id)).collect();
    let mut unsigned = harness.connect();
    for number in 0..3u8 {
        let message = Message { content: vec![number].into(), ..Message::default() }.encode_to_vec().into();
        harness.logic.say(down_item::Item::PushAll(PushAll { message, message_id: 1 }));
    }
    for client in &mut clients {
        let numbers: Vec<u8> = (0..3).map(|_| next_message(client).content[0]).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }
    assert_eq!(unsigned.request(PacketCommand::PcSend as i32, Vec::new()).unwrap().code, 10000);
}

#[test]
fn one_member_that_stops_reading_costs_only_itself() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.outbound_soft_timeout_ms = 300;
        settings.limits.room_backlog_max = 100_000;
    });
    let (mut stuck, mut reader) = (harness.sign_in(1, 1), harness.sign_in(2, 2));
    subscribe(&mut stuck, 5);
    subscribe(&mut reader, 5);
    let content = vec![1; 32 * 1024];
    // Far more than the kernel's buffers of the one that does not read.
    for _ in 0..600 {
        harness.logic.say(room_push(5, &content));
        assert_eq!(next_message(&mut reader).content.len(), content.len());
    }
    assert_eq!(harness.logic.next_sign_out().device_id, 1, "it is closed as a slow consumer");
    reader.heartbeat().unwrap();
}

#[test]
fn whole_frames_come_out_whole_when_the_peer_reads_at_last() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 1);
    subscribe(&mut client, 5);
    for number in 0..600u32 {
        let mut content = vec![0; 20_000];
        content[..4].copy_from_slice(&number.to_be_bytes());
        harness.logic.say(room_push(5, &content));
    }
    // The oldest of those that the kernel had no room for were dropped; nothing is cut or out of order.
    let mut last = None;
    while last != Some(599) {
        let message = next_message(&mut client);
        assert_eq!(message.content.len(), 20_000);
        let number = u32::from_be_bytes(message.content[..4].try_into().unwrap());
        assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
        last = Some(number);
    }
}

#[test]
fn a_burst_larger_than_the_queue_reaches_a_member_that_reads() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    let connection_id = harness.logic.next_sign_in().connection_id;
    let message = |room_seq| Message { room_seq, room_id: 9, content: vec![0; 30_000].into(), ..Message::default() };
    let retained: Vec<_> = (1..=20).map(|seq| message(seq).encode_to_vec().into()).collect();
    let subscribed = Some(RoomSubscribed { room_id: 9, retained, newest_seq: 0 });
    harness.logic.say(down_item::Item::RoomMove(RoomMove { connection_id, subscribed }));
    let seqs: Vec<u64> = (0..20).map(|_| next_message(&mut client).room_seq).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}

#[test]
fn inbox_pushes_that_find_no_room_become_one_hint_to_sync() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 1);
    let connection = harness.logic.next_sign_in().connection_id;
    let content = vec![1; 32 * 1024];
    let mut witness = harness.sign_in(2, 2);
    let witness_id = harness.logic.next_sign_in().connection_id;
    for seq in 1..=600 {
        harness.logic.say(inbox_push(connection, seq, &content));
    }
    // Commands are handled in order: with this one, all pushes met a client that has not read a byte.
    harness.logic.say(inbox_push(witness_id, 1, b"after them"));
    assert_eq!(next_message(&mut witness).content, "after them");
    let mut expected = 1;
    let hinted = loop {
        let packet = client.receive().unwrap();
        if packet.command == PacketCommand::PcSyncHint as i32 {
            break packet.seq;
        }
        assert_eq!(Message::decode(packet.content).unwrap().seq, expected);
        expected += 1;
    };
    assert!(expected < 600, "not everything found room");
    assert!(hinted >= expected && hinted <= 600);
    let deadline = Instant::now() + common::PATIENCE;
    while client.heartbeat().unwrap() != 600 {
        assert!(Instant::now() < deadline, "the newest seq is known in the end");
    }
}

#[test]
fn a_push_to_devices_over_grpc_reaches_those_that_are_here() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 77);
    let mut calls = harness.wait(ConnectIntServiceClient::connect(format!("http://{}", harness.grpc))).unwrap();
    let message = Some(Message { seq: 5, content: "for 77".into(), ..Message::default() });
    let push = |device_id, message| PushToDevicesRequest {
        device_messages: vec![DeviceMessage { device_id, message }],
        app_id: 0,
    };
    harness.wait(calls.push_to_devices(push(77, message.clone()))).unwrap();
    assert_eq!(next_message(&mut client).content, "for 77");
    let mut some = push(78, message.clone());
    some.device_messages.extend(push(77, message.clone()).device_messages);
    let refused = harness.wait(calls.push_to_devices(some)).unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::ConnectionNotFound);
    assert!(refused.message().contains("device 78"), "{refused}");
    assert_eq!(next_message(&mut client).content, "for 77", "who is here has it all the same");

    let refused = harness.wait(calls.push_to_devices(push(0, message))).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("device_messages[0].device_id"), "{refused}");
    let refused = harness.wait(calls.push_to_devices(push(77, None))).unwrap_err();
    assert!(refused.message().contains("device_messages[0].message"), "{refused}");
    assert!(harness.wait(calls.push_to_devices(PushToDevicesRequest::default())).is_err());
}

#[test]
fn a_kick_says_the_reason_that_logic_gives_and_without_one_it_is_a_kick() {
    let harness = Harness::start(Script::Obliging);
    for (given, said) in [
        (CloseReason::CrUnknown, CloseReason::CrKicked),
        (CloseReason::CrKicked, CloseReason::CrKicked),
        (CloseReason::CrReplaced, CloseReason::CrReplaced),
        (CloseReason::CrTokenRevoked, CloseReason::CrTokenRevoked),
    ] {
        let mut client = harness.sign_in(1, 2);
        let connection_id = harness.logic.next_sign_in().connection_id;
        let kick = gim_proto::logic::Kick { connection_id, reason: given as i32, ..Default::default() };
        harness.logic.say(down_item::Item::Kick(kick));
        common::assert_closed_for(&mut client, said);
    }
}
