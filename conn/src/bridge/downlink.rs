//! From `Down` messages to commands for the reactors that hold their receivers (step 7 of the packet path). On the tasks of links.
//!
//! Always holds: a frame is encoded once for all who get the same bytes. Those are the receivers of a push to a room, a large
//! group or everybody, and of a message that is not persisted; of a persisted one, whose seqs differ from user to user, the
//! devices of one user. Each frame is one allocation with one copy of the body, and its receivers share it.

use std::{cell::LazyCell, iter::repeat_n, sync::Arc, time::Instant};

use gim_config::traces::{self, Span};
use gim_proto::{
    CloseReason,
    logic::{
        Down, DownItem, GroupMemberships, GroupPush, Kick, NewestSeqAnswer, PacketReply, Push, RoomMove, SignInResult,
        down_item::Item,
    },
    trace::TraceContext,
};
use metrics::counter;

use super::{
    reactors::Reactors,
    requests::{PendingRequests, Purpose},
    room_gate::RoomGate,
};
use crate::{
    ids::ConnectionId,
    metrics as names,
    reactor::command_queue::{Command, ENTRIES_MAX, PushItem},
    wire::packet,
};

/// What a message said about its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// The logic node is about to stop.
    Leaving,
    /// This node is to send its clients away, and to end.
    Drain,
}

/// Hands everything in a message to the reactors, in order.
pub(super) async fn handle(down: Down, pending: &mut PendingRequests, reactors: &Reactors, rooms: &RoomGate) -> Said {
    let mut said = Said::Nothing;
    for DownItem { item } in down.items {
        let Some(item) = item else { continue };
        match item {
            Item::SignInResult(result) => on_sign_in_result(result, pending, reactors).await,
            Item::PacketReply(reply) => on_reply(reply, pending, rooms).await,
            Item::Push(push) => on_push(&push, reactors).await,
            Item::RoomPush(push) => rooms.push(push).await,
            Item::PushAll(push) => {
                let (message_id, frame) = (push.message_id, packet::message(&push.message, 0, 0));
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
            Item::DrainNode(_) => said = Said::Drain,
            Item::PeerNodes(peers) => {
                let peers = Arc::new(peers.nodes);
                reactors.send_all(|| Command::Peers(peers.clone())).await;
            }
        }
    }
    said
}

async fn on_sign_in_result(result: SignInResult, pending: &mut PendingRequests, reactors: &Reactors) {
    let Some(request) = pending.take(result.request_no) else {
        counter!(names::REPLIES_LATE).increment(1);
        return;
    };
    pending.note_end(&request, result.code, Instant::now());
    let reactor = request.connection.reactor();
    let command = match request.purpose {
        Purpose::SignIn(identity) if result.code == 0 => request.signed_in(identity, result),
        _ => {
            let SignInResult { code, message, .. } = result;
            request.answered(PacketReply { code, message, ..PacketReply::default() }, Vec::new())
        }
    };
    reactors.send(reactor, command).await;
}

async fn on_reply(mut reply: PacketReply, pending: &mut PendingRequests, rooms: &RoomGate) {
    let Some(request) = pending.take(reply.request_no) else {
        counter!(names::REPLIES_LATE).increment(1);
        return;
    };
    pending.note_end(&request, reply.code, Instant::now());
    let reactor = request.connection.reactor();
    let subscribed = reply.subscribed.take().unwrap_or_default();
    let answer = |retained| request.answered(reply, retained);
    rooms.subscribe(subscribed, reactor, answer).await;
}

// path 7/9: from the batch of this node to the reactors that hold its receivers
async fn on_push(push: &Push, reactors: &Reactors) {
    tracing::debug!(request_id = push.request_id, targets = push.targets.len(), "push");
    let _until_the_reactors_have_it = traced("push", &push.trace_context, push.targets.len());
    send_split(reactors, split_push(reactors, push), Command::Push).await;
}

fn traced(name: &'static str, context: &[u8], targets: usize) -> Span {
    let mut span = traces::received(name, TraceContext::from_link(context));
    span.note("gim.targets", targets as i64);
    span
}

fn split_push(reactors: &Reactors, push: &Push) -> Vec<Vec<PushItem>> {
    let without_seq = LazyCell::new(|| packet::message(&push.message, 0, 0));
    let items = push.targets.iter().flat_map(|target| {
        let frame = match target.seq {
            0 => without_seq.clone(),
            seq => packet::message(&push.message, seq, target.prev_seq),
        };
        // The last one gets the frame itself: most users have one device, whose frame need not be shared.
        let frames = repeat_n(frame, target.connection_ids.len());
        target.connection_ids.iter().zip(frames).map(|(&number, frame)| {
            let connection = ConnectionId::from_number(number);
            (connection, PushItem { connection, seq: target.seq, frame })
        })
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
    let _until_the_reactors_have_it = traced("push to a group", &push.trace_context, 1);
    let frame = packet::message(&push.message, 0, 0);
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

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use gim_proto::logic::PushTarget;

    use super::*;

    /// A persisted message to so many users, each with as many devices.
    fn push(users: u64, devices: u32) -> Push {
        let connections = |user: u64| {
            (0..devices).map(move |device| ConnectionId::new(device as usize % 2, user as usize, 1).number())
        };
        let target = |user| PushTarget { seq: user + 1, prev_seq: user, connection_ids: connections(user).collect() };
        Push { message: vec![7; 200].into(), targets: (0..users).map(target).collect(), ..Push::default() }
    }

    #[test]
    fn a_frame_is_made_once_per_user_and_shared_by_the_devices() {
        let (reactors, _) = Reactors::without_threads(2);
        let [first, second] = split_push(&reactors, &push(3, 2)).try_into().unwrap();
        assert_eq!((first.len(), second.len()), (3, 3));
        for (one, other) in first.iter().zip(&second) {
            assert_eq!((one.seq, one.frame.packet().as_ptr()), (other.seq, other.frame.packet().as_ptr()));
        }
        assert_ne!(first[0].frame, first[1].frame);
    }

    #[test]
    fn a_frame_without_a_seq_is_made_once_for_all_users() {
        let (reactors, _) = Reactors::without_threads(2);
        let mut push = push(3, 2);
        push.targets.iter_mut().for_each(|target| (target.seq, target.prev_seq) = (0, 0));
        let items: Vec<PushItem> = split_push(&reactors, &push).into_iter().flatten().collect();
        assert_eq!(items.len(), 6);
        let first = items[0].frame.packet().as_ptr();
        assert!(items.iter().all(|item| item.frame.packet().as_ptr() == first));
    }

    #[test]
    fn a_push_costs_one_allocation_and_one_copy_per_user() {
        let (reactors, _) = Reactors::without_threads(2);
        let cost = |users| {
            let push = push(users, 1);
            let mut split = Vec::new();
            let cost = measure(|| split = split_push(&reactors, &push));
            assert_eq!(split.iter().map(Vec::len).sum::<usize>(), users as usize);
            cost
        };
        let (few, many) = (cost(256), cost(512));
        assert!(many.count_total - few.count_total <= 256 + 2, "the lists grow once more");
        assert!(many.bytes_current - few.bytes_current <= 256 * (200 + 32 + size_of::<PushItem>() as i64 * 2));
    }
}
