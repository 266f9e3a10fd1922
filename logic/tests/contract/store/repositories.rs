//! What is read, and what is written beside the inbox writer.

use gim_logic::{
    domain::{
        caller::Caller,
        message::{Message, Sent},
    },
    store::{
        HistoryPart, Limit,
        device::NOBODY,
        room::{BLOCK_SEQS, UnusedSeqs},
        work::{DeviceChange, DeviceSave, Saver},
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
        let page = harness.store.inboxes.page(7, seq, Limit::messages(50)).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        seq = *last;
        seqs.extend(page.iter().map(|(seq, _)| *seq));
    }
    assert_eq!(seqs, (1..=120).collect::<Vec<u64>>());
    assert_eq!(harness.store.inboxes.newest_seqs(&[9, 7, 8]).await.unwrap(), [0, 120, 120]);
}

#[tokio::test]
async fn of_what_is_beyond_the_bytes_of_a_page_nothing_is_read() {
    let harness = harness().await;
    for number in 0..4 {
        sent(harness.submit_content(&[number; 60], &number.to_string())).await;
    }
    let limit = Limit { messages: 9, bytes: 100 };
    let lengths =
        |page: Vec<(u64, Message)>| page.iter().map(|(seq, message)| (*seq, message.content.len())).collect::<Vec<_>>();
    let page = harness.store.inboxes.page(8, 0, limit).await.unwrap();
    assert_eq!(lengths(page), [(1, 60), (2, 60), (3, 0), (4, 0)]);
    let history = harness.store.inboxes.history(8, 7, HistoryPart::before(100), limit).await.unwrap();
    assert_eq!(lengths(history), [(4, 60), (3, 60), (2, 0), (1, 0)]);
    let small = Limit { bytes: 1, ..limit };
    assert_eq!(lengths(harness.store.inboxes.page(8, 2, small).await.unwrap()), [(3, 60), (4, 0)]);
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
    let save = async |owner, device_type, change| {
        let device = Device { r#type: device_type, ..device.clone() };
        let save = DeviceSave { owner, device, change, now_ms: 1, saver: Saver::Service };
        harness.writer.submit_device(save).unwrap().committed().await.unwrap();
    };
    let callers = [(7, 6), (7, 5), (8, 5)].map(|(user_id, device_id)| Caller { user_id, device_id });
    let types = async || harness.store.devices.types(&callers).await.unwrap();
    save(NOBODY, 2, DeviceChange::All).await;
    assert_eq!(types().await, [0, 2, 2], "that of whoever signs in next");
    save(7, 0, DeviceChange::Owner).await;
    assert_eq!(types().await, [0, 2, 0]);
    save(8, 3, DeviceChange::All).await;
    save(7, 4, DeviceChange::PushIdAndVersions).await;
    assert_eq!(types().await, [0, 2, 3], "each user has a device 5");
    save(NOBODY, 1, DeviceChange::All).await;
    save(8, 0, DeviceChange::Owner).await;
    save(8, 0, DeviceChange::Owner).await;
    assert_eq!(types().await, [0, 2, 1]);
}
