//! The inbox writer: seqs, keys, acks, and what it refuses.

use std::{collections::HashMap, sync::Arc};

use gim_config::sql::DatabaseSettings;
use gim_logic::{
    domain::{
        group::{Kind, Profile},
        message::Sent,
    },
    settings::InboxSettings,
    store::{
        Limit, StoreError,
        work::{Ack, AckOutcome},
        writer::PendingCommit,
    },
};

use super::{DEADLINE, harness, harness_with, member, post, sent, sent_to_group, start};
use crate::support::{backend, soon};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_give_every_user_gap_free_seqs_in_delivery_order() {
    let harness = Arc::new(harness().await);
    let tasks = (0..8).map(|task: u64| {
        let harness = harness.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                let first = (task + number) % 5 + 1;
                harness.push(&[first, first + 1, first + 2]).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut harness = Arc::into_inner(harness).unwrap();
    let mut delivered: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    while let Ok(batch) = harness.committed.try_recv() {
        for delivery in batch {
            for receiver in &delivery.receivers {
                delivered.entry(receiver.user_id).or_default().push((receiver.seq, delivery.message.id));
            }
        }
    }
    let mut rows = 0;
    for user_id in 1..=7 {
        let stored = harness.store.inboxes.page(user_id, 0, Limit::messages(10_000)).await.unwrap();
        let stored: Vec<(u64, u64)> = stored.into_iter().map(|(seq, message)| (seq, message.id)).collect();
        let seqs: Vec<u64> = stored.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (1..=stored.len() as u64).collect::<Vec<_>>());
        assert_eq!(delivered[&user_id], stored, "pushes leave in the order of their seqs");
        rows += stored.len();
    }
    assert_eq!(rows, 8 * 100 * 3);
}

#[tokio::test]
async fn a_repeated_key_stores_nothing_whether_in_one_batch_or_after_a_restart() {
    let harness = harness().await;
    let pending: Vec<PendingCommit<Sent>> = (0..3).map(|_| harness.submit_send(7, 8, "same")).collect();
    let mut answers = Vec::new();
    for pending in pending {
        answers.push(sent(pending).await);
    }
    let first = answers[0];
    assert_eq!((first.seq, first.is_duplicate), (1, false));
    let duplicate = Sent { is_duplicate: true, inbox_seq: 0, ..first };
    assert_eq!(answers[1..], [duplicate, duplicate]);
    assert_eq!(sent(harness.submit_send(8, 7, "same")).await.seq, 2, "keys are unique per sender");

    let mut harness = harness.restart().await;
    assert_eq!(sent(harness.submit_send(7, 8, "same")).await, duplicate);
    assert_eq!(harness.seqs(8).await, [1, 2]);
    assert!(harness.committed.try_recv().is_err(), "a duplicate is not delivered again");
}

#[tokio::test]
async fn repeated_keys_among_new_ones_fail_nobody_in_their_batch() {
    let harness = harness().await;
    let mut first = Vec::new();
    for number in 0..5 {
        first.push(sent(harness.submit_send(7, 8, &format!("old {number}"))).await);
    }
    // The first round meets the old keys while storing; from then on keys are looked up.
    for round in 0..3 {
        let held = harness.hold_up(7).await;
        let pending: Vec<_> = (0..5)
            .flat_map(|number| [format!("old {number}"), format!("new {round} {number}")])
            .map(|key| harness.submit_send(7, 8, &key))
            .collect();
        held.release().await;
        for (index, pending) in pending.into_iter().enumerate() {
            let sent = soon(sent(pending)).await;
            if index % 2 == 0 {
                assert_eq!(sent, Sent { is_duplicate: true, inbox_seq: 0, ..first[index / 2] });
            } else {
                assert_eq!((sent.is_duplicate, sent.seq), (false, 6 + 5 * round + index as u64 / 2));
            }
        }
    }
    let all: Vec<u64> = (1..=20).collect();
    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (all.clone(), all));
}

#[tokio::test]
async fn a_send_that_was_committed_but_not_answered_is_a_duplicate() {
    let harness = harness().await;
    // The caller is gone before the commit, as when the process dies between commit and reply.
    drop(harness.submit_send(7, 8, "lost reply"));
    harness.push(&[9]).await;
    let harness = harness.restart().await;
    let retried = sent(harness.submit_send(7, 8, "lost reply")).await;
    assert!(retried.is_duplicate);
    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_restart_keeps_messages_acks_and_counters() {
    let harness = harness().await;
    let first = harness.push(&[7]).await;
    harness.push(&[7]).await;
    assert_eq!(harness.ack(7, 70, 1).await, AckOutcome::Noted);
    let harness = harness.restart().await;
    let third = harness.push(&[7]).await;
    assert!(third.message_id > first.message_id);
    assert_eq!(third.seq, 3);
    assert_eq!(harness.store.inboxes.largest_ack(7).await.unwrap(), 1);
    let page = harness.store.inboxes.page(7, 0, Limit::messages(10)).await.unwrap();
    assert_eq!((page[0].1.id, page[0].1.created_at_ms), (first.message_id, first.created_at_ms));
}

#[tokio::test]
async fn acks_only_rise_and_never_beyond_the_inbox() {
    let harness = harness().await;
    for _ in 0..3 {
        harness.push(&[7]).await;
    }
    assert_eq!(harness.ack(7, 70, 2).await, AckOutcome::Noted);
    assert_eq!(harness.ack(7, 70, 1).await, AckOutcome::Noted, "an older ack is no error");
    assert_eq!(harness.store.inboxes.largest_ack(7).await.unwrap(), 2);
    assert_eq!(harness.ack(7, 71, 3).await, AckOutcome::Noted);
    assert_eq!(harness.store.inboxes.largest_ack(7).await.unwrap(), 3, "of all devices");
    assert_eq!(harness.ack(7, 70, 4).await, AckOutcome::Beyond { newest_seq: 3 });
    assert_eq!(harness.ack(8, 80, 1).await, AckOutcome::Beyond { newest_seq: 0 });
    assert_eq!(harness.store.inboxes.largest_ack(8).await.unwrap(), 0);
}

#[tokio::test]
async fn one_bad_job_does_not_fail_those_in_its_batch() {
    let harness = harness().await;
    let first = harness.push(&[7]).await;
    // While the writer is held up the other three gather for one batch; the second one's message id is taken.
    let held = harness.hold_up(7).await;
    let holding = harness.submit_push(&[7]);
    let good = harness.submit_push(&[7]);
    let mut taken = post(0, &[7], None);
    taken.message.id = first.message_id;
    let bad = harness.writer.submit_post(taken).unwrap();
    let other = harness.submit_push(&[7, 8]);
    held.release().await;
    assert_eq!((sent(holding).await.seq, sent(good).await.seq), (2, 3));
    assert!(matches!(bad.committed().await, Err(StoreError::Failed(_))));
    assert_eq!(sent(other).await.seq, 4);
    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1, 2, 3, 4], vec![1]));
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let settings = InboxSettings { queue_jobs_max: 2, ..InboxSettings::default() };
    let harness = harness_with(settings).await;
    let held = harness.hold_up(7).await;
    let (pending, refused) = harness.fill(|| post(0, &[7], None)).await;
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    held.release().await;
    let taken = pending.len() as u64;
    for pending in pending {
        sent(pending).await;
    }
    assert_eq!(harness.push(&[7]).await.seq, taken + 1);
}

#[tokio::test]
async fn the_bytes_that_wait_are_bounded_too() {
    let settings = InboxSettings { queue_bytes_max: 1 << 20, ..InboxSettings::default() };
    let harness = harness_with(settings).await;
    let big = || {
        let mut big = post(0, &[7], None);
        big.message.content = vec![0; 600 << 10].into();
        big
    };
    let held = harness.hold_up(7).await;
    let (pending, refused) = harness.fill(big).await;
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    assert!(pending.len() <= 2, "one that is being written, and one that waits");
    held.release().await;
    for pending in pending {
        sent(pending).await;
    }
    sent(harness.writer.submit_post(big()).unwrap()).await;
}

#[tokio::test]
async fn a_database_that_is_locked_is_try_again_later_and_recovers_by_itself() {
    let database = DatabaseSettings { lock_timeout_ms: 300, ..backend::database() };
    let harness = start(tempfile::tempdir().unwrap(), database, InboxSettings::default()).await;
    harness.push(&[7]).await;
    let held = harness.hold_up(7).await;
    let refused = tokio::time::timeout(DEADLINE, harness.submit_push(&[7]).committed()).await.unwrap();
    assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
    held.release().await;
    assert_eq!(harness.push(&[7]).await.seq, 2, "what was refused left no gap");
}

#[tokio::test]
async fn work_that_was_taken_on_before_the_stop_is_written() {
    let harness = harness().await;
    let pending: Vec<PendingCommit<Sent>> = (0..50).map(|_| harness.submit_push(&[7])).collect();
    harness.writer.close();
    assert!(harness.writer.submit_ack(Ack { user_id: 7, device_id: 1, seq: 1 }).is_err());
    for (index, pending) in pending.into_iter().enumerate() {
        assert_eq!(sent(pending).await.seq, index as u64 + 1);
    }
    tokio::time::timeout(DEADLINE, harness.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_overtaken_after_he_did_not_fit_is_numbered_anew() {
    let harness = harness().await;
    let members = (1..=5).map(|user_id| member(user_id, user_id == 1)).collect();
    let group_id = harness.make_group(Kind::Normal, Profile::default(), members).await;
    harness.writer.close();
    harness.task.await.unwrap();
    harness.store.database.close().await;
    // A writer that does not know yet how large the group is takes more of it than fits.
    let settings = InboxSettings { batch_rows_max: 6, ..InboxSettings::default() };
    let harness = start(harness.data, harness.database, settings).await;
    for round in 0..5 {
        let held = harness.hold_up(9).await;
        let first = harness.submit_push(&[9]);
        tokio::task::yield_now().await;
        let large = harness.submit_push(&[10, 11, 12, 13]);
        let to_group = |user_id: u64| harness.submit_to_group(user_id, group_id, &format!("{round}"));
        let pending: Vec<_> = [1, 1, 1, 2, 3, 4].map(to_group).into_iter().collect();
        held.release().await;
        soon(async {
            sent(first).await;
            sent(large).await;
            for pending in pending {
                sent_to_group(pending).await;
            }
        })
        .await;
    }
    let inbox = harness.store.inboxes.page(5, 0, Limit::messages(1_000)).await.unwrap();
    assert!(inbox.windows(2).all(|pair| pair[0].1.id < pair[1].1.id), "ids rise with seqs: {inbox:?}");
    assert_eq!(inbox.len(), 1 + 5 * 4, "a key that comes again is stored once");
}
