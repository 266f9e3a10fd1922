//! What a business says of its users to one logic node is heard by all of them.

use std::sync::atomic::Ordering::Relaxed;

use gim_logic::LogicSettings;
use gim_proto::{
    connect::{SendRequest, send_request::Target},
    logic::{ForgetRequest, PushRoomRequest, RevokeRequest, access_int_service_client::AccessIntServiceClient},
    metadata,
};
use tonic::transport::Channel;

use super::{beside_with, empty_redis};
use crate::support::{Server, business::StubBusiness, conn::Conn, server_with, soon};

/// Longer than any test takes: what is asked anew is not asked because its time is over.
fn for_an_hour(settings: &mut LogicSettings) {
    (settings.business.may_write_cache_ms, settings.business.auth_cache_ms) = (3_600_000, 3_600_000);
}

async fn two_nodes() -> (Server, Server) {
    let one = server_with(StubBusiness::start().await, for_an_hour).await;
    let two = beside_with(&one, for_an_hour).await;
    (one, two)
}

fn access(server: &Server) -> AccessIntServiceClient<Channel> {
    AccessIntServiceClient::new(server.channel.clone())
}

async fn send(conn: &mut Conn, target: Target, key: String) -> Result<(), i32> {
    let send = SendRequest { target: Some(target), content: "x".into(), client_msg_id: key, ..SendRequest::default() };
    conn.send_message(7, send).await.map(drop).map_err(|refused| refused.code)
}

/// Sends until that is refused.
async fn is_refused_at_last(conn: &mut Conn, target: Target) -> i32 {
    let refused = async {
        for count in 0_u64.. {
            if let Err(code) = send(conn, target, format!("again {count}")).await {
                return code;
            }
        }
        0
    };
    soon(refused).await
}

#[tokio::test]
async fn a_block_and_a_closed_room_count_on_every_logic_node() {
    let (one, two) = two_nodes().await;
    let mut conn = Conn::attach(&two, "conn-1", 1).await;
    let (to_user, to_room) = (Target::UserId(8), Target::RoomId(5));
    *two.business.state.closed_rooms.lock().unwrap() = Some(Vec::new());
    send(&mut conn, to_user, "first".into()).await.unwrap();
    send(&mut conn, to_room, "first".into()).await.unwrap();

    two.business.state.blocked.lock().unwrap().push((7, 8));
    *two.business.state.closed_rooms.lock().unwrap() = Some(vec![(7, 5)]);
    send(&mut conn, to_user, "second".into()).await.expect("what was answered is remembered");
    send(&mut conn, to_room, "second".into()).await.expect("what was answered is remembered");

    access(&one).forget(ForgetRequest { user_id: 8, peer_id: 7, room_id: 0 }).await.unwrap();
    assert_eq!(is_refused_at_last(&mut conn, to_user).await, 4711);
    send(&mut conn, to_room, "third".into()).await.expect("of the room nothing was said");
    access(&one).forget(ForgetRequest { user_id: 0, peer_id: 0, room_id: 5 }).await.unwrap();
    is_refused_at_last(&mut conn, to_room).await;
}

#[tokio::test]
async fn a_revoked_token_is_asked_about_on_every_logic_node() {
    let (one, two) = two_nodes().await;
    let call = async || {
        let request = PushRoomRequest { room_id: 5, content: "x".into(), ..PushRoomRequest::default() };
        two.room_ext().push_room(metadata::signed(request, 7, 70, "token-7")).await.unwrap();
        two.business.state.auth_calls.load(Relaxed)
    };
    let asked = call().await;
    assert_eq!(call().await, asked, "a good token is remembered");
    access(&one).revoke(RevokeRequest { user_id: 7, device_id: 0, not_before_ms: 0 }).await.unwrap();
    soon(async { while call().await == asked {} }).await;
}

#[tokio::test]
async fn a_node_that_cannot_know_what_it_missed_asks_anew_about_everything() {
    let server = server_with(StubBusiness::start().await, for_an_hour).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    send(&mut conn, Target::UserId(8), "first".into()).await.unwrap();
    server.business.state.blocked.lock().unwrap().push((7, 8));
    send(&mut conn, Target::UserId(8), "second".into()).await.expect("what was answered is remembered");
    empty_redis(&server.settings).await;
    conn.ended().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    assert_eq!(is_refused_at_last(&mut conn, Target::UserId(8)).await, 4711);
}
