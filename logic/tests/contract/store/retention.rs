//! Retention takes the oldest away, a little at a time.

use std::time::Duration;

use gim_logic::{
    domain::{
        conversation::Peer,
        group::{Kind, Profile},
        message::Sent,
    },
    store::{
        HistoryPart, Limit,
        retention::{Steps, Swept},
        work::AckOutcome,
    },
};

use super::{harness, member, sent, sent_to_group};
use crate::support::{business::StubBusiness, server_with, soon};

#[tokio::test]
async fn retention_takes_the_oldest_in_small_steps_and_leaves_no_gap() {
    let harness = harness().await;
    for number in 0..5 {
        sent(harness.submit_send(7, 8, &format!("old {number}"))).await;
    }
    harness.push(&[9]).await;
    assert_eq!(harness.ack(7, 70, 3).await, AckOutcome::Noted);
    assert_eq!(harness.ack(8, 80, 5).await, AckOutcome::Noted);
    let before_id = harness.ids.next_id();
    let kept = sent(harness.submit_send(7, 8, "kept")).await;
    let steps = Steps { rows: 2, pause: Duration::ZERO };
    let swept = harness.store.retention.sweep(before_id, steps).await.unwrap();
    assert_eq!(swept, Swept { rows: 10, messages: 6 });

    let left = |user_id| harness.store.inboxes.page(user_id, 0, Limit::messages(100));
    for user_id in [7, 8] {
        let page = left(user_id).await.unwrap();
        assert_eq!((page.len(), page[0].0, page[0].1.id), (1, 6, kept.message_id), "user {user_id}");
    }
    let page = left(9).await.unwrap();
    assert_eq!(
        (page.len(), page[0].0, page[0].1.status),
        (1, 1, 2),
        "the newest row stays, to say how far the inbox got"
    );
    assert!(page[0].1.content.is_empty() && page[0].1.created_at_ms > 1_700_000_000_000);
    let whole = HistoryPart::before(u64::MAX >> 1);
    assert_eq!(harness.store.inboxes.history(7, 8, whole, Limit::messages(100)).await.unwrap().len(), 1);
    assert_eq!(harness.store.inboxes.largest_ack(7).await.unwrap(), 0, "an ack below what is left says nothing");
    assert_eq!(harness.store.inboxes.largest_ack(8).await.unwrap(), 5);
    assert_eq!(harness.push(&[7, 9]).await.seq, 7, "seqs go on");
    assert_eq!(harness.store.retention.sweep(before_id, steps).await.unwrap(), Swept { rows: 1, messages: 0 });
    assert_eq!(harness.seqs(9).await, [2]);
    let again = async |key| sent(harness.submit_send(7, 8, key)).await;
    assert_eq!(again("kept").await, Sent { is_duplicate: true, inbox_seq: 0, ..kept });
    assert!(!again("old 1").await.is_duplicate, "a key is known as long as its message is kept");
}

#[tokio::test]
async fn retention_takes_the_oldest_of_a_timeline_and_its_seqs_go_on() {
    let harness = harness().await;
    let members = vec![member(7, true), member(8, false)];
    let group_id = harness.make_group(Kind::Large, Profile::default(), members).await;
    for number in 0..4 {
        sent_to_group(harness.submit_to_group(7, group_id, &format!("old {number}"))).await;
    }
    let before_id = harness.ids.next_id();
    let kept = sent_to_group(harness.submit_to_group(7, group_id, "kept")).await;
    let steps = Steps { rows: 2, pause: Duration::ZERO };
    let swept = harness.store.retention.sweep(before_id, steps).await.unwrap();
    assert_eq!(swept, Swept { rows: 5, messages: 5 }, "the notice of the creation, and four messages");
    let page = harness.store.groups.pages(&[(group_id, 0)], Limit::messages(100)).await.unwrap();
    let left: Vec<_> = page.into_iter().map(|one| (one.seq, one.message.unwrap().id)).collect();
    assert_eq!(left, [(6, kept.message_id)]);
    assert_eq!(sent_to_group(harness.submit_to_group(8, group_id, "next")).await.seq, 7);
}

#[tokio::test]
async fn after_retention_the_extent_counts_what_history_has() {
    let harness = harness().await;
    let group_id = harness.make_group(Kind::Large, Profile::default(), vec![member(7, true), member(8, false)]).await;
    let extents = async || {
        let mut extents = Vec::new();
        for peer in [Peer::User(8), Peer::Group(group_id)] {
            extents.push(harness.store.conversation_places.extent(7, peer, 0).await.unwrap());
        }
        extents
    };
    sent(harness.submit_send(7, 8, "old")).await;
    sent_to_group(harness.submit_to_group(7, group_id, "old in group")).await;
    let last = extents().await;
    assert_eq!((last[0].0, last[1].0), (1, 2));
    let steps = Steps { rows: 100, pause: Duration::ZERO };
    harness.store.retention.sweep(harness.ids.next_id(), steps).await.unwrap();
    let whole = HistoryPart::before(u64::MAX >> 1);
    assert_eq!(harness.store.inboxes.history(7, 8, whole, Limit::messages(9)).await.unwrap(), []);
    assert_eq!(harness.store.groups.history(group_id, whole, Limit::messages(9)).await.unwrap(), []);
    assert_eq!(extents().await, [(0, 0, 0); 2], "though the newest places stay");
    let next = sent(harness.submit_send(7, 8, "new")).await;
    assert_eq!(extents().await[0], (1, next.seq, next.seq));
}

#[tokio::test]
async fn the_retention_job_deletes_by_itself_what_is_kept_no_longer() {
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.retention.keep_s = 1;
        settings.retention.interval_s = 1;
    })
    .await;
    server.push(&[7], "old").await;
    server.push(&[7, 8], "newest").await;
    let store = gim_logic::store::Store::new(server.database().await);
    let swept = async {
        while store.inboxes.page(7, 0, Limit::messages(10)).await.unwrap().len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon(swept).await;
    let page = store.inboxes.page(7, 0, Limit::messages(10)).await.unwrap();
    assert_eq!(page.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2], "the newest row stays");
    assert_eq!(store.inboxes.newest_seqs(&[7, 8]).await.unwrap(), [2, 1]);
}
