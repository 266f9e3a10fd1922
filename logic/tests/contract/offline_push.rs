//! Offline push: who is woken about what, and who is not.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use gim_logic::LogicSettings;
use gim_proto::{
    business::{OfflinePush, offline_push::Peer},
    connect::{MessageCommand, SendReply, SendRequest, send_request::Target},
    content::{Mention, Text},
    logic::{
        ConversationSetRequest, Device, DeviceSaveRequest, GroupKind, MessageAckRequest, RecallRequest, RevokeRequest,
        access_int_service_client::AccessIntServiceClient, conversation_set_request,
    },
};
use prost::Message as _;

use super::group::harness::signed;
use crate::support::{DEADLINE, Server, business::StubBusiness, conn::Conn, receiver::until, server_with, stop};

pub(super) async fn waking_server(change: impl FnOnce(&mut LogicSettings)) -> Server {
    let business = StubBusiness::that_wakes().await;
    server_with(business, |settings| {
        settings.offline_push.coalesce_ms = 50;
        change(settings);
    })
    .await
}

impl Server {
    /// A user says where one of her devices is reached.
    pub(super) async fn give_push_id(&self, user_id: u64, device_id: u64, push_id: &str) {
        let device = Some(Device { id: device_id, r#type: 2, branch_push_id: push_id.into(), ..Device::default() });
        self.device_int().save(DeviceSaveRequest { device, user_id }).await.unwrap();
    }

    pub(super) async fn text(&self, from: u64, target: Target, text: Text, key: &str) -> SendReply {
        let request = SendRequest {
            target: Some(target),
            command: MessageCommand::McText as i32,
            content: text.encode_to_vec().into(),
            client_msg_id: key.into(),
        };
        self.message_ext().send(signed(from, request)).await.unwrap().into_inner()
    }

    pub async fn say_to(&self, from: u64, to: u64, text: &str) -> SendReply {
        self.text(from, Target::UserId(to), words(text), text).await
    }

    /// What was handed out once a push that says so has come; without that one.
    pub(super) async fn handed_out_until(&self, preview: &str) -> Vec<OfflinePush> {
        let begun = Instant::now();
        loop {
            let mut pushes = self.business.state.pushes.lock().unwrap().clone();
            if let Some(place) = pushes.iter().position(|push| push.preview.ends_with(preview)) {
                pushes.remove(place);
                return pushes;
            }
            assert!(begun.elapsed() < DEADLINE, "{preview} is not there: {pushes:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was handed out until something that is said now to somebody who is away: all of what was said before.
    pub(super) async fn handed_out(&self) -> Vec<OfflinePush> {
        let text = format!("{:?}", Instant::now());
        self.say_to(998, 999, &text).await;
        let mut pushes = self.handed_out_until(text.trim()).await;
        pushes.retain(|push| push.user_id != 999);
        pushes
    }
}

pub(super) fn words(text: &str) -> Text {
    Text { text: text.into(), ..Text::default() }
}

#[tokio::test]
async fn who_is_away_is_woken_once_about_each_conversation() {
    let server = waking_server(|settings| settings.offline_push.coalesce_ms = 2_000).await;
    server.give_push_id(8, 80, "phone").await;
    server.say_to(7, 8, "one").await;
    let newest = server.say_to(7, 8, "two").await;
    server.say_to(9, 8, "three").await;
    server.push(&[8], "of a service").await;
    let mut pushes = server.handed_out().await;
    pushes.sort_by_key(|push| push.message_id);
    let [of_seven, of_nine, of_service] = pushes.as_slice() else { panic!("{pushes:?}") };
    assert_eq!((of_seven.user_id, of_seven.device_id, of_seven.push_id.as_str()), (8, 80, "phone"));
    assert_eq!((of_seven.device_type, of_seven.message_id, of_seven.messages), (2, newest.message_id, 2));
    assert_eq!((of_seven.title.as_str(), of_seven.preview.as_str()), ("nick-7", "two"));
    assert_eq!((of_seven.peer, of_nine.peer), (Some(Peer::PeerUserId(7)), Some(Peer::PeerUserId(9))));
    assert_eq!((of_service.peer, of_service.title.as_str(), of_service.preview.as_str()), (None, "", ""));
    assert_eq!((of_seven.badge, of_nine.badge, of_seven.stored_at_ms > 0), (3, 3, true), "in all conversations");
    stop(server).await;
}

#[tokio::test]
async fn a_user_without_a_push_id_is_woken_where_no_device_is_there() {
    let server = waking_server(|_| ()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(9, 90, 1).await;
    server.say_to(7, 8, "you are away").await;
    server.say_to(7, 9, "you are not").await;
    let pushes = server.handed_out().await;
    let woken: Vec<_> = pushes.iter().map(|push| (push.user_id, push.device_id, push.preview.as_str())).collect();
    assert_eq!(woken, [(8, 0, "you are away")], "and nobody is told what they wrote themselves");
    stop(server).await;
}

#[tokio::test]
async fn who_mutes_a_conversation_or_has_the_message_sleeps_on() {
    let server = waking_server(|settings| settings.offline_push.coalesce_ms = 2_000).await;
    for (user_id, push_id) in [(8, "muted"), (9, "synced"), (10, "recalled")] {
        server.give_push_id(user_id, user_id * 10, push_id).await;
        server.say_to(7, user_id, &format!("first to {user_id}")).await;
    }
    server.handed_out().await;
    server.business.state.pushes.lock().unwrap().clear();
    let muted = ConversationSetRequest {
        peer: Some(conversation_set_request::Peer::UserId(7)),
        is_muted: Some(true),
        ..ConversationSetRequest::default()
    };
    server.conversation_ext().set(signed(8, muted)).await.unwrap();
    server.say_to(7, 8, "to who muted it").await;
    server.say_to(7, 9, "to who synced it").await;
    let device_ack = server.store_newest_seq(9).await;
    let ack = MessageAckRequest { device_ack, group_acks: Vec::new() };
    server.message_ext().message_ack(signed(9, ack)).await.unwrap();
    let message_id = server.say_to(7, 10, "taken back").await.message_id;
    server.message_ext().recall(signed(7, RecallRequest { message_id })).await.unwrap();
    let pushes = server.handed_out().await;
    assert!(pushes.is_empty(), "{pushes:?}");
    stop(server).await;
}

#[tokio::test]
async fn a_push_id_that_reaches_nobody_is_forgotten_unless_it_changed() {
    let server = waking_server(|_| ()).await;
    server.give_push_id(8, 80, "gone").await;
    server.business.state.reaches_nobody.store(true, SeqCst);
    server.say_to(7, 8, "one").await;
    server.handed_out().await;
    let database = server.database().await;
    let sql = "SELECT branch_push_id FROM device WHERE user_id = 8 AND id = 80";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, String>(sql).fetch_one(&database.reader).await.unwrap() != "" {
        assert!(begun.elapsed() < DEADLINE, "it is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    database.close().await;
    stop(server).await;
}

#[tokio::test]
async fn of_too_large_a_group_those_are_woken_who_are_mentioned() {
    let server = waking_server(|settings| settings.offline_push.group_members_max = 3).await;
    for user_id in [8, 9] {
        server.give_push_id(user_id, user_id * 10, &format!("phone of {user_id}")).await;
    }
    let normal = server.make(GroupKind::GkNormal, &[7, 8, 10]).await;
    let large = server.make(GroupKind::GkLarge, &[7, 8, 9]).await;
    let larger = server.make(GroupKind::GkLarge, &[7, 8, 9, 10]).await;
    server.handed_out().await;
    server.text(7, Target::GroupId(normal), words("normal"), "1").await;
    server.text(7, Target::GroupId(large), words("large"), "2").await;
    server.text(7, Target::GroupId(larger), words("nobody"), "3").await;
    let mentions = vec![Mention { user_id: 9, offset: 0, length: 3 }, Mention { user_id: 11, offset: 0, length: 3 }];
    server.text(7, Target::GroupId(larger), Text { mentions, ..words("you!") }, "4").await;
    let mut woken: Vec<_> =
        server.handed_out().await.into_iter().map(|push| (push.preview, push.user_id, push.title)).collect();
    woken.sort();
    let expected = [("large", 8), ("large", 9), ("normal", 8), ("normal", 10), ("you!", 9)];
    let expected = expected.map(|(text, user_id)| (format!("nick-7: {text}"), user_id, "group".to_owned()));
    assert_eq!(woken, expected);
    stop(server).await;
}

#[tokio::test]
async fn a_business_that_wakes_nobody_is_asked_once_and_nothing_read_for_it() {
    let server = server_with(StubBusiness::start().await, |settings| settings.offline_push.coalesce_ms = 20).await;
    let calls = || server.business.state.hand_out_calls.load(SeqCst);
    until(async || (calls() == 1).then_some(())).await;
    let database = server.database().await;
    for _ in 0..20 {
        server.say_to(7, 8, &format!("{:?}", Instant::now())).await;
        let holders = "SELECT COUNT(*) FROM message_walk WHERE name = 'offline_push' AND holder <> 0";
        let holders: i64 = sqlx::query_scalar(holders).fetch_one(&database.reader).await.unwrap();
        assert_eq!((holders, calls()), (0, 1));
    }
    database.close().await;
    stop(server).await;
}

#[tokio::test]
async fn nothing_is_handed_out_again_after_a_restart_or_for_a_repeated_send() {
    let server = waking_server(|_| ()).await;
    server.say_to(7, 8, "once").await;
    server.say_to(7, 8, "once").await;
    server.handed_out().await;
    let server = server.restart().await;
    server.say_to(7, 8, "once").await;
    let pushes = server.handed_out().await;
    assert_eq!(pushes.iter().map(|push| push.preview.as_str()).collect::<Vec<_>>(), ["once"]);
    let server = server.restart().await;
    server.say_to(7, 8, "while it stops").await;
    let server = server.restart().await;
    server.handed_out_until("while it stops").await;
    let pushes = server.handed_out().await;
    let previews: Vec<_> = pushes.iter().map(|push| push.preview.as_str()).collect();
    assert_eq!(previews, ["once", "while it stops"], "what is stored before a stop is handed out after it");
    stop(server).await;
}

#[tokio::test]
async fn whoever_signed_out_of_a_device_is_woken_there_no_more() {
    let server = waking_server(|_| ()).await;
    server.give_push_id(8, 80, "phone").await;
    let revoked = RevokeRequest { user_id: 8, device_id: 80, not_before_ms: 0 };
    AccessIntServiceClient::new(server.channel.clone()).revoke(revoked).await.unwrap();
    server.say_to(7, 8, "to who signed out").await;
    let pushes = server.handed_out().await;
    assert_eq!(pushes.iter().map(|push| (push.device_id, push.push_id.as_str())).collect::<Vec<_>>(), [(0, "")]);
    stop(server).await;
}
