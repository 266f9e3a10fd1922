//! What a database takes at a time.

use gim_config::{sql::DatabaseSettings, testing::PrivateServer};
use gim_logic::settings::InboxSettings;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use crate::{
    contract::store::{sent, start_node},
    support::{backend, soon},
};

/// The largest content of the default settings.
const CONTENT_BYTES: usize = 61_440;

#[tokio::test]
async fn a_server_that_takes_small_packets_only_gets_many_large_messages_all_the_same() {
    let private = tokio::task::spawn_blocking(PrivateServer::mysql).await.unwrap();
    sqlx::any::install_default_drivers();
    let mut root = AnyConnection::connect(&private.url).await.unwrap();
    root.execute("SET GLOBAL max_allowed_packet = 1048576").await.unwrap();
    let database = DatabaseSettings { url: format!("{}/gim", private.url), ..backend::database() };
    let bench = start_node(1, tempfile::tempdir().unwrap(), database, InboxSettings::default()).await;
    let content = [b'\''; CONTENT_BYTES];
    let pending: Vec<_> = (0..100).map(|number| bench.submit_content(&content, &number.to_string())).collect();
    for pending in pending {
        soon(sent(pending)).await;
    }
    let stored = bench.store.inboxes.page(8, 0, 100).await.unwrap();
    assert_eq!(stored.len(), 100);
    assert!(stored.iter().all(|(_, message)| message.content.len() == CONTENT_BYTES));
    soon(root.close()).await.unwrap();
}
