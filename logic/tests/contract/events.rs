//! Events out: every one at least once, in order, and none of it at the cost of a send.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use gim_logic::{LogicSettings, events::WALK, store::Store};
use gim_proto::{
    connect::{SendRequest, send_request::Target},
    logic::{ConversationReadRequest, RecallRequest, conversation_read_request::Peer},
    metadata,
};
use serde_json::Value;
use tonic::Request;

use crate::support::{
    Server,
    business::StubBusiness,
    receiver::{EventReceiver, SECRET, until},
    server_with,
};

/// A server that tells a receiver what happens, from now on.
pub async fn telling(receiver: &EventReceiver, change: impl FnOnce(&mut LogicSettings)) -> Server {
    let server = server_with(StubBusiness::start().await, |settings| {
        told_to(receiver, settings);
        change(settings);
    })
    .await;
    begun(&server).await;
    server
}

pub fn told_to(receiver: &EventReceiver, settings: &mut LogicSettings) {
    let events = &mut settings.events;
    events.webhook = receiver.url();
    events.webhook_secret = SECRET.into();
    events.private_addresses = true;
    events.batch_events_max = 40;
    (events.backoff_first_ms, events.backoff_max_ms) = (1, 20);
    settings.conversation.read_delay_ms = 0;
}

async fn begun(server: &Server) {
    let store = Store::new(server.database().await);
    until(async || store.walks.get(WALK).await.unwrap().filter(|row| row.holder != 0)).await;
    store.database.close().await;
}

pub fn signed<T>(user_id: u64, message: T) -> Request<T> {
    metadata::signed(message, user_id, user_id * 10, &format!("token-{user_id}"))
}

/// Sends from a user to the next one; the id of the message.
pub async fn send(server: &Server, user_id: u64, number: usize) -> u64 {
    let request = SendRequest {
        target: Some(Target::UserId(user_id + 1)),
        content: format!("{number}").into(),
        client_msg_id: format!("{user_id}-{number}"),
        ..SendRequest::default()
    };
    server.message_ext().send(signed(user_id, request)).await.unwrap().into_inner().message_id
}

/// Every user sends so many, one after the other, and all users at once; the ids of each user's messages.
pub async fn send_many(server: &Server, user_ids: &[u64], numbers: std::ops::Range<usize>) -> BTreeMap<u64, Vec<u64>> {
    let of_user = async |&user_id: &u64| {
        let mut ids = Vec::new();
        for number in numbers.clone() {
            ids.push(send(server, user_id, number).await);
        }
        (user_id, ids)
    };
    join_all(user_ids.iter().map(of_user)).await.into_iter().collect()
}

pub fn message_ids(events: &[Value], sender_id: u64) -> Vec<u64> {
    let sender_id = sender_id.to_string();
    let of_sender = |event: &&Value| event["data"]["sender_id"] == *sender_id;
    events
        .iter()
        .filter(of_sender)
        .map(|event| event["data"]["message_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn each_event_comes_once_or_more_and_in_order_whatever_the_receiver_does() {
    let (receiver, listening) = EventReceiver::start(5).await;
    let server = telling(&receiver, |_| ()).await;
    let user_ids: Vec<u64> = (0..20).map(|number| 101 + 2 * number).collect();
    let first = send_many(&server, &user_ids, 0..30).await;
    receiver.once(|events| events.len() >= 300).await;
    listening.abort();
    drop(listening.await);
    let second = send_many(&server, &user_ids, 30..60).await;
    let _listening = receiver.again().await;
    let server = server.restart().await;
    let third = send_many(&server, &user_ids, 60..70).await;
    let events = receiver.once(|events| events.len() >= 20 * 70).await;
    assert_eq!(events.len(), 20 * 70, "and nothing else");
    for user_id in user_ids {
        let sent = [&first, &second, &third].map(|ids| ids[&user_id].clone()).concat();
        assert_eq!(message_ids(&events, user_id), sent);
    }
    assert!(receiver.events().len() > events.len(), "what failed after it was taken came again");
    crate::support::stop(server).await;
}

#[tokio::test]
async fn what_becomes_of_a_message_is_told_with_whom_it_concerns() {
    let (receiver, _listening) = EventReceiver::start(0).await;
    let server = telling(&receiver, |_| ()).await;
    let message_id = send(&server, 7, 0).await;
    let read = ConversationReadRequest { peer: Some(Peer::UserId(7)), seq: 0, message_id };
    server.conversation_ext().read(signed(8, read)).await.unwrap();
    server.message_ext().recall(signed(7, RecallRequest { message_id })).await.unwrap();
    let events = receiver.once(|events| events.len() >= 3).await;
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["message.stored", "conversation.read", "message.recalled"]);
    for (event, user, name) in
        [(&events[0], "7", "sender_id"), (&events[1], "8", "user_id"), (&events[2], "7", "sender_id")]
    {
        assert_eq!(event["data"][name], user);
        assert_eq!(event["data"]["message_id"], message_id.to_string());
    }
    assert_eq!(events[2]["data"]["user_ids"], serde_json::json!(["8"]));
    crate::support::stop(server).await;
}

#[tokio::test]
async fn what_nobody_takes_for_too_long_is_in_the_dead_letter_file() {
    let (receiver, _listening) = EventReceiver::start(1).await;
    let server = telling(&receiver, |settings| settings.events.dead_letter_after_s = 1).await;
    let given_up = send(&server, 7, 0).await;
    let path = server.data.path().join("events-dead-letters.jsonl");
    let lines = until(async || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).await;
    receiver.fail_each(0);
    let letter: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(letter["body"]["data"]["events"][0]["data"]["message_id"], given_up.to_string());
    assert!(letter["error"].as_str().unwrap().contains("500"), "{letter}");
    let next = send(&server, 7, 1).await;
    let events = receiver.once(|events| message_ids(events, 7).contains(&next)).await;
    assert_eq!(message_ids(&events, 7).last(), Some(&next));
    crate::support::stop(server).await;
}

#[tokio::test]
async fn what_waits_is_told_in_calls_that_are_full() {
    let (receiver, _listening) = EventReceiver::start(0).await;
    let server = telling(&receiver, |_| ()).await;
    let held = receiver.hold().await;
    send(&server, 7, 0).await;
    until(async || (receiver.calls() > 0).then_some(())).await;
    let user_ids = [101, 103, 105, 107, 109];
    let sent = send_many(&server, &user_ids, 0..40).await;
    drop(held);
    let events = receiver.once(|events| events.len() > 200).await;
    assert_eq!(events.len(), 201);
    // As many as `batch_events_max` in each but the first, and those that end where something was not settled yet.
    assert!((6..=10).contains(&receiver.different_calls()), "{}", receiver.different_calls());
    for user_id in user_ids {
        assert_eq!(message_ids(&events, user_id), sent[&user_id]);
    }
    crate::support::stop(server).await;
}
