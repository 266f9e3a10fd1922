//! Whoever comes second to what can be had once is refused, with one sentence that says what to change.

use gim_config::service::Running as _;
use gim_logic::LogicSettings;

use crate::support::{Server, backend, business::StubBusiness, server, server_with, soon};

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
