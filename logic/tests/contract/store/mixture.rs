//! Everything at once: sends to users and to groups whose members overlap, retries, pushes, acks and recalls, in small
//! transactions of which several are under way.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
};

use gim_logic::{
    domain::{
        group::{Kind, Profile},
        message::{Delivery, Sent},
    },
    settings::InboxSettings,
    store::{
        HistoryPart, Limit,
        work::{Ack, GroupOutcome},
        writer::PendingCommit,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{StoreHarness, harness_with, member, post};

const USERS: u64 = 12;
const ROUNDS: usize = 12;
const REQUESTS_PER_ROUND: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn sends_to_overlapping_groups_and_users_leave_no_gap_and_in_order() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let settings = InboxSettings { batch_rows_max: 40, transactions_max: 4, ..InboxSettings::default() };
    let mut harness = harness_with(settings).await;
    let mut groups = Vec::new();
    for number in 0..4 {
        let kind = if number == 3 { Kind::Large } else { Kind::Normal };
        let members = (1 + number..=6 + number * 2).map(|user_id| member(user_id, true)).collect();
        groups.push(harness.make_group(kind, Profile::default(), members).await);
    }
    let mut expected: HashMap<(u64, String), u64> = HashMap::new();
    let mut own: Vec<(u64, u64, u64)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut keyed: Vec<((u64, String), KeyedSend)> = Vec::new();
        let mut others: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for _ in 0..REQUESTS_PER_ROUND {
            let (from, to) = (random.random_range(1..=USERS), random.random_range(1..=USERS));
            let key = random.random_range(0..400).to_string();
            match random.random_range(0..10) {
                0..4 => {
                    let group_id = groups[random.random_range(0..groups.len())];
                    let pending = harness.submit_to_group(from, group_id, &key);
                    keyed.push(((from, key), KeyedSend::ToGroup(pending)));
                }
                4..7 if from != to => {
                    let pending = harness.submit_send(from, to, &key);
                    keyed.push(((from, key), KeyedSend::ToUser(pending)));
                }
                7 => others.push(done(harness.submit_push(&(1..=USERS).collect::<Vec<_>>()))),
                8 if !own.is_empty() => {
                    let (from, to, message_id) = own.swap_remove(random.random_range(0..own.len()));
                    others.push(done(harness.submit_recall(from, to, message_id)));
                }
                _ => {
                    let ack = Ack { user_id: from, device_id: from, seq: 1 };
                    others.push(done(harness.writer.submit_ack(ack).unwrap()));
                }
            }
        }
        for pending in others {
            pending.await;
        }
        for (key, pending) in keyed {
            match pending.committed().await {
                // Who is no member sends nothing; his key stays free.
                Err(_) => assert!(!expected.contains_key(&key), "{key:?}"),
                Ok(sent) => {
                    let message_id = *expected.entry(key.clone()).or_insert(sent.message_id);
                    assert_eq!(sent.message_id, message_id, "one message for {key:?}");
                }
            }
        }
        own = harness.direct_messages().await;
    }
    harness.check(&groups).await;
}

/// A send with a key that waits for its commit.
enum KeyedSend {
    ToUser(PendingCommit<Sent>),
    ToGroup(PendingCommit<GroupOutcome>),
}

impl KeyedSend {
    async fn committed(self) -> GroupOutcome {
        match self {
            Self::ToUser(pending) => Ok(pending.committed().await.unwrap()),
            Self::ToGroup(pending) => pending.committed().await.unwrap(),
        }
    }
}

fn done<T: 'static>(pending: PendingCommit<T>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async { drop(pending.committed().await.unwrap()) })
}

impl StoreHarness {
    fn submit_recall(&self, from: u64, to: u64, message_id: u64) -> PendingCommit<()> {
        let mut recall = post(from, &[from, to], None);
        recall.message.id = message_id;
        recall.message = recall.message.recalled();
        self.writer.submit_recall(recall).unwrap()
    }

    /// Messages between two users that nobody recalled: sender, receiver, id.
    async fn direct_messages(&self) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        for (from, to) in (1..=USERS).flat_map(|from| (1..=USERS).map(move |to| (from, to))) {
            let whole = HistoryPart::before(u64::MAX >> 1);
            let page = self.store.inboxes.history(from, to, whole, Limit::messages(2)).await.unwrap();
            let own = page.iter().filter(|(_, message)| message.sender_id == from && !message.is_recalled());
            found.extend(own.map(|(_, message)| (from, to, message.id)));
        }
        found
    }

    /// What is stored and what left for the devices: the same, in order, without a gap.
    async fn check(&mut self, group_ids: &[u64]) {
        let (mut inboxes, mut timelines) = (BTreeMap::<u64, Vec<_>>::new(), BTreeMap::<u64, Vec<_>>::new());
        while let Ok(batch) = self.committed.try_recv() {
            for Delivery { message, receivers, group, .. } in batch {
                for receiver in receivers {
                    inboxes.entry(receiver.user_id).or_default().push((receiver.seq, message.id));
                }
                if let Some(group) = group {
                    timelines.entry(group.group_id).or_default().push(group.seq);
                }
            }
        }
        for user_id in 1..=USERS {
            let stored = self.store.inboxes.page(user_id, 0, Limit::messages(100_000)).await.unwrap();
            let stored: Vec<_> = stored.into_iter().map(|(seq, message)| (seq, message.id)).collect();
            assert!(stored.iter().map(|(seq, _)| *seq).eq(1..=stored.len() as u64), "a gap in the inbox of {user_id}");
            assert_eq!(inboxes[&user_id], stored, "what left for user {user_id}");
        }
        for group_id in group_ids {
            let group = self.store.groups.get(*group_id).await.unwrap().unwrap();
            assert_eq!(timelines[group_id], (1..=group.seq).collect::<Vec<_>>(), "group {group_id}");
        }
    }
}
