//! From `Down` messages to commands: each frame is encoded here, once, and handed to the reactors that hold its receivers
//! (step 7 of the packet path).

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use gim_proto::{
    CloseReason,
    connect::PacketCommand,
    logic::{
        Down, DownItem, GroupMemberships, GroupPush, Kick, NewestSeqAnswer, PacketReply, Push, RoomMove, SignInResult,
        down_item::Item,
    },
};
use metrics::counter;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{
    pending::{Pending, Purpose},
    reactors::Reactors,
    room_gate::RoomGate,
};
use crate::{
    ids::ConnectionId,
    metrics as names,
    reactor::inbox::{Command, ENTRIES_MAX, PushItem},
    wire::{encoded::Encoded, packet},
};

/// Tags of `connect.Message` that differ per receiver.
const MESSAGE_SEQ: u32 = 4;
const MESSAGE_PREV_SEQ: u32 = 18;

/// What a message said about its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// The logic node is about to stop.
    Leaving,
}

/// Hands everything in a message to the reactors, in order.
pub(super) async fn handle(down: Down, pending: &mut Pending, reactors: &Reactors, rooms: &RoomGate) -> Said {
    let mut said = Said::Nothing;
    for DownItem { item } in down.items {
        let Some(item) = item else { continue };
        match item {
            Item::SignInResult(result) => on_sign_in_result(result, pending, reactors).await,
            Item::PacketReply(reply) => on_reply(reply, pending, rooms).await,
            Item::Push(push) => on_push(&push, reactors).await,
            Item::RoomPush(push) => rooms.push(push).await,
            Item::PushAll(push) => {
                let (message_id, frame) = (push.message_id, message_frame(&push.message));
                reactors.send_all(|| Command::PushToAll { message_id, frame: frame.clone() }).await;
            }
            Item::Kick(kick) => on_kick(kick, reactors).await,
            Item::RoomMove(room_move) => on_room_move(room_move, rooms).await,
            Item::NewestSeq(answer) => {
                send_split(reactors, split_seqs(reactors, &answer), Command::NewestSeq).await;
            }
            Item::GroupMemberships(memberships) => on_group_memberships(&memberships, reactors).await,
            Item::GroupPush(push) => on_group_push(&push, reactors).await,
            Item::GroupHeads(news) => {
                let groups: Vec<_> = news.groups.iter().map(|group| (group.group_id, group.newest_seq)).collect();
                reactors.send_all(|| Command::GroupHeads(groups.clone())).await;
            }
            Item::Leaving(_) => said = Said::Leaving,
            Item::PeerNodes(peers) => {
                let peers = Arc::new(peers.nodes);
                reactors.send_all(|| Command::Peers(peers.clone())).await;
            }
        }
    }
    said
}

async fn on_sign_in_result(result: SignInResult, pending: &mut Pending, reactors: &Reactors) {
    let Some(request) = pending.take(result.request_no) else {
        counter!(names::REPLIES_LATE).increment(1);
        return;
    };
    let reactor = request.connection.reactor();
    let command = match request.purpose {
        Purpose::SignIn(identity) if result.code == 0 => request.signed_in(identity, result),
        _ => request.answered(result.code, result.message, Bytes::new(), Vec::new()),
    };
    reactors.send(reactor, command).await;
}

async fn on_reply(reply: PacketReply, pending: &mut Pending, rooms: &RoomGate) {
    let Some(request) = pending.take(reply.request_no) else {
        counter!(names::REPLIES_LATE).increment(1);
        return;
    };
    let reactor = request.connection.reactor();
    let PacketReply { code, message, data, subscribed, .. } = reply;
    let answer = |retained| request.answered(code, message, data, retained);
    rooms.subscribe(subscribed.unwrap_or_default(), reactor, answer).await;
}

// path 7/9: one batch per node, to the reactors that hold its receivers
async fn on_push(push: &Push, reactors: &Reactors) {
    tracing::debug!(request_id = push.request_id, targets = push.targets.len(), "push");
    send_split(reactors, split_push(reactors, push), Command::Push).await;
}

fn split_push(reactors: &Reactors, push: &Push) -> Vec<Vec<PushItem>> {
    let items = push.targets.iter().flat_map(|target| {
        let frame = push_frame(&push.message, target.seq, target.prev_seq);
        let connections = target.connection_ids.iter().map(|&number| ConnectionId::from_number(number));
        connections.map(move |connection| (connection, PushItem { connection, seq: target.seq, frame: frame.clone() }))
    });
    split(reactors, items)
}

fn split_seqs(reactors: &Reactors, answer: &NewestSeqAnswer) -> Vec<Vec<(ConnectionId, u64)>> {
    let items = answer.connections.iter().map(|item| {
        let connection = ConnectionId::from_number(item.connection_id);
        (connection, (connection, item.newest_seq))
    });
    split(reactors, items)
}

async fn on_group_memberships(memberships: &GroupMemberships, reactors: &Reactors) {
    let split = |ids: &[u64]| {
        let connections = ids.iter().map(|&number| ConnectionId::from_number(number));
        split(reactors, connections.map(|connection| (connection, connection)))
    };
    let (joined, left) = (split(&memberships.joined_connection_ids), split(&memberships.left_connection_ids));
    for (reactor, (joined, left)) in joined.into_iter().zip(left).enumerate() {
        if !joined.is_empty() || !left.is_empty() {
            reactors.send(reactor, Command::GroupMemberships { group_id: memberships.group_id, joined, left }).await;
        }
    }
}

async fn on_group_push(push: &GroupPush, reactors: &Reactors) {
    tracing::debug!(request_id = push.request_id, group_id = push.group_id, seq = push.seq, "group push");
    let frame = message_frame(&push.message);
    let make = || Command::PushToGroup {
        group_id: push.group_id,
        seq: push.seq,
        origin_device_id: push.origin_device_id,
        frame: frame.clone(),
    };
    reactors.send_all(make).await;
}

async fn on_kick(kick: Kick, reactors: &Reactors) {
    let connection = ConnectionId::from_number(kick.connection_id);
    let reason = match kick.reason() {
        CloseReason::CrUnknown => CloseReason::CrKicked,
        reason => reason,
    };
    reactors.send(connection.reactor(), Command::Close { connection, reason, message: kick.message }).await;
}

async fn on_room_move(room_move: RoomMove, rooms: &RoomGate) {
    let connection = ConnectionId::from_number(room_move.connection_id);
    let subscribed = room_move.subscribed.unwrap_or_default();
    let room_id = subscribed.room_id;
    let subscribe = |retained| Command::Subscribe { connection, room_id, reply: None, retained };
    rooms.subscribe(subscribed, connection.reactor(), subscribe).await;
}

/// Splits items by the reactor that their connection is with, keeping their order.
fn split<T>(reactors: &Reactors, items: impl Iterator<Item = (ConnectionId, T)>) -> Vec<Vec<T>> {
    let mut split: Vec<Vec<T>> = Vec::new();
    split.resize_with(reactors.count(), Vec::new);
    for (connection, item) in items {
        // An id that came over the wire and names no reactor of ours is passed over.
        if let Some(list) = split.get_mut(connection.reactor()) {
            list.push(item);
        }
    }
    split
}

async fn send_split<T>(reactors: &Reactors, split: Vec<Vec<T>>, command: fn(Vec<T>) -> Command) {
    for (reactor, mut list) in split.into_iter().enumerate() {
        while !list.is_empty() {
            let rest = list.split_off(list.len().min(ENTRIES_MAX));
            reactors.send(reactor, command(list)).await;
            list = rest;
        }
    }
}

pub(super) fn message_frame(message: &[u8]) -> Encoded {
    packet::notice(PacketCommand::PcMessage, message, 0)
}

/// The message as this receiver gets it: protobuf fields may follow in any order, so what differs is appended.
fn push_frame(message: &[u8], seq: u64, prev_seq: u64) -> Encoded {
    if seq == 0 {
        return message_frame(message);
    }
    let mut content = BytesMut::with_capacity(message.len() + 2 * 12);
    content.put_slice(message);
    encode_key(MESSAGE_SEQ, WireType::Varint, &mut content);
    encode_varint(seq, &mut content);
    if prev_seq != 0 {
        encode_key(MESSAGE_PREV_SEQ, WireType::Varint, &mut content);
        encode_varint(prev_seq, &mut content);
    }
    message_frame(&content)
}

#[cfg(test)]
mod tests {
    use gim_proto::connect::{Message, Packet};
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_differs_per_receiver_is_part_of_the_message() {
        let body = Message { command: 1, content: vec![1, 2].into(), message_id: 9, ..Message::default() };
        let frame = push_frame(&body.encode_to_vec(), 300, 299);
        let packet = Packet::decode(frame.packet()).unwrap();
        assert_eq!(packet.command, PacketCommand::PcMessage as i32);
        let message = Message::decode(packet.content).unwrap();
        assert_eq!(message, Message { seq: 300, prev_seq: 299, ..body });
    }
}
