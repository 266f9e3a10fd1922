//! Whose inboxes got the messages of a group is stored once for each version of its members.

use std::time::Duration;

use gim_logic::{
    domain::{
        clock,
        group::{GroupAction, Kind, Profile},
        message_id,
    },
    store::retention::Steps,
};
use sqlx::Row as _;

use super::{StoreHarness, harness, member, sent_to_group};

const DAYS_MS: i64 = 86_400_000;

impl StoreHarness {
    async fn say_to(&self, group_id: u64, sender_id: u64, key: &str) -> u64 {
        sent_to_group(self.submit_to_group(sender_id, group_id, key)).await.message_id
    }

    async fn change_members(&self, group_id: u64, action: GroupAction) {
        sent_to_group(self.submit_group_work(group_id, None, action, None)).await;
    }

    async fn receivers(&self, message_id: u64) -> Option<Vec<u64>> {
        self.store.inboxes.find(message_id).await.unwrap().unwrap().receivers
    }

    /// The lists of all groups, and the messages that have one of their own.
    async fn lists(&self) -> (i64, i64) {
        let counts = "SELECT (SELECT COUNT(*) FROM group_receivers), \
                      (SELECT COUNT(*) FROM message WHERE group_id > 0 AND LENGTH(receivers) > 0)";
        let row = sqlx::query(counts).fetch_one(&self.store.database.reader).await.unwrap();
        (row.get(0), row.get(1))
    }
}

#[tokio::test]
async fn members_are_listed_once_until_they_change() {
    let harness = harness().await;
    let members = [7, 8, 9].map(|user_id| member(user_id, user_id == 7)).to_vec();
    let group_id = harness.make_group(Kind::Normal, Profile::default(), members).await;
    assert_eq!(harness.lists().await, (0, 0), "nobody asks whom a notice was for");
    let first = harness.say_to(group_id, 8, "first").await;
    let second = harness.say_to(group_id, 7, "second").await;
    assert_eq!(harness.lists().await, (1, 0));
    harness.change_members(group_id, GroupAction::AddMembers(vec![member(10, false)])).await;
    let third = harness.say_to(group_id, 9, "third").await;
    harness.change_members(group_id, GroupAction::RemoveMembers(vec![8])).await;
    let fourth = harness.say_to(group_id, 10, "fourth").await;
    assert_eq!(harness.lists().await, (3, 0));

    let harness = harness.restart().await;
    assert_eq!(harness.receivers(first).await.unwrap(), [8, 7, 9], "the sender first");
    assert_eq!(harness.receivers(second).await.unwrap(), [7, 8, 9]);
    assert_eq!(harness.receivers(third).await.unwrap(), [9, 7, 8, 10]);
    assert_eq!(harness.receivers(fourth).await.unwrap(), [10, 7, 9]);
    let fifth = harness.say_to(group_id, 10, "fifth").await;
    assert_eq!((harness.lists().await, harness.receivers(fifth).await.unwrap()), ((3, 0), vec![10, 7, 9]));
    assert!(sent_to_group(harness.submit_to_group(8, group_id, "first")).await.is_duplicate);
}

#[tokio::test]
async fn messages_of_one_batch_have_the_members_of_their_moment() {
    let harness = harness().await;
    let members = vec![member(7, true), member(8, false)];
    let group_id = harness.make_group(Kind::Normal, Profile::default(), members).await;
    let held = harness.hold_up(7).await;
    let before = harness.submit_to_group(7, group_id, "before");
    let joining = harness.submit_group_work(group_id, None, GroupAction::AddMembers(vec![member(9, false)]), None);
    let after = harness.submit_to_group(7, group_id, "after");
    held.release().await;
    sent_to_group(joining).await;
    let (before, after) = (sent_to_group(before).await.message_id, sent_to_group(after).await.message_id);
    assert_eq!(harness.receivers(before).await.unwrap(), [7, 8]);
    assert_eq!(harness.receivers(after).await.unwrap(), [7, 8, 9]);
}

#[tokio::test]
async fn a_large_group_lists_nobody() {
    let harness = harness().await;
    let members = vec![member(7, true), member(8, false)];
    let group_id = harness.make_group(Kind::Large, Profile::default(), members).await;
    let said = harness.say_to(group_id, 8, "said").await;
    assert_eq!((harness.lists().await, harness.receivers(said).await.unwrap()), ((0, 0), Vec::new()));
}

#[tokio::test]
async fn retention_takes_lists_that_no_message_can_name_and_leaves_the_newest() {
    let harness = harness().await;
    let members = vec![member(7, true), member(8, false)];
    let group_id = harness.make_group(Kind::Normal, Profile::default(), members).await;
    for user_id in 10..13 {
        harness.say_to(group_id, 7, &user_id.to_string()).await;
        harness.change_members(group_id, GroupAction::AddMembers(vec![member(user_id, false)])).await;
    }
    let last = harness.say_to(group_id, 7, "last").await;
    let steps = Steps { rows: 100, pause: Duration::ZERO };
    harness.store.retention.sweep(last, steps).await.unwrap();
    assert_eq!(harness.lists().await, (4, 0), "ids of nodes may be apart");
    assert_eq!(harness.receivers(last).await.unwrap(), [7, 8, 10, 11, 12]);
    let before_id = message_id::least_at(clock::now_ms() + 2 * DAYS_MS);
    // Two in each step, of which there are as many as it takes.
    let steps = Steps { rows: 2, pause: Duration::ZERO };
    harness.store.retention.sweep(before_id, steps).await.unwrap();
    assert_eq!(harness.lists().await, (1, 0));
    let next = harness.say_to(group_id, 8, "next").await;
    assert_eq!((harness.lists().await, harness.receivers(next).await.unwrap()), ((1, 0), vec![8, 7, 10, 11, 12]));
}
