//! Offline pushes of two logic nodes: one of them hands out, and the other one goes on where it ended.

use super::beside_with;
use crate::{
    contract::push_webhook::{PushReceiver, kill_at_every_step},
    support::{self, Server, business::StubBusiness, server_with},
};

/// What several users are told, one after the other.
async fn say_many(server: &Server, to: std::ops::Range<u64>, name: &str) -> Vec<String> {
    let mut said = Vec::new();
    for user_id in to {
        let text = format!("{name} to {user_id}");
        server.say_to(7, user_id, &text).await;
        said.push(text);
    }
    said
}

/// Waits until what is said now is handed out: what was said before was, too, if it is at all.
async fn is_quiet(receiver: &PushReceiver, server: &Server) {
    server.say_to(7, 999, "the end").await;
    receiver.until("the end", 1).await;
}

#[tokio::test]
async fn each_push_comes_once_from_two_nodes_and_the_other_goes_on() {
    let (receiver, _listening) = PushReceiver::start().await;
    let one = server_with(StubBusiness::start().await, |settings| receiver.told_by(settings)).await;
    let two = beside_with(&one, |settings| receiver.told_by(settings)).await;
    let (mut said, more) = tokio::join!(say_many(&one, 100..140, "one"), say_many(&two, 100..140, "two"));
    said.extend(more);
    support::stop(one).await;
    said.extend(say_many(&two, 100..140, "after it").await);
    for text in said.iter().filter(|text| text.starts_with("after it")) {
        receiver.until(text, 1).await;
    }
    is_quiet(&receiver, &two).await;
    // Those of one moment and one conversation are one push, which tells of the newest.
    for text in &said {
        assert!(receiver.pushes(text).len() <= 1, "{text}");
    }
    let last = &said[said.len() - 1];
    let badges: Vec<u64> = receiver.pushes(last).into_iter().map(|(_, badge, _)| badge).collect();
    assert_eq!(badges, [3], "of both nodes");
    support::stop(two).await;
}

#[tokio::test]
async fn a_node_that_did_not_hand_out_before_finds_all_that_was_stored() {
    let (receiver, _listening) = PushReceiver::start().await;
    let one = server_with(StubBusiness::start().await, |settings| {
        receiver.told_by(settings);
        // It reads what is stored, and is stopped before it decides about it.
        settings.offline_push.coalesce_ms = 60_000;
    })
    .await;
    let two = beside_with(&one, |settings| receiver.told_by(settings)).await;
    let mut said = say_many(&one, 200..220, "one").await;
    said.extend(say_many(&two, 300..320, "two").await);
    support::stop(one).await;
    for text in &said {
        assert_eq!(receiver.until(text, 1).await.len(), 1);
    }
    is_quiet(&receiver, &two).await;
    assert!(said.iter().all(|text| receiver.pushes(text).len() == 1));
    support::stop(two).await;
}

#[tokio::test]
async fn another_node_goes_on_after_a_kill_and_hands_nothing_out_twice() {
    kill_at_every_step(true).await;
}
