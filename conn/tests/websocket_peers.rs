//! Peers of a WebSocket that fragment, ping, dribble and lie, as they come to mind by chance: each gets what it is owed and then
//! the code of its end, and nobody beside it notices (REGRESSIONS 12).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    net::{Shutdown, TcpStream},
};

use common::{
    Harness, Script,
    web::{Received, WebClient, packet, raw},
};
use gim_conn::wire::transport::Entrance;
use gim_proto::connect::{PacketCommand, Reply};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use prost::Message as _;

const CASES: u32 = 256;

/// A packet, and how its peer writes it.
#[derive(Debug, Clone)]
struct Letter {
    content: Vec<u8>,
    fragments: usize,
    has_pings: bool,
}

/// How a peer ends: what it writes, and the code that it gets.
#[derive(Debug, Clone)]
enum End {
    Frames(Vec<u8>, Option<u16>),
    /// It goes away within what it was writing.
    HalfWay,
}

fn letters() -> impl Strategy<Value = Vec<Letter>> {
    let letter = (proptest::collection::vec(any::<u8>(), 0..400), 1usize..6, any::<bool>());
    let letter = letter.prop_map(|(content, fragments, has_pings)| Letter { content, fragments, has_pings });
    proptest::collection::vec(letter, 0..8)
}

fn ends() -> impl Strategy<Value = End> {
    let frames = |bytes: Vec<u8>, code| End::Frames(bytes, code);
    select(vec![
        End::HalfWay,
        frames(raw(0x88, b""), None),
        frames(raw(0x88, &[3, 232]), Some(1000)),
        frames(raw(0x88, &[3, 237]), Some(1002)),
        frames(raw(0xc2, b"compressed"), Some(1002)),
        frames(raw(0x92, b"a reserved bit"), Some(1002)),
        frames(raw(0x8b, b"a reserved opcode"), Some(1002)),
        frames(raw(0x89, &[0; 126]), Some(1002)),
        frames(raw(0x09, b"a ping in fragments"), Some(1002)),
        frames(raw(0x80, b"continues nothing"), Some(1002)),
        frames([raw(0x02, b"one"), raw(0x89, b""), raw(0x82, b"another")].concat(), Some(1002)),
        frames(vec![0x82, 0x01, 8], Some(1002)),
        frames(vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 8], Some(1002)),
        frames(raw(0x81, b"a text"), Some(1003)),
        frames(raw(0x01, b"a text that goes on"), Some(1003)),
        frames(raw(0x81, &[0xff]), Some(1007)),
        frames(raw(0x82, &[0xff; 5]), Some(1007)),
        frames(vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4], Some(1009)),
    ])
}

/// What the peer writes, and the payloads of its pings.
fn written(letters: &[Letter]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut bytes, mut pings) = (Vec::new(), Vec::new());
    for (number, letter) in letters.iter().enumerate() {
        let body = packet(PacketCommand::PcSend as i32, &number.to_string(), letter.content.clone()).encode_to_vec();
        let parts: Vec<&[u8]> = body.chunks(body.len().div_ceil(letter.fragments)).collect();
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { 0x02 } else { 0x00 };
            let is_final = if index + 1 == parts.len() { 0x80 } else { 0x00 };
            bytes.extend(raw(opcode | is_final, part));
            if letter.has_pings {
                let payload = vec![number as u8, index as u8];
                bytes.extend(raw(0x89, &payload));
                bytes.extend(raw(0x8a, b"unasked"));
                pings.push(payload);
            }
        }
    }
    (bytes, pings)
}

/// Writes in pieces of these sizes.
fn dribble(stream: &mut TcpStream, mut bytes: &[u8], sizes: &[usize]) {
    let mut sizes = sizes.iter().cycle();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at((*sizes.next().unwrap()).min(bytes.len()));
        stream.write_all(piece).unwrap();
        bytes = rest;
    }
}

/// Reads what is owed to an honest peer: pongs, and echoes in the order of their letters.
fn expect_answers(client: &mut WebClient<TcpStream>, letters: &[Letter], mut pings: Vec<Vec<u8>>) {
    pings.reverse();
    let mut echoes = 0;
    while echoes < letters.len() || !pings.is_empty() {
        match client.receive() {
            Received::Pong(payload) => assert_eq!(Some(payload), pings.pop()),
            Received::Packet(reply) => {
                assert_eq!(reply.request_id, echoes.to_string());
                assert_eq!(Reply::decode(reply.content).unwrap().data, letters[echoes].content);
                echoes += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whatever_a_peer_makes_up_it_gets_its_code_and_nobody_else_notices() {
    let harness = Harness::start(Script::Obliging);
    let address = harness.address(Entrance::WebSocket);
    let bystander = RefCell::new(WebClient::sign_in(address, 100, 100));
    let watched = harness.logic.next_sign_in().connection_id;
    let seq = Cell::new(0);
    let sizes = proptest::collection::vec(1usize..80, 1..20);
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&(letters(), ends(), sizes), |(letters, end, sizes)| {
        let mut client = WebClient::sign_in(address, 1, 2);
        let (bytes, pings) = written(&letters);
        dribble(client.0.get_mut(), &bytes, &sizes);
        expect_answers(&mut client, &letters, pings);
        let expected = match end {
            End::Frames(bytes, code) => {
                dribble(client.0.get_mut(), &bytes, &sizes);
                code
            }
            End::HalfWay => {
                dribble(client.0.get_mut(), &raw(0x82, &[8; 50])[..20], &sizes);
                client.0.get_mut().shutdown(Shutdown::Write).unwrap();
                None
            }
        };
        prop_assert_eq!(client.ending().1, expected);
        seq.set(seq.get() + 1);
        harness.logic.say(common::inbox_push(watched, seq.get(), b"beside them"));
        prop_assert_eq!(bystander.borrow_mut().message().seq, seq.get());
        Ok(())
    });
    outcome.unwrap();
}
