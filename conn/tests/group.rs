//! Large groups: logic says who is in which, and every node fans a message out to those it holds.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod common;

use common::{Harness, Script, next_message};
use gim_proto::{
    client::Client,
    connect::{Message, Packet, PacketCommand},
    logic::{
        GroupHeads, GroupMemberships, GroupPush, GroupSeq, SignInResult, announce::What, down_item::Item, up_item,
    },
};
use prost::Message as _;

const GROUP: u64 = 900;

/// A client that is let in with these groups, and its connection id.
fn sign_in(harness: &Harness, user_id: u64, device_id: u64, large_group_ids: &[u64]) -> (Client, u64) {
    let mut client = harness.connect();
    let request = gim_proto::connect::SignInRequest { user_id, device_id, ..Default::default() };
    let packet = Packet {
        command: PacketCommand::PcSignIn as i32,
        content: request.encode_to_vec().into(),
        ..Packet::default()
    };
    client.send(&packet).unwrap();
    let asked = harness.logic.next_sign_in();
    let large_group_ids = large_group_ids.to_vec();
    let result = SignInResult { request_no: asked.request_no, large_group_ids, ..SignInResult::default() };
    harness.logic.say(Item::SignInResult(result));
    assert_eq!(client.receive().unwrap().command, PacketCommand::PcSignIn as i32);
    (client, asked.connection_id)
}

fn push(seq: u64, origin_device_id: u64, content: &[u8]) -> Item {
    let message = Message {
        group_id: GROUP,
        group_seq: seq,
        prev_group_seq: seq.saturating_sub(1),
        content: content.to_vec().into(),
        ..Message::default()
    };
    let message = message.encode_to_vec().into();
    Item::GroupPush(GroupPush { group_id: GROUP, seq, message, origin_device_id, ..GroupPush::default() })
}

fn memberships(joined: &[u64], left: &[u64]) -> Item {
    Item::GroupMemberships(GroupMemberships {
        group_id: GROUP,
        joined_connection_ids: joined.to_vec(),
        left_connection_ids: left.to_vec(),
    })
}

fn news(newest_seq: u64) -> Item {
    Item::GroupHeads(GroupHeads { groups: vec![GroupSeq { group_id: GROUP, newest_seq }] })
}

#[test]
fn a_message_reaches_every_member_but_the_device_that_sent_it() {
    let harness = Harness::start(Script::Silent);
    let (mut first, _) = sign_in(&harness, 1, 10, &[GROUP]);
    let (mut second, _) = sign_in(&harness, 1, 11, &[GROUP, 901]);
    let (mut other, _) = sign_in(&harness, 2, 20, &[901]);
    harness.logic.say(push(5, 10, b"from 10"));
    harness.logic.say(push(6, 0, b"to all"));
    let message = next_message(&mut second);
    assert_eq!((message.group_id, message.group_seq, message.prev_group_seq), (GROUP, 5, 4));
    assert_eq!(message.content, "from 10");
    assert_eq!(next_message(&mut second).content, "to all");
    assert_eq!(next_message(&mut first).content, "to all", "it sent the other one itself");
    assert_eq!(other.heartbeat().unwrap(), 0, "no member, no message");
    assert_eq!(first.heartbeat().unwrap(), 0, "the seq of a group is none of the inbox");
}

#[test]
fn who_leaves_gets_nothing_more_and_who_joins_what_comes_after() {
    let harness = Harness::start(Script::Silent);
    let (mut stays, _) = sign_in(&harness, 1, 10, &[GROUP]);
    let (mut leaves, leaving) = sign_in(&harness, 2, 20, &[GROUP]);
    let (mut joins, joining) = sign_in(&harness, 3, 30, &[]);
    harness.logic.say(memberships(&[joining, 12345], &[leaving, 67890]));
    harness.logic.say(push(5, 0, b"news"));
    assert_eq!(next_message(&mut stays).content, "news");
    assert_eq!(joins.receive().unwrap().command, PacketCommand::PcSyncHint as i32, "for what it may have missed");
    assert_eq!(next_message(&mut joins).content, "news");
    assert_eq!(leaves.heartbeat().unwrap(), 0, "the next thing it hears of is its own heartbeat");
}

#[test]
fn a_push_that_got_lost_becomes_a_hint() {
    let harness = Harness::start(Script::Silent);
    let (mut client, _) = sign_in(&harness, 1, 10, &[GROUP]);
    harness.logic.say(push(5, 0, b"five"));
    harness.logic.say(news(5));
    harness.logic.say(news(7));
    assert_eq!(next_message(&mut client).group_seq, 5);
    let hint = client.receive().unwrap();
    assert_eq!((hint.command, hint.seq), (PacketCommand::PcSyncHint as i32, 0));
    assert_eq!(client.heartbeat().unwrap(), 0, "one hint, and none for what was pushed");
}

#[test]
fn groups_are_announced_to_a_logic_that_comes_back() {
    let harness = Harness::start(Script::Silent);
    let (_client, connection_id) = sign_in(&harness, 1, 10, &[GROUP]);
    harness.logic.hang_up();
    let live = harness.logic.next(|item| match item {
        up_item::Item::Announce(announce) => match announce.what {
            Some(What::Connection(live)) if live.connection_id == connection_id => Some(live),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(live.large_group_ids, [GROUP]);
}
