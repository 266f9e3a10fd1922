//! Whoever comes second to what can be had once is refused, with one sentence that says what to change.

use std::time::{Duration, Instant};

use gim_config::service::Running as _;
use gim_logic::LogicSettings;
use gim_proto::{
    LINK_VERSION,
    logic::{Hello, Up},
};
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::beside_with;
use crate::support::{Server, backend, business::StubBusiness, conn::Conn, server, server_with, soon};

const SHORT_LEASE: Duration = Duration::from_millis(1500);

fn with_a_short_lease(settings: &mut LogicSettings) {
    settings.link.lease_ms = 1500;
}

async fn database_of(server: &Server) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&server.settings.database.url).await.unwrap()
}

async fn has_problems(server: &Server, problems: &[&str]) {
    soon(async {
        while server.logic.readiness().problems() != problems {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Why a conn node is refused.
async fn refused_link(server: &Server) -> String {
    let hello = Hello { version: LINK_VERSION, node: "conn-1".into(), epoch: 1, ..Hello::default() };
    let attached = Conn::attach_with(server.channel.clone(), Up { hello: Some(hello), items: Vec::new() }).await;
    attached.map(drop).unwrap_err().message().to_owned()
}

/// Why a second one does not start beside the first.
async fn refused(first: &Server, change: impl FnOnce(&mut LogicSettings)) -> String {
    let mut settings = first.settings.clone();
    settings.node = "logic-2".into();
    settings.link.lease_ms = 300;
    change(&mut settings);
    soon(gim_logic::start(settings)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn without_redis_one_logic_has_a_database_for_itself() {
    let first = server_with(StubBusiness::start().await, |settings| settings.shared_state.url.clear()).await;
    for number in [1, 2] {
        let problem = refused(&first, |settings| settings.node_number = number).await;
        assert!(
            problem.starts_with("the database is in use by another gim-logic: several need one Redis"),
            "{problem}"
        );
    }
    let with_redis = refused(&first, |settings| {
        settings.node_number = 2;
        settings.shared_state = backend::shared_state();
    });
    let problem = with_redis.await;
    assert!(
        problem.starts_with("logic number 2 is in use at the database, or a gim-logic without Redis is"),
        "{problem}"
    );
    first.push(&[7], "still here").await;
    // A crash gives it back as a stop does.
    let again = first.restart().await;
    again.push(&[7], "again").await;
}

#[tokio::test]
async fn a_node_number_is_one_nodes_on_a_database_whichever_redis_it_uses() {
    let first = server().await;
    let problem = refused(&first, |settings| settings.shared_state = backend::shared_state()).await;
    assert!(problem.starts_with("logic number 1 is in use at the database"), "{problem}");
    let alone = refused(&first, |settings| settings.shared_state.url.clear()).await;
    assert!(alone.starts_with("the database is in use by another gim-logic"), "{alone}");
    let offline = gim_logic::raise_seqs(first.settings.clone(), 1).await.unwrap_err().to_string();
    assert_eq!(offline, "the database is in use by a gim-logic: stop all of them before");
}

#[tokio::test]
async fn the_keys_of_a_redis_are_one_databases() {
    let first = server().await;
    let problem = refused(&first, |settings| {
        settings.node_number = 2;
        settings.database = backend::database();
    });
    let problem = problem.await;
    let expected = "in use by the logic nodes of another database: give each deployment a shared_state.key_prefix";
    assert!(problem.contains(expected), "{problem}");
    let settings = first.settings.clone();
    soon(first.logic.stop()).await;
    let again = soon(gim_logic::start(settings)).await.unwrap();
    soon(again.stop()).await;
}

#[tokio::test]
async fn a_logic_node_on_another_redis_than_the_others_is_not_ready() {
    let first = server_with(StubBusiness::start().await, with_a_short_lease).await;
    let odd = beside_with(&first, |settings| {
        with_a_short_lease(settings);
        settings.shared_state = backend::shared_state();
    });
    let odd = odd.await;
    assert_eq!(odd.logic.readiness().missing(), ["companions"]);
    assert_eq!(refused_link(&odd).await, "whether this logic node shares its Redis with the others is not known yet");

    let sentence = "logic-2 shares no Redis with logic-1, which is on the same database: give all logic nodes of a database \
                    the same shared_state.url and shared_state.key_prefix";
    has_problems(&odd, &[&format!("companions ({sentence})")]).await;
    assert_eq!(refused_link(&odd).await, sentence);
    let third = beside_with(&first, |settings| {
        with_a_short_lease(settings);
        (settings.node, settings.node_number) = ("logic-3".into(), 3);
    });
    let third = third.await;
    for belongs in [&first, &third] {
        assert_eq!(belongs.logic.readiness().missing(), [""; 0]);
        Conn::attach(belongs, "conn-1", 1).await;
    }
    // As long as somebody is left who was there before, also where that one starts anew.
    let first = first.restart().await;
    assert_eq!(first.logic.readiness().missing(), [""; 0]);
    assert_eq!(odd.logic.readiness().missing(), ["companions"]);
    for server in [first, third] {
        soon(server.logic.stop()).await;
    }
    has_problems(&odd, &[]).await;
    Conn::attach(&odd, "conn-1", 1).await;
}

#[tokio::test]
async fn a_redis_that_forgot_everything_makes_no_logic_node_odd() {
    let first = server_with(StubBusiness::start().await, with_a_short_lease).await;
    let second = beside_with(&first, with_a_short_lease).await;
    let shared_state = &first.settings.shared_state;
    let client = redis::Client::open(shared_state.url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let leases = [1, 2].map(|number| format!("{}:logic:number:{number}", shared_state.key_prefix));
    redis::cmd("DEL").arg(&leases).query_async::<()>(&mut redis).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < 2 * SHORT_LEASE {
        for server in [&first, &second] {
            assert!(!server.logic.readiness().missing().contains(&"companions"));
        }
        tokio::task::yield_now().await;
    }
    let held: usize = redis::cmd("EXISTS").arg(&leases).query_async(&mut redis).await.unwrap();
    assert_eq!(held, leases.len());
}

#[tokio::test]
async fn where_all_have_stopped_a_logic_node_with_another_redis_begins_at_once() {
    let first = server().await;
    let second = beside_with(&first, |_| ()).await;
    let (settings, elsewhere) = (second.settings.clone(), backend::shared_state());
    for server in [first, second] {
        soon(server.logic.stop()).await;
    }
    let settings = LogicSettings { node: "logic-9".into(), node_number: 9, shared_state: elsewhere, ..settings };
    let logic = soon(gim_logic::start(settings)).await.unwrap();
    assert_eq!(logic.readiness().missing(), [""; 0]);
    soon(logic.stop()).await;
}

#[tokio::test]
async fn a_clock_of_the_database_that_was_set_back_makes_no_logic_node_odd() {
    let first = server().await;
    let mut database = database_of(&first).await;
    let in_an_hour =
        "INSERT INTO logic_node VALUES (5, 'logic-5', CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) + 3600000)";
    database.execute(in_an_hour).await.unwrap();
    let first = first.restart().await;
    assert_eq!(first.logic.readiness().missing(), [""; 0]);
    soon(database.close()).await.unwrap();
}

#[tokio::test]
async fn a_database_that_hangs_takes_no_lease_of_a_logic_node() {
    let first = server_with(StubBusiness::start().await, with_a_short_lease).await;
    let mut database = database_of(&first).await;
    database.execute("LOCK TABLES logic_node WRITE").await.unwrap();
    let shared_state = &first.settings.shared_state;
    let client = redis::Client::open(shared_state.url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let lease = format!("{}:logic:number:1", shared_state.key_prefix);
    let began = Instant::now();
    while began.elapsed() < 3 * SHORT_LEASE {
        let is_held: bool = redis::cmd("EXISTS").arg(&lease).query_async(&mut redis).await.unwrap();
        assert!(is_held, "after {:?}", began.elapsed());
        tokio::task::yield_now().await;
    }
    soon(database.close()).await.unwrap();
}
