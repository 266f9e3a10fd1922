//! The name and the number of a logic node in Redis: kept while a start waits, and given back where it fails.

use std::time::Duration;

use gim_config::testing::PrivateServer;
use gim_logic::{
    settings::{RoomSettings, SharedStateSettings},
    shared_state::{SharedState as _, SharedStateError, redis::RedisState},
};
use gim_proto::logic::{RevokeRequest, access_int_service_client::AccessIntServiceClient};
use redis::{aio::MultiplexedConnection, cmd};

use super::assert_two_nodes_are_one;
use crate::{
    contract::store::harness,
    support::{backend, business::StubBusiness, server_with, soon},
};

/// Longer than any test takes.
const LONG_LEASE: Duration = Duration::from_secs(600);

/// The rights that OPERATIONS.md says logic needs.
const RIGHTS: &str = "~gim:* -@all +@connection +@scripting +@read +@write +time +info +role +cluster|slots";

async fn start(
    settings: &SharedStateSettings,
    node: (&str, u16),
    lease: Duration,
) -> Result<RedisState, SharedStateError> {
    let seqs = harness().await.store.room_seqs.clone();
    soon(RedisState::start(settings, node, 1, lease, RoomSettings::default(), seqs)).await
}

async fn connect(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Milliseconds until a key ends; less than 0 where there is none.
async fn left_ms(redis: &mut MultiplexedConnection, key: &str) -> i64 {
    cmd("PTTL").arg(key).query_async(redis).await.unwrap()
}

/// A Redis with a user who has these rights, and what a service that logs in as that user is told.
async fn with_rights(rights: &str) -> (PrivateServer, SharedStateSettings) {
    let private = tokio::task::spawn_blocking(PrivateServer::redis).await.unwrap();
    let mut user = cmd("ACL");
    user.arg(&["SETUSER", "gim", "on", ">secret"]).arg(rights.split(' ').collect::<Vec<_>>());
    user.query_async::<()>(&mut connect(&private.url).await).await.unwrap();
    let url = private.url.replace("://", "://gim:secret@");
    (private, SharedStateSettings { url, ..SharedStateSettings::default() })
}

#[tokio::test]
async fn a_node_that_finds_its_number_taken_gives_its_name_back() {
    let settings = backend::shared_state();
    let first = start(&settings, ("logic-1", 1), LONG_LEASE).await.unwrap();
    let refused = start(&settings, ("logic-2", 1), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(&refused, SharedStateError::Taken { what, .. } if what == "number:1"), "{refused}");
    let mut redis = connect(&settings.url).await;
    let key = |what: &str| format!("{}:logic:{what}", settings.key_prefix);
    assert_eq!(left_ms(&mut redis, &key("node:logic-2")).await, -2, "the name is free");
    assert!(left_ms(&mut redis, &key("number:1")).await > 0, "what is another's stays");
    first.close().await.unwrap();
    assert_eq!(left_ms(&mut redis, &key("number:1")).await, -2);
}

#[tokio::test]
async fn who_may_not_hear_what_others_told_does_not_start() {
    let (private, settings) = with_rights("~gim:logic:* +@all").await;
    let refused = start(&settings, ("logic-1", 1), LONG_LEASE).await.unwrap_err();
    assert!(matches!(refused, SharedStateError::Mistaken(_)), "{refused:?}");
    assert!(refused.to_string().ends_with("(the rights of the user in shared_state.url)"), "{refused}");
    let mut redis = connect(&private.url).await;
    for what in ["node:logic-1", "number:1"] {
        assert_eq!(left_ms(&mut redis, &format!("gim:logic:{what}")).await, -2, "{what} is free");
    }
}

#[tokio::test]
async fn a_start_that_waits_to_hear_keeps_its_name() {
    let settings = backend::shared_state();
    let (told, name) =
        (format!("{}:{{told}}", settings.key_prefix), format!("{}:logic:node:logic-1", settings.key_prefix));
    let mut redis = connect(&settings.url).await;
    // Nothing that can be counted stands there.
    cmd("RPUSH").arg(&told).arg("x").query_async::<()>(&mut redis).await.unwrap();
    let renewed = async {
        while left_ms(&mut redis, &name).await < 0 {}
        let mut before = left_ms(&mut redis, &name).await;
        loop {
            let left = left_ms(&mut redis, &name).await;
            if left > before {
                break;
            }
            before = left;
        }
        cmd("DEL").arg(&told).query_async::<()>(&mut redis).await.unwrap();
    };
    let (started, ()) = tokio::join!(start(&settings, ("logic-1", 1), LONG_LEASE), soon(renewed));
    started.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn the_rights_that_the_manual_names_are_enough() {
    assert!(include_str!("../../../config/OPERATIONS.md").contains(RIGHTS));
    let (_private, settings) = with_rights(RIGHTS).await;
    let server = server_with(StubBusiness::start().await, |to| to.shared_state = settings).await;
    let revoke = RevokeRequest { user_id: 9, device_id: 0, not_before_ms: 0 };
    AccessIntServiceClient::new(server.channel.clone()).revoke(revoke).await.unwrap();
    assert_two_nodes_are_one(server).await;
}
