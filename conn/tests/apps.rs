//! Several apps on one conn node: each with its own logic, ids, windows and metrics.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::{Harness, PATIENCE, Script, TOKEN, goodbye, inbox_push, next_message, room_push, subscribe};
use gim_conn::settings::AppSettings;
use gim_proto::{
    CloseReason,
    client::Client,
    connect::{
        DeviceMessage, Message, Packet, PacketCommand, PushToDevicesRequest, Reply, SignInRequest,
        connect_int_service_client::ConnectIntServiceClient,
    },
    logic::up_item,
};
use prost::Message as _;

const SEND: i32 = PacketCommand::PcSend as i32;
const CALL: i32 = PacketCommand::PcCall as i32;
const OTHER: u32 = 7;

fn ask_in(client: &mut Client, app_id: u32, user_id: u64, device_id: u64) -> Reply {
    let request = SignInRequest { user_id, device_id, token: TOKEN.to_owned(), app_id, heartbeat_s: 0 };
    client.request(PacketCommand::PcSignIn as i32, request.encode_to_vec()).unwrap()
}

/// Signed in to the second app.
fn sign_in(harness: &Harness, user_id: u64, device_id: u64) -> Client {
    let mut client = harness.connect();
    let reply = ask_in(&mut client, OTHER, user_id, device_id);
    assert_eq!(reply.code, 0, "{}", reply.message);
    client
}

#[test]
fn the_same_ids_in_two_apps_are_different_users_in_different_rooms() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |_| {});
    let (mut ours, mut theirs) = (harness.sign_in(1, 2), sign_in(&harness, 1, 2));
    let (our_logic, their_logic) = (&harness.logic, &harness.others[0]);
    let (our_id, their_id) = (our_logic.next_sign_in().connection_id, their_logic.next_sign_in());
    assert_eq!(their_id.app_id, OTHER);
    let their_id = their_id.connection_id;
    subscribe(&mut ours, 5);
    subscribe(&mut theirs, 5);
    // What one app's logic says of the other's connection means nothing.
    our_logic.say(inbox_push(their_id, 1, b"not yours"));
    our_logic.say(room_push(5, b"our room"));
    their_logic.say(room_push(5, b"their room"));
    our_logic.say(inbox_push(our_id, 1, b"to us"));
    their_logic.say(inbox_push(their_id, 1, b"to them"));
    // A room's push goes out at the end of a turn, so either may come first.
    let both = |client: &mut Client| BTreeSet::from([next_message(client).content, next_message(client).content]);
    assert_eq!(both(&mut ours), BTreeSet::from(["our room".into(), "to us".into()]));
    assert_eq!(both(&mut theirs), BTreeSet::from(["their room".into(), "to them".into()]));
    drop(theirs);
    assert_eq!(their_logic.next_sign_out().connection_id, their_id);
    ours.heartbeat().unwrap();
}

#[test]
fn a_call_goes_to_the_logic_of_the_app_that_its_connection_is_in() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |_| {});
    let (mut ours, mut theirs) = (harness.sign_in(1, 2), sign_in(&harness, 1, 2));
    assert_eq!(ours.request(CALL, b"ours".to_vec()).unwrap().data, "ours");
    assert_eq!(theirs.request(CALL, b"theirs".to_vec()).unwrap().data, "theirs");
    let (our_call, their_call) = (harness.logic.next_packet(), harness.others[0].next_packet());
    assert_eq!((our_call.content, their_call.content), ("ours".into(), "theirs".into()));
    for logic in [&harness.logic, &harness.others[0]] {
        assert!(
            !logic.so_far().iter().any(|item| matches!(item, up_item::Item::Packet(_))),
            "nothing of the other one"
        );
    }
}

#[test]
fn an_unknown_app_is_refused_and_another_one_may_be_tried() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |_| {});
    let mut client = harness.connect();
    let refused = ask_in(&mut client, 8, 1, 2);
    assert_eq!((refused.code, &refused.message[..]), (10001, "app_id: there is no app 8 here"));
    assert_eq!(ask_in(&mut client, OTHER, 1, 2).code, 0);
    let mut guesser = harness.connect();
    for app_id in 10..15 {
        guesser.send(&sign_in_packet(app_id)).unwrap();
    }
    assert_eq!(goodbye(&mut guesser).reason(), CloseReason::CrRateLimited);
}

fn sign_in_packet(app_id: u32) -> Packet {
    let content = SignInRequest { app_id, ..SignInRequest::default() }.encode_to_vec().into();
    Packet { command: PacketCommand::PcSignIn as i32, content, ..Packet::default() }
}

#[test]
fn an_app_whose_logic_is_gone_is_told_to_try_again_others_go_on() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |settings| {
        settings.link.reconnect_first_ms = 60_000;
        settings.link.reconnect_max_ms = 60_000;
    });
    let (mut ours, mut theirs) = (harness.sign_in(1, 2), sign_in(&harness, 1, 2));
    harness.logic.hang_up();
    while ours.request(SEND, Vec::new()).unwrap().code != 10004 {}
    for number in 0..100_u8 {
        assert_eq!(theirs.request(SEND, vec![number]).unwrap().data, &[number][..]);
        assert_eq!(ours.request(SEND, Vec::new()).unwrap().code, 10004);
    }
    ours.heartbeat().unwrap();
    assert!(harness.is_ready(), "the node still has work that it can do");
    harness.others[0].hang_up();
    while theirs.request(SEND, Vec::new()).unwrap().code != 10004 {}
    let deadline = Instant::now() + PATIENCE;
    while harness.is_ready() {
        assert!(Instant::now() < deadline, "without any logic it is not ready");
    }
}

#[test]
fn an_app_that_floods_fills_its_own_window_and_the_other_goes_on() {
    const FLOODERS: u64 = 8;
    const PACKETS: usize = 60;
    let harness = Harness::start_apps(Script::SignInsOnly, &[(OTHER, Script::Obliging)], |settings| {
        settings.session.in_flight_max = 1_000;
        settings.link.request_timeout_ms = 60_000;
        settings.link.requests_max = 20;
        settings.link.queue_batches_max = 1;
        settings.link.commands_max = 4;
    });
    let mut flooders: Vec<_> = (1..=FLOODERS).map(|id| harness.sign_in(id, id)).collect();
    let mut theirs = sign_in(&harness, 1, 1);
    for round in 0..PACKETS {
        for flooder in &mut flooders {
            let request_id = round.to_string();
            let packet = Packet { request_id, command: SEND, content: vec![1; 1000].into(), seq: 0 };
            flooder.send(&packet).unwrap();
        }
        assert_eq!(theirs.request(SEND, vec![2]).unwrap().data, &[2][..]);
    }
    // Its logic answers nothing: twenty wait for it, all others were answered at once.
    let (mut refused, deadline) = (0, Instant::now() + PATIENCE);
    while refused < FLOODERS as usize * PACKETS - 20 {
        assert!(Instant::now() < deadline, "{refused} were refused");
        for flooder in &mut flooders {
            // Which of them are still owed something shows only by asking.
            if let Ok(packet) = flooder.receive_within(Duration::from_millis(20)) {
                assert_eq!(Reply::decode(packet.content).unwrap().code, 10004);
                refused += 1;
            }
        }
    }
    // How loaded the node is, it tells at any time.
    let asked = |item| (!matches!(item, up_item::Item::NodeLoad(_))).then_some(());
    (0..FLOODERS as usize + 20).for_each(|_| harness.logic.next(asked));
    assert!(harness.logic.is_quiet(), "sign-ins and what fits the window");
    // The other way: more pushes than its command queue takes.
    for number in 0..2_000_u32 {
        harness.logic.say(room_push(5, &number.to_le_bytes()));
    }
    assert_eq!(theirs.request(SEND, vec![3]).unwrap().data, &[3][..]);
}

#[test]
fn an_app_has_its_own_cap_of_connections() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |settings| {
        settings.apps[0].connections_max = 1;
    });
    let _theirs = sign_in(&harness, 1, 1);
    let mut second = harness.connect();
    second.send(&sign_in_packet(OTHER)).unwrap();
    let notice = goodbye(&mut second);
    assert_eq!(notice.reason(), CloseReason::CrServerOverloaded);
    assert_eq!(notice.message, "app 7 has as many connections as it may have");
    (1..=3).for_each(|id| drop(harness.sign_in(id, id)));
}

#[test]
fn an_entry_may_take_the_place_of_the_first_app_with_its_own_limits() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |settings| {
        let logic = std::mem::take(&mut settings.logic);
        settings.apps.push(AppSettings { id: 0, logic, connections_max: 1, ..AppSettings::default() });
    });
    let _ours = harness.sign_in(1, 1);
    let mut second = harness.connect();
    second.send(&sign_in_packet(0)).unwrap();
    assert_eq!(goodbye(&mut second).reason(), CloseReason::CrServerOverloaded);
    sign_in(&harness, 1, 1);
}

#[test]
fn a_push_to_devices_is_for_those_of_the_app_that_it_names() {
    let harness = Harness::start_apps(Script::Obliging, &[(OTHER, Script::Obliging)], |_| {});
    let (mut ours, mut theirs) = (harness.sign_in(1, 2), sign_in(&harness, 1, 2));
    let address = format!("http://{}", harness.grpc);
    let mut calls = harness.wait(ConnectIntServiceClient::connect(address)).unwrap();
    let push = |app_id: u32, content: &'static str| {
        let message = Some(Message { content: content.into(), ..Message::default() });
        PushToDevicesRequest { device_messages: vec![DeviceMessage { device_id: 2, message }], app_id }
    };
    harness.wait(calls.push_to_devices(push(OTHER, "theirs"))).unwrap();
    harness.wait(calls.push_to_devices(push(0, "ours"))).unwrap();
    let refused = harness.wait(calls.push_to_devices(push(8, "nobody's"))).unwrap_err();
    assert!(refused.message().contains("app_id"), "{refused}");
    assert_eq!((next_message(&mut ours).content, next_message(&mut theirs).content), ("ours".into(), "theirs".into()));
}
