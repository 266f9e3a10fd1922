//! What is read, and what is written beside the inbox writer.

use gim_logic::{
    domain::{clock, message::Sent},
    store::{
        room::{BLOCK_SEQS, UnusedSeqs},
        writer::PendingCommit,
    },
};
use gim_proto::logic::Device;

use super::{harness, sent};

#[tokio::test]
async fn pages_are_ascending_without_gaps_or_repeats() {
    let harness = harness().await;
    let pending: Vec<PendingCommit<Sent>> = (0..120).map(|_| harness.submit_push(&[7, 8])).collect();
    for pending in pending {
        sent(pending).await;
    }
    let (mut seq, mut seqs) = (0, Vec::new());
    loop {
        let page = harness.store.inboxes.page(7, seq, 50).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        seq = *last;
        seqs.extend(page.iter().map(|(seq, _)| *seq));
    }
    assert_eq!(seqs, (1..=120).collect::<Vec<u64>>());
    assert_eq!(harness.store.inboxes.newest_seqs(&[9, 7, 8]).await.unwrap(), [0, 120, 120]);
}

#[tokio::test]
async fn keys_past_their_retention_are_forgotten_in_small_steps() {
    let harness = harness().await;
    let pending: Vec<PendingCommit<Sent>> =
        (0..700).map(|number| harness.submit_send(7, 8, &number.to_string())).collect();
    for pending in pending {
        sent(pending).await;
    }
    let later = clock::now_ms() + 1;
    assert_eq!(harness.store.sent_keys.purge_step(0).await.unwrap(), 0);
    assert_eq!(harness.store.sent_keys.purge_step(later).await.unwrap(), 500);
    assert_eq!(harness.store.sent_keys.purge_step(later).await.unwrap(), 200);
    assert!(!sent(harness.submit_send(7, 8, "1")).await.is_duplicate);
}

#[tokio::test]
async fn room_seqs_never_go_back_and_unused_ones_return() {
    let harness = harness().await;
    let seqs = &harness.store.room_seqs;
    assert_eq!(seqs.reserve(9).await.unwrap(), BLOCK_SEQS);
    assert_eq!(seqs.reserve(9).await.unwrap(), 2 * BLOCK_SEQS);
    assert_eq!(seqs.reserve(10).await.unwrap(), BLOCK_SEQS);
    let late = UnusedSeqs { room_id: 9, last_used: 3, reserved_until: BLOCK_SEQS };
    let current = UnusedSeqs { room_id: 10, last_used: 5, reserved_until: BLOCK_SEQS };
    seqs.give_back(&[late, current]).await.unwrap();
    assert_eq!(seqs.reserve(9).await.unwrap(), 3 * BLOCK_SEQS, "a block that is not the newest is not given back");
    assert_eq!(seqs.reserve(10).await.unwrap(), 5 + BLOCK_SEQS);
}

#[tokio::test]
async fn devices_are_stored_and_updated() {
    let harness = harness().await;
    let device = Device { id: 5, r#type: 2, brand: "b".into(), ..Device::default() };
    harness.store.devices.insert(&device, 1).await.unwrap();
    assert!(harness.store.devices.update(&Device { r#type: 3, ..device.clone() }, 2).await.unwrap());
    assert!(!harness.store.devices.update(&Device { id: 6, ..device }, 2).await.unwrap());
    assert_eq!(harness.store.devices.types(&[6, 5]).await.unwrap(), [0, 3]);
}
