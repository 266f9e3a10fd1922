//! The inbox writer and the repositories.

use std::{collections::HashMap, sync::Arc, time::Duration};

use gim_config::sql::{Database, DatabaseSettings};
use gim_logic::{
    domain::{
        clock,
        message::{Delivery, Message, Sent},
        message_id::MessageIds,
    },
    settings::InboxSettings,
    store::{
        self, Store, StoreError,
        batch::{Ack, Outcome, Post, Work},
        retention::{Steps, Swept},
        room::{BLOCK_SEQS, UnusedSeqs},
        writer::{Pending, Writer},
    },
};
use gim_proto::logic::Device;
use proptest::prelude::*;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::support::backend;

const DEADLINE: Duration = Duration::from_secs(20);

pub struct Bench {
    data: TempDir,
    pub database: DatabaseSettings,
    pub store: Store,
    writer: Writer,
    task: JoinHandle<()>,
    committed: mpsc::Receiver<Vec<Delivery>>,
    ids: Arc<MessageIds>,
}

pub async fn bench() -> Bench {
    bench_with(InboxSettings::default()).await
}

async fn bench_with(settings: InboxSettings) -> Bench {
    start(tempfile::tempdir().unwrap(), backend::database(), settings).await
}

async fn start(data: TempDir, database: DatabaseSettings, settings: InboxSettings) -> Bench {
    start_node(1, data, database, settings).await
}

/// The writer of one node among several on a database.
pub async fn start_node(number: u16, data: TempDir, database: DatabaseSettings, settings: InboxSettings) -> Bench {
    let opened = Database::open(&database, data.path(), "logic.db", &store::MIGRATIONS).await;
    let store = Store::new(opened.unwrap());
    let (deliveries, committed) = mpsc::channel(10_000);
    let (writer, task) = Writer::start(&store.database, &settings, deliveries);
    let newest_id = store.inboxes.newest_message_id().await.unwrap();
    Bench { data, database, store, writer, task, committed, ids: Arc::new(MessageIds::new(number, newest_id)) }
}

/// Another process that holds a lock which the writer needs.
pub struct Held(pub AnyConnection);

impl Held {
    pub async fn release(mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
    }
}

impl Bench {
    /// Holds up whoever writes to the inbox of `user_id` (on SQLite, whoever writes), until released.
    pub async fn hold_up(&self, user_id: u64) -> Held {
        let is_embedded = self.database.url.is_empty();
        let file = format!("sqlite:{}", self.data.path().join("logic.db").display());
        let url = if is_embedded { &file } else { &self.database.url };
        let mut connection = AnyConnection::connect(url).await.unwrap();
        if is_embedded {
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
        } else {
            connection.execute("BEGIN").await.unwrap();
            let lock = "INSERT INTO inbox (user_id, seq) VALUES (?, 0) ON DUPLICATE KEY UPDATE seq = seq";
            sqlx::query(lock).bind(user_id.cast_signed()).execute(&mut connection).await.unwrap();
        }
        Held(connection)
    }

    /// Takes work on until it is refused; returns what was taken on, and the refusal.
    async fn fill(&self, work: impl Fn() -> Work) -> (Vec<Pending>, StoreError) {
        let mut pending = Vec::new();
        loop {
            match self.writer.submit(work()) {
                Ok(taken) => pending.push(taken),
                Err(error) => return (pending, error),
            }
            tokio::task::yield_now().await;
            assert!(pending.len() < 100);
        }
    }

    /// Stops everything, as a clean stop of the service does, and starts again on the same data.
    async fn restart(self) -> Bench {
        self.writer.close();
        self.task.await.unwrap();
        self.store.database.close().await;
        start(self.data, self.database, InboxSettings::default()).await
    }

    pub fn submit_push(&self, user_ids: &[u64]) -> Pending {
        self.writer.submit(Work::Post(post(&self.ids, 0, user_ids, None))).unwrap()
    }

    pub async fn push(&self, user_ids: &[u64]) -> Sent {
        sent(self.submit_push(user_ids)).await
    }

    pub fn submit_send(&self, sender_id: u64, to: u64, key: &str) -> Pending {
        let post = post(&self.ids, sender_id, &[sender_id, to], Some(key));
        self.writer.submit(Work::Post(post)).unwrap()
    }

    async fn ack(&self, user_id: u64, device_id: u64, seq: u64) -> Outcome {
        let pending = self.writer.submit(Work::Ack(Ack { user_id, device_id, seq })).unwrap();
        pending.committed().await.unwrap()
    }

    pub async fn seqs(&self, user_id: u64) -> Vec<u64> {
        let page = self.store.inboxes.page(user_id, 0, 100_000).await.unwrap();
        page.into_iter().map(|(seq, _)| seq).collect()
    }
}

fn post(ids: &MessageIds, sender_id: u64, user_ids: &[u64], key: Option<&str>) -> Post {
    Post {
        message: Message {
            id: ids.next_id(),
            command: 1,
            content: b"hello"[..].into(),
            sender_id,
            created_at_ms: clock::now_ms(),
            status: 0,
            group_id: 0,
        },
        user_ids: user_ids.to_vec(),
        conversation: key.and(Some((sender_id, *user_ids.last().unwrap()))),
        client_msg_id: key.map(str::to_owned),
        origin_device_id: 0,
        request_id: String::new(),
    }
}

pub async fn sent(pending: Pending) -> Sent {
    match pending.committed().await.unwrap() {
        Outcome::Posted(sent) => sent,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pushes_give_every_user_gap_free_seqs_in_delivery_order() {
    let bench = Arc::new(bench().await);
    let tasks = (0..8).map(|task: u64| {
        let bench = bench.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                let first = (task + number) % 5 + 1;
                bench.push(&[first, first + 1, first + 2]).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut bench = Arc::into_inner(bench).unwrap();
    let mut delivered: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    while let Ok(batch) = bench.committed.try_recv() {
        for delivery in batch {
            for receiver in &delivery.receivers {
                delivered.entry(receiver.user_id).or_default().push((receiver.seq, delivery.message.id));
            }
        }
    }
    let mut rows = 0;
    for user_id in 1..=7 {
        let stored = bench.store.inboxes.page(user_id, 0, 10_000).await.unwrap();
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
    let bench = bench().await;
    let pending: Vec<Pending> = (0..3).map(|_| bench.submit_send(7, 8, "same")).collect();
    let mut answers = Vec::new();
    for pending in pending {
        answers.push(sent(pending).await);
    }
    let first = answers[0];
    assert_eq!((first.seq, first.is_duplicate), (1, false));
    let duplicate = Sent { is_duplicate: true, ..first };
    assert_eq!(answers[1..], [duplicate, duplicate]);
    assert_eq!(sent(bench.submit_send(8, 7, "same")).await.seq, 2, "keys are unique per sender");

    let mut bench = bench.restart().await;
    assert_eq!(sent(bench.submit_send(7, 8, "same")).await, duplicate);
    assert_eq!(bench.seqs(8).await, [1, 2]);
    assert!(bench.committed.try_recv().is_err(), "a duplicate is not delivered again");
}

#[tokio::test]
async fn a_send_that_was_committed_but_not_answered_is_a_duplicate_when_it_is_retried() {
    let bench = bench().await;
    // The caller is gone before the commit, as when the process dies between commit and reply.
    drop(bench.submit_send(7, 8, "lost reply"));
    bench.push(&[9]).await;
    let bench = bench.restart().await;
    let retried = sent(bench.submit_send(7, 8, "lost reply")).await;
    assert!(retried.is_duplicate);
    assert_eq!((bench.seqs(7).await, bench.seqs(8).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_restart_keeps_messages_acks_and_counters() {
    let bench = bench().await;
    let first = bench.push(&[7]).await;
    bench.push(&[7]).await;
    assert_eq!(bench.ack(7, 70, 1).await, Outcome::Acked);
    let bench = bench.restart().await;
    let third = bench.push(&[7]).await;
    assert!(third.message_id > first.message_id);
    assert_eq!(third.seq, 3);
    assert_eq!(bench.store.inboxes.largest_ack(7).await.unwrap(), 1);
    let page = bench.store.inboxes.page(7, 0, 10).await.unwrap();
    assert_eq!((page[0].1.id, page[0].1.created_at_ms), (first.message_id, first.created_at_ms));
}

#[tokio::test]
async fn acks_only_rise_and_never_beyond_the_inbox() {
    let bench = bench().await;
    for _ in 0..3 {
        bench.push(&[7]).await;
    }
    assert_eq!(bench.ack(7, 70, 2).await, Outcome::Acked);
    assert_eq!(bench.ack(7, 70, 1).await, Outcome::Acked, "an older ack is no error");
    assert_eq!(bench.store.inboxes.largest_ack(7).await.unwrap(), 2);
    assert_eq!(bench.ack(7, 71, 3).await, Outcome::Acked);
    assert_eq!(bench.store.inboxes.largest_ack(7).await.unwrap(), 3, "of all devices");
    assert_eq!(bench.ack(7, 70, 4).await, Outcome::AckBeyond { newest_seq: 3 });
    assert_eq!(bench.ack(8, 80, 1).await, Outcome::AckBeyond { newest_seq: 0 });
    assert_eq!(bench.store.inboxes.largest_ack(8).await.unwrap(), 0);
}

#[tokio::test]
async fn one_bad_job_does_not_fail_those_in_its_batch() {
    let bench = bench().await;
    let first = bench.push(&[7]).await;
    // While the writer is held up the other three gather for one batch; the second one's message id is taken.
    let held = bench.hold_up(7).await;
    let holding = bench.submit_push(&[7]);
    let good = bench.submit_push(&[7]);
    let mut taken = post(&bench.ids, 0, &[7], None);
    taken.message.id = first.message_id;
    let bad = bench.writer.submit(Work::Post(taken)).unwrap();
    let other = bench.submit_push(&[7, 8]);
    held.release().await;
    assert_eq!((sent(holding).await.seq, sent(good).await.seq), (2, 3));
    assert!(matches!(bad.committed().await, Err(StoreError::Failed(_))));
    assert_eq!(sent(other).await.seq, 4);
    assert_eq!((bench.seqs(7).await, bench.seqs(8).await), (vec![1, 2, 3, 4], vec![1]));
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let settings = InboxSettings { queue_jobs_max: 2, ..InboxSettings::default() };
    let bench = bench_with(settings).await;
    let held = bench.hold_up(7).await;
    let (pending, refused) = bench.fill(|| Work::Post(post(&bench.ids, 0, &[7], None))).await;
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    held.release().await;
    let taken = pending.len() as u64;
    for pending in pending {
        sent(pending).await;
    }
    assert_eq!(bench.push(&[7]).await.seq, taken + 1);
}

#[tokio::test]
async fn the_bytes_that_wait_are_bounded_too() {
    let settings = InboxSettings { queue_bytes_max: 1 << 20, ..InboxSettings::default() };
    let bench = bench_with(settings).await;
    let big = || {
        let mut big = post(&bench.ids, 0, &[7], None);
        big.message.content = vec![0; 600 << 10].into();
        Work::Post(big)
    };
    let held = bench.hold_up(7).await;
    let (pending, refused) = bench.fill(big).await;
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    assert!(pending.len() <= 2, "one that is being written, and one that waits");
    held.release().await;
    for pending in pending {
        sent(pending).await;
    }
    sent(bench.writer.submit(big()).unwrap()).await;
}

#[tokio::test]
async fn a_database_that_is_locked_is_try_again_later_and_recovers_by_itself() {
    let database = DatabaseSettings { lock_timeout_ms: 300, ..backend::database() };
    let bench = start(tempfile::tempdir().unwrap(), database, InboxSettings::default()).await;
    bench.push(&[7]).await;
    let held = bench.hold_up(7).await;
    let refused = tokio::time::timeout(DEADLINE, bench.submit_push(&[7]).committed()).await.unwrap();
    assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
    held.release().await;
    assert_eq!(bench.push(&[7]).await.seq, 2, "what was refused left no gap");
}

#[tokio::test]
async fn work_that_was_taken_on_before_the_stop_is_written() {
    let bench = bench().await;
    let pending: Vec<Pending> = (0..50).map(|_| bench.submit_push(&[7])).collect();
    bench.writer.close();
    assert!(bench.writer.submit(Work::Ack(Ack { user_id: 7, device_id: 1, seq: 1 })).is_err());
    for (index, pending) in pending.into_iter().enumerate() {
        assert_eq!(sent(pending).await.seq, index as u64 + 1);
    }
    tokio::time::timeout(DEADLINE, bench.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn pages_are_ascending_without_gaps_or_repeats() {
    let bench = bench().await;
    let pending: Vec<Pending> = (0..120).map(|_| bench.submit_push(&[7, 8])).collect();
    for pending in pending {
        sent(pending).await;
    }
    let (mut seq, mut seqs) = (0, Vec::new());
    loop {
        let page = bench.store.inboxes.page(7, seq, 50).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        seq = *last;
        seqs.extend(page.iter().map(|(seq, _)| *seq));
    }
    assert_eq!(seqs, (1..=120).collect::<Vec<u64>>());
    assert_eq!(bench.store.inboxes.newest_seqs(&[9, 7, 8]).await.unwrap(), [0, 120, 120]);
}

#[tokio::test]
async fn keys_past_their_retention_are_forgotten_in_small_steps() {
    let bench = bench().await;
    let pending: Vec<Pending> = (0..700).map(|number| bench.submit_send(7, 8, &number.to_string())).collect();
    for pending in pending {
        sent(pending).await;
    }
    let later = clock::now_ms() + 1;
    assert_eq!(bench.store.sent_keys.purge_step(0).await.unwrap(), 0);
    assert_eq!(bench.store.sent_keys.purge_step(later).await.unwrap(), 500);
    assert_eq!(bench.store.sent_keys.purge_step(later).await.unwrap(), 200);
    assert!(!sent(bench.submit_send(7, 8, "1")).await.is_duplicate);
}

#[tokio::test]
async fn room_seqs_never_go_back_and_unused_ones_return() {
    let bench = bench().await;
    let seqs = &bench.store.room_seqs;
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
    let bench = bench().await;
    let device = Device { id: 5, r#type: 2, brand: "b".into(), ..Device::default() };
    bench.store.devices.insert(&device, 1).await.unwrap();
    assert!(bench.store.devices.update(&Device { r#type: 3, ..device.clone() }, 2).await.unwrap());
    assert!(!bench.store.devices.update(&Device { id: 6, ..device }, 2).await.unwrap());
    assert_eq!(bench.store.devices.types(&[6, 5]).await.unwrap(), [0, 3]);
}

/// One step of the numbering property: a push to some users, or a send that may repeat a key.
#[derive(Debug, Clone)]
enum Step {
    Push(Vec<u64>),
    Send { sender: u64, to: u64, key: u8 },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let users = proptest::collection::btree_set(1..6u64, 1..5).prop_map(|users| users.into_iter().collect());
    prop_oneof![
        3 => users.prop_map(Step::Push),
        3 => (1..6u64, 1..5u64, 0..4u8).prop_map(|(sender, offset, key)| Step::Send {
            sender,
            to: (sender + offset - 1) % 5 + 1,
            key,
        }),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_batches_number_every_inbox_from_one_without_gaps(
        steps in proptest::collection::vec(step(), 1..60),
        batch_rows_max in 1..40usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_numbering(steps, batch_rows_max));
    }
}

async fn check_numbering(steps: Vec<Step>, batch_rows_max: usize) {
    let bench = bench_with(InboxSettings { batch_rows_max, ..InboxSettings::default() }).await;
    let mut expected: HashMap<u64, usize> = HashMap::new();
    let mut keys: HashMap<(u64, u8), u64> = HashMap::new();
    let mut pending = Vec::new();
    for step in steps {
        match step {
            Step::Push(users) => {
                users.iter().for_each(|&user_id| *expected.entry(user_id).or_default() += 1);
                pending.push((None, bench.submit_push(&users)));
            }
            Step::Send { sender, to, key } => {
                let mut users = vec![sender, to];
                users.dedup();
                keys.entry((sender, key)).or_insert_with(|| {
                    users.iter().for_each(|&user_id| *expected.entry(user_id).or_default() += 1);
                    0
                });
                let work = Work::Post(post(&bench.ids, sender, &users, Some(&key.to_string())));
                pending.push((Some((sender, key)), bench.writer.submit(work).unwrap()));
            }
            Step::Wait => {
                for (key, pending) in pending.drain(..) {
                    note(&mut keys, key, sent(pending).await);
                }
            }
        }
    }
    for (key, pending) in pending {
        note(&mut keys, key, sent(pending).await);
    }
    for user_id in 1..=5 {
        let count = expected.get(&user_id).copied().unwrap_or(0) as u64;
        assert_eq!(bench.seqs(user_id).await, (1..=count).collect::<Vec<_>>());
    }
}

/// The first answer under a key tells the message id; every later one is a duplicate with the same.
fn note(keys: &mut HashMap<(u64, u8), u64>, key: Option<(u64, u8)>, sent: Sent) {
    let Some(key) = key else { return };
    let message_id = keys.get_mut(&key).unwrap();
    if *message_id == 0 {
        assert!(!sent.is_duplicate);
        *message_id = sent.message_id;
    } else {
        assert_eq!((*message_id, true), (sent.message_id, sent.is_duplicate));
    }
}

#[tokio::test]
async fn retention_takes_the_oldest_in_small_steps_and_leaves_no_gap() {
    let bench = bench().await;
    for number in 0..5 {
        sent(bench.submit_send(7, 8, &format!("old {number}"))).await;
    }
    bench.push(&[9]).await;
    assert_eq!(bench.ack(7, 70, 3).await, Outcome::Acked);
    assert_eq!(bench.ack(8, 80, 5).await, Outcome::Acked);
    let before_id = bench.ids.next_id();
    let kept = sent(bench.submit_send(7, 8, "kept")).await;
    let steps = Steps { rows: 2, pause: Duration::ZERO };
    let swept = bench.store.retention.sweep(before_id, steps).await.unwrap();
    assert_eq!(swept, Swept { rows: 10, messages: 6 });

    let left = |user_id| bench.store.inboxes.page(user_id, 0, 100);
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
    assert_eq!(bench.store.inboxes.history(7, 8, u64::MAX >> 1, 100).await.unwrap().len(), 1);
    assert_eq!(bench.store.inboxes.largest_ack(7).await.unwrap(), 0, "an ack below what is left says nothing");
    assert_eq!(bench.store.inboxes.largest_ack(8).await.unwrap(), 5);
    assert_eq!(bench.push(&[7, 9]).await.seq, 7, "seqs go on");
    assert_eq!(bench.store.retention.sweep(before_id, steps).await.unwrap(), Swept { rows: 1, messages: 0 });
    assert_eq!(bench.seqs(9).await, [2]);
}
