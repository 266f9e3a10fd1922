//! The link to logic breaks, comes back, or is not there (REGRESSIONS 23 and the conn side of 24).

mod common;

use std::collections::BTreeSet;

use common::{Harness, Script, inbox_push, next_message, subscribe};
use gim_proto::{
    connect::{Packet, PacketCommand, Reply},
    logic::{announce::What, up_item},
};
use prost::Message as _;

const SEND: i32 = PacketCommand::PcSend as i32;

#[test]
fn unanswered_requests_of_a_broken_stream_are_answered_try_again_later() {
    let harness = Harness::start(Script::SignInsOnly);
    let mut client = harness.sign_in(1, 2);
    client.send(&Packet { request_id: "open".into(), command: SEND, ..Packet::default() }).unwrap();
    harness.logic.next_packet();
    harness.logic.hang_up();
    let packet = client.receive().unwrap();
    assert_eq!(packet.request_id, "open");
    assert_eq!(Reply::decode(packet.content).unwrap().code, 10004);
    client.heartbeat().unwrap();
}

#[test]
fn what_logic_does_not_answer_in_time_is_answered_try_again_later() {
    let harness = Harness::start_with(Script::SignInsOnly, |settings| settings.link.request_timeout_ms = 100);
    let mut client = harness.sign_in(1, 2);
    assert_eq!(client.request(SEND, Vec::new()).unwrap().code, 10004);
    let late = harness.logic.next_packet().request_no;
    harness.logic.reply(late);
    client.heartbeat().unwrap();
}

#[test]
fn a_link_that_comes_back_is_told_of_every_live_connection_and_room() {
    let harness = Harness::start(Script::Obliging);
    let first = harness.logic.hellos.recv_timeout(common::PATIENCE).unwrap();
    let mut clients: Vec<_> = (1..=5).map(|id| harness.sign_in(id, 10 + id)).collect();
    subscribe(&mut clients[0], 8);
    let left = clients.pop();
    drop(left);
    harness.logic.next_sign_out();
    harness.logic.so_far();
    harness.logic.hang_up();
    let second = harness.logic.hellos.recv_timeout(common::PATIENCE).unwrap();
    assert_eq!((first.node, first.epoch), (second.node, second.epoch), "the same start of the same node");

    let mut devices = BTreeSet::new();
    let mut connection = 0;
    let mut rooms = Vec::new();
    harness.logic.next(|item| {
        if let up_item::Item::Announce(announce) = item {
            match announce.what.unwrap() {
                What::Connection(live) => {
                    assert!(live.since_ms > 1_700_000_000_000, "{}", live.since_ms);
                    devices.insert(live.device_id);
                    connection = if live.device_id == 11 { live.connection_id } else { connection };
                }
                What::RoomId(room_id) => rooms.push(room_id),
            }
        }
        (devices.len() == 4 && !rooms.is_empty()).then_some(())
    });
    assert_eq!(devices, BTreeSet::from([11, 12, 13, 14]));
    assert_eq!(rooms[0], 8);
    harness.logic.say(inbox_push(connection, 1, b"after"));
    assert_eq!(next_message(&mut clients[0]).content, "after");
}

#[test]
fn without_logic_a_sign_in_is_put_off_and_may_be_repeated() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.link.reconnect_first_ms = 60_000;
        settings.link.reconnect_max_ms = 60_000;
    });
    let mut live = harness.sign_in(1, 2);
    harness.logic.hang_up();
    // The link is gone once a request says so.
    while live.request(SEND, Vec::new()).unwrap().code != 10004 {}
    let mut client = harness.connect();
    assert_eq!(client.sign_in(3, 4, common::TOKEN).unwrap().code, 10004);
    assert_eq!(client.sign_in(3, 4, common::TOKEN).unwrap().code, 10004);
    live.heartbeat().unwrap();
}

#[test]
fn a_sign_in_that_timed_out_is_signed_out_behind_it() {
    let harness = Harness::start_with(Script::Silent, |settings| settings.link.request_timeout_ms = 100);
    let mut client = harness.connect();
    assert_eq!(client.sign_in(1, 2, common::TOKEN).unwrap().code, 10004);
    let asked = harness.logic.next_sign_in();
    let signed_out = harness.logic.next_sign_out();
    assert_eq!((signed_out.connection_id, signed_out.user_id, signed_out.device_id), (asked.connection_id, 1, 2));
}

#[test]
fn many_large_packets_at_once_travel_in_messages_that_logic_takes() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.turn.read_bytes = 16 * 1024 * 1024;
        // The clients read only after they have sent everything.
        settings.tcp.send_buffer_bytes = 0;
    });
    let mut clients: Vec<_> = (1..=40).map(|id| harness.sign_in(id, id)).collect();
    for client in &mut clients {
        let content = vec![7; 60_000];
        for number in 0..20 {
            let request_id = number.to_string();
            client.send(&Packet { request_id, command: SEND, content: content.clone().into(), seq: 0 }).unwrap();
        }
    }
    for client in &mut clients {
        for number in 0..20 {
            assert_eq!(client.receive().unwrap().request_id, number.to_string());
        }
    }
    // The stub takes tonic's default of 4 MiB in one message.
    assert_eq!(harness.logic.hellos.try_iter().count(), 1, "the link never broke");
}

#[test]
fn a_logic_node_that_takes_nothing_holds_up_its_own_users_only() {
    const USERS: u64 = 200;
    const IN_FLIGHT_MAX: u16 = 1_000;
    let harness = Harness::start_apps(Script::Obliging, &[(0, Script::Stuck)], |settings| {
        settings.link.queue_batches_max = 1;
        settings.link.request_timeout_ms = 600_000;
        settings.session.in_flight_max = IN_FLIGHT_MAX;
    });
    let stuck = &harness.others[0];
    // A node that attaches takes users over. Once each has had one, both are attached, and everybody stays with his node.
    let (mut has_stuck, mut has_obliging) = (false, false);
    let (mut with_stuck, mut with_obliging) = (None, None);
    for user_id in 1..=USERS {
        let client = harness.sign_in(user_id, user_id);
        let signed_in =
            |item: &up_item::Item| matches!(item, up_item::Item::SignIn(sign_in) if sign_in.user_id == user_id);
        let is_with_stuck = stuck.so_far().iter().any(signed_in);
        if has_stuck && has_obliging {
            *(if is_with_stuck { &mut with_stuck } else { &mut with_obliging }) = Some(client);
        }
        has_stuck |= is_with_stuck;
        has_obliging |= !is_with_stuck;
        if with_stuck.is_some() && with_obliging.is_some() {
            break;
        }
    }
    let (mut client, mut other) = (with_stuck.expect("a user with it"), with_obliging.expect("and one without"));

    // Within its window, which takes longer to fill than the link has patience.
    let content = vec![0; 32 * 1024];
    let is_refused = (0..IN_FLIGHT_MAX).any(|number| {
        let request_id = number.to_string();
        let packet = Packet { request_id, command: SEND, content: content.clone().into(), ..Packet::default() };
        client.send(&packet).unwrap();
        // Each is a batch of its own: the other node's answer comes behind it.
        assert_eq!(other.request(SEND, Vec::new()).unwrap().code, 0);
        let answer = client.receive_within(std::time::Duration::from_millis(1));
        answer.is_ok_and(|packet| Reply::decode(packet.content).unwrap().code == 10004)
    });
    assert!(is_refused, "its own users are told to try again");
}
