use std::sync::Arc;

use gim_proto::logic::{Kick, PacketReply, RoomMove, RoomPush, RoomSubscribed};
use tokio::sync::Semaphore;

use super::*;

fn queue(change: impl FnOnce(&mut LinkSettings)) -> NodeQueue {
    let mut settings = LinkSettings::default();
    change(&mut settings);
    NodeQueue::new(settings)
}

fn push(bytes: usize) -> Item {
    Item::Push(push_of(bytes))
}

fn push_of(bytes: usize) -> Push {
    Push { message: vec![0; bytes].into(), ..Push::default() }
}

fn kick(connection_id: u64) -> Item {
    Item::Kick(Kick { connection_id, ..Kick::default() })
}

#[tokio::test]
async fn what_comes_first_leaves_first_in_batches() {
    let queue = queue(|settings| settings.batch_items_max = 2);
    for connection_id in 1..=3 {
        assert!(queue.notice(kick(connection_id)));
    }
    let ids = |batch: ItemBatch| -> Vec<u64> {
        let id = |item: &DownItem| match &item.item {
            Some(Item::Kick(kick)) => kick.connection_id,
            other => panic!("{other:?}"),
        };
        batch.items.iter().map(id).collect()
    };
    assert_eq!(ids(queue.take().await.unwrap()), [1, 2]);
    queue.close();
    assert_eq!(ids(queue.take().await.unwrap()), [3], "what waits leaves after the queue was closed");
    assert!(queue.take().await.is_none());
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_but_never_empty() {
    let queue = queue(|_| ());
    queue.push(push(2 * BATCH_BYTES_MAX), SERVICE);
    queue.push(push(BATCH_BYTES_MAX / 2), SERVICE);
    queue.push(push(BATCH_BYTES_MAX / 2), SERVICE);
    for expected in [1, 1, 1] {
        assert_eq!(queue.take().await.unwrap().items.len(), expected);
    }
}

#[tokio::test]
async fn pushes_beyond_the_limit_are_owed_as_hints_until_there_is_room() {
    let queue = queue(|settings| {
        settings.down_pushes_max = 4;
        settings.batch_items_max = 1;
    });
    for connection_id in 0..6 {
        queue.push_to_connections(push_of(10), SERVICE, |_| vec![(connection_id, 7)]);
    }
    assert!(queue.take().await.unwrap().owed_hints.is_empty(), "there is no room yet");
    let mut owed = queue.take().await.unwrap().owed_hints;
    owed.sort_unstable();
    assert_eq!(owed, [(4, 7), (5, 7)]);
    assert!(queue.take().await.unwrap().owed_hints.is_empty(), "nobody is told twice");
}

#[tokio::test]
async fn a_large_group_whose_persisted_push_was_dropped_is_owed_its_news() {
    let queue = queue(|settings| settings.down_pushes_max = 1);
    queue.push(push(10), SERVICE);
    for (group_id, seq) in [(5, 1), (5, 2), (6, 0)] {
        queue.push_to_group(GroupPush { group_id, seq, ..GroupPush::default() }, SERVICE);
    }
    assert_eq!(queue.take().await.unwrap().owed_groups, [5], "what is not persisted is not owed");
}

#[tokio::test]
async fn a_reply_leaves_before_pushes_unless_it_puts_somebody_into_a_room() {
    let queue = queue(|settings| settings.batch_items_max = 4);
    let in_flight = Arc::new(Semaphore::new(8));
    let reply = |request_no, room_id: Option<u64>| {
        let subscribed = room_id.map(|room_id| RoomSubscribed { room_id, ..RoomSubscribed::default() });
        let reply = PacketReply { request_no, subscribed, ..PacketReply::default() };
        queue.reply(Item::PacketReply(reply), in_flight.clone().try_acquire_owned().unwrap());
    };
    queue.push(push(10), SERVICE);
    reply(1, Some(9));
    queue.push(push(10), SERVICE);
    (2..=5).for_each(|request_no| reply(request_no, None));
    let number = |item: &DownItem| match &item.item {
        Some(Item::PacketReply(reply)) => reply.request_no,
        _ => 0,
    };
    let batch = queue.take().await.unwrap();
    let numbers: Vec<u64> = batch.items.iter().map(number).collect();
    assert_eq!(numbers, [2, 3, 0, 1], "pushes have half of a batch");
    let batch = queue.take().await.unwrap();
    assert_eq!(batch.items.iter().map(number).collect::<Vec<_>>(), [4, 5, 0]);
}

#[tokio::test]
async fn a_user_has_a_share_of_the_queue_and_others_are_not_dropped_for_him() {
    let queue = queue(|settings| {
        settings.down_user_bytes_max = 2_000;
        settings.batch_items_max = 1;
    });
    for connection_id in 0..4 {
        queue.push_to_connections(push_of(1_000), 7, |_| vec![(connection_id, 70)]);
    }
    queue.push_to_group(GroupPush { group_id: 5, seq: 1, ..GroupPush::default() }, 7);
    for caused_by in [8, SERVICE] {
        queue.push_to_connections(push_of(1_000), caused_by, |_| panic!("{caused_by} has room"));
    }
    let first = queue.take().await.unwrap();
    assert_eq!((first.owed_hints.len(), first.owed_groups.len()), (0, 0), "more than half of the share is taken");
    let second = queue.take().await.unwrap();
    let mut owed_hints = second.owed_hints;
    owed_hints.sort_unstable();
    assert_eq!((owed_hints, second.owed_groups), (vec![(2, 70), (3, 70)], vec![5]));
    queue.take().await.unwrap();
    queue.take().await.unwrap();
    assert!(queue.lock().shares.is_empty());
}

#[tokio::test]
async fn replies_are_never_dropped_and_hold_their_permit_until_they_leave() {
    let queue = queue(|settings| settings.down_pushes_max = 1);
    let in_flight = Arc::new(Semaphore::new(2));
    queue.push(push(10), SERVICE);
    queue.push(push(10), SERVICE);
    for _ in 0..2 {
        let permit = in_flight.clone().try_acquire_owned().unwrap();
        queue.reply(Item::PacketReply(PacketReply::default()), permit);
    }
    assert_eq!(in_flight.available_permits(), 0);
    assert_eq!(queue.take().await.unwrap().items.len(), 3);
    assert_eq!(in_flight.available_permits(), 2);
}

#[tokio::test]
async fn a_priority_push_overtakes_but_not_what_put_somebody_into_its_room() {
    let queue = queue(|settings| settings.down_pushes_max = 2);
    let room_push = |room_id, text: &'static str, is_priority| {
        Item::RoomPush(RoomPush { room_id, message: text.into(), is_priority, ..RoomPush::default() })
    };
    let joined = |room_id| {
        let subscribed = Some(RoomSubscribed { room_id, ..RoomSubscribed::default() });
        Item::RoomMove(RoomMove { connection_id: 1, subscribed })
    };
    assert!(queue.push(room_push(8, "normal 8", false), SERVICE));
    assert!(queue.notice(joined(9)));
    assert!(queue.push(room_push(9, "normal 9", false), SERVICE));
    assert!(!queue.push(room_push(9, "dropped", false), SERVICE), "the queue is full");
    assert!(queue.push(room_push(8, "urgent 8", true), SERVICE), "but not for what is urgent");
    assert!(queue.push(room_push(9, "urgent 9", true), SERVICE));
    assert!(!queue.push(room_push(9, "one too many", true), SERVICE));
    let items = queue.take().await.unwrap().items;
    let name = |item: &DownItem| match &item.item {
        Some(Item::RoomPush(push)) => String::from_utf8(push.message.to_vec()).unwrap(),
        _ => "joined 9".to_owned(),
    };
    let order: Vec<String> = items.iter().map(name).collect();
    assert_eq!(order, ["urgent 8", "normal 8", "joined 9", "normal 9", "urgent 9"]);
    assert!(queue.lock().barriers.is_empty());
}

#[test]
fn a_node_that_takes_no_notices_is_given_up() {
    let queue = queue(|settings| (settings.down_pushes_max, settings.in_flight_max) = (1, 1));
    assert_eq!([1, 2, 3, 4].map(|connection_id| queue.notice(kick(connection_id))), [true, true, true, false]);
}
