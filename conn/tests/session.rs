//! Sign-in, deadlines, windows and limits of one connection (REGRESSIONS 4, 5, 8, 9, 10; "Bad input").

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::net::Shutdown;

use common::{Harness, PATIENCE, Script, TOKEN, assert_closed_for, goodbye};
use gim_conn::ConnSettings;
use gim_proto::{
    CloseReason,
    client::ClientError,
    connect::{Packet, PacketCommand, Reply},
    logic::{Kick, NodeAddresses, PeerNodes, down_item, up_item},
};
use prost::Message as _;

const SEND: i32 = PacketCommand::PcSend as i32;

#[test]
fn a_packet_before_the_sign_in_is_refused_and_the_connection_stays() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    for command in [SEND, PacketCommand::PcHeartbeat as i32, 1234, 0] {
        assert_eq!(client.request(command, Vec::new()).unwrap().code, 10000);
    }
    assert_eq!(client.sign_in(1, 2, TOKEN).unwrap().code, 0);
}

#[test]
fn an_unknown_command_is_answered_and_the_connection_stays() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    for command in [12, 999, 4, 9, -5] {
        assert_eq!(client.request(command, Vec::new()).unwrap().code, 10005);
    }
    assert_eq!(client.request(1000, b"for the business".to_vec()).unwrap().data, "for the business");
}

#[test]
fn a_wrong_token_is_refused_and_too_many_of_them_end_the_connection() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    for _ in 0..4 {
        assert_eq!(client.sign_in(1, 2, "wrong").unwrap().code, 10000);
    }
    assert_eq!(client.sign_in(1, 2, "wrong").unwrap().code, 10000);
    assert_closed_for(&mut client, CloseReason::CrRateLimited);
}

#[test]
fn a_sign_in_that_cannot_be_read_is_a_bad_request() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    assert_eq!(client.request(PacketCommand::PcSignIn as i32, vec![0xff; 5]).unwrap().code, 10001);
}

#[test]
fn a_second_sign_in_on_a_connection_is_a_bad_request() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    assert_eq!(client.sign_in(3, 4, TOKEN).unwrap().code, 10001);
    client.heartbeat().unwrap();
}

#[test]
fn who_never_signs_in_or_sends_half_a_frame_is_closed_at_the_deadline() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.session.sign_in_timeout_ms = 300);
    let mut silent = harness.connect();
    let mut half = harness.connect();
    half.send_raw(&[0x20, 0x0a]).unwrap();
    let mut chatty = harness.connect();
    assert_eq!(chatty.request(SEND, Vec::new()).unwrap().code, 10000);
    for client in [&mut silent, &mut half, &mut chatty] {
        assert_closed_for(client, CloseReason::CrSignInDeadline);
    }
}

#[test]
fn a_sign_in_that_logic_never_answers_does_not_outlive_the_deadline() {
    let harness = Harness::start_with(Script::Silent, |settings| settings.session.sign_in_timeout_ms = 300);
    let mut client = harness.connect();
    client.send(&Packet { command: PacketCommand::PcSignIn as i32, ..Packet::default() }).unwrap();
    assert_closed_for(&mut client, CloseReason::CrSignInDeadline);
}

#[test]
fn a_silent_peer_is_gone_after_the_heartbeat_deadline() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.session.heartbeat_timeout_ms = 300);
    let mut client = harness.sign_in(1, 2);
    assert_closed_for(&mut client, CloseReason::CrHeartbeatTimeout);
    assert_eq!(harness.logic.next_sign_out().device_id, 2);
}

#[test]
fn a_silent_peer_that_told_its_interval_is_gone_after_twice_that() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect().with_heartbeat(1);
    assert_eq!(client.sign_in(1, 2, TOKEN).unwrap().code, 0);
    assert_closed_for(&mut client, CloseReason::CrHeartbeatTimeout);
    assert_eq!(harness.logic.next_sign_out().device_id, 2);
}

/// What gim's test client sends: the sign-in of user 1 on device 2, and every five minutes a heartbeat.
#[test]
fn the_bytes_of_a_client_of_gim_sign_in_and_leave_it_the_patience_of_gim() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    let token = TOKEN.as_bytes();
    let content = [&[0x08, 1, 0x10, 2, 0x1a, token.len() as u8], token].concat();
    let packet = [&[0x0a, 1, b'1', 0x10, 1, 0x1a, content.len() as u8], &content[..]].concat();
    client.send_raw(&[&[packet.len() as u8], &packet[..], &[2, 0x10, 2]].concat()).unwrap();
    let signed_in = client.receive().unwrap();
    assert_eq!((signed_in.command, signed_in.request_id.as_str(), &signed_in.content[..]), (1, "1", &[][..]));
    assert_eq!(client.receive().unwrap().command, 2);
    let patience = ConnSettings::default().rules().for_heartbeat(0).heartbeat_timeout_ms;
    assert!(patience >= 2 * 300_000, "it may miss a heartbeat");
}

#[test]
fn a_peer_that_half_closes_gets_what_it_asked_for() {
    let harness = Harness::start(Script::SignInsOnly);
    let mut client = harness.sign_in(1, 2);
    client.send(&Packet { request_id: "last".into(), command: SEND, ..Packet::default() }).unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(harness.logic.next_sign_out().user_id, 1, "it is offline at once");
    // The packet went up before the sign-out; its reply still finds the connection.
    harness.logic.reply(2);
    assert_eq!(client.receive().unwrap().request_id, "last");
    assert!(matches!(client.receive(), Err(ClientError::Closed(None))));
}

#[test]
fn closing_an_old_connection_says_nothing_of_the_devices_newer_one() {
    let harness = Harness::start(Script::Obliging);
    let mut old = harness.sign_in(1, 2);
    let old_id = harness.logic.next_sign_in().connection_id;
    let mut new = harness.sign_in(1, 2);
    let new_id = harness.logic.next_sign_in().connection_id;
    let message = "signed in elsewhere".to_owned();
    let kick = Kick { connection_id: old_id, reason: CloseReason::CrReplaced as i32, message: message.clone() };
    harness.logic.say(down_item::Item::Kick(kick.clone()));
    let notice = goodbye(&mut old);
    assert_eq!((notice.reason(), notice.message), (CloseReason::CrReplaced, message));
    assert_eq!(harness.logic.next_sign_out().connection_id, old_id);
    harness.logic.say(down_item::Item::Kick(kick));
    harness.logic.say(common::inbox_push(new_id, 1, b"still here"));
    assert_eq!(common::next_message(&mut new).content, "still here");
    assert!(harness.logic.is_quiet(), "a connection is closed once");
}

#[test]
fn a_late_sign_in_result_never_lets_the_next_owner_of_the_slot_in() {
    let harness = Harness::start(Script::Silent);
    let mut first = harness.connect();
    first.send(&Packet { command: PacketCommand::PcSignIn as i32, ..Packet::default() }).unwrap();
    let asked = harness.logic.next_sign_in();
    first.stream().shutdown(Shutdown::Both).unwrap();
    // It lingers for its reply; only then is the slot free for the next one.
    assert!(first.receive().is_err());
    let mut next = harness.connect();
    assert_eq!(next.request(SEND, Vec::new()).unwrap().code, 10000);
    harness.logic.let_in(asked.request_no, 0);
    assert_eq!(harness.logic.next_sign_out().connection_id, asked.connection_id, "logic has to let the route go");
    assert_eq!(next.request(SEND, Vec::new()).unwrap().code, 10000);
}

#[test]
fn late_pushes_and_kicks_for_a_connection_that_is_gone_do_nothing() {
    let harness = Harness::start(Script::Obliging);
    let old = harness.sign_in(1, 2);
    let old_id = harness.logic.next_sign_in().connection_id;
    drop(old);
    harness.logic.next_sign_out();
    let mut next = harness.sign_in(5, 6);
    harness.logic.say(common::inbox_push(old_id, 9, b"for somebody else"));
    let reason = CloseReason::CrKicked as i32;
    harness.logic.say(down_item::Item::Kick(Kick { connection_id: old_id, reason, message: String::new() }));
    let gone = harness.logic.next(|item| match item {
        gim_proto::logic::up_item::Item::PushResult(result) => Some(result.gone_connection_ids),
        _ => None,
    });
    assert_eq!(gone, [old_id]);
    assert_eq!(next.heartbeat().unwrap(), 0);
}

#[test]
fn reading_pauses_while_the_window_is_full_and_goes_on_after_a_reply() {
    let harness = Harness::start_with(Script::SignInsOnly, |settings| settings.session.in_flight_max = 4);
    let mut client = harness.sign_in(1, 2);
    harness.logic.next_sign_in();
    for number in 0..10 {
        client.send(&Packet { request_id: number.to_string(), command: SEND, ..Packet::default() }).unwrap();
    }
    let mut numbers: Vec<u64> = (0..4).map(|_| harness.logic.next_packet().request_no).collect();
    assert!(harness.logic.is_quiet(), "the fifth packet waits for a reply");
    for _ in 4..10 {
        harness.logic.reply(numbers.remove(0));
        numbers.push(harness.logic.next_packet().request_no);
    }
    numbers.into_iter().for_each(|number| harness.logic.reply(number));
    let answered: Vec<String> = (0..10).map(|_| client.receive().unwrap().request_id).collect();
    assert_eq!(answered, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn over_its_rate_a_connection_is_refused_and_in_the_end_closed() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.session.packets_per_s = 1;
        settings.session.packets_burst = 5;
    });
    let mut client = harness.sign_in(1, 2);
    let mut codes = Vec::new();
    let heartbeat = Packet { command: PacketCommand::PcHeartbeat as i32, ..Packet::default() };
    client.send_raw(&heartbeat.encode_length_delimited_to_vec().repeat(30)).unwrap();
    let notice = loop {
        match client.receive() {
            Ok(packet) => codes.push(Reply::decode(packet.content).unwrap().code),
            Err(ClientError::Closed(Some(notice))) => break notice,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(notice.reason(), CloseReason::CrRateLimited);
    assert!(codes.starts_with(&[0, 0, 0]) && codes.contains(&10003), "{codes:?}");
}

#[test]
fn beyond_the_cap_a_connection_is_told_that_the_server_is_full() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.limits.connections_max = 2);
    let (mut first, second) = (harness.sign_in(1, 1), harness.sign_in(2, 2));
    assert_closed_for(&mut harness.connect(), CloseReason::CrServerOverloaded);
    drop(second);
    harness.logic.next_sign_out();
    let mut third = Harness::connect(&harness);
    assert_eq!(third.sign_in(3, 3, TOKEN).unwrap().code, 0);
    first.heartbeat().unwrap();
}

#[test]
fn beyond_its_share_an_address_is_told_that_it_has_all_it_may_have() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.limits.connections_per_ip_max = 1);
    let first = harness.sign_in(1, 1);
    assert_closed_for(&mut harness.connect(), CloseReason::CrAddressFull);
    drop(first);
    harness.logic.next_sign_out();
    assert_eq!(harness.connect().sign_in(1, 1, TOKEN).unwrap().code, 0);
}

#[test]
fn connects_and_disconnects_leave_nothing_behind() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.limits.connections_max = 50);
    for round in 0..20 {
        let clients: Vec<_> = (0..50).map(|device| harness.sign_in(round + 1, device + 1)).collect();
        drop(clients);
        for _ in 0..50 {
            harness.logic.next_sign_out();
        }
    }
}

#[test]
fn a_node_that_drains_says_so_to_logic_and_sends_its_clients_to_others() {
    let mut harness = Harness::start(Script::SignInsOnly);
    let mut client = harness.sign_in(1, 1);
    let connection = harness.logic.next_sign_in().connection_id;
    let other = NodeAddresses { tcp: "conn-2:8002".into(), ws: "ws://conn-2/ws".into(), ..NodeAddresses::default() };
    harness.logic.say(down_item::Item::PeerNodes(PeerNodes { nodes: vec![other] }));
    harness.logic.say(common::inbox_push(connection, 1, b"the peers came before this"));
    common::next_message(&mut client);
    let done = harness.begin_stop();
    assert_eq!(goodbye(&mut client).endpoint, "conn-2:8002");
    harness.logic.next(|item| match item {
        up_item::Item::NodeLoad(load) if load.is_draining => Some(()),
        _ => None,
    });
    drop(client);
    done.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn draining_tells_everybody_and_refuses_newcomers() {
    let mut harness = Harness::start_with(Script::SignInsOnly, |settings| {
        settings.drain.reconnect_spread_ms = 1000;
        settings.drain.endpoint = "conn-2:8002".into();
    });
    let mut idle = harness.sign_in(1, 1);
    let mut busy = harness.sign_in(2, 2);
    busy.send(&Packet { request_id: "open".into(), command: SEND, ..Packet::default() }).unwrap();
    let open = harness.logic.next_packet().request_no;
    let done = harness.begin_stop();
    let notice = goodbye(&mut idle);
    assert_eq!((notice.reason(), notice.endpoint.as_str()), (CloseReason::CrServerDraining, "conn-2:8002"));
    assert!(notice.reconnect_after_ms <= 1000);
    assert_closed_for(&mut harness.connect(), CloseReason::CrServerDraining);
    assert!(done.try_recv().is_err(), "a request under way is finished first");
    harness.logic.reply(open);
    assert_eq!(busy.receive().unwrap().request_id, "open");
    assert_closed_for(&mut busy, CloseReason::CrServerDraining);
    drop((idle, busy));
    done.recv_timeout(PATIENCE).unwrap();
}
