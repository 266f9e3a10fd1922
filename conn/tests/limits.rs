//! Every rule of flow control: what happens at its bound, and that it is counted (REGRESSIONS 6; "Flow control" in
//! ARCHITECTURE.md). In a binary of its own, as the counters are those of the process.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use common::{Harness, PATIENCE, Script, assert_closed_for, goodbye, inbox_push, room_push, subscribe};
use gim_config::listen::Endpoint;
use gim_conn::{ConnSettings, settings::LegacySettings};
use gim_legacy::{Dialect, packets::Scratch};
use gim_proto::{
    CloseReason,
    connect::{Packet, PacketCommand, Reply},
};
use prost::Message as _;

const SEND: i32 = PacketCommand::PcSend as i32;
const CALL: i32 = PacketCommand::PcCall as i32;

/// The sum of a counter over all reactors and, where a label is given, only of the lines that have it.
fn counted(name: &str, label: &str) -> u64 {
    let page = gim_config::admin::metrics_handle().render();
    let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Waits until a counter is beyond what it was.
fn assert_grows(name: &str, label: &str, before: u64) {
    let deadline = Instant::now() + PATIENCE;
    while counted(name, label) <= before {
        assert!(Instant::now() < deadline, "{name} {label} is still {before}");
        std::thread::yield_now();
    }
}

fn packet(command: i32, content_bytes: usize) -> Packet {
    Packet { command, content: vec![1; content_bytes].into(), ..Packet::default() }
}

#[test]
fn a_full_window_pauses_reading_and_is_counted() {
    let before = counted("conn_read_pauses_total", "");
    let harness = Harness::start_with(Script::SignInsOnly, |settings| settings.session.in_flight_max = 1);
    let mut client = harness.sign_in(1, 2);
    let paused = counted("conn_read_pauses_total", "");
    assert!(paused > before, "a sign-in under way pauses, too");
    client.send(&packet(SEND, 0)).unwrap();
    assert_grows("conn_read_pauses_total", "", paused);
}

#[test]
fn calls_beyond_their_places_are_refused_and_all_else_goes_on() {
    let harness = Harness::start_with(Script::SignInsOnly, |settings| {
        settings.session.in_flight_max = 2;
        settings.session.calls_in_flight_max = 3;
    });
    let refused = counted("conn_refused_packets_total", "");
    let mut client = harness.sign_in(1, 2);
    harness.logic.next_sign_in();
    let call = |number: u32| Packet { request_id: number.to_string(), ..packet(CALL, 10) };
    (0..5).for_each(|number| client.send(&call(number)).unwrap());
    for number in [3, 4] {
        let answer = client.receive().unwrap();
        assert_eq!((&*answer.request_id, answer.command), (&*number.to_string(), CALL));
        assert_eq!(Reply::decode(answer.content).unwrap().code, 10003);
    }
    assert_grows("conn_refused_packets_total", "", refused + 1);
    let calls: Vec<_> = (0..3).map(|_| harness.logic.next_packet()).collect();
    assert!(calls.iter().all(|call| call.command == CALL && (call.user_id, call.device_id) == (1, 2)));
    client.heartbeat().unwrap();
    client.send(&packet(SEND, 1)).unwrap();
    let send = harness.logic.next_packet();
    assert_eq!(send.command, SEND, "calls that are not answered hold nothing up");
    harness.logic.reply(send.request_no);
    assert_eq!(client.receive().unwrap().command, SEND);
    harness.logic.reply(calls[1].request_no);
    assert_eq!(client.receive().unwrap().request_id, "1");
    client.send(&call(9)).unwrap();
    assert_eq!(harness.logic.next_packet().command, CALL, "an answer gives the place back");
}

#[test]
fn a_logic_node_has_places_for_calls_beside_those_of_other_requests() {
    let harness = Harness::start_with(Script::SignInsOnly, |settings| {
        settings.link.calls_max = 2;
        settings.link.requests_max = 2;
    });
    let beyond = counted("conn_requests_beyond_window_total", "");
    let mut client = harness.sign_in(1, 2);
    (0..3).for_each(|_| client.send(&packet(CALL, 10)).unwrap());
    let answer = client.receive().unwrap();
    assert_eq!((answer.command, Reply::decode(answer.content).unwrap().code), (CALL, 10004));
    assert_grows("conn_requests_beyond_window_total", "", beyond);
    (0..2).for_each(|_| client.send(&packet(SEND, 10)).unwrap());
    let commands: Vec<i32> = (0..4).map(|_| harness.logic.next_packet().command).collect();
    assert_eq!(commands, [CALL, CALL, SEND, SEND]);
}

#[test]
fn who_reads_too_slowly_for_too_long_is_told_so() {
    let before = counted("conn_closed_total", "slow_consumer");
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.outbound_soft_timeout_ms = 200;
        settings.session.linger_ms = 20_000;
    });
    let mut stuck = harness.sign_in(1, 1);
    let connection = harness.logic.next_sign_in().connection_id;
    let content = vec![1; 60_000];
    for seq in 1..=300 {
        harness.logic.say(inbox_push(connection, seq, &content));
    }
    assert_eq!(harness.logic.next_sign_out().device_id, 1);
    assert_closed_for(&mut stuck, CloseReason::CrSlowConsumer);
    assert_grows("conn_closed_total", "slow_consumer", before);
}

#[test]
fn a_reply_that_finds_no_room_ends_the_connection() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.outbound_soft_timeout_ms = 60_000;
        settings.session.linger_ms = 20_000;
    });
    let mut client = harness.sign_in(1, 1);
    harness.logic.next_sign_in();
    // The stub answers each with its own content; nobody reads the answers. What is sent after the end is thrown away.
    for _ in 0..300 {
        client.send(&packet(SEND, 60_000)).unwrap();
    }
    assert_eq!(harness.logic.next_sign_out().device_id, 1);
    assert_eq!(goodbye(&mut client).reason(), CloseReason::CrSlowConsumer);
}

#[test]
fn rooms_drop_their_oldest_inbox_pushes_are_skipped_both_counted() {
    let (dropped, skipped) =
        (counted("conn_room_pushes_dropped_total", ""), counted("conn_inbox_pushes_skipped_total", ""));
    let hints = counted("conn_sync_hints_total", "");
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.limits.outbound_soft_timeout_ms = 60_000;
    });
    let mut client = harness.sign_in(1, 1);
    let connection = harness.logic.next_sign_in().connection_id;
    subscribe(&mut client, 5);
    let content = vec![1; 60_000];
    for seq in 1..=300 {
        harness.logic.say(room_push(5, &content));
        harness.logic.say(inbox_push(connection, seq, &content));
    }
    assert_grows("conn_room_pushes_dropped_total", "", dropped);
    assert_grows("conn_inbox_pushes_skipped_total", "", skipped);
    while client.receive().unwrap().command != PacketCommand::PcSyncHint as i32 {}
    assert_grows("conn_sync_hints_total", "", hints);
}

#[test]
fn over_the_rate_packets_are_refused_then_the_connection_is_closed() {
    let (refused, closed) = (counted("conn_refused_packets_total", ""), counted("conn_closed_total", "rate_limited"));
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.session.packets_per_s = 1;
        settings.session.packets_burst = 3;
    });
    let mut client = harness.sign_in(1, 1);
    for _ in 0..10 {
        client.send(&packet(PacketCommand::PcHeartbeat as i32, 0)).unwrap();
    }
    assert_closed_for(&mut client, CloseReason::CrRateLimited);
    assert_grows("conn_refused_packets_total", "", refused);
    assert_grows("conn_closed_total", "rate_limited", closed);
}

#[test]
fn rules_that_change_while_it_runs_hold_for_connections_that_are_there() {
    let mut harness = Harness::start_with(Script::Obliging, |settings| settings.session.packets_per_s = 0);
    let mut client = harness.sign_in(1, 1);
    let mut settings = ConnSettings::default();
    (settings.session.packets_per_s, settings.session.packets_burst) = (1, 2);
    harness.reload(Some(&settings)).unwrap();
    for _ in 0..6 {
        client.send(&packet(SEND, 0)).unwrap();
    }
    assert_closed_for(&mut client, CloseReason::CrRateLimited);
}

#[test]
fn the_cap_of_connections_changes_while_it_runs() {
    let mut harness = Harness::start_with(Script::Obliging, |settings| settings.limits.connections_max = 1);
    let first = harness.sign_in(1, 1);
    assert_closed_for(&mut harness.connect(), CloseReason::CrServerOverloaded);
    let mut settings = ConnSettings::default();
    settings.limits.connections_max = 2;
    harness.reload(Some(&settings)).unwrap();
    let _second = harness.sign_in(2, 2);
    settings.limits.connections_max = 1;
    harness.reload(Some(&settings)).unwrap();
    drop(first);
    assert_closed_for(&mut harness.connect(), CloseReason::CrServerOverloaded);
}

#[test]
fn the_caps_are_exact_however_the_kernel_spreads_the_connects() {
    let before = counted("conn_refused_connections_total", "");
    for cap_addresses in [false, true] {
        let harness = Harness::start_with(Script::Obliging, |settings| {
            settings.reactors = 4;
            if cap_addresses {
                settings.limits.connections_per_ip_max = 7;
            } else {
                settings.limits.connections_max = 7;
            }
        });
        let mut held: Vec<_> = (1..=7).map(|id| harness.sign_in(id, id)).collect();
        for _ in 0..20 {
            let reason = if cap_addresses { CloseReason::CrAddressFull } else { CloseReason::CrServerOverloaded };
            assert_closed_for(&mut harness.connect(), reason);
        }
        held.iter_mut().for_each(|client| assert_eq!(client.heartbeat().unwrap(), 0));
    }
    assert_grows("conn_refused_connections_total", "", before + 39);
}

#[test]
fn a_loud_peer_waits_for_its_next_turn_and_that_is_counted() {
    let before = counted("conn_read_yields_total", "");
    let harness = Harness::start_with(Script::Obliging, |settings| settings.turn.read_frames = 1);
    let mut client = harness.sign_in(1, 1);
    for _ in 0..10 {
        client.send(&packet(PacketCommand::PcHeartbeat as i32, 0)).unwrap();
    }
    (0..10).for_each(|_| assert_eq!(client.receive().unwrap().command, PacketCommand::PcHeartbeat as i32));
    assert_grows("conn_read_yields_total", "", before);
}

#[test]
fn a_peer_that_leaves_is_an_end_like_others_and_counted() {
    let before = counted("conn_closed_total", "peer_closed");
    let harness = Harness::start(Script::Obliging);
    drop(harness.sign_in(1, 1));
    assert_eq!(harness.logic.next_sign_out().device_id, 1);
    assert_grows("conn_closed_total", "peer_closed", before);
}

fn speak(dialect: Dialect) -> impl FnOnce(&mut ConnSettings) {
    move |settings| {
        let (tcp, websocket) = (Endpoint::new("127.0.0.1:0"), Endpoint::default());
        settings.legacy = vec![LegacySettings { dialect, tcp, websocket }];
    }
}

/// Opens a connection of an older client, which says this; what it hears until the end.
fn hear(harness: &Harness, dialect: Dialect, frame: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(harness.older_address(dialect)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who was turned away may have closed already.
    let _told = stream.write_all(frame);
    let mut heard = Vec::new();
    // The end may be a reset where something was said that nobody read.
    let _ended = stream.read_to_end(&mut heard);
    heard
}

/// The dialect's own frame of one, which is refused before a sign-in: a number that is its command or its type.
fn heartbeat(dialect: Dialect) -> Vec<u8> {
    let mut frames = [0x08, 0x10].into_iter().flat_map(|key| (0..8).map(move |number| [key, number]));
    let is_it = |frame: &[u8; 2]| {
        let mut scratch = Scratch::default();
        let read = dialect.packets().read(frame, &mut scratch);
        read.is_ok_and(|packet| packet.command == PacketCommand::PcHeartbeat as i32)
    };
    [&[2], &frames.find(is_it).unwrap()[..]].concat()
}

#[test]
fn the_door_of_a_dialect_counts_connections_as_the_others_do() {
    for dialect in Dialect::all() {
        let harness = Harness::start_with(Script::SignInsOnly, |settings| {
            speak(dialect)(settings);
            settings.limits.connections_per_ip_max = 1;
        });
        let _the_only_one = harness.sign_in(1, 2);
        let label = format!("reason=\"address_full\",dialect=\"{}\"", dialect.name());
        let before = counted("conn_closed_total", &label);
        let heard = hear(&harness, dialect, &[]);
        assert!(!heard.is_empty(), "{dialect:?} says why");
        assert_grows("conn_closed_total", &label, before);
    }
}

#[test]
fn what_an_older_client_says_is_counted_under_its_dialect_and_bounded() {
    for dialect in Dialect::all() {
        let harness = Harness::start_with(Script::SignInsOnly, |settings| {
            speak(dialect)(settings);
            settings.session.sign_in_timeout_ms = 2_000;
        });
        let label = format!("dialect=\"{}\"", dialect.name());
        let (said, refused) = (counted("conn_packets_in_total", &label), counted("conn_refused_packets_total", &label));
        let heard = hear(&harness, dialect, &heartbeat(dialect));
        assert!(!heard.is_empty());
        assert_grows("conn_packets_in_total", &label, said);
        assert_grows("conn_refused_packets_total", &label, refused);
        let closed = format!("reason=\"sign_in_deadline\",{label}");
        assert_grows("conn_closed_total", &closed, 0);
    }
}
