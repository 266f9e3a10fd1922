//! What a node does for many connections at once, and what it tells logic of it: pushes to all at a pace, members of rooms.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use std::time::{Duration, Instant};

use common::{Harness, Script, next_message, subscribe};
use gim_proto::{
    connect::Message,
    logic::{PushAll, down_item, up_item},
};
use prost::Message as _;

fn push_all(message_id: u64) -> down_item::Item {
    let message = Message { message_id, ..Message::default() }.encode_to_vec();
    down_item::Item::PushAll(PushAll { message: message.into(), message_id })
}

fn next_done(harness: &Harness) -> u64 {
    harness.logic.next(|item| match item {
        up_item::Item::PushAllDone(done) => Some(done.message_id),
        _ => None,
    })
}

#[test]
fn a_push_to_all_reaches_everybody_in_order_and_is_reported_then() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.reactors = 2);
    let mut clients: Vec<_> = (1..=20).map(|id| harness.sign_in(id, id)).collect();
    for message_id in 1..=3 {
        harness.logic.say(push_all(message_id));
    }
    for client in &mut clients {
        let got = [(); 3].map(|()| next_message(client).message_id);
        assert_eq!(got, [1, 2, 3]);
    }
    assert_eq!([(); 3].map(|()| next_done(&harness)), [1, 2, 3]);
}

#[test]
fn a_push_to_all_keeps_to_its_rate_and_others_go_on_meanwhile() {
    let harness = Harness::start_with(Script::Obliging, |settings| {
        settings.push_all.connections_per_s = 20;
        settings.push_all.waiting_max = 1;
    });
    let mut clients: Vec<_> = (1..=10).map(|id| harness.sign_in(id, id)).collect();
    let begun = Instant::now();
    harness.logic.say(push_all(1));
    harness.logic.say(push_all(2));
    assert_eq!(next_done(&harness), 2, "it found no place, and that is told at once");
    assert_eq!(clients[9].heartbeat().unwrap(), 0);
    for client in &mut clients {
        assert_eq!(next_message(client).message_id, 1);
    }
    assert_eq!(next_done(&harness), 1);
    // Ten at twenty per second, of which one may come at once.
    assert!(begun.elapsed() >= Duration::from_millis(440), "{:?}", begun.elapsed());
}

#[test]
fn logic_is_told_how_many_are_in_a_room_again_when_attached_anew() {
    let harness = Harness::start_with(Script::Obliging, |settings| settings.link.room_members_interval_ms = 1);
    let mut clients: Vec<_> = (1..=3).map(|id| harness.sign_in(id, id)).collect();
    clients.iter_mut().for_each(|client| subscribe(client, 5));
    let members = |room_id: u64, members: u64| {
        harness.logic.next(|item| match item {
            up_item::Item::RoomMembers(told) => {
                told.rooms.iter().any(|room| (room.room_id, room.members) == (room_id, members)).then_some(())
            }
            _ => None,
        });
    };
    members(5, 3);
    subscribe(&mut clients[0], 6);
    members(5, 2);
    drop(clients.remove(2));
    members(5, 1);
    harness.logic.hang_up();
    members(5, 1);
    subscribe(&mut clients[1], 0);
    members(5, 0);
}
