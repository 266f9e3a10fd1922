//! Walks over what is stored: nothing is left out, nothing comes twice, and all of it in order.

use std::time::{Duration, Instant};

use gim_logic::{
    domain::{
        conversation::Peer,
        group::{Kind, Profile},
        message::{Message, Sent},
        settled_ids::FloorRow,
        stored_event::StoredEvent,
    },
    store::{StoreError, read_position::ReadPosition, work::ReadMark},
    walk::{PageLimits, Settled, Walk},
};
use tokio::time::timeout;

use super::{DEADLINE, StoreHarness, harness, member, post, sent, sent_to_group};

const LIMITS: PageLimits = PageLimits { events: 3, bytes: 1 << 20 };

/// A walk that begins here.
pub async fn begun(harness: &StoreHarness, settled: Settled) -> Walk {
    let cursor_id = harness.store.inboxes.newest_message_id().await.unwrap();
    harness.store.walks.begin("test", cursor_id.max(1)).await.unwrap();
    Walk::new("test", &harness.store, settled)
}

/// So many events, and the walk behind them.
pub async fn next(walk: &mut Walk, count: usize) -> Vec<StoredEvent> {
    let mut events = Vec::new();
    let all = async {
        while events.len() < count {
            let page = walk.next(LIMITS).await;
            assert!(page.events.len() <= 3);
            events.extend(page.events);
            walk.advance(page.up_to).await.unwrap();
        }
    };
    timeout(DEADLINE, all).await.expect("there are as many");
    events
}

fn alone(harness: &StoreHarness) -> Settled {
    Settled::Alone(harness.floor.clone())
}

async fn read(harness: &StoreHarness, seq: u64, message_id: u64) {
    let position = ReadPosition { seq, message_id, ..ReadPosition::default() };
    let mark = ReadMark { user_id: 8, peer: Peer::User(7), position };
    harness.writer.submit_read(mark).unwrap().committed().await.unwrap();
}

#[tokio::test]
async fn a_walk_finds_messages_recalls_and_reads_once_and_in_order() {
    let harness = harness().await;
    harness.push(&[7]).await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let group_id = harness.make_group(Kind::Normal, Profile::default(), vec![member(7, true), member(8, false)]).await;
    let direct = sent(harness.submit_send(7, 8, "a")).await;
    let in_group = sent_to_group(harness.submit_to_group(7, group_id, "b")).await;
    read(&harness, direct.seq, direct.message_id).await;
    let mut recall = post(7, &[7, 8], None);
    recall.message = Message { id: direct.message_id, ..recall.message }.recalled();
    for _ in 0..2 {
        harness.writer.submit_recall(recall.clone()).unwrap().committed().await.unwrap();
    }
    let push = harness.push(&[7, 9]).await;

    let events = next(&mut walk, 6).await;
    assert!(events.is_sorted_by_key(StoredEvent::id));
    let [
        made,
        StoredEvent::Message { message, receivers, .. },
        group,
        StoredEvent::Read(read),
        StoredEvent::Recall(recall),
        last,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert!(
        matches!(made, StoredEvent::Message { message, .. } if message.group_id == group_id && message.sender_id == 0)
    );
    assert_eq!((message.id, message.is_recalled(), receivers.as_deref()), (direct.message_id, true, Some(&[7, 8][..])));
    assert!(matches!(group, StoredEvent::Message { message, .. } if message.id == in_group.message_id));
    assert_eq!((read.user_id, read.peer, read.message_id), (8, Peer::User(7), direct.message_id));
    assert_eq!((recall.message_id, recall.sender_id, &recall.receivers[..]), (direct.message_id, 7, &[7, 8][..]));
    let StoredEvent::Message { message, receivers, .. } = last else { panic!("{last:?}") };
    assert_eq!((message.id, receivers.as_deref()), (push.message_id, Some(&[7, 9][..])), "nobody can recall it");

    walk.leave().await;
    let mut again = Walk::new("test", &harness.store, alone(&harness));
    let newest = harness.push(&[7]).await;
    let events = next(&mut again, 1).await;
    assert_eq!(events.iter().map(StoredEvent::id).collect::<Vec<_>>(), [newest.message_id], "it goes on where it was");
}

#[tokio::test]
async fn a_position_is_found_where_it_is_when_it_moved_on() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let mut messages = Vec::new();
    for key in ["a", "b"] {
        messages.push(sent(harness.submit_send(7, 8, key)).await);
    }
    for Sent { seq, message_id, .. } in &messages {
        read(&harness, *seq, *message_id).await;
    }
    read(&harness, messages[0].seq, messages[0].message_id).await;
    let events = next(&mut walk, 3).await;
    let [.., StoredEvent::Read(read)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(read.message_id, messages[1].message_id);
    assert!(read.id > messages[1].message_id, "a position that is reached already moves nothing");
}

#[tokio::test]
async fn nothing_is_passed_that_is_still_under_way() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let held = harness.hold_up(7).await;
    let late = harness.submit_push(&[7]);
    // It is taken a moment later; the floor stays from then on, whatever ids are made.
    let held_at = async {
        loop {
            let floor = harness.floor.get();
            harness.floor.ids().raise(harness.floor.ids().next_id() + (1 << 32));
            if harness.floor.get() == floor {
                return floor;
            }
            tokio::task::yield_now().await;
        }
    };
    let floor = timeout(DEADLINE, held_at).await.unwrap();
    held.release().await;
    let late = sent(late).await;
    assert!(late.message_id >= floor);
    assert_eq!(next(&mut walk, 1).await[0].id(), late.message_id);
}

#[tokio::test]
async fn a_node_that_could_not_tell_its_floor_commits_nothing() {
    let harness = harness().await;
    harness.push(&[7]).await;
    harness.floor.told(Instant::now().checked_sub(Duration::from_secs(6)).unwrap(), true);
    let refused = harness.submit_push(&[7]).committed().await.unwrap_err();
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    harness.floor.told(Instant::now(), true);
    assert_eq!(harness.push(&[7]).await.seq, 2, "nothing is left of it");
}

#[tokio::test]
async fn what_a_node_had_under_way_when_it_was_forgotten_is_not_committed() {
    let harness = harness().await;
    harness.push(&[7]).await;
    let held = harness.hold_up(7).await;
    let late = harness.submit_push(&[7]);
    let taken = async {
        loop {
            let floor = harness.floor.get();
            harness.floor.ids().raise(harness.floor.ids().next_id() + (1 << 32));
            if harness.floor.get() == floor {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, taken).await.unwrap();
    harness.floor.forgotten();
    harness.floor.joined(FloorRow::of_joining(1), false, Instant::now());
    held.release().await;
    let refused = late.committed().await.unwrap_err();
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    assert_eq!(harness.push(&[7]).await.seq, 2, "nothing is left of it");
}

#[tokio::test]
async fn a_walk_is_held_by_one_and_taken_back_by_whoever_sends_it_elsewhere() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let first = harness.push(&[7]).await;
    let page = timeout(DEADLINE, walk.next(LIMITS)).await.unwrap();
    assert!(harness.store.walks.replay("test", first.message_id - 1).await.unwrap());
    assert!(walk.advance(page.up_to).await.is_err(), "it was sent back meanwhile");
    assert_eq!(next(&mut walk, 1).await[0].id(), first.message_id, "and finds the same again");

    harness.store.walks.pause("test", true).await.unwrap();
    walk.leave().await;
    harness.push(&[7]).await;
    assert!(timeout(Duration::from_millis(300), walk.next(LIMITS)).await.is_err(), "it stands still");
    harness.store.walks.pause("test", false).await.unwrap();
    assert_eq!(next(&mut walk, 1).await.len(), 1);
    assert!(!harness.store.walks.pause("nobody", true).await.unwrap());
}

#[tokio::test]
async fn a_page_that_is_cut_says_so_and_the_next_one_goes_on_behind_it() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(harness.push(&[7]).await.message_id);
        if number == 3 {
            let direct = sent(harness.submit_send(7, 8, "a")).await;
            read(&harness, direct.seq, direct.message_id).await;
            ids.push(direct.message_id);
        }
    }
    for limits in [LIMITS, PageLimits { events: 3, bytes: 0 }, PageLimits { events: 1, bytes: 1 << 20 }] {
        let (mut after_id, mut found) = (ids[0] - 1, Vec::new());
        while found.len() < ids.len() + 1 {
            let page = walk.ahead(after_id, limits).await.unwrap();
            let of_messages = page.events.iter().filter(|event| matches!(event, StoredEvent::Message { .. }));
            assert!(limits.bytes > 0 || of_messages.count() <= 1, "each message says more than a page may have");
            found.extend(page.events);
            after_id = page.up_to;
            assert!(page.has_more || found.len() == ids.len() + 1, "{limits:?}");
        }
        assert!(found.is_sorted_by_key(StoredEvent::id));
        let of_messages = found.iter().filter(|event| matches!(event, StoredEvent::Message { .. }));
        assert_eq!(of_messages.map(StoredEvent::id).collect::<Vec<_>>(), ids, "{limits:?}");
        let after = walk.ahead(after_id, limits).await.unwrap();
        assert!(after.events.is_empty() && !after.has_more, "{limits:?}");
    }
    walk.leave().await;
}

#[tokio::test]
async fn how_far_it_is_stands_in_the_database_soon_after_and_when_it_is_left() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let noted = async || harness.store.walks.get("test").await.unwrap().unwrap().cursor_id;
    let mut last = 0;
    for _ in 0..5 {
        last = harness.push(&[7]).await.message_id;
        let page = timeout(DEADLINE, walk.next(LIMITS)).await.unwrap();
        walk.move_on(page.up_to).await.unwrap();
        assert!(noted().await <= page.up_to, "never ahead of what was handed out");
        assert_eq!(walk.cursor_id(), Some(page.up_to));
    }
    let soon = async {
        while noted().await < last {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        page = walk.next(LIMITS) => panic!("nothing else happened: {page:?}"),
        noted = timeout(DEADLINE, soon) => noted.expect("it is noted while nothing happens"),
    }
    let newest = harness.push(&[7]).await.message_id;
    let page = timeout(DEADLINE, walk.next(LIMITS)).await.unwrap();
    walk.move_on(page.up_to).await.unwrap();
    walk.leave().await;
    assert!(noted().await >= newest);
}

#[tokio::test]
async fn what_was_handed_out_and_not_noted_is_found_again() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(harness.push(&[7]).await.message_id);
        let page = timeout(DEADLINE, walk.next(LIMITS)).await.unwrap();
        walk.move_on(page.up_to).await.unwrap();
    }
    let noted = harness.store.walks.get("test").await.unwrap().unwrap().cursor_id;
    // As where its process is killed: nothing is given back.
    drop(walk);
    let newest = harness.push(&[7]).await.message_id;
    let missing: Vec<u64> = ids.into_iter().filter(|&id| id > noted).chain([newest]).collect();
    let mut again = Walk::new("test", &harness.store, alone(&harness));
    let events = next(&mut again, missing.len()).await;
    assert_eq!(events.iter().map(StoredEvent::id).collect::<Vec<_>>(), missing);
    let stale = harness.store.walks.replay("test", noted.max(1)).await.unwrap();
    assert!(stale && again.advance(newest).await.is_err(), "and whoever lost it moves nothing");
}

#[tokio::test]
async fn a_walk_that_never_rests_stands_still_when_it_is_to() {
    let harness = harness().await;
    let mut walk = begun(&harness, alone(&harness)).await;
    let first = harness.push(&[7]).await;
    timeout(DEADLINE, walk.next(LIMITS)).await.unwrap();
    harness.store.walks.pause("test", true).await.unwrap();
    let paused = async {
        while !walk.is_paused() {
            walk.advance(first.message_id).await.unwrap();
            walk.keep().await.unwrap();
        }
    };
    timeout(DEADLINE, paused).await.expect("it is asked for now and then, however often it moves on");
}
