//! A logic node of an earlier version that has lost its name at the database and does not know it yet: whatever it still asks for is
//! stored where this version finds it, or fails as a whole.

use gim_config::sql::{self, Database};
use gim_logic::store::{self, HistoryPart, Limit, upgrade::Upgrade};
use gim_proto::check::ID_MAX;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use super::{sent, start};
use crate::{contract::store::upgrade::before_send_keys, support::backend};

/// What the version before 0150 said for a send from 7 to 8 with the key `late`, as the second message of both.
const SEND: [&str; 5] = [
    "UPDATE inbox SET seq = seq + 1 WHERE user_id IN (7, 8)",
    "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
     (2, 1, X'62', 7, 2000, 0, 0, X'0708')",
    "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 2, 2),(8, 2, 2)",
    "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES (7, 8, 2, 2),(8, 7, 2, 2)",
    "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES (7, 'late', 2, 2, 2000)",
];

/// For another such send, for a message of a service to one user, for one in a normal group, for one in a large group, for a recall, and for a sweep.
const OTHER_WRITES: [&[&str]; 6] = [
    &[
        "UPDATE inbox SET seq = seq + 1 WHERE user_id IN (7, 8)",
        "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
         (3, 1, X'63', 7, 3000, 0, 0, X'0708')",
        "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 3, 3),(8, 3, 3)",
        "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES (7, 8, 3, 3),(8, 7, 3, 3)",
        "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES (7, 'later', 3, 3, 3000)",
    ],
    &[
        "UPDATE inbox SET seq = seq + 1 WHERE user_id = 7",
        "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
         (3, 1, X'63', 0, 3000, 0, 0, NULL)",
        "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 3, 3)",
    ],
    &[
        "UPDATE inbox SET seq = seq + 1 WHERE user_id IN (7, 8)",
        "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
         (3, 2, X'63', 7, 3000, 0, 90, X'0708')",
        "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 3, 3),(8, 3, 3)",
        "INSERT INTO group_message (group_id, seq, message_id, is_recall) VALUES (90, 1, 3, 0)",
    ],
    &[
        "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
         (3, 2, X'63', 7, 3000, 0, 91, NULL)",
        "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES (7, 'large', 3, 1, 3000)",
        "INSERT INTO group_message (group_id, seq, message_id, is_recall) VALUES (91, 1, 3, 0)",
    ],
    &[
        "UPDATE message SET status = 1, content = X'' WHERE id = 1 AND status = 0",
        "UPDATE inbox SET seq = seq + 1 WHERE user_id IN (7, 8)",
        "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 3, 1),(8, 3, 1)",
        "INSERT INTO message_recall (id, message_id) VALUES (4, 1)",
    ],
    &[
        "DELETE FROM device_ack WHERE user_id = 7 AND seq < 2",
        "DELETE FROM user_message WHERE user_id = 7 AND seq <= 1",
        "DELETE FROM direct_message WHERE user_id = 7 AND seq <= 1",
    ],
];

/// Its page of an inbox, its history, its lists, what it looks for before it answers a repeated send, and what its sweeps begin with.
const READS: [&str; 7] = [
    "SELECT p.seq, p.message_id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id \
     FROM (SELECT h.seq, h.message_id, SUM(h.bytes) OVER (ORDER BY h.seq ASC) - h.bytes AS bytes_before FROM (\
     SELECT um.seq, um.message_id, COALESCE(LENGTH(b.content), 0) AS bytes \
     FROM user_message um LEFT JOIN message b ON b.id = um.message_id \
     WHERE um.user_id = 7 AND um.seq > 0 ORDER BY um.seq LIMIT 10) h) p \
     LEFT JOIN message m ON m.id = p.message_id AND p.bytes_before < 1000 ORDER BY p.seq ASC",
    "SELECT dm.seq, dm.message_id, LENGTH(b.content) AS bytes FROM direct_message dm JOIN message b ON b.id = dm.message_id \
     WHERE dm.user_id = 7 AND dm.peer_id = 8 AND dm.seq > 0 AND dm.seq < 10 ORDER BY dm.seq DESC",
    "SELECT um.seq, um.message_id FROM user_message um LEFT JOIN message m ON m.id = um.message_id AND m.group_id = 0 \
     LEFT JOIN direct_message dm ON dm.user_id = um.user_id AND dm.peer_id = m.sender_id AND dm.seq = um.seq \
     WHERE um.user_id = 7 AND um.seq < 10 ORDER BY um.seq DESC LIMIT 10",
    "SELECT dm.peer_id, dm.seq, dm.message_id, 0 AS is_recall FROM direct_message dm \
     WHERE dm.user_id = 7 AND dm.peer_id = 8 AND dm.seq > 0 ORDER BY dm.seq DESC LIMIT 200",
    "SELECT sender_id, client_msg_id, message_id, seq, created_at_ms FROM sent WHERE sender_id = 7 AND client_msg_id = 'first'",
    "DELETE FROM sent WHERE created_at_ms < 5000",
    "SELECT i.user_id, i.seq, COALESCE((SELECT um.message_id FROM user_message um \
     WHERE um.user_id = i.user_id ORDER BY um.seq LIMIT 1), 0) FROM inbox i WHERE i.user_id > 0 ORDER BY i.user_id LIMIT 10",
];

/// What was stored before: a message from 7 to 8 with a key.
const STORED: [&str; 5] = [
    "INSERT INTO inbox (user_id, seq) VALUES (7, 1), (8, 1)",
    "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id, receivers) VALUES \
     (1, 1, X'61', 7, 1000, 0, 0, X'0708')",
    "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 1, 1), (8, 1, 1)",
    "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES (7, 8, 1, 1), (8, 7, 1, 1)",
    "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES (7, 'first', 1, 1, 1000)",
];

/// A transaction of these.
async fn transact(connection: &mut AnyConnection, statements: &[&'static str]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in statements {
        transaction.execute(*statement).await?;
    }
    transaction.commit().await
}

/// Everything that a send, a recall and a sweep would change.
async fn rows(database: &Database) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    for (table, number) in [
        ("inbox", "SUM(seq)"),
        ("message", "SUM(status)"),
        ("other_inbox", "SUM(seq)"),
        ("direct_inbox", "SUM(seq)"),
        ("group_message", "SUM(seq)"),
        ("message_recall", "SUM(id)"),
        ("device_ack", "SUM(seq)"),
    ] {
        let statement = format!("SELECT COUNT(*), CAST(COALESCE({number}, 0) AS SIGNED) FROM {table}");
        rows.push(sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&database.reader).await.unwrap());
    }
    rows
}

/// A connection of the older node, which was open before and stays.
async fn older_node(database: &gim_config::sql::DatabaseSettings, data: &std::path::Path) -> AnyConnection {
    let file = format!("sqlite:{}", data.join("logic.db").display());
    AnyConnection::connect(if database.url.is_empty() { &file } else { &database.url }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_node_still_asks_for_is_found_or_fails_as_a_whole() {
    let (data, settings) = (tempfile::tempdir().unwrap(), backend::database());
    let old = Database::open(&settings, data.path(), "logic.db", &before_send_keys()).await.unwrap();
    for statement in STORED {
        old.writer.execute(statement).await.unwrap();
    }
    old.close().await;
    let tables = Database::open(&settings, data.path(), "logic.db", &store::migrations()).await.unwrap();
    let mut older = older_node(&settings, data.path()).await;
    for read in READS.into_iter().filter(|read| read.starts_with("SELECT")) {
        older
            .fetch_all(read)
            .await
            .unwrap_or_else(|error| panic!("these are no statements of that version: {read}: {error}"));
    }
    transact(&mut older, &SEND).await.unwrap();

    Upgrade::of(&tables).fence().await.unwrap();
    assert_eq!(
        Upgrade::of(&tables).left().await.unwrap(),
        Some(2 + 4),
        "nothing is moved yet, what came late is there"
    );
    everything_fails(&mut older).await;
    tables.close().await;
    let harness = start(data, settings, gim_logic::settings::InboxSettings::default()).await;
    let before = rows(&harness.store.database).await;
    everything_fails(&mut older).await;
    assert_eq!(rows(&harness.store.database).await, before, "nothing of it is left");
    older.close().await.unwrap();

    assert_eq!((harness.seqs(7).await, harness.seqs(8).await), (vec![1, 2], vec![1, 2]));
    let part = HistoryPart::before(ID_MAX);
    let history = harness.store.inboxes.history(8, 7, part, Limit::messages(10)).await.unwrap();
    assert_eq!(history.iter().map(|(seq, message)| (*seq, message.id)).collect::<Vec<_>>(), [(2, 2), (1, 1)]);
    for (key, id) in [("first", 1), ("late", 2)] {
        let again = sent(harness.submit_send(7, 8, key)).await;
        assert_eq!((again.message_id, again.seq, again.is_duplicate), (id, id, true), "{key}");
    }
    let next = sent(harness.submit_send(7, 8, "next")).await;
    assert_eq!((next.seq, next.is_duplicate), (3, false));
}

async fn everything_fails(older: &mut AnyConnection) {
    for statements in OTHER_WRITES {
        let failed = transact(older, statements).await.expect_err(statements[0]);
        assert!(sql::is_without_table(&failed), "{failed}");
        // "Try again later", to whoever asked.
        assert!(older.backend_name() == "SQLite" || sql::is_transient(&failed), "{failed}");
    }
    for read in READS {
        let failed = older.fetch_all(read).await.map(drop).expect_err(read);
        assert!(sql::is_without_table(&failed), "{failed}");
    }
}
