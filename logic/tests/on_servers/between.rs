//! What goes through one logic node and concerns connections of another, also when Redis forgets who they are (REGRESSIONS 17, 24, 30).

use std::{collections::BTreeMap, sync::Arc};

use gim_config::testing::PrivateServer;
use gim_proto::{
    CloseReason, ResultCode,
    connect::{self, PacketCommand, SubscribeRoomRequest},
    logic::{
        self, LiveConnection, PushToUsersRequest, RevokeRequest, access_int_service_client::AccessIntServiceClient,
        down_item::Item,
    },
};
use prost::Message as _;

use super::{beside, empty_redis, push_room, room_seq};
use crate::support::{Server, business::StubBusiness, conn::Conn, refusal, server, server_with, soon};

/// A conn node, attached to both logic nodes.
struct Both {
    one: Conn,
    two: Conn,
}

impl Both {
    async fn attach(one: &Server, two: &Server, node: &str) -> Self {
        Self { one: Conn::attach(one, node, 1).await, two: Conn::attach(two, node, 1).await }
    }

    /// Waits until both logic nodes want it to come again, and does so: it announces users 7 and 8, each to its own logic node.
    async fn come_again(self, one: &Server, two: &Server, node: &str) -> Self {
        self.one.ended().await;
        self.two.ended().await;
        let again = Self::attach(one, two, node).await;
        let live = |user_id: u64| LiveConnection {
            connection_id: user_id * 100,
            user_id,
            device_id: user_id * 10,
            age_ms: Some(1_000),
            ..LiveConnection::default()
        };
        again.one.announce(&[live(7)]).await;
        again.two.announce(&[live(8)]).await;
        again
    }
}

/// Pushes to users through a logic node until all of them are reached: the first ones may come before their routes do.
async fn assert_reached(server: &Server, conn: &mut Conn, connection_ids: &[u64]) {
    let user_ids: Vec<u64> = connection_ids.iter().map(|connection_id| connection_id / 100).collect();
    let request = PushToUsersRequest {
        user_ids,
        command: 5000,
        content: b"x"[..].into(),
        is_persist: false,
        ..PushToUsersRequest::default()
    };
    let reached = async {
        loop {
            server.message_int().push_to_users(request.clone()).await.unwrap();
            server.push(&[9], "so that something comes").await;
            let mut found: Vec<u64> = Vec::new();
            loop {
                let Item::Push(push) = conn.next().await else { continue };
                let targets = push.targets.iter().flat_map(|target| target.connection_ids.iter().copied());
                found.extend(targets.filter(|connection_id| *connection_id != 900));
                if push.targets.iter().any(|target| target.connection_ids.contains(&900)) {
                    break;
                }
            }
            found.sort_unstable();
            found.dedup();
            if found == connection_ids {
                return;
            }
        }
    };
    soon(reached).await;
}

#[tokio::test]
async fn a_revocation_on_one_node_closes_connections_of_another() {
    let one = server().await;
    let two = beside(&one).await;
    let mut conn = Both::attach(&one, &two, "conn-1").await;
    conn.one.sign_in(7, 70, 700).await;
    conn.one.sign_in(8, 80, 800).await;
    let request = RevokeRequest { user_id: 7, device_id: 0, not_before_ms: 0 };
    AccessIntServiceClient::new(two.channel.clone()).revoke(request).await.unwrap();
    let Item::Kick(kick) = conn.two.next().await else { panic!("no kick") };
    assert_eq!((kick.connection_id, kick.reason), (700, CloseReason::CrTokenRevoked as i32));
    conn.two.sign_in(9, 90, 900).await;
}

#[tokio::test]
async fn moving_a_device_of_a_conn_node_that_is_not_attached_is_put_off() {
    let one = server().await;
    let two = beside(&one).await;
    let mut conn = Conn::attach(&one, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let request = logic::SubscribeRoomRequest { user_id: 7, device_id: 70, room_id: 5, seq: 0, from_start: false };
    let refused = two.room_int().subscribe_room(request).await;
    assert_eq!(refusal(refused).0, ResultCode::TryAgainLater);
    let mut at_two = Conn::attach(&two, "conn-1", 1).await;
    two.room_int().subscribe_room(request).await.unwrap();
    assert!(matches!(at_two.next().await, Item::RoomMove(moved) if moved.connection_id == 700));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_device_that_just_moved_arrives_once_or_by_sync() {
    let one = Arc::new(server().await);
    let two = beside(&one).await;
    let mut former = Both::attach(&one, &two, "conn-1").await;
    let mut newer = Both::attach(&one, &two, "conn-2").await;
    former.one.sign_in(7, 70, 700).await;
    let pusher = tokio::spawn({
        let one = one.clone();
        async move {
            for _ in 0..100 {
                one.push(&[7], "x").await;
            }
        }
    });
    while one.store_newest_seq(7).await < 20 {
        tokio::task::yield_now().await;
    }
    let newest_seq = newer.two.sign_in(7, 70, 900).await;
    soon(pusher).await.unwrap();
    // What was committed after the answer's seq comes over the stream of the node that it was pushed through.
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    while newest_seq < 100 && !live.contains_key(&100) {
        let Item::Push(push) = newer.one.next().await else { panic!("no push") };
        assert_eq!(push.targets[0].connection_ids, [900]);
        *live.entry(push.targets[0].seq).or_default() += 1;
    }
    assert!(live.values().all(|&count| count == 1), "{live:?}");
    for seq in newest_seq + 1..=100 {
        assert!(live.contains_key(&seq), "seq {seq} after the sign-in's {newest_seq}");
    }
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_told_again_and_room_seqs_go_on() {
    let one = server().await;
    let two = beside(&one).await;
    let mut conn = Both::attach(&one, &two, "conn-1").await;
    conn.one.sign_in(7, 70, 700).await;
    conn.two.sign_in(8, 80, 800).await;
    assert_eq!(conn.one.subscribe(7, 5, 0).await.code, 0);
    push_room(&one, 5).await;
    push_room(&two, 5).await;
    let before = (room_seq(&mut conn.one).await, room_seq(&mut conn.two).await);
    assert_eq!(before, (1, 2));

    empty_redis(&one.settings).await;
    assert_all_is_told_again(conn, &one, &two, before.1).await;
}

#[tokio::test]
async fn a_redis_with_an_old_snapshot_is_told_again_and_no_room_seq_goes_back() {
    let mut private = tokio::task::spawn_blocking(PrivateServer::redis).await.unwrap();
    let url = private.url.clone();
    let one = server_with(StubBusiness::start().await, |settings| settings.shared_state.url = url).await;
    let two = beside(&one).await;
    let mut conn = Both::attach(&one, &two, "conn-1").await;
    conn.one.sign_in(7, 70, 700).await;
    assert_eq!(conn.one.subscribe(7, 5, 0).await.code, 0);
    push_room(&one, 5).await;
    assert_eq!(room_seq(&mut conn.one).await, 1);
    let client = redis::Client::open(private.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SAVE").query_async::<()>(&mut connection).await.unwrap();
    // What the snapshot does not know.
    conn.two.sign_in(8, 80, 800).await;
    push_room(&two, 5).await;
    push_room(&one, 5).await;
    let before = (room_seq(&mut conn.two).await, room_seq(&mut conn.one).await);
    assert_eq!(before, (2, 3));

    let _private = tokio::task::spawn_blocking(move || {
        private.kill();
        private.start_again();
        private
    })
    .await
    .unwrap();
    assert_all_is_told_again(conn, &one, &two, before.1).await;
}

async fn assert_all_is_told_again(conn: Both, one: &Server, two: &Server, room_seq_before: u64) {
    let mut conn = conn.come_again(one, two, "conn-1").await;
    // The answer to the sign-in comes behind what the announcement brings.
    assert_eq!(conn.one.try_sign_in_any(9, 90, 900, "token-9").await.code, 0);
    assert_reached(one, &mut conn.one, &[700, 800]).await;
    assert_reached(two, &mut conn.two, &[700, 800]).await;
    let request = SubscribeRoomRequest { room_id: 5, seq: 0, from_start: false };
    conn.one.begin_packet(7, PacketCommand::PcSubscribeRoom as i32, request.encode_to_vec()).await;
    while !matches!(conn.one.next().await, Item::PacketReply(reply) if reply.code == 0) {}
    let mut seqs = vec![room_seq_before];
    for _ in 0..2 {
        push_room(one, 5).await;
        seqs.push(next_room_seq(&mut conn.one).await);
        push_room(two, 5).await;
        seqs.push(next_room_seq(&mut conn.two).await);
    }
    assert!(seqs.is_sorted_by(|earlier, later| earlier < later), "{seqs:?}");
}

/// The seq of the next push to a room, whatever hints come before.
async fn next_room_seq(conn: &mut Conn) -> u64 {
    loop {
        if let Item::RoomPush(push) = conn.next().await {
            return connect::Message::decode(push.message).unwrap().room_seq;
        }
    }
}
