//! A database of an older version, brought up to date.

use gim_config::sql::{Database, Dialect};
use gim_logic::{
    settings::InboxSettings,
    store::{self, HistoryPart, Inboxes, Limit},
};
use gim_proto::check::ID_MAX;
use sqlx::{Executor as _, migrate::Migrator};

use super::start;
use crate::support::backend;

/// The last version before conversations were kept.
const BEFORE_CONVERSATIONS: i64 = 20;

const OTHER: u64 = ID_MAX;

/// Messages 1 and 2 are a conversation, 3 a note to oneself, 4 a service's, 5 a group's.
const MESSAGES: [&str; 3] = [
    "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id) VALUES \
     (1, 1, X'61', 7, 1000, 0, 0), (2, 1, X'62', 9223372036854775807, 2000, 0, 0), (3, 1, X'63', 7, 3000, 0, 0), \
     (4, 5000, X'64', 0, 4000, 0, 0), (5, 2, X'65', 7, 5000, 0, 90)",
    "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 1, 1), (7, 2, 2), (7, 3, 3), (7, 4, 4), (7, 5, 5), \
     (9223372036854775807, 1, 1), (9223372036854775807, 2, 2), (9223372036854775807, 3, 4), \
     (9223372036854775807, 4, 5), (9, 1, 5)",
    "INSERT INTO inbox (user_id, seq) VALUES (7, 5), (9223372036854775807, 4), (9, 1)",
];

fn older() -> Vec<(Dialect, Migrator)> {
    let until = |migrator: &Migrator| {
        let migrations = migrator.iter().filter(|migration| migration.version <= BEFORE_CONVERSATIONS);
        Migrator::with_migrations(migrations.cloned().collect())
    };
    store::migrations().iter().map(|(dialect, migrator)| (*dialect, until(migrator))).collect()
}

/// Ids of messages, and their seqs in the user's inbox, newest first.
async fn history(inboxes: &Inboxes, user_id: u64, peer_id: u64) -> Vec<(u64, u64)> {
    let page = inboxes.history(user_id, peer_id, HistoryPart::before(ID_MAX), Limit::messages(100)).await.unwrap();
    page.into_iter().map(|(seq, message)| (message.id, seq)).collect()
}

#[tokio::test]
async fn conversations_from_before_they_were_kept_are_found() {
    let (data, settings) = (tempfile::tempdir().unwrap(), backend::database());
    let old = Database::open(&settings, data.path(), "logic.db", &older()).await.unwrap();
    for statement in MESSAGES {
        old.writer.execute(statement).await.unwrap();
    }
    old.close().await;

    let harness = start(data, settings, InboxSettings::default()).await;
    let inboxes = &harness.store.inboxes;
    assert_eq!(history(inboxes, 7, OTHER).await, [(2, 2), (1, 1)]);
    assert_eq!(history(inboxes, OTHER, 7).await, [(2, 2), (1, 1)]);
    assert_eq!(history(inboxes, 7, 7).await, [(3, 3)]);
    for (user_id, peer_id) in [(7, 9), (9, 7), (9, OTHER), (OTHER, 9)] {
        assert_eq!(history(inboxes, user_id, peer_id).await, [], "{user_id} and {peer_id} share a group only");
    }
    assert_eq!(harness.seqs(7).await, [1, 2, 3, 4, 5]);
    assert_eq!(harness.push(&[7, OTHER]).await.seq, 6);
    let harness = harness.restart().await;
    assert_eq!(history(&harness.store.inboxes, 7, OTHER).await, [(2, 2), (1, 1)]);
}
