//! A property: whatever comes in whatever batches, every inbox is numbered from one without gaps.

use std::collections::HashMap;

use gim_logic::{domain::message::Sent, settings::InboxSettings, store::Limit};
use proptest::prelude::*;

use super::{harness_with, post, sent};

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
    let harness = harness_with(InboxSettings { batch_rows_max, ..InboxSettings::default() }).await;
    let mut expected: HashMap<u64, usize> = HashMap::new();
    let mut keys: HashMap<(u64, u8), u64> = HashMap::new();
    let mut pending = Vec::new();
    for step in steps {
        match step {
            Step::Push(users) => {
                users.iter().for_each(|&user_id| *expected.entry(user_id).or_default() += 1);
                pending.push((None, harness.submit_push(&users)));
            }
            Step::Send { sender, to, key } => {
                let mut users = vec![sender, to];
                users.dedup();
                keys.entry((sender, key)).or_insert_with(|| {
                    users.iter().for_each(|&user_id| *expected.entry(user_id).or_default() += 1);
                    0
                });
                let post = post(sender, &users, Some(&key.to_string()));
                pending.push((Some((sender, key)), harness.writer.submit_post(post).unwrap()));
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
        assert_eq!(harness.seqs(user_id).await, (1..=count).collect::<Vec<_>>());
        let inbox = harness.store.inboxes.page(user_id, 0, Limit::messages(1_000)).await.unwrap();
        assert!(inbox.windows(2).all(|pair| pair[0].1.id < pair[1].1.id), "ids rise with seqs");
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
