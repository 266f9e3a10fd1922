//! Logic nodes appear, disappear, and stop in order: users move to others, and what was sent is answered, in order.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use common::{Harness, Logic, Script, next_message};
use gim_config::listen::Endpoint;
use gim_conn::bridge::discovery::Resolve;
use gim_proto::{
    connect::{Packet, PacketCommand, Reply},
    logic::{Leaving, announce::What, down_item, up_item},
};
use prost::Message as _;
use tonic::async_trait;

const SEND: i32 = PacketCommand::PcSend as i32;

/// Answers with what a test put in.
#[derive(Debug, Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("logic.test", 8010));
        Ok(self.0.lock().unwrap().clone())
    }
}

impl Names {
    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

/// A node that looks its logic nodes up, of which there are none yet.
fn start(names: &Names) -> Harness {
    let change = |settings: &mut gim_conn::ConnSettings| {
        settings.logic = vec![Endpoint::new("dns+http://logic.test:8010")];
        settings.link.resolve_interval_ms = 10;
    };
    Harness::start_unattached(Script::Silent, change, Arc::new(names.clone()))
}

/// Waits until so many users are announced to a logic node.
fn await_announced(logic: &Logic, users: usize) {
    let mut announced = BTreeMap::new();
    logic.next(|item| {
        if let up_item::Item::Announce(announce) = item
            && let Some(What::Connection(live)) = announce.what
        {
            announced.insert(live.user_id, live.connection_id);
        }
        (announced.len() == users).then_some(())
    });
}

#[test]
fn a_name_without_addresses_keeps_the_node_up_but_not_ready() {
    let names = Names::default();
    let mut harness = start(&names);
    let mut client = harness.connect();
    assert_eq!(client.sign_in(1, 1, common::TOKEN).unwrap().code, 10004);
    assert!(!harness.is_ready());
    let (_logic, address) = harness.start_logic(Script::Obliging);
    names.set(&[address]);
    harness.await_link();
    assert_eq!(client.sign_in(1, 1, common::TOKEN).unwrap().code, 0);
}

#[test]
fn a_logic_node_that_leaves_its_name_is_left_and_its_users_move() {
    const USERS: u64 = 24;
    let names = Names::default();
    let mut harness = start(&names);
    let ((one, at_one), (two, at_two)) = (harness.start_logic(Script::Obliging), harness.start_logic(Script::Obliging));
    names.set(&[at_one]);
    harness.await_link();
    let mut clients: Vec<_> = (1..=USERS).map(|user_id| harness.sign_in(user_id, user_id)).collect();
    one.so_far();
    names.set(&[at_one, at_two]);
    await_announced(&two, 1);
    names.set(&[at_two]);
    one.await_last();
    for client in &mut clients {
        assert_eq!(client.request(SEND, b"to whoever is there".to_vec()).unwrap().code, 0);
    }
    await_announced(&two, USERS as usize);
    assert!(harness.is_ready());
}

#[test]
fn a_logic_node_that_shares_nothing_replaces_one_that_is_left() {
    let names = Names::default();
    let mut harness = start(&names);
    let ((one, at_one), (two, at_two)) = (harness.start_logic(Script::Alone), harness.start_logic(Script::Alone));
    names.set(&[at_one]);
    harness.await_link();
    let mut client = harness.sign_in(1, 1);
    names.set(&[at_two]);
    // The first one does not end its stream, which is read for longer than the test has patience.
    await_announced(&two, 1);
    assert_eq!(client.request(SEND, b"to the one that is there".to_vec()).unwrap().code, 0);
    one.await_last();
    assert!(harness.is_ready());
}

#[test]
fn a_logic_node_that_stops_lets_no_send_fail_or_overtake() {
    const USERS: u64 = 24;
    let names = Names::default();
    let mut harness = start(&names);
    let (leaving, at_leaving) = harness.start_logic(Script::SignInsOnly);
    let (other, at_other) = harness.start_logic(Script::Obliging);
    names.set(&[at_leaving]);
    harness.await_link();
    let mut clients: Vec<_> = (1..=USERS).map(|user_id| harness.sign_in(user_id, user_id)).collect();
    names.set(&[at_leaving, at_other]);
    await_announced(&other, 1);
    leaving.so_far();

    // One user's first send is with the node that stops; the second comes while it does.
    let send = |client: &mut gim_proto::client::Client, request_id: &str| {
        let packet = Packet { request_id: request_id.into(), command: SEND, ..Packet::default() };
        client.send(&packet).unwrap();
    };
    let mut with_leaving = None;
    for (index, client) in clients.iter_mut().enumerate() {
        send(client, "first");
        if let Some(up_item::Item::Packet(packet)) = next_of_either(&leaving, &other) {
            with_leaving = Some((index, packet));
            break;
        }
        client.receive().unwrap();
    }
    let (index, first) = with_leaving.expect("a user whom the hash leaves where he is");
    leaving.say(down_item::Item::Leaving(Leaving {}));
    let client = &mut clients[index];
    send(client, "second");
    leaving.reply(first.request_no);
    // It may have got the second one before conn heard that it leaves.
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while !leaving.has_said_last() {
        assert!(std::time::Instant::now() < deadline, "the stream is not left");
        for item in leaving.so_far() {
            if let up_item::Item::Packet(packet) = item {
                leaving.reply(packet.request_no);
            }
        }
        std::thread::yield_now();
    }
    for expected in ["first", "second"] {
        let packet = client.receive().unwrap();
        assert_eq!((packet.request_id.as_str(), Reply::decode(packet.content).unwrap().code), (expected, 0));
    }
    // What it had still to push comes until it ends the stream.
    leaving.say(common::inbox_push(first.connection_id, 1, b"late but not lost"));
    assert_eq!(next_message(client).content, "late but not lost");
    await_announced(&other, USERS as usize);
    leaving.hang_up();
    leaving.await_hello();
}

#[test]
fn a_node_whose_name_another_process_has_ends_and_says_why() {
    let change = |settings: &mut gim_conn::ConnSettings| {
        settings.link.name_timeout_ms = 50;
        settings.link.reconnect_max_ms = 10;
    };
    let mut harness = Harness::start_unattached(Script::NameTaken, change, Arc::new(Names::default()));
    let problem = harness.await_failure();
    assert!(problem.contains("conn-1 is in use by another process"), "{problem}");
}

#[test]
fn a_logic_node_of_another_version_is_not_attached_to() {
    let change = |settings: &mut gim_conn::ConnSettings| settings.link.reconnect_max_ms = 1;
    let harness = Harness::start_unattached(Script::Newer, change, Arc::new(Names::default()));
    for _ in 0..3 {
        harness.logic.await_hello();
    }
    assert!(!harness.is_ready());
    assert_eq!(harness.connect().sign_in(1, 1, common::TOKEN).unwrap().code, 10004);
}

/// The packet that the first logic node got, or nothing where it went to the other one.
fn next_of_either(first: &Logic, other: &Logic) -> Option<up_item::Item> {
    let deadline = std::time::Instant::now() + common::PATIENCE;
    let packet = |item: &up_item::Item| matches!(item, up_item::Item::Packet(_));
    while std::time::Instant::now() < deadline {
        if let Some(item) = first.so_far().into_iter().find(packet) {
            return Some(item);
        }
        if other.so_far().iter().any(packet) {
            return None;
        }
        std::thread::yield_now();
    }
    panic!("the packet went nowhere");
}

#[test]
fn who_left_when_a_stream_broke_is_told_the_next_logic_node() {
    let names = Names::default();
    let mut harness = start(&names);
    let ((one, at_one), (two, at_two)) = (harness.start_logic(Script::Obliging), harness.start_logic(Script::Obliging));
    names.set(&[at_one]);
    harness.await_link();
    let gone = harness.sign_in(1, 1);
    // Enough for some to belong to the other node.
    let _others: Vec<_> = (2..=24).map(|user_id| harness.sign_in(user_id, user_id)).collect();
    drop(gone);
    let sign_out = one.next_sign_out();
    names.set(&[at_one, at_two]);
    await_announced(&two, 1);
    // It may have got lost on the way.
    one.hang_up();
    assert_eq!(two.next_sign_out(), sign_out);
}
