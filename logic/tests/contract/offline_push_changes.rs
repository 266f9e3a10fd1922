//! What changes between the moment when a message is stored and the one when somebody would be woken about it.

use std::time::{Duration, Instant};

use gim_proto::{
    business::OfflinePush,
    connect::send_request::Target,
    logic::{
        ConversationReadRequest, ConversationSetRequest, GroupCursor, GroupKind, MessageAckRequest, RecallRequest,
        RevokeRequest, access_int_service_client::AccessIntServiceClient, conversation_read_request,
        conversation_set_request,
    },
    metadata,
};

use super::{
    group::harness::signed,
    offline_push::{waking_server, words},
};
use crate::support::{DEADLINE, Server, conn::Conn, stop};

impl Server {
    /// A device acknowledges all that its user has.
    pub(super) async fn acknowledge_all(&self, user_id: u64) {
        let device_ack = self.store_newest_seq(user_id).await;
        let ack = MessageAckRequest { device_ack, group_acks: Vec::new() };
        self.message_ext().message_ack(signed(user_id, ack)).await.unwrap();
    }

    async fn mute(&self, user_id: u64, peer_id: u64) {
        let muted = ConversationSetRequest {
            peer: Some(conversation_set_request::Peer::UserId(peer_id)),
            is_muted: Some(true),
            ..ConversationSetRequest::default()
        };
        self.conversation_ext().set(signed(user_id, muted)).await.unwrap();
    }

    async fn recall(&self, user_id: u64, message_id: u64) {
        self.message_ext().recall(signed(user_id, RecallRequest { message_id })).await.unwrap();
    }
}

#[tokio::test]
async fn what_changed_while_a_device_was_waited_for_wakes_nobody() {
    let server = waking_server(|settings| settings.offline_push.unacknowledged_s = 3).await;
    // Only a business that took a push before is worth looking devices up.
    server.handed_out().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for user_id in 20..=26 {
        server.give_push_id(user_id, user_id * 10, &format!("phone of {user_id}")).await;
        conn.sign_in(user_id, user_id * 10, user_id).await;
    }
    let mut said = Vec::new();
    for user_id in 20..=26 {
        said.push(server.say_to(7, user_id, &format!("to {user_id}")).await.message_id);
    }
    server.mute(20, 7).await;
    server.acknowledge_all(21).await;
    server.recall(7, said[2]).await;
    let revoked = RevokeRequest { user_id: 23, device_id: 230, not_before_ms: 0 };
    AccessIntServiceClient::new(server.channel.clone()).revoke(revoked).await.unwrap();
    // Of two messages the newer one is recalled: the other one is left to tell of.
    let second = server.say_to(7, 24, "taken back").await.message_id;
    server.recall(7, second).await;
    // Of two messages the device has the first one.
    server.acknowledge_all(25).await;
    server.say_to(7, 25, "the second").await;
    server.handed_out_until("to 26").await;
    server.handed_out_until("to 24").await;
    server.handed_out_until("the second").await;
    let pushes = server.handed_out().await;
    let mut woken: Vec<_> = pushes.iter().map(|push| (push.user_id, push.preview.as_str(), push.messages)).collect();
    woken.sort_unstable();
    woken.dedup();
    assert_eq!(woken[0], (24, "to 24", 1));
    assert!(woken.iter().all(|(user_id, ..)| [24, 25, 26].contains(user_id)), "{woken:?}");
    assert_eq!(pushes.len(), 3, "{pushes:?}");
    stop(server).await;
}

#[tokio::test]
async fn a_device_that_acknowledges_is_there_and_one_that_never_did_is_not() {
    let server = waking_server(|settings| settings.offline_push.unacknowledged_s = 4).await;
    server.handed_out().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for user_id in [8, 9] {
        server.give_push_id(user_id, user_id * 10, &format!("phone of {user_id}")).await;
        conn.sign_in(user_id, user_id * 10, user_id).await;
    }
    server.say_to(7, 9, "to one who is there").await;
    server.acknowledge_all(9).await;
    server.say_to(7, 8, "to one who vanished").await;
    assert!(server.handed_out().await.is_empty(), "nobody is woken at once");
    assert!(server.handed_out_until("to one who vanished").await.iter().all(|push| push.user_id == 999));
    stop(server).await;
}

#[tokio::test]
async fn a_desktop_that_has_what_is_said_in_a_large_group_lets_no_phone_sleep() {
    let server = waking_server(|settings| {
        settings.offline_push.coalesce_ms = 2_000;
        settings.offline_push.unacknowledged_s = 4;
    })
    .await;
    server.handed_out().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for user_id in [8, 9] {
        // What it calls with in `signed`.
        server.give_push_id(user_id, user_id * 10, &format!("desktop of {user_id}")).await;
        server.give_push_id(user_id, user_id * 10 + 1, &format!("phone of {user_id}")).await;
        conn.sign_in(user_id, user_id * 10, user_id).await;
    }
    // A phone that lost its network looks like this.
    conn.sign_in(9, 91, 91).await;
    let group_id = server.make(GroupKind::GkLarge, &[7, 8, 9]).await;
    let seq = server.text(7, Target::GroupId(group_id), words("to all"), "1").await.seq;
    for user_id in [8, 9] {
        let ack = MessageAckRequest { device_ack: 0, group_acks: vec![GroupCursor { group_id, seq }] };
        server.message_ext().message_ack(signed(user_id, ack)).await.unwrap();
    }
    let begun = Instant::now();
    while !woken_of(&server.handed_out().await).contains(&"phone of 9".to_owned()) {
        assert!(begun.elapsed() < DEADLINE, "it was waited for in vain");
    }
    assert_eq!(woken_of(&server.handed_out().await), ["phone of 8", "phone of 9"], "and no desktop is");
    // A phone that has it as well is left alone.
    let seq = server.text(7, Target::GroupId(group_id), words("again"), "2").await.seq;
    let ack = MessageAckRequest { device_ack: 0, group_acks: vec![GroupCursor { group_id, seq }] };
    server.message_ext().message_ack(metadata::signed(ack, 8, 81, "token-8")).await.unwrap();
    let of_phone = woken_of(&server.handed_out().await).into_iter().filter(|push_id| push_id == "phone of 8").count();
    assert_eq!(of_phone, 1, "by what was said before");
    stop(server).await;
}

/// The push ids of pushes, in order.
fn woken_of(pushes: &[OfflinePush]) -> Vec<String> {
    let mut woken: Vec<String> = pushes.iter().map(|push| push.push_id.clone()).collect();
    woken.sort();
    woken
}

#[tokio::test]
async fn a_badge_says_what_is_unread_when_it_is_handed_out() {
    let server = waking_server(|_| ()).await;
    server.give_push_id(8, 80, "phone").await;
    let badge_of = async |from: u64, text: &str| {
        let sent = server.say_to(from, 8, text).await;
        server.handed_out_until(text).await;
        let pushes = server.business.state.pushes.lock().unwrap();
        let badge = pushes.iter().find(|push| push.preview == text).unwrap().badge;
        (sent, badge)
    };
    let mut last = None;
    for (count, text) in ["one", "two", "three"].into_iter().enumerate() {
        let (sent, badge) = badge_of(7, text).await;
        assert_eq!(badge as usize, count + 1);
        last = Some(sent.message_id);
    }
    assert_eq!(badge_of(9, "of another").await.1, 4);
    let peer = Some(conversation_read_request::Peer::UserId(7));
    let read = ConversationReadRequest { peer, seq: 0, message_id: last.unwrap() };
    server.conversation_ext().read(signed(8, read)).await.unwrap();
    // It is written a moment later, with all that is read within it.
    let database = server.database().await;
    let sql = "SELECT COUNT(*) FROM read_position WHERE user_id = 8 AND message_id > 0";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.reader).await.unwrap() == 0 {
        assert!(begun.elapsed() < DEADLINE, "nothing was read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    database.close().await;
    assert_eq!(badge_of(7, "after the read").await.1, 2, "that one, and the one of another");
    stop(server).await;
}

#[tokio::test]
async fn of_a_user_with_many_devices_those_heard_of_last_are_woken() {
    let server = waking_server(|_| ()).await;
    for device_id in 1..=40 {
        server.give_push_id(8, device_id, &format!("device {device_id}")).await;
    }
    server.handed_out().await;
    server.text(7, Target::UserId(8), words("to all"), "1").await;
    server.handed_out_until("to all").await;
    let pushes = server.handed_out().await;
    assert_eq!(pushes.iter().filter(|push| push.user_id == 8).count(), 32);
    stop(server).await;
}
