//! What only several logic nodes, Redis and MariaDB can get into.

mod between;
mod events;
mod eviction;
mod full;
mod late_commits;
mod names;
mod nodes;
mod offline_push;
mod out_of_date;
mod races;
mod reads;
mod redis_ways;
mod small;
mod two_of_one;
mod upgrading;

use gim_config::{
    listen::Endpoint,
    testing::{PrivateServer, Proxy},
};
use gim_logic::{LogicSettings, settings::SharedStateSettings};
use gim_proto::{
    CloseReason, ResultCode, connect,
    logic::{GroupKind, ListOnlineRequest, LiveConnection, PushRoomRequest, down_item::Item},
};
use prost::Message as _;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::support::{self, Server, backend, business::StubBusiness, conn::Conn, refusal, server, server_with, soon};

/// A second logic node on what `first` stands on.
async fn beside(first: &Server) -> Server {
    beside_with(first, |_| ()).await
}

async fn beside_with(first: &Server, change: impl FnOnce(&mut LogicSettings)) -> Server {
    let LogicSettings { database, shared_state, conversation, .. } = first.settings.clone();
    server_with(StubBusiness::start().await, |settings| {
        settings.node = "logic-2".into();
        settings.node_number = 2;
        settings.database = database;
        settings.shared_state = shared_state;
        settings.conversation = conversation;
        change(settings);
    })
    .await
}

fn room_push(room_id: u64) -> PushRoomRequest {
    let content = b"x"[..].into();
    PushRoomRequest { room_id, command: 5000, content, is_persist: true, ..PushRoomRequest::default() }
}

async fn push_room(server: &Server, room_id: u64) {
    server.room_int().push_room(room_push(room_id)).await.unwrap();
}

async fn room_seq(conn: &mut Conn) -> u64 {
    let Item::RoomPush(push) = conn.next().await else { panic!("no room push") };
    connect::Message::decode(push.message).unwrap().room_seq
}

async fn is_online(server: &Server, user_id: u64) -> bool {
    let request = ListOnlineRequest { user_ids: vec![user_id] };
    !server.device_int().list_online(request).await.unwrap().into_inner().devices.is_empty()
}

/// Deletes every key below a server's prefix, as a Redis that was restarted empty.
async fn empty_redis(settings: &LogicSettings) {
    empty_keys(&settings.shared_state).await;
}

async fn empty_keys(shared_state: &SharedStateSettings) {
    let client = redis::Client::open(shared_state.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let pattern = format!("{}:*", shared_state.key_prefix);
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
    assert!(!keys.is_empty());
    for key in &keys {
        let left_ms: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.unwrap();
        assert!(left_ms > 0, "{key} would stay forever");
    }
    redis::cmd("DEL").arg(keys).query_async::<()>(&mut connection).await.unwrap();
}

#[tokio::test]
async fn two_logic_nodes_share_routes_and_rooms_and_close_connections() {
    assert_two_nodes_are_one(server().await).await;
}

/// Shared state on servers that this test has to itself; they end with the guard.
async fn server_on(start: fn() -> PrivateServer) -> (Server, PrivateServer) {
    let private = tokio::task::spawn_blocking(start).await.unwrap();
    let url = private.url.clone();
    (server_with(StubBusiness::start().await, |settings| settings.shared_state.url = url).await, private)
}

#[tokio::test]
async fn a_redis_that_a_sentinel_watches_is_shared_state_like_any_other() {
    let (server, _private) = server_on(PrivateServer::sentinel).await;
    assert_two_nodes_are_one(server).await;
}

#[tokio::test]
async fn a_redis_cluster_is_shared_state_like_any_other() {
    let (server, _private) = server_on(PrivateServer::cluster).await;
    assert_two_nodes_are_one(server).await;
}

async fn assert_two_nodes_are_one(one: Server) {
    let two = beside(&one).await;
    let mut conn_at_one = Conn::attach(&one, "conn-1", 1).await;
    let mut conn_at_two = Conn::attach(&two, "conn-1", 1).await;
    conn_at_one.sign_in(7, 70, 700).await;
    assert!(is_online(&two, 7).await);
    two.push(&[7], "through the other").await;
    let Item::Push(push) = conn_at_two.next().await else { panic!("no push") };
    assert_eq!(push.targets[0].connection_ids, [700]);

    assert_eq!(conn_at_one.subscribe(7, 9, 0).await.code, 0);
    push_room(&two, 9).await;
    push_room(&one, 9).await;
    assert_eq!((room_seq(&mut conn_at_two).await, room_seq(&mut conn_at_one).await), (1, 2));
    let retained = conn_at_two.subscribe(7, 9, 1).await.subscribed.unwrap().retained;
    let seqs: Vec<u64> = retained.into_iter().map(|bytes| connect::Message::decode(bytes).unwrap().room_seq).collect();
    assert_eq!(seqs, [2]);

    let mut other_at_two = Conn::attach(&two, "conn-2", 1).await;
    other_at_two.sign_in(7, 70, 900).await;
    let Item::Kick(kick) = conn_at_two.next().await else { panic!("no kick") };
    assert_eq!((kick.connection_id, kick.reason), (700, CloseReason::CrReplaced as i32));
    // The kicked one says late that it left: the newer one stays.
    conn_at_one.sign_out(7, 70, 700).await;
    conn_at_one.packet(7, 999, Vec::new()).await;
    assert!(is_online(&one, 7).await);

    // Users whose keys are all over a cluster, in one call each.
    let many: Vec<u64> = (1000..1040).collect();
    for &user_id in &many {
        other_at_two.sign_in(user_id, user_id, user_id).await;
    }
    let request = ListOnlineRequest { user_ids: many.clone() };
    assert_eq!(one.device_int().list_online(request).await.unwrap().into_inner().devices.len(), many.len());
    let mut other_at_one = Conn::attach(&one, "conn-2", 1).await;
    one.push(&many, "to all of them").await;
    let Item::Push(push) = other_at_one.next().await else { panic!("no push") };
    let mut connections: Vec<u64> = push.targets.iter().flat_map(|target| target.connection_ids.clone()).collect();
    connections.sort_unstable();
    assert_eq!(connections, many);
    for room_id in 100..120 {
        assert_eq!(other_at_one.subscribe(1000, room_id, 0).await.code, 0);
        push_room(&two, room_id).await;
        assert_eq!(room_seq(&mut other_at_two).await, 1);
    }
}

/// The next push to a room: its seq, and the one that it follows on another stream.
async fn room_place(conn: &mut Conn) -> (u64, u64) {
    let Item::RoomPush(push) = conn.next().await else { panic!("no push") };
    (push.seq, push.after_seq)
}

#[tokio::test]
async fn a_room_push_tells_other_nodes_what_it_follows() {
    let one = server().await;
    let two = beside(&one).await;
    let mut at_one = Conn::attach(&one, "conn-1", 1).await;
    let mut at_two = Conn::attach(&two, "conn-1", 1).await;
    at_one.sign_in(7, 70, 700).await;
    assert_eq!(at_one.subscribe(7, 9, 0).await.code, 0);
    push_room(&one, 9).await;
    push_room(&one, 9).await;
    assert_eq!([room_place(&mut at_one).await, room_place(&mut at_one).await], [(1, 0), (2, 0)], "nobody else pushes");
    push_room(&two, 9).await;
    push_room(&two, 9).await;
    assert_eq!([room_place(&mut at_two).await, room_place(&mut at_two).await], [(3, 2), (4, 2)]);
    let urgent = PushRoomRequest { is_priority: true, ..room_push(9) };
    one.room_int().push_room(urgent).await.unwrap();
    assert_eq!(room_place(&mut at_one).await, (5, 0), "it overtakes, and nothing waits for it");
    push_room(&one, 9).await;
    assert_eq!(room_place(&mut at_one).await, (6, 4));
    let subscribed = at_two.subscribe(7, 9, 1).await.subscribed.unwrap();
    assert_eq!((subscribed.retained.len(), subscribed.newest_seq), (5, 6));
}

#[tokio::test]
async fn a_node_number_in_use_keeps_a_second_process_from_starting() {
    let first = server().await;
    let mut settings = first.settings.clone();
    settings.node = "logic-2".into();
    settings.link.lease_ms = 300;
    let problem = soon(gim_logic::start(settings)).await.unwrap_err().to_string();
    assert!(problem.starts_with("shared_state: logic number:1 is in use by logic-1:"), "{problem}");
    let second = beside(&first).await;
    drop(second);
}

#[tokio::test]
async fn a_node_name_in_use_keeps_a_second_process_from_starting() {
    let first = server().await;
    let mut settings = first.settings.clone();
    settings.node_number = 2;
    settings.link.lease_ms = 300;
    let problem = soon(gim_logic::start(settings)).await.unwrap_err().to_string();
    assert!(problem.starts_with("shared_state: logic node:logic-1 is in use by logic-1:"), "{problem}");
}

#[tokio::test]
async fn a_start_that_failed_gives_its_name_back() {
    let first = server().await;
    let mut settings = LogicSettings { node: "logic-2".into(), node_number: 2, ..first.settings.clone() };
    settings.link.lease_ms = 3_600_000;
    settings.grpc.listen = Endpoint::new(&first.logic.grpc_address().to_string());
    let problem = soon(gim_logic::start(settings.clone())).await.unwrap_err().to_string();
    assert!(problem.contains("already taken"), "{problem}");
    settings.grpc.listen = Endpoint::new("127.0.0.1:0");
    soon(gim_logic::start(settings)).await.expect("nobody has to wait for the lease");
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_told_again_and_no_seq_goes_back() {
    let server = server().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    assert_eq!(conn.subscribe(7, 9, 0).await.code, 0);
    push_room(&server, 9).await;
    let before = room_seq(&mut conn).await;
    server.push(&[7], "before").await;
    let Item::Push(_) = conn.next().await else { panic!("no push") };

    empty_redis(&server.settings).await;
    // The node is asked to come again, and does what a conn node does: it announces what it holds.
    conn.ended().await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    let live = LiveConnection { connection_id: 700, user_id: 7, device_id: 70, ..LiveConnection::default() };
    conn.announce(&[live]).await;
    let Item::NewestSeq(hint) = conn.next().await else { panic!("no hint") };
    assert_eq!(hint.connections[0].newest_seq, 1, "what was pushed meanwhile would show here");
    assert_eq!(conn.subscribe(7, 9, 0).await.code, 0);
    server.push(&[7], "after").await;
    let Item::Push(push) = conn.next().await else { panic!("no push") };
    assert_eq!((push.targets[0].seq, &push.targets[0].connection_ids[..]), (2, &[700][..]));
    push_room(&server, 9).await;
    assert!(room_seq(&mut conn).await > before);
}

#[tokio::test]
async fn while_redis_is_away_sign_ins_are_put_off_and_pushes_become_hints() {
    let mut shared_state = backend::shared_state();
    let proxy = Proxy::before(&mut shared_state.url).await;
    let server = server_with(StubBusiness::start().await, |settings| settings.shared_state = shared_state).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;

    proxy.cut();
    let refused = conn.try_sign_in(8, 80, 800, "token-8").await;
    assert_eq!(refused.code, ResultCode::TryAgainLater.number());
    server.push(&[7], "durable all the same").await;
    let live_only = gim_proto::logic::PushToUsersRequest {
        user_ids: vec![7],
        command: 5000,
        content: b"x"[..].into(),
        is_persist: false,
        ..gim_proto::logic::PushToUsersRequest::default()
    };
    let refused = soon(server.message_int().push_to_users(live_only)).await;
    assert_eq!(refusal(refused).0, ResultCode::TryAgainLater, "it would be nowhere");
    proxy.mend();

    let Item::NewestSeq(hint) = conn.next().await else { panic!("no hint") };
    assert_eq!((hint.connections[0].connection_id, hint.connections[0].newest_seq), (700, 1));
    assert_eq!(conn.sign_in(8, 80, 800).await, 0);
    server.push(&[7], "as before").await;
    let Item::Push(push) = conn.next().await else { panic!("no push") };
    assert_eq!(push.targets[0].seq, 2);
}

#[tokio::test]
async fn who_left_a_group_on_one_node_sends_and_gets_nothing_on_another() {
    let one = server().await;
    let two = beside(&one).await;
    for kind in [GroupKind::GkNormal, GroupKind::GkLarge] {
        let group_id = one.make(kind, &[7, 8]).await;
        two.say(8, group_id, "in", &format!("in {group_id}")).await.unwrap();
        one.remove(8, group_id, &[8]).await.unwrap();
        let refused = two.say(8, group_id, "out", &format!("out {group_id}")).await;
        assert_eq!(refusal(refused).0, ResultCode::NotInGroup);
        let after = two.say(7, group_id, "without 8", &format!("after {group_id}")).await.unwrap();
        for server in [&one, &two] {
            assert!(server.inbox(8).await.iter().all(|message| message.message_id != after.message_id));
            assert!(server.group_pages(8, &[]).await.unwrap().0.is_empty(), "no timeline either");
        }
    }
}

#[tokio::test]
async fn a_mariadb_that_is_read_only_puts_requests_off_and_recovers_by_itself() {
    // Its own, because it is read-only for all; and a user of its own, because root may write even then.
    let private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    sqlx::any::install_default_drivers();
    let mut root = AnyConnection::connect(&private.url).await.unwrap();
    root.execute("CREATE DATABASE gim").await.unwrap();
    root.execute("CREATE USER gim@'%' IDENTIFIED BY 'secret'").await.unwrap();
    root.execute("GRANT ALL ON gim.* TO gim@'%'").await.unwrap();
    let url = format!("{}/gim", private.url.replace("root@", "gim:secret@"));
    let server = server_with(StubBusiness::start().await, |settings| settings.database.url = url).await;
    server.push(&[7], "before").await;

    let set = |value: &str| AssertSqlSafe(format!("SET GLOBAL read_only = {value}"));
    root.execute(set("ON")).await.unwrap();
    let request = gim_proto::logic::PushToUsersRequest {
        user_ids: vec![7],
        command: 5000,
        content: b"x"[..].into(),
        is_persist: true,
        ..gim_proto::logic::PushToUsersRequest::default()
    };
    let refused = soon(server.message_int().push_to_users(request)).await;
    assert_eq!(refusal(refused).0, ResultCode::TryAgainLater);
    root.execute(set("OFF")).await.unwrap();
    server.push(&[7], "after").await;
    assert_eq!(server.store_newest_seq(7).await, 2);
    support::stop(server).await;
}
