//! What becomes of connections when Redis forgets single keys.

use gim_proto::logic::{
    ConnectionUser, NewestSeqQuestion, RevokeRequest, access_int_service_client::AccessIntServiceClient, up_item,
};

use super::*;

/// Deletes the keys that end so, as a Redis does that is short of memory.
async fn forget(settings: &LogicSettings, ending: &str) {
    let client = redis::Client::open(settings.shared_state.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("{}:{ending}", settings.shared_state.key_prefix);
    let count: i64 = redis::cmd("DEL").arg(&key).query_async(&mut connection).await.unwrap();
    assert_eq!(count, 1, "{key}");
}

/// User 7 on device 70 says that she is there; returns what her node is told besides the answer.
async fn heartbeat(conn: &mut Conn) -> Vec<Item> {
    let heard = ConnectionUser { connection_id: 700, user_id: 7, device_id: 70, age_ms: Some(60_000) };
    conn.send(vec![up_item::Item::NewestSeq(NewestSeqQuestion { connections: vec![heard] })]).await;
    let mut others = Vec::new();
    loop {
        match conn.next().await {
            Item::NewestSeq(_) => return others,
            item => others.push(item),
        }
    }
}

async fn revoke(server: &Server) {
    let request = RevokeRequest { user_id: 7, device_id: 0, not_before_ms: 0 };
    AccessIntServiceClient::new(server.channel.clone()).revoke(request).await.unwrap();
}

fn is_revoked(item: &Item) -> bool {
    matches!(item, Item::Kick(kick) if kick.connection_id == 700 && kick.reason() == CloseReason::CrTokenRevoked)
}

#[tokio::test]
async fn what_redis_forgot_of_a_connection_is_told_at_its_next_heartbeat() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    for ending in ["{u:7}", "d:70", "{n:conn-1}:1"] {
        forget(&server.settings, ending).await;
        assert!(heartbeat(&mut conn).await.is_empty());
        assert!(is_online(&server, 7).await, "{ending}");
        forget(&server.settings, ending).await;
        heartbeat(&mut conn).await;
    }
    server.push(&[7], "found").await;
    let Item::Push(_) = conn.next().await else { panic!("no push") };
}

#[tokio::test]
async fn a_revocation_reaches_a_connection_that_redis_had_forgotten() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    forget(&server.settings, "{u:7}").await;
    revoke(&server).await;
    let told = heartbeat(&mut conn).await;
    assert!(told.iter().any(is_revoked), "{told:?}");
}

#[tokio::test]
async fn subscribers_whom_redis_forgot_get_the_next_message_of_their_room() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    assert_eq!(conn.subscribe(7, 9, 0).await.code, 0);
    for seq in 1..=2 {
        forget(&server.settings, "{r:9}:nodes").await;
        push_room(&server, 9).await;
        assert_eq!(room_seq(&mut conn).await, seq);
    }
}
