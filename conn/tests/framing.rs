//! What comes in pieces, in bulk, or is no frame at all (REGRESSIONS 1, 2, 29; "Bad input").

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use common::{Harness, Script, TOKEN, assert_closed_for};
use gim_proto::{
    CloseReason,
    client::Client,
    connect::{Packet, PacketCommand, Reply, SignInRequest},
};
use prost::Message as _;

fn packet(command: PacketCommand, request_id: &str, content: Vec<u8>) -> Vec<u8> {
    Packet { request_id: request_id.into(), command: command as i32, content: content.into(), seq: 0 }
        .encode_length_delimited_to_vec()
}

fn sign_in_packet() -> Vec<u8> {
    let request = SignInRequest { user_id: 1, device_id: 2, token: TOKEN.into(), ..SignInRequest::default() };
    packet(PacketCommand::PcSignIn, "in", request.encode_to_vec())
}

/// A sign-in, heartbeats and packets for logic, as one stream of bytes.
fn conversation() -> Vec<u8> {
    let mut bytes = sign_in_packet();
    bytes.extend(packet(PacketCommand::PcHeartbeat, "h1", Vec::new()));
    bytes.extend(packet(PacketCommand::PcSend, "s1", vec![7; 300]));
    bytes.extend(packet(PacketCommand::PcHeartbeat, "h2", Vec::new()));
    bytes
}

fn assert_conversation_is_answered(client: &mut Client) {
    let mut request_ids: Vec<String> = (0..4).map(|_| client.receive().unwrap().request_id).collect();
    assert_eq!(request_ids.remove(0), "in");
    request_ids.sort_unstable();
    assert_eq!(request_ids, ["h1", "h2", "s1"]);
}

#[test]
fn a_conversation_cut_at_every_byte_is_answered_the_same() {
    let harness = Harness::start(Script::Obliging);
    let bytes = conversation();
    for cut in 1..bytes.len() {
        let mut client = harness.connect();
        client.send_raw(&bytes[..cut]).unwrap();
        client.send_raw(&bytes[cut..]).unwrap();
        assert_conversation_is_answered(&mut client);
    }
}

#[test]
fn a_conversation_of_single_bytes_is_answered_the_same() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    for byte in conversation() {
        client.send_raw(&[byte]).unwrap();
    }
    assert_conversation_is_answered(&mut client);
}

#[test]
fn what_follows_the_sign_in_in_one_segment_is_not_refused() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    client.send_raw(&conversation()).unwrap();
    assert_conversation_is_answered(&mut client);
}

#[test]
fn many_frames_in_one_segment_are_all_answered_in_order() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.sign_in(1, 2);
    let mut bytes = Vec::new();
    for number in 0..500 {
        bytes.extend(packet(PacketCommand::PcHeartbeat, &number.to_string(), Vec::new()));
    }
    client.send_raw(&bytes).unwrap();
    for number in 0..500 {
        assert_eq!(client.receive().unwrap().request_id, number.to_string());
    }
}

#[test]
fn an_overlong_negative_or_huge_length_closes_at_any_time() {
    let harness = Harness::start(Script::Obliging);
    let huge = {
        let mut bytes = Vec::new();
        prost::encode_length_delimiter(1 << 63, &mut bytes).unwrap();
        bytes
    };
    for prefix in [&[0xff; 10][..], &huge, &[0x80, 0x00], &[0x81, 0x80, 0x80, 0x80, 0x80, 0x00]] {
        for mut client in [harness.connect(), harness.sign_in(1, 2)] {
            client.send_raw(prefix).unwrap();
            assert_closed_for(&mut client, CloseReason::CrBadFrame);
        }
    }
}

#[test]
fn bytes_that_are_no_packet_close_the_connection_and_no_other() {
    let harness = Harness::start(Script::Obliging);
    let mut bystander = harness.sign_in(3, 4);
    for garbage in [&b"\x04GET "[..], b"\x03\xff\xff\xff", b"\x02\x0a\x7f", b"\x04\x0a\x02\xc3\x28"] {
        let mut client = harness.connect();
        client.send_raw(garbage).unwrap();
        assert_closed_for(&mut client, CloseReason::CrBadFrame);
    }
    assert_eq!(bystander.heartbeat().unwrap(), 0);
}

#[test]
fn a_frame_over_the_limit_closes_the_connection() {
    let harness = Harness::start(Script::Obliging);
    let mut unsigned = harness.connect();
    unsigned.send_raw(&packet(PacketCommand::PcSignIn, "", vec![0; 16384])).unwrap();
    assert_closed_for(&mut unsigned, CloseReason::CrFrameTooLarge);

    let mut live = harness.sign_in(1, 2);
    let largest = packet(PacketCommand::PcSend, "", vec![0; 65536 - 6]);
    assert_eq!(largest.len(), 65536 + 3);
    live.send_raw(&largest).unwrap();
    assert_eq!(live.receive().unwrap().command, PacketCommand::PcSend as i32);
    live.send_raw(&packet(PacketCommand::PcSend, "", vec![0; 65536 - 5])).unwrap();
    assert_closed_for(&mut live, CloseReason::CrFrameTooLarge);
}

#[test]
fn the_longest_token_of_logic_gets_through() {
    let harness = Harness::start(Script::Obliging);
    let mut client = harness.connect();
    let refused = client.sign_in(3, 4, &"t".repeat(12_288)).unwrap();
    assert_eq!(refused.code, 10000, "logic has judged it: {}", refused.message);
}

#[test]
fn an_empty_frame_is_an_unknown_command() {
    let harness = Harness::start(Script::Obliging);
    let mut live = harness.sign_in(1, 2);
    live.send_raw(&[0]).unwrap();
    let packet = live.receive().unwrap();
    assert_eq!((packet.command, Reply::decode(packet.content).unwrap().code), (0, 10005));
    assert_eq!(live.heartbeat().unwrap(), 0);
}

#[test]
fn a_request_id_that_is_too_long_is_refused_and_cut_in_the_answer() {
    let harness = Harness::start(Script::Obliging);
    let mut live = harness.sign_in(1, 2);
    for request_id in ["é".repeat(100), format!("a{}", "é".repeat(30_000))] {
        live.send_raw(&packet(PacketCommand::PcSend, &request_id, Vec::new())).unwrap();
        let refusal = live.receive().unwrap();
        assert_eq!(Reply::decode(refusal.content).unwrap().code, 10001);
        assert!(refusal.request_id.len() <= 128 && request_id.starts_with(&refusal.request_id));
    }
}
