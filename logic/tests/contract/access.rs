//! Who is let in, who is put out again, and who may write to whom.

use std::{path::Path, sync::atomic::Ordering};

use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with, soon};
use gim_config::{endpoints::Endpoints, jwt::JwtAlgorithm, service::Running as _, testing::Proxy};
use gim_logic::{
    LogicSettings,
    settings::{JwtKey, JwtSettings, WhileAway},
};
use gim_proto::{
    CloseReason, ResultCode,
    connect::{SendRequest, send_request::Target},
    logic::{
        ForgetRequest, GetLimitsReply, LiveConnection, PushRoomRequest, RevokeRequest, SendAsRequest, SendManyAsItem,
        SendManyAsRequest, SyncRequest, access_int_service_client::AccessIntServiceClient, down_item::Item,
    },
    metadata,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tonic::{Request, transport::Channel};

const SECRET: &str = "a secret of at least 32 bytes, so";

fn with_key(folder: &Path) -> impl FnOnce(&mut LogicSettings) {
    let file = folder.join("secret");
    std::fs::write(&file, SECRET).unwrap();
    move |settings| {
        let key = JwtKey { kid: String::new(), algorithm: JwtAlgorithm::HS256, file };
        settings.jwt = JwtSettings { keys: vec![key], ..JwtSettings::default() };
    }
}

fn now_ms() -> i64 {
    gim_logic::domain::clock::now_ms()
}

fn jwt(user_id: u64, device_id: u64, issued_ms: i64) -> String {
    let claims = json!({
        "sub": user_id.to_string(),
        "device_id": device_id.to_string(),
        "iat": issued_ms as f64 / 1000.0,
        "exp": issued_ms / 1000 + 3600,
    });
    gim_config::jwt_crypto::install();
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn access(server: &Server) -> AccessIntServiceClient<Channel> {
    AccessIntServiceClient::new(server.channel.clone())
}

async fn revoke(server: &Server, user_id: u64, device_id: u64, not_before_ms: i64) {
    access(server).revoke(RevokeRequest { user_id, device_id, not_before_ms }).await.unwrap();
}

/// Kicks of these connections come, in any order and between the hints that an announcement brings, because their tokens were revoked.
async fn assert_revoked(conn: &mut Conn, connection_ids: &[u64]) {
    let mut kicked = Vec::new();
    while kicked.len() < connection_ids.len() {
        match conn.next().await {
            Item::NewestSeq(_) => {}
            Item::Kick(kick) => {
                assert_eq!(kick.reason, CloseReason::CrTokenRevoked as i32);
                kicked.push(kick.connection_id);
            }
            other => panic!("{other:?} and no kick"),
        }
    }
    kicked.sort_unstable();
    assert_eq!(kicked, connection_ids);
}

fn sync_as(token: &str) -> Request<SyncRequest> {
    metadata::signed(SyncRequest::default(), 7, 70, token)
}

fn send_to(user_id: u64, key: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(user_id)),
        command: 0,
        content: "hello".into(),
        client_msg_id: key.into(),
    }
}

#[tokio::test]
async fn revoking_a_token_closes_its_connections_and_no_others() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    conn.sign_in(7, 71, 701).await;
    conn.sign_in(8, 80, 800).await;
    revoke(&server, 7, 70, 0).await;
    assert_revoked(&mut conn, &[700]).await;
    revoke(&server, 7, 0, 0).await;
    assert_revoked(&mut conn, &[700, 701]).await;
    revoke(&server, 9, 0, 0).await;
    // Nothing but this answer comes: nobody else was put out.
    conn.sign_in(8, 81, 801).await;
}

#[tokio::test]
async fn a_json_web_token_lets_in_without_a_call_and_others_are_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_with(StubBusiness::start().await, with_key(folder.path())).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let good = jwt(7, 70, now_ms());
    assert_eq!(conn.try_sign_in(7, 70, 700, &good).await.code, 0);
    server.message_ext().sync(sync_as(&good)).await.unwrap();
    let elsewhere = encode(&Header::default(), &json!({}), &EncodingKey::from_secret(b"x")).unwrap();
    for wrong in [jwt(8, 70, now_ms()), jwt(7, 71, now_ms()), jwt(7, 70, now_ms() - 7_200_000), elsewhere] {
        let result = conn.try_sign_in(7, 70, 701, &wrong).await;
        assert_eq!(result.code, ResultCode::SignInAgain.number(), "{wrong}");
        assert_eq!(refusal(server.message_ext().sync(sync_as(&wrong)).await).0, ResultCode::SignInAgain);
    }
    assert_eq!(server.business.state.auth_calls.load(Ordering::SeqCst), 0);
    let huge = format!("eyJ{}.e30.{}", "A".repeat(32_768), "A".repeat(32_768));
    assert_eq!(conn.try_sign_in(7, 70, 702, &huge).await.code, ResultCode::TooLarge.number());
    conn.sign_in(8, 80, 800).await;
    assert_eq!(server.business.state.auth_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn keys_are_changed_while_it_runs_and_one_of_no_use_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = server_with(StubBusiness::start().await, with_key(folder.path())).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let (file, old) = (folder.path().join("secret"), jwt(7, 70, now_ms()));
    std::fs::write(&file, "too short").unwrap();
    let settings = server.settings.clone();
    assert!(server.logic.reload(Some(&settings)).await.unwrap_err().starts_with("jwt.keys[0].file: "));
    assert_eq!(conn.try_sign_in(7, 70, 700, &old).await.code, 0);
    server.logic.reload(None).await.unwrap();
    std::fs::write(&file, SECRET.replace("secret", "sacred")).unwrap();
    server.logic.reload(Some(&settings)).await.unwrap();
    assert_eq!(conn.try_sign_in(7, 70, 701, &old).await.code, ResultCode::SignInAgain.number());
}

#[tokio::test]
async fn a_revoked_json_web_token_stays_revoked_and_a_newer_one_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_with(StubBusiness::start().await, with_key(folder.path())).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let issued_ms = now_ms() - 10_000;
    let (old, other) = (jwt(7, 70, issued_ms), jwt(7, 71, issued_ms));
    assert_eq!(conn.try_sign_in(7, 70, 700, &old).await.code, 0);
    server.message_ext().sync(sync_as(&old)).await.unwrap();
    revoke(&server, 7, 70, issued_ms + 1).await;
    assert_revoked(&mut conn, &[700]).await;
    // An earlier moment takes nothing back.
    revoke(&server, 7, 70, 1).await;
    assert_revoked(&mut conn, &[700]).await;
    assert_eq!(refusal(server.message_ext().sync(sync_as(&old)).await).0, ResultCode::SignInAgain);
    drop(conn);

    let server = server.restart().await;
    let mut conn = Conn::attach(&server, "conn-1", 2).await;
    assert_eq!(conn.try_sign_in(7, 70, 710, &old).await.code, ResultCode::SignInAgain.number());
    assert_eq!(conn.try_sign_in(7, 71, 711, &other).await.code, 0);
    assert_eq!(conn.try_sign_in(7, 70, 712, &jwt(7, 70, issued_ms + 1)).await.code, 0);
    revoke(&server, 7, 0, issued_ms + 2).await;
    assert_revoked(&mut conn, &[711, 712]).await;
    assert_eq!(conn.try_sign_in(7, 71, 713, &other).await.code, ResultCode::SignInAgain.number());
}

#[tokio::test]
async fn a_token_revoked_while_its_node_was_away_closes_the_connection_later() {
    let server = server().await;
    let live = |user_id: u64, device_id, connection_id, since_ms| LiveConnection {
        connection_id,
        user_id,
        device_id,
        since_ms,
        ..LiveConnection::default()
    };
    let before_ms = now_ms() - 1;
    revoke(&server, 7, 70, 0).await;
    revoke(&server, 8, 0, 0).await;
    let server = server.restart().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    // Wherever the clock of the node is: this one was let in after all that.
    conn.sign_in(9, 90, 900).await;
    conn.announce(&[
        live(7, 70, 700, before_ms),
        live(7, 71, 701, before_ms),
        live(8, 80, 800, before_ms),
        live(8, 81, 801, before_ms + 60_000),
        live(9, 91, 901, before_ms),
    ])
    .await;
    assert_revoked(&mut conn, &[700, 800]).await;
    // Nobody else: after the hints that an announcement brings comes this answer, and no other kick.
    conn.begin_sign_in(9, 92, 902, "token-9").await;
    loop {
        match conn.next().await {
            Item::NewestSeq(_) => {}
            Item::SignInResult(result) => break assert_eq!(result.code, 0),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_revocation_wins_against_a_sign_in_that_is_under_way() {
    let server = server().await;
    let state = server.business.state.clone();
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    state.holds_auth.store(true, Ordering::SeqCst);
    let request_no = conn.begin_sign_in(7, 70, 700, "token-7").await;
    soon(state.arrived.notified()).await;
    revoke(&server, 7, 70, 0).await;
    state.holds_auth.store(false, Ordering::SeqCst);
    state.let_go.notify_one();
    let Item::SignInResult(result) = conn.next().await else { panic!("no answer") };
    assert_eq!((result.request_no, result.code), (request_no, ResultCode::SignInAgain.number()));
    conn.sign_in(7, 70, 701).await;
}

#[tokio::test]
async fn a_token_is_asked_about_again_after_a_revocation() {
    let server = server().await;
    let calls = || server.business.state.auth_calls.load(Ordering::SeqCst);
    for _ in 0..2 {
        server.message_ext().sync(sync_as("token-7")).await.unwrap();
    }
    assert_eq!(calls(), 1);
    revoke(&server, 7, 71, 0).await;
    server.message_ext().sync(sync_as("token-7")).await.unwrap();
    assert_eq!(calls(), 1, "another device's revocation is none of its business");
    revoke(&server, 7, 0, 0).await;
    server.message_ext().sync(sync_as("token-7")).await.unwrap();
    assert_eq!(calls(), 2);
}

#[tokio::test]
async fn without_a_business_json_web_tokens_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let with_key = with_key(folder.path());
    let server = server_with(StubBusiness::start().await, |settings| {
        with_key(settings);
        settings.business.endpoint = Endpoints::default();
    })
    .await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    assert_eq!(conn.try_sign_in(7, 70, 700, &jwt(7, 70, now_ms())).await.code, 0);
    assert_eq!(conn.try_sign_in(7, 70, 701, "token-7").await.code, ResultCode::SignInAgain.number());
    conn.send_message(7, send_to(9, "a")).await.unwrap();
}

#[tokio::test]
async fn who_is_blocked_cannot_write_and_is_asked_about_once_in_a_while() {
    let server = server().await;
    let state = server.business.state.clone();
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    state.blocked.lock().unwrap().push((7, 8));
    for key in ["a", "b"] {
        let refused = conn.send_message(7, send_to(8, key)).await.unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (4711, "you two had a fight"), "in the business's words");
    }
    let refused = conn.try_sign_in(7, 70, 700, "banned").await;
    assert_eq!((refused.code, refused.message.as_str()), (20_001, "banned until Monday"));
    conn.send_message(8, send_to(7, "a")).await.unwrap();
    assert_eq!(state.may_write_calls.load(Ordering::Relaxed), 2, "one for each direction");

    state.blocked.lock().unwrap().clear();
    access(&server).forget(ForgetRequest { user_id: 8, peer_id: 7, room_id: 0 }).await.unwrap();
    let sent = conn.send_message(7, send_to(8, "a")).await.unwrap();
    assert!(!sent.duplicate, "what was refused left nothing behind");
}

#[tokio::test]
async fn while_the_business_is_away_those_write_whom_the_setting_lets() {
    let later = ResultCode::TryAgainLater.number();
    for (while_away, expected) in [
        (WhileAway::Refuse, [later, later, later]),
        (WhileAway::Allow, [0, 0, 0]),
        (WhileAway::Cached, [0, 4711, later]),
    ] {
        let business = StubBusiness::start().await;
        let mut url = business.endpoint().to_string();
        let proxy = Proxy::before(&mut url).await;
        let server = server_with(business, |settings| {
            settings.business.endpoint = Endpoints::new(&url);
            (settings.business.may_write_cache_ms, settings.business.user_cache_ms) = (0, 0);
            settings.business.while_away = while_away;
        })
        .await;
        let mut conn = Conn::attach(&server, "conn-1", 1).await;
        server.business.state.blocked.lock().unwrap().push((7, 9));
        conn.send_message(7, send_to(8, "before")).await.unwrap();
        conn.send_message(7, send_to(9, "before")).await.unwrap_err();
        proxy.cut();
        let mut codes = Vec::new();
        for receiver in [8, 9, 10] {
            let send = send_to(receiver, &format!("meanwhile {receiver}"));
            codes.push(conn.send_message(7, send).await.map_or_else(|no| no.code, |_| 0));
        }
        assert_eq!(codes, expected, "{while_away:?}");
        proxy.mend();
        let is_back = async { while conn.send_message(7, send_to(10, "after")).await.is_err() {} };
        soon(is_back).await;
        let is_asked_again = async {
            for count in 0_u64.. {
                if let Err(refused) = conn.send_message(7, send_to(9, &format!("at last {count}"))).await {
                    return refused.code;
                }
            }
            0
        };
        assert_eq!(soon(is_asked_again).await, 4711, "{while_away:?}");
    }
}

#[tokio::test]
async fn where_logic_does_not_ask_everybody_may_write() {
    let server = server_with(StubBusiness::start().await, |settings| settings.business.asks_may_write = false).await;
    server.business.state.blocked.lock().unwrap().push((7, 8));
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.send_message(7, send_to(8, "a")).await.unwrap();
    assert_eq!(server.business.state.may_write_calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_business_with_auth_alone_lets_everybody_write() {
    let server = server_with(StubBusiness::only_auth().await, |_| ()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.send_message(7, send_to(8, "a")).await.unwrap();
    conn.send_message(7, send_to(9999, "b")).await.unwrap();
}

#[tokio::test]
async fn a_send_in_a_users_name_is_stored_once() {
    let server = server().await;
    let request = SendAsRequest {
        user_id: 7,
        device_id: 70,
        to_user_id: 8,
        command: 1,
        content: "hello".into(),
        client_msg_id: "key".into(),
    };
    let mut client = server.message_int();
    let first = client.send_as(request.clone()).await.unwrap().into_inner();
    let again = client.send_as(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.message_id, first.seq), (again.message_id, again.seq));
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    let inbox = server.message_ext().sync(sync_as("token-7")).await.unwrap().into_inner().messages;
    assert_eq!(inbox.iter().map(|message| message.message_id).collect::<Vec<_>>(), [first.message_id]);

    let problem = |change: fn(&mut SendAsRequest)| {
        let mut request = request.clone();
        change(&mut request);
        let mut client = server.message_int();
        async move { refusal(client.send_as(request).await).1 }
    };
    assert!(problem(|request| request.user_id = 0).await.starts_with("user_id: "));
    assert!(problem(|request| request.device_id = u64::MAX).await.starts_with("device_id: "));
    assert!(problem(|request| request.to_user_id = 0).await.starts_with("to_user_id: "));
    assert!(problem(|request| request.client_msg_id.clear()).await.starts_with("client_msg_id: "));
    assert!(problem(|request| request.content = vec![0; 61_441].into()).await.starts_with("content: "));
}

#[tokio::test]
async fn trusted_calls_about_access_name_their_fields() {
    let server = server().await;
    let mut client = access(&server);
    let good = RevokeRequest { user_id: 7, device_id: 70, not_before_ms: 1 };
    let cases = [
        ("user_id", RevokeRequest { user_id: 0, ..good }),
        ("user_id", RevokeRequest { user_id: u64::MAX, ..good }),
        ("device_id", RevokeRequest { device_id: 1 << 63, ..good }),
        ("not_before_ms", RevokeRequest { not_before_ms: -1, ..good }),
    ];
    for (field, request) in cases {
        assert!(refusal(client.revoke(request).await).1.starts_with(&format!("{field}: ")), "{field}");
    }
    let forget = |user_id, peer_id| ForgetRequest { user_id, peer_id, room_id: 0 };
    assert!(refusal(client.forget(forget(0, 1)).await).1.starts_with("user_id: "));
    assert!(refusal(client.forget(forget(1, u64::MAX)).await).1.starts_with("peer_id: "));
}

#[tokio::test]
async fn of_many_sends_in_users_names_each_has_its_own_answer() {
    let server = server().await;
    let item = |user_id: u64, key: &str| SendManyAsItem {
        message: Some(SendAsRequest {
            user_id,
            device_id: 70,
            to_user_id: 9,
            command: 1,
            content: "hello".into(),
            client_msg_id: key.into(),
        }),
        request_id: format!("of {user_id}"),
    };
    let items = vec![item(7, "a"), item(7, ""), item(8, "a"), item(7, "a"), SendManyAsItem::default()];
    let results = server.message_int().send_many_as(SendManyAsRequest { items }).await.unwrap().into_inner().results;
    let ids: Vec<_> = results.iter().map(|result| result.reply.map(|reply| reply.message_id)).collect();
    assert!(ids[0].is_some() && ids[0] == ids[3] && ids[2].is_some() && ids[2] != ids[0], "{ids:?}");
    let refused = |index: usize| (results[index].code, results[index].message.split(':').next().unwrap());
    assert_eq!(refused(1), (ResultCode::BadRequest.number(), "client_msg_id"));
    assert_eq!(refused(4), (ResultCode::BadRequest.number(), "user_id"));
    assert!(results.iter().all(|result| result.reply.is_some() == (result.code == 0)), "{results:?}");

    let too_many = SendManyAsRequest { items: vec![SendManyAsItem::default(); 257] };
    let said = refusal(server.message_int().send_many_as(too_many).await);
    assert_eq!(said, (ResultCode::BadRequest, "items: are 257, at most 256 are allowed".to_owned()));
}

#[tokio::test]
async fn the_business_decides_who_writes_into_a_room() {
    const ROOM: u64 = 5;
    let server = server_with(StubBusiness::start().await, |_| ()).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let to_room = || SendRequest { target: Some(Target::RoomId(ROOM)), content: "hi".into(), ..SendRequest::default() };
    let by_call = |user_id: u64| {
        let request = PushRoomRequest { room_id: ROOM, content: "hi".into(), ..PushRoomRequest::default() };
        let request = metadata::signed(request, user_id, 10 * user_id, &format!("token-{user_id}"));
        let mut rooms = server.room_ext();
        async move { rooms.push_room(request).await }
    };
    *server.business.state.closed_rooms.lock().unwrap() = Some(vec![(7, ROOM)]);
    let refused = conn.send_message(7, to_room()).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (ResultCode::NotAllowed.number(), "muted"));
    assert_eq!(refusal(by_call(7).await), (ResultCode::NotAllowed, "muted".to_owned()));
    conn.send_message(8, to_room()).await.unwrap();
    by_call(8).await.unwrap();
    assert_eq!(server.business.state.room_calls.load(Ordering::Relaxed), 2, "answers are remembered");

    *server.business.state.closed_rooms.lock().unwrap() = Some(vec![(8, ROOM)]);
    access(&server).forget(ForgetRequest { user_id: 0, peer_id: 0, room_id: ROOM }).await.unwrap();
    conn.send_message(7, to_room()).await.unwrap();
    conn.send_message(8, to_room()).await.unwrap_err();
}

#[tokio::test]
async fn a_business_is_told_what_we_take() {
    let server = server_with(StubBusiness::start().await, |settings| settings.limits.token_bytes_max = 5_000).await;
    let limits = access(&server).get_limits(()).await.unwrap().into_inner();
    let content_bytes_max = server.settings.limits.content_bytes_max as u32;
    assert_eq!(limits, GetLimitsReply { content_bytes_max, token_bytes_max: 5_000, device_text_bytes_max: 4_096 });
}
