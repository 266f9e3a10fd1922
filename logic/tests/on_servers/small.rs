//! A database that takes less than it might: at a time, and altogether.

use gim_config::{sql::DatabaseSettings, testing::PrivateServer};
use gim_logic::{
    settings::InboxSettings,
    store::{Limit, StoreError},
};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::{
    contract::store::{sent, start_node},
    support::{backend, server, soon},
};

/// The largest content of the default settings.
const CONTENT_BYTES: usize = 61_440;

#[tokio::test]
async fn a_server_that_takes_small_packets_only_gets_many_large_messages() {
    let private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    sqlx::any::install_default_drivers();
    let mut root = AnyConnection::connect(&private.url).await.unwrap();
    root.execute("SET GLOBAL max_allowed_packet = 1048576").await.unwrap();
    let database = DatabaseSettings { url: format!("{}/gim", private.url), ..backend::database() };
    let harness = start_node(1, tempfile::tempdir().unwrap(), database, InboxSettings::default()).await;
    let content = [b'\''; CONTENT_BYTES];
    let pending: Vec<_> = (0..100).map(|number| harness.submit_content(&content, &number.to_string())).collect();
    for pending in pending {
        soon(sent(pending)).await;
    }
    let stored = harness.store.inboxes.page(8, 0, Limit::messages(100)).await.unwrap();
    assert_eq!(stored.len(), 100);
    assert!(stored.iter().all(|(_, message)| message.content.len() == CONTENT_BYTES));
    soon(root.close()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_less_than_one_message_is_named_at_the_start() {
    let private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    sqlx::any::install_default_drivers();
    let mut root = AnyConnection::connect(&private.url).await.unwrap();
    root.execute("SET GLOBAL max_allowed_packet = 1048576").await.unwrap();
    let mut settings = server().await.settings;
    settings.database = DatabaseSettings { url: format!("{}/gim", private.url), ..backend::database() };
    settings.shared_state = backend::shared_state();
    settings.limits.content_bytes_max = 1 << 20;
    let problem = soon(gim_logic::start(settings)).await.unwrap_err().to_string();
    let taken = "the database takes 1048576 bytes in a statement (its max_allowed_packet)";
    assert!(problem.starts_with(taken), "{problem}");
    assert!(problem.ends_with("raise the one or lower the others"), "{problem}");
    soon(root.close()).await.unwrap();
}

/// It stays full: to drop a table takes room as well.
#[tokio::test]
async fn a_full_mariadb_puts_requests_off_stores_no_half_and_is_still_read() {
    let private = tokio::task::spawn_blocking(PrivateServer::small_mysql).await.unwrap();
    let database = DatabaseSettings { url: format!("{}/gim", private.url), ..backend::database() };
    let harness = start_node(1, tempfile::tempdir().unwrap(), database.clone(), InboxSettings::default()).await;
    harness.push(&[7]).await;

    let mut other = AnyConnection::connect(&database.url).await.unwrap();
    // No large values: these would take what InnoDB keeps for rolling back, and it ends itself where that fails.
    other.execute("CREATE TABLE filler (bytes VARBINARY(7000) NOT NULL)").await.unwrap();
    for rows in [256, 1] {
        let fill = format!("INSERT INTO filler VALUES {}", vec!["(REPEAT('x', 7000))"; rows].join(","));
        while other.execute(AssertSqlSafe(fill.clone())).await.is_ok() {}
    }
    let many: Vec<u64> = (7..20_000).collect();
    for _ in 0..2 {
        let refused = soon(harness.submit_push(&many).committed()).await;
        assert!(matches!(refused, Err(StoreError::PutOff(_))), "{refused:?}");
        assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1], vec![]));
    }
}
