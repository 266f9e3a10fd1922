//! Two logic nodes push into one room: members see its order, whichever stream is faster (REGRESSIONS 20).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use common::{Harness, Logic, Script, next_message, subscribe};
use gim_proto::{
    client::Client,
    connect::{Message, PacketCommand, SubscribeRoomRequest},
    logic::{RoomPush, RoomSubscribed, down_item, up_item},
};
use prost::Message as _;

const ROOM: u64 = 9;

fn encoded(seq: u64) -> Vec<u8> {
    Message { room_id: ROOM, room_seq: seq, ..Message::default() }.encode_to_vec()
}

fn push(logic: &Logic, seq: u64, after_seq: u64, is_priority: bool) {
    let push = RoomPush { room_id: ROOM, message: encoded(seq).into(), is_priority, seq, after_seq };
    logic.say(down_item::Item::RoomPush(push));
}

/// A node with two logic nodes, and a member of the room.
fn start(hold_ms: u64) -> (Harness, Client) {
    let harness = Harness::start_apps(Script::Obliging, &[(0, Script::Obliging)], |settings| {
        settings.link.room_hold_ms = hold_ms;
        settings.link.room_members_interval_ms = 1;
    });
    let mut client = harness.sign_in(1, 2);
    subscribe(&mut client, ROOM);
    for logic in [&harness.logic, &harness.others[0]] {
        logic.next(|item| matches!(item, up_item::Item::RoomMembers(_)).then_some(()));
    }
    (harness, client)
}

fn seqs<const N: usize>(client: &mut Client) -> [u64; N] {
    [(); N].map(|()| next_message(client).room_seq)
}

#[test]
fn pushes_of_two_nodes_come_in_seq_order_and_an_urgent_one_at_once() {
    let (harness, mut client) = start(60_000);
    let (one, two) = (&harness.logic, &harness.others[0]);
    push(one, 1, 0, false);
    assert_eq!(seqs(&mut client), [1]);
    push(two, 3, 2, false);
    push(two, 4, 2, false);
    push(two, 5, 0, true);
    assert_eq!(seqs(&mut client), [5], "it waits for nobody");
    push(one, 2, 0, false);
    assert_eq!(seqs(&mut client), [2, 3, 4]);
    for round in 1..100 {
        push(two, 5 * round + 2, 5 * round + 1, false);
        push(one, 5 * round + 1, 5 * round - 1, false);
        assert_eq!(seqs(&mut client), [5 * round + 1, 5 * round + 2]);
        push(one, 5 * round + 4, 5 * round + 2, false);
        assert_eq!(seqs(&mut client), [5 * round + 4]);
    }
}

#[test]
fn a_push_that_never_comes_holds_others_up_for_a_while_only() {
    let (harness, mut client) = start(50);
    let (one, two) = (&harness.logic, &harness.others[0]);
    push(one, 1, 0, false);
    assert_eq!(seqs(&mut client), [1]);
    push(two, 3, 2, false);
    assert_eq!(seqs(&mut client), [3]);
    push(one, 2, 1, false);
    push(one, 4, 3, false);
    assert_eq!(seqs(&mut client), [4]);
}

#[test]
fn who_subscribes_meanwhile_gets_everything_once_and_in_order() {
    let (harness, mut client) = start(60_000);
    let (one, two) = (&harness.logic, &harness.others[0]);
    push(one, 1, 0, false);
    assert_eq!(seqs(&mut client), [1]);
    let mut late = harness.sign_in(3, 4);
    // Where the user's packets go is a matter of hash: both answer, and one of them is asked.
    let request = SubscribeRoomRequest { room_id: ROOM, seq: 1, from_start: false }.encode_to_vec();
    assert_eq!(late.request(PacketCommand::PcSubscribeRoom as i32, request).unwrap().code, 0);
    // A service moves it once more, at a moment when the room kept 3, which is still on its way here.
    let connection_id = [one, two].into_iter().flat_map(Logic::so_far).find_map(|item| match item {
        up_item::Item::Packet(packet) if packet.user_id == 3 => Some(packet.connection_id),
        _ => None,
    });
    let retained = vec![encoded(1).into(), encoded(2).into(), encoded(3).into()];
    push(one, 2, 0, false);
    assert_eq!((seqs(&mut client), seqs(&mut late)), ([2], [2]));
    let subscribed = Some(RoomSubscribed { room_id: ROOM, retained, newest_seq: 3 });
    let room_move = gim_proto::logic::RoomMove { connection_id: connection_id.unwrap(), subscribed };
    one.say(down_item::Item::RoomMove(room_move));
    assert_eq!(seqs(&mut late), [1, 2], "3 comes to it as to everybody");
    push(two, 3, 2, false);
    push(one, 4, 3, false);
    assert_eq!((seqs(&mut client), seqs(&mut late)), ([3, 4], [3, 4]));
}
