//! Walks over what several logic nodes store: a transaction that is committed late, and a node that is killed.

use std::time::{Duration, Instant};

use gim_config::sql::DatabaseSettings;
use gim_logic::{
    domain::{
        settled_ids::{FloorRow, ToldFloor},
        stored_event::StoredEvent,
    },
    settings::InboxSettings,
    store::StoreError,
    walk::{Settled, Settling},
};
use tokio::{task::JoinHandle, time::timeout};

use crate::contract::store::{
    StoreHarness, sent, start_node,
    walks::{begun, next},
};
use crate::support::{DEADLINE, backend};

/// How late a transaction is committed.
const LATE_MS: u64 = 10_000;

struct Node {
    harness: StoreHarness,
    settled: Settled,
    telling: JoinHandle<()>,
}

/// Two nodes that tell each other their floors.
async fn nodes() -> [Node; 2] {
    // What waits for as long as the test has it wait is not given up.
    let (lock_timeout_ms, statement_timeout_ms) = (2 * LATE_MS, 3 * LATE_MS);
    let database = DatabaseSettings { lock_timeout_ms, statement_timeout_ms, ..backend::database() };
    let node = async |number: u16| {
        let settings = InboxSettings { transaction_rows_min: 1, ..InboxSettings::default() };
        let harness = start_node(number, tempfile::tempdir().unwrap(), database.clone(), settings).await;
        let row = FloorRow::of_joining(number.into());
        let has_fence = harness.store.floors.join(row).await.unwrap();
        assert!(has_fence);
        harness.floor.joined(row, has_fence, Instant::now());
        let (settling, settled) = Settling::new(harness.floor.clone(), harness.store.floors.clone(), row);
        Node { harness, settled, telling: tokio::spawn(settling.run()) }
    };
    [node(1).await, node(2).await]
}

/// Waits until ids are settled beyond this one.
async fn settled_beyond(node: &Node, id: u64) {
    let settled = async {
        while node.settled.get() <= id {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, settled).await.expect("it is settled");
}

fn ids(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(StoredEvent::id).collect()
}

#[tokio::test]
async fn what_another_node_commits_late_comes_before_what_was_stored_meanwhile() {
    let [one, two] = nodes().await;
    let mut walk = begun(&one.harness, one.settled.clone()).await;
    let first = one.harness.push(&[9]).await;
    assert_eq!(ids(&next(&mut walk, 1).await), [first.message_id]);
    let held = two.harness.hold_up(7).await;
    let late = two.harness.submit_push(&[7]);
    // The other node has taken it when its floor stays where it is.
    let taken = async {
        loop {
            let floor = two.harness.floor.get();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if floor == two.harness.floor.get() {
                return floor;
            }
        }
    };
    let floor = timeout(DEADLINE, taken).await.unwrap();
    let mut meanwhile = Vec::new();
    while one.harness.floor.get() < floor + (LATE_MS << 22) {
        meanwhile.push(one.harness.push(&[9]).await.message_id);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(one.settled.get() <= floor, "ten seconds later, nothing is settled beyond it");
    held.release().await;
    let late = sent(late).await;
    assert!(late.message_id < *meanwhile.last().unwrap());
    let mut expected = [vec![late.message_id], meanwhile].concat();
    expected.sort_unstable();
    assert_eq!(ids(&next(&mut walk, expected.len()).await), expected);
}

#[tokio::test]
async fn a_node_that_is_killed_is_waited_for_as_long_as_its_lease() {
    let [one, two] = nodes().await;
    let mut walk = begun(&one.harness, one.settled.clone()).await;
    let of_both = [one.harness.push(&[9]).await.message_id, two.harness.push(&[9]).await.message_id];
    settled_beyond(&one, of_both[1]).await;
    two.telling.abort();
    let stays_at = two.harness.floor.get();
    let after = one.harness.push(&[9]).await;
    assert_eq!(ids(&next(&mut walk, 2).await), of_both);
    assert!(one.settled.get() <= stays_at.max(after.message_id));
    assert_eq!(ids(&next(&mut walk, 1).await), [after.message_id], "after the lease");
    let (floors, _) = one.harness.store.floors.all().await.unwrap();
    assert_eq!(floors.iter().map(|floor| floor.row.node_number).collect::<Vec<_>>(), [1], "it is forgotten");
}

#[tokio::test]
async fn a_node_whose_clock_is_behind_makes_no_ids_behind_those_of_others() {
    let [one, two] = nodes().await;
    let half_a_minute = 30_000 << 22;
    one.harness.floor.ids().raise(one.harness.floor.get() + half_a_minute);
    let ahead = one.harness.push(&[9]).await.message_id;
    settled_beyond(&one, ahead).await;
    let next = two.harness.push(&[9]).await;
    assert!(next.message_id > ahead);
}

/// What node 2 told, as node 1 reads it.
async fn told_by_the_second(one: &Node) -> Option<ToldFloor> {
    let (floors, _) = one.harness.store.floors.all().await.unwrap();
    floors.into_iter().find(|floor| floor.row.node_number == 2)
}

#[tokio::test]
async fn the_database_commits_nothing_of_a_node_whose_row_is_gone() {
    let [one, two] = nodes().await;
    let first = two.harness.push(&[9]).await;
    two.telling.abort();
    assert!(two.telling.await.is_err());
    two.harness.floor.told(Instant::now(), true);
    one.harness.store.floors.forget(&told_by_the_second(&one).await.unwrap()).await.unwrap();
    assert_eq!(told_by_the_second(&one).await, None);
    // By its own clock it might commit.
    let holds = [two.harness.floor.hold()];
    assert!(two.harness.floor.permit(holds.iter(), Instant::now()).is_some());
    for _ in 0..2 {
        let refused = two.harness.submit_push(&[9]).committed().await.unwrap_err();
        assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    }
    assert_eq!(one.harness.push(&[9]).await.seq, first.seq + 1, "nothing is left of them");
}

#[tokio::test]
async fn a_node_that_was_forgotten_comes_back_with_ids_behind_what_was_passed() {
    let [one, two] = nodes().await;
    let half_a_minute = 30_000 << 22;
    let before = two.harness.floor.row();
    one.harness
        .store
        .floors
        .tell(one.harness.floor.row().unwrap(), one.harness.floor.get() + half_a_minute, true)
        .await
        .unwrap();
    let passed = one.harness.store.floors.passed().await.unwrap();
    let back = async {
        while two.harness.floor.row() == before {
            // It may tell something between the look and this.
            if let Some(told) = told_by_the_second(&one).await.filter(|told| Some(told.row) == before) {
                one.harness.store.floors.forget(&told).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, back).await.expect("it joins again");
    assert!(two.harness.push(&[9]).await.message_id > passed);
}

#[tokio::test]
async fn a_former_process_of_a_node_is_not_believed() {
    let [one, two] = nodes().await;
    let former = two.harness.floor.row().unwrap();
    let floors = &one.harness.store.floors;
    let row = FloorRow::of_joining(2);
    floors.join(row).await.unwrap();
    assert!(!floors.tell(former, u64::MAX >> 1, true).await.unwrap());
    assert!(floors.join_again(FloorRow::of_joining(2)).await.is_err());
    assert_eq!(told_by_the_second(&one).await.unwrap().row, row);
    let refused = two.harness.submit_push(&[9]).committed().await.unwrap_err();
    assert!(matches!(refused, StoreError::PutOff(_)), "{refused}");
    floors.leave(former).await.unwrap();
    assert_eq!(told_by_the_second(&one).await.unwrap().row, row, "it takes only itself out");
}
