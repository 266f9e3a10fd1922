//! Transactions of two nodes that meet in MariaDB.

use std::time::Duration;

use futures_util::future::join_all;
use gim_logic::{domain::message::Sent, settings::InboxSettings};
use sqlx::{AnyConnection, Executor as _};

use crate::{
    contract::store::{StoreHarness, harness, sent, start_node},
    support::{backend, soon},
};

/// MariaDB shows its transactions as they were until nobody has looked for 100 ms.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// Waits until this many transactions on the database of `harness` wait for a lock.
async fn transactions_wait(harness: &StoreHarness, count: i64) {
    let waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx AS trx \
                   JOIN information_schema.processlist AS process ON process.id = trx.trx_mysql_thread_id \
                   WHERE trx.trx_state = 'LOCK WAIT' AND process.db = DATABASE()";
    let reader = &harness.store.database.reader;
    let all_wait = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(reader).await.unwrap() < count {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    soon(all_wait).await;
}

/// Changes so many rows that, of two transactions in a deadlock, this is not the one to give way.
async fn weigh_down(connection: &mut AnyConnection) {
    for user_id in 1000..1100 {
        sqlx::query("INSERT INTO inbox (user_id, seq) VALUES (?, 0)")
            .bind(user_id)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_batch_that_gives_way_in_a_deadlock_is_written_all_the_same() {
    let harness = harness().await;
    harness.push(&[7, 8]).await;
    let mut held = harness.hold_up(8).await;
    weigh_down(&mut held.0).await;
    let pending = harness.submit_push(&[7, 8]);
    transactions_wait(&harness, 1).await;
    // The writer has 7 and waits for 8; here it is the other way round.
    held.0.execute("UPDATE inbox SET seq = seq WHERE user_id = 7").await.unwrap();
    held.release().await;
    assert_eq!(soon(sent(pending)).await.seq, 2);
    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1, 2], vec![1, 2]));
}

#[tokio::test]
async fn a_key_sent_through_two_nodes_at_once_stores_one_message() {
    let one = harness().await;
    let two = start_node(2, tempfile::tempdir().unwrap(), one.database.clone(), InboxSettings::default()).await;
    one.push(&[7, 8]).await;
    let held = one.hold_up(7).await;
    let pending = [one.submit_send(7, 8, "same"), two.submit_send(7, 8, "same")];
    // Both have looked for the key, in vain, and go on at the same moment.
    transactions_wait(&one, 2).await;
    held.release().await;
    let [first, second] = pending;
    let (first, second) = (soon(sent(first)).await, soon(sent(second)).await);
    assert_ne!(first.is_duplicate, second.is_duplicate);
    let stored = |sent| Sent { is_duplicate: false, inbox_seq: 0, ..sent };
    assert_eq!(stored(first), stored(second));
    assert_eq!((first.seq, one.seqs(7).await, one.seqs(8).await), (2, vec![1, 2], vec![1, 2]));
}

#[tokio::test]
async fn nodes_that_start_on_an_empty_database_take_turns_to_migrate_it() {
    let database = backend::database();
    let nodes = (1..=4).map(async |number| {
        let data = tempfile::tempdir().unwrap();
        start_node(number, data, database.clone(), InboxSettings::default()).await.push(&[u64::from(number)]).await
    });
    for sent in soon(join_all(nodes)).await {
        assert_eq!(sent.seq, 1);
    }
}
