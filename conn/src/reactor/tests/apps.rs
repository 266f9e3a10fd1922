//! Several apps in one reactor: what one does costs another nothing, counted in turns.

use gim_config::listen::Endpoint;

use super::*;
use crate::settings::AppSettings;

/// Ids and places of the two apps.
const FIRST: (usize, u32) = (0, 0);
const OTHER: (usize, u32) = (1, 7);

fn two_apps(change: impl FnOnce(&mut ConnSettings)) -> Harness {
    Harness::new(|settings| {
        let logic = vec![Endpoint::new("http://127.0.0.1:1")];
        settings.apps.push(AppSettings { id: OTHER.1, logic, ..AppSettings::default() });
        change(settings);
    })
}

impl Harness {
    fn sign_in_as(&mut self, (app, app_id): (usize, u32), device_id: u64) -> (TcpStream, ConnectionId) {
        let stream = self.connect();
        self.sign_in_to(stream, app, app_id, device_id)
    }
}

fn push(connection: ConnectionId, seq: u64) -> Command {
    Command::Push(vec![PushItem { connection, seq, frame: Encoded::of(b"!") }])
}

#[test]
fn an_app_whose_logic_floods_leaves_others_their_commands_of_the_turn() {
    let mut harness = two_apps(|settings| settings.turn.commands = 64);
    let (_first, first_id) = harness.sign_in_as(FIRST, 1);
    let (mut other, other_id) = harness.sign_in_as(OTHER, 1);
    for round in 1..=10 {
        for seq in 0..400 {
            harness.tell_of(FIRST.0, push(first_id, seq));
        }
        harness.tell_of(OTHER.0, push(other_id, round));
        harness.turn();
        assert_eq!(readable(&mut other), b"\x01!", "round {round}");
    }
}

#[test]
fn a_push_to_a_huge_room_of_one_app_holds_up_no_push_of_another() {
    let mut harness = two_apps(|_| {});
    let (mut other, connection) = harness.sign_in_as(OTHER, 1);
    for slot in 0..100_000 {
        harness.reactor.context.apps[FIRST.0].rooms.join(5, 1_000 + slot);
    }
    harness.tell_of(FIRST.0, Command::PushToRoom { room_id: 5, frame: Encoded::of(b"huge"), urgent: false });
    harness.tell_of(OTHER.0, Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    harness.turn();
    assert!(harness.reactor.context.apps[FIRST.0].rooms.is_active());
    harness.tell_of(OTHER.0, Command::PushToRoom { room_id: 5, frame: Encoded::of(b"1"), urgent: false });
    harness.turn();
    assert_eq!(readable(&mut other), b"\x011");
    harness.tell_of(OTHER.0, Command::GroupMemberships { group_id: 5, joined: vec![connection], left: vec![] });
    harness.turn();
    assert!(!readable(&mut other).is_empty(), "a hint to sync");
    let frame = Encoded::of(b"2");
    harness.tell_of(OTHER.0, Command::PushToGroup { group_id: 5, seq: 1, origin_device_id: 0, frame });
    harness.turn();
    assert_eq!(readable(&mut other), b"\x012");
    harness.tell_of(OTHER.0, Command::PushToAll { message_id: 9, frame: Encoded::of(b"3") });
    harness.turns_until(|harness| harness.up_to(OTHER.0).contains(&UpItem::PushAllDone(9)));
    assert_eq!(readable(&mut other), b"\x013");
    assert!(harness.reactor.context.apps[FIRST.0].rooms.is_active(), "the huge one is still under way");
}

#[test]
fn the_same_device_in_two_apps_is_two_devices() {
    let mut harness = two_apps(|_| {});
    let (mut first, first_id) = harness.sign_in_as(FIRST, 1);
    let (mut other, other_id) = harness.sign_in_as(OTHER, 1);
    for (app, text) in [(FIRST.0, b"a"), (OTHER.0, b"b")] {
        harness.tell_of(app, push_to_devices(1, text));
        harness.tell_of(app, Command::PushToAll { message_id: 1, frame: Encoded::of(text) });
        harness.tell_of(app, Command::Announce);
    }
    let (mut to_first, mut to_other) = (Vec::new(), Vec::new());
    harness.turns_until(|_| {
        to_first.extend(readable(&mut first));
        to_other.extend(readable(&mut other));
        to_first.len() + to_other.len() >= 8
    });
    harness.turn();
    assert_eq!((&to_first[..], &to_other[..]), (&b"\x01a\x01a"[..], &b"\x01b\x01b"[..]));
    for (app, own_id) in [(FIRST.0, first_id), (OTHER.0, other_id)] {
        let live: Vec<_> = harness.up_to(app).into_iter().filter(|item| matches!(item, UpItem::Live { .. })).collect();
        assert!(matches!(&live[..], [UpItem::Live { connection, .. }] if *connection == own_id), "{live:?}");
    }
    drop(first);
    harness.turns_until(|harness| harness.reactor.table.len() == 1);
    assert!(harness.up_to(FIRST.0).iter().any(|item| matches!(item, UpItem::SignOut { .. })));
    harness.tell_of(OTHER.0, push_to_devices(1, b"c"));
    harness.turn();
    assert_eq!(readable(&mut other), b"\x01c");
    assert!(harness.up_to(OTHER.0).iter().all(|item| !matches!(item, UpItem::SignOut { .. })));
}

#[test]
fn the_logic_of_an_app_reaches_no_connection_of_another() {
    let mut harness = two_apps(|_| {});
    let (mut stream, connection) = harness.sign_in_as(FIRST, 1);
    let reason = gim_proto::CloseReason::CrKicked;
    harness.tell_of(OTHER.0, push(connection, 1));
    harness.tell_of(OTHER.0, Command::Subscribe { connection, room_id: 5, reply: None, retained: vec![] });
    harness.tell_of(OTHER.0, Command::Close { connection, reason, message: String::new() });
    harness.turn();
    harness.turn();
    assert_eq!((readable(&mut stream), harness.reactor.table.len()), (vec![], 1));
    let gone = [UpItem::Gone(connection), UpItem::RoomJoined(5), UpItem::RoomLeft(5)];
    assert_eq!(harness.up_to(OTHER.0), gone, "as of a connection that is not there");
}

#[test]
fn a_app_has_no_more_connections_than_its_cap_and_they_are_given_back() {
    let mut harness = two_apps(|settings| settings.apps[0].connections_max = 2);
    let (first, _) = harness.sign_in_as(OTHER, 1);
    let (_second, _) = harness.sign_in_as(OTHER, 2);
    let mut third = harness.connect();
    third.write_all(&sign_in_frame(OTHER.1)).unwrap();
    harness.turns_until(|harness| harness.reactor.table.len() == 3 && !readable(&mut third).is_empty());
    assert!(harness.up_to(OTHER.0).is_empty(), "it never came to its bridge");
    harness.sign_in_as(FIRST, 3);
    drop((first, third));
    harness.turns_until(|harness| harness.reactor.table.len() == 1);
    // A refused sign-in gives back what it took, and may be one to another app then.
    let mut fourth = harness.connect();
    for _ in 0..3 {
        fourth.write_all(&sign_in_frame(OTHER.1)).unwrap();
        let mut asked = None;
        harness.turns_until(|harness| {
            asked = harness.up_to(OTHER.0).into_iter().find_map(|item| match item {
                UpItem::SignIn { connection, .. } => Some(connection),
                _ => None,
            });
            asked.is_some()
        });
        harness.tell_of(OTHER.0, Command::SignInRefused { connection: asked.unwrap(), frame: Encoded::of(b"no") });
        harness.turn();
        assert_eq!(readable(&mut fourth)[1..3], *b"no");
    }
    harness.sign_in_to(fourth, FIRST.0, FIRST.1, 4);
}
