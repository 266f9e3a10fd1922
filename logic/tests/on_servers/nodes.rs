//! What several logic nodes share of conn nodes, and what that costs in Redis.

use std::{sync::Arc, time::Duration};

use gim_config::testing::PrivateServer;
use gim_logic::{
    domain::{
        locate::NodeInfo,
        route::{NodeKey, Route},
    },
    settings::{RoomSettings, SharedStateSettings},
    shared_state::{SharedState as _, SharedStateError, redis::RedisState},
};
use gim_proto::{
    LINK_VERSION, ResultCode,
    logic::{Hello, LocateRequest, NodeAddresses, NodeLoad, Up, gateway_ext_service_client::GatewayExtServiceClient},
};

use super::{beside, empty_keys, is_online};
use crate::{
    contract::store::harness,
    support::{backend, business::StubBusiness, conn::Conn, server, server_with, soon},
};

const LEASE: Duration = Duration::from_secs(15);

async fn state(settings: &SharedStateSettings, number: u16) -> RedisState {
    let seqs = harness().await.store.room_seqs.clone();
    let name = format!("logic-{number}");
    RedisState::start(settings, (&name, number), 1, LEASE, RoomSettings::default(), seqs).await.unwrap()
}

fn node(name: &str, epoch: u64) -> Arc<NodeKey> {
    Arc::new(NodeKey { name: name.into(), epoch })
}

fn info(node: &Arc<NodeKey>) -> (Arc<NodeKey>, NodeInfo) {
    let addresses = NodeAddresses { tcp: format!("{}:8002", node.name), ..NodeAddresses::default() };
    let load = NodeLoad { connections: 1, connections_max: 10, is_draining: false };
    (node.clone(), NodeInfo { name: node.name.clone(), addresses, load })
}

fn route(node: &Arc<NodeKey>, user_id: u64) -> Route {
    let (device_id, connection_id, since_ms) = (user_id * 10, user_id * 100, 1);
    Route { user_id, device_id, device_type: 0, node: node.clone(), connection_id, since_ms }
}

/// The figures in ARCHITECTURE.md, "Many nodes".
#[tokio::test]
async fn a_push_batch_of_any_size_and_a_sign_in_cost_one_round_trip() {
    let settings = backend::shared_state();
    let (one, two) = (state(&settings, 1).await, state(&settings, 2).await);
    let (here, there) = (node("conn-1", 1), node("conn-2", 1));
    one.attach_node(&here).await.unwrap();
    two.attach_node(&there).await.unwrap();
    one.renew(vec![info(&here)]).await.unwrap();
    two.renew(vec![info(&there)]).await.unwrap();
    one.nodes().await.unwrap();
    let cost = |before: (u64, u64)| (one.usage().0 - before.0, one.usage().1 - before.1);

    let before = one.usage();
    one.put_routes(vec![route(&here, 1)]).await.unwrap();
    assert_eq!(cost(before), (1, 3), "a sign-in");
    one.put_routes((2..=500).map(|user_id| route(&here, user_id)).collect()).await.unwrap();
    two.put_routes((501..=1000).map(|user_id| route(&there, user_id)).collect()).await.unwrap();

    let users: Vec<u64> = (1..=1000).collect();
    let before = one.usage();
    assert_eq!(one.routes_of(&users).await.unwrap().len(), 1000);
    assert_eq!(cost(before), (1, 2 + 1000), "a push batch: a command per node and per receiver, one round trip");
    one.sweep().await.unwrap();
    let before = one.usage();
    one.routes_of(&[1000]).await.unwrap();
    assert_eq!(cost(before), (1, 3), "of a user on a node that is attached elsewhere, also after housekeeping");

    let before = one.usage();
    one.renew(vec![info(&here)]).await.unwrap();
    one.nodes().await.unwrap();
    one.told().await.unwrap();
    assert_eq!(
        cost(before),
        (5, 7 + 3 + 1 + 2 + 1),
        "what each logic node does once a second for its leases, for Locate and for what others told"
    );
}

#[tokio::test]
async fn a_conn_node_name_belongs_to_one_process_until_that_is_detached() {
    let settings = backend::shared_state();
    let (one, two) = (state(&settings, 1).await, state(&settings, 2).await);
    let (first, second) = (node("conn-1", 1), node("conn-1", 2));
    one.attach_node(&first).await.unwrap();
    two.attach_node(&first).await.unwrap();
    one.put_routes(vec![route(&first, 7)]).await.unwrap();
    let refused = |result| matches!(result, Err(SharedStateError::NameTaken(name)) if name == "conn-1");
    assert!(refused(two.attach_node(&second).await));
    one.detach_node(&first).await.unwrap();
    assert!(refused(one.attach_node(&second).await), "the other one still holds its stream");
    assert_eq!(two.routes_of(&[7]).await.unwrap().len(), 1);
    two.detach_node(&first).await.unwrap();
    one.attach_node(&second).await.unwrap();
    assert!(two.routes_of(&[7]).await.unwrap().is_empty(), "nothing is taken over");
    // The former process is late in everything.
    one.put_routes(vec![route(&first, 7)]).await.unwrap();
    two.detach_node(&first).await.unwrap();
    one.put_routes(vec![route(&second, 8)]).await.unwrap();
    assert!(two.routes_of(&[7]).await.unwrap().is_empty());
    assert_eq!(two.routes_of(&[8]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_logic_node_knows_the_nodes_that_are_attached_to_another() {
    let one = server().await;
    let two = beside(&one).await;
    let (node, info) = info(&node("conn-1", 1));
    let hello = Hello {
        version: LINK_VERSION,
        node: node.name.clone(),
        epoch: node.epoch,
        addresses: Some(info.addresses),
        load: Some(info.load),
        ..Hello::default()
    };
    let _conn = Conn::attach_with(one.channel.clone(), Up { hello: Some(hello), items: Vec::new() }).await.unwrap();
    let mut gateway = GatewayExtServiceClient::new(two.channel.clone());
    let located = async {
        loop {
            if let Ok(reply) = gateway.locate(LocateRequest::default()).await {
                return reply.into_inner();
            }
        }
    };
    assert_eq!(soon(located).await.nodes[0].tcp, "conn-1:8002");
}

#[tokio::test]
async fn a_redis_that_refuses_writes_puts_sign_ins_off_until_it_takes_them() {
    let private = tokio::task::spawn_blocking(PrivateServer::redis).await.unwrap();
    let url = private.url.clone();
    let server = server_with(StubBusiness::start().await, |settings| settings.shared_state.url = url).await;
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    conn.sign_in(7, 70, 700).await;
    let client = redis::Client::open(private.url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let mut replicas_to_write = async |count: u8| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("min-replicas-to-write").arg(count);
        set.query_async::<()>(&mut redis).await.unwrap();
    };
    replicas_to_write(1).await;
    for _ in 0..2 {
        let refused = conn.try_sign_in_any(8, 80, 800, "token-8").await;
        assert_eq!(refused.code, ResultCode::TryAgainLater.number(), "{}", refused.message);
    }
    assert!(is_online(&server, 7).await, "what was there stays");
    server.push(&[7], "durable all the same").await;
    replicas_to_write(0).await;
    let resumed = async { while conn.try_sign_in_any(8, 80, 800, "token-8").await.code != 0 {} };
    soon(resumed).await;
}

#[tokio::test]
async fn nodes_that_share_a_redis_say_the_same_and_others_do_not() {
    let settings = backend::shared_state();
    let (one, two) = (state(&settings, 1).await, state(&settings, 2).await);
    let elsewhere = state(&backend::shared_state(), 3).await;
    assert_eq!(one.deployment(), two.deployment());
    assert_ne!(one.deployment(), elsewhere.deployment());
    let before = one.deployment();
    empty_keys(&settings).await;
    for state in [&two, &one] {
        state.told().await.unwrap();
        assert_eq!(state.deployment(), before, "also where Redis lost everything");
    }
}
