//! Many who want the same at the same moment, of a business that is slow or hangs.

use std::{collections::HashMap, sync::atomic::Ordering};

use gim_logic::LogicSettings;
use gim_proto::{
    ResultCode,
    connect::{PacketCommand, SendRequest, send_request::Target},
    logic::{ClientPacket, SyncRequest, down_item, up_item::Item},
    metadata,
};
use prost::Message as _;

use crate::support::{business::StubBusiness, conn::Conn, refusal, server_with, soon};

const SENDERS: u64 = 4_096;

/// What the business is asked about them at once.
const ASKED_MAX: usize = 64;

#[tokio::test]
async fn thousands_of_users_who_first_send_at_once_are_all_answered() {
    let bounded = |settings: &mut LogicSettings| {
        settings.business.calls_in_flight_max = ASKED_MAX;
        settings.business.call_timeout_ms = 20_000;
    };
    let server = server_with(StubBusiness::start().await, bounded).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let packet = |number: u64| {
        let request = SendRequest {
            target: Some(Target::UserId(1 + number % 100)),
            content: b"hi"[..].into(),
            client_msg_id: "first".into(),
            ..SendRequest::default()
        };
        Item::Packet(ClientPacket {
            request_no: number,
            user_id: 10_000 + number,
            device_id: 1,
            command: PacketCommand::PcSend as i32,
            content: request.encode_to_vec().into(),
            ..ClientPacket::default()
        })
    };
    conn.send((0..SENDERS).map(packet).collect()).await;
    for _ in 0..SENDERS {
        let reply = conn.reply().await;
        assert_eq!(reply.code, 0, "{}", reply.message);
    }
    let most = server.business.state.most_under_way.load(Ordering::SeqCst);
    assert!((2..=ASKED_MAX).contains(&most), "the business was asked {most} things at once");
}

#[tokio::test]
async fn commands_that_business_does_not_answer_hold_up_nothing_else() {
    const COMMANDS: u64 = 64;
    let few_places = |settings: &mut LogicSettings| {
        settings.business.calls_in_flight_max = 8;
        settings.business.commands_in_flight_max = 8;
        settings.business.call_timeout_ms = 20_000;
    };
    let server = server_with(StubBusiness::start().await, few_places).await;
    server.business.state.holds_commands.store(true, Ordering::SeqCst);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for user_id in 1..=COMMANDS {
        conn.begin_packet(user_id, 1_001, Vec::new()).await;
    }
    // Each is what is answered next.
    conn.sign_in(7, 70, 700).await;
    let request =
        SendRequest { target: Some(Target::UserId(8)), client_msg_id: "meanwhile".into(), ..SendRequest::default() };
    conn.send_message(7, request).await.unwrap();
}

#[tokio::test]
async fn one_users_commands_leave_places_to_others() {
    const PER_USER: usize = 3;
    const SENT: usize = 1_000;
    let few_places = |settings: &mut LogicSettings| {
        settings.business.commands_per_user_max = PER_USER;
        settings.business.call_timeout_ms = 20_000;
    };
    let server = server_with(StubBusiness::start().await, few_places).await;
    server.business.state.holds_commands.store(true, Ordering::SeqCst);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for _ in 0..SENT {
        conn.begin_packet(7, 1_001, Vec::new()).await;
    }
    // The answers come in any order: all but those for which there are places are refusals.
    soon(async {
        for _ in PER_USER..SENT {
            let down_item::Item::PacketReply(reply) = conn.next().await else { panic!("no answer") };
            assert_eq!(reply.code, ResultCode::TooManyRequests.number());
        }
    })
    .await;
    server.business.state.holds_commands.store(false, Ordering::SeqCst);
    let answered = conn.packet(8, 1_001, b"x".to_vec()).await;
    assert_eq!(answered.code, 42, "another user's command is done");
    conn.sign_in(8, 80, 800).await;
}

#[tokio::test]
async fn who_had_as_much_stored_as_anybody_may_waits_and_nobody_else_does() {
    let small = |settings: &mut LogicSettings| settings.inbox.user_bytes_per_hour_max = 10_000;
    let server = server_with(StubBusiness::start().await, small).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let request = |key: u32| SendRequest {
        target: Some(Target::UserId(8)),
        content: vec![b'x'; 4_000].into(),
        client_msg_id: key.to_string(),
        ..SendRequest::default()
    };
    for key in 1..=3 {
        conn.send_message(7, request(key)).await.unwrap();
    }
    let refused = conn.send_message(7, request(4)).await.unwrap_err();
    assert_eq!(refused.code, ResultCode::TooManyRequests.number());
    assert!(refused.message.starts_with("you had as much stored as anybody may within an hour"), "{}", refused.message);
    let request = SendRequest { target: Some(Target::UserId(7)), ..request(5) };
    conn.send_message(8, request).await.expect("to receive costs nothing");
}

#[tokio::test]
async fn sign_ins_without_a_place_at_a_hanging_business_are_put_off_in_time() {
    const SIGN_INS: u64 = 64;
    let one_place = |settings: &mut LogicSettings| {
        settings.business.auth_in_flight_max = 1;
        settings.business.call_timeout_ms = 1_000;
    };
    let server = server_with(StubBusiness::start().await, one_place).await;
    server.business.state.holds_auth.store(true, Ordering::SeqCst);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for user_id in 1..=SIGN_INS {
        conn.begin_sign_in(user_id, user_id, user_id, &format!("token-{user_id}")).await;
    }
    // One after the other they would take a minute.
    soon(async {
        for _ in 0..SIGN_INS {
            let down_item::Item::SignInResult(result) = conn.next().await else { panic!("no answer") };
            assert_eq!(result.code, ResultCode::TryAgainLater.number());
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_for_more_than_his_share_is_refused_and_nobody_else() {
    const AT_ONCE: u64 = 5;
    let narrow = |settings: &mut LogicSettings| {
        settings.limits.user_requests_per_s = 1;
        settings.limits.user_requests_burst = AT_ONCE as u32;
    };
    let server = server_with(StubBusiness::start().await, narrow).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let sync = || SyncRequest::default();
    for _ in 0..2_000 {
        conn.begin_packet(7, PacketCommand::PcSync as i32, sync().encode_to_vec()).await;
    }
    let mut codes = HashMap::new();
    for _ in 0..2_000 {
        *codes.entry(conn.reply().await.code).or_insert(0) += 1;
    }
    let (done, refused) = (codes[&0], codes[&ResultCode::TooManyRequests.number()]);
    assert!(done >= AT_ONCE && done + refused == 2_000, "{codes:?}");
    let by_call = |user_id: u64| {
        let (request, mut messages) = (sync(), server.message_ext());
        let token = format!("token-{user_id}");
        async move { messages.sync(metadata::signed(request, user_id, 10 * user_id, &token)).await }
    };
    // As long as it takes less than the second in which he gets one back.
    let mut last = by_call(7).await;
    while last.is_ok() {
        last = by_call(7).await;
    }
    assert_eq!(refusal(last).0, ResultCode::TooManyRequests, "the share is one for connections and calls");
    assert_eq!(conn.packet(8, PacketCommand::PcSync as i32, sync().encode_to_vec()).await.code, 0);
    by_call(9).await.unwrap();
}
