//! A database of an older version, brought up to date.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use gim_config::sql::{Database, DatabaseSettings, Dialect, at_rest::Location};
use gim_logic::{
    LogicSettings,
    settings::InboxSettings,
    store::{
        self, HistoryPart, Inboxes, Limit,
        upgrade::{LEFT, Upgrade},
    },
};
use gim_proto::check::ID_MAX;
use sqlx::{AssertSqlSafe, Executor as _, migrate::Migrator};

use super::{StoreHarness, older_data, sent, start};
use crate::{
    contract::crash::KilledProcess,
    support::{self, backend, business::StubBusiness},
};

/// From which versions on there are groups, conversations, and devices that somebody owns.
const GROUPS: i64 = 20;
const CONVERSATIONS: i64 = 30;
const OWNED_DEVICES: i64 = 95;

/// The last one that had the keys of sends in a table of their own.
const BEFORE_SEND_KEYS: i64 = 145;

const OTHER: u64 = ID_MAX;

/// An upgrade gets as far as it should be killed.
const KILL_WITHIN: Duration = Duration::from_secs(600);

/// What a service of that version had stored: messages 1 and 2 are a conversation, 3 a note to oneself, 4 a service's, 5 a group's.
fn rows(version: i64) -> Vec<&'static str> {
    let mut rows = vec![
        "INSERT INTO message (id, command, content, sender_id, created_at_ms, status) VALUES (1, 1, X'61', 7, 1000, 0), \
         (2, 1, X'62', 9223372036854775807, 2000, 0), (3, 1, X'63', 7, 3000, 0), (4, 5000, X'64', 0, 4000, 0)",
        "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 1, 1), (7, 2, 2), (7, 3, 3), (7, 4, 4), \
         (9223372036854775807, 1, 1), (9223372036854775807, 2, 2), (9223372036854775807, 3, 4)",
        "INSERT INTO inbox (user_id, seq) VALUES (7, 5), (9223372036854775807, 4), (9, 1)",
        "INSERT INTO sent (sender_id, client_msg_id, message_id, seq, created_at_ms) VALUES (7, 'a', 1, 1, 1000)",
        "INSERT INTO device_ack (user_id, device_id, seq) VALUES (7, 70, 2)",
    ];
    if version >= GROUPS {
        rows.push(
            "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, group_id) VALUES \
             (5, 2, X'65', 7, 5000, 0, 90)",
        );
        rows.push(
            "INSERT INTO user_message (user_id, seq, message_id) VALUES (7, 5, 5), (9223372036854775807, 4, 5), (9, 1, 5)",
        );
    }
    if version >= CONVERSATIONS {
        rows.push(
            "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES (7, 9223372036854775807, 1, 1), \
             (7, 9223372036854775807, 2, 2), (9223372036854775807, 7, 1, 1), (9223372036854775807, 7, 2, 2), (7, 7, 3, 3)",
        );
        // By this a later version knows that they have their rows.
        rows.push("UPDATE message SET receivers = X'07' WHERE id < 4");
    }
    rows.push(if version >= OWNED_DEVICES {
        "INSERT INTO device (user_id, id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, \
         updated_at_ms) VALUES (7, 70, 1, '', '', '', '', '', 1000, 1000)"
    } else {
        "INSERT INTO device (id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, \
         updated_at_ms) VALUES (70, 1, '', '', '', '', '', 1000, 1000)"
    });
    rows
}

/// The tables as they were.
fn older(version: i64) -> Vec<(Dialect, Migrator)> {
    let until = |migrator: &Migrator| {
        let migrations = migrator.iter().filter(|migration| migration.version <= version);
        Migrator::with_migrations(migrations.cloned().collect())
    };
    store::migrations().iter().map(|(dialect, migrator)| (*dialect, until(migrator))).collect()
}

/// Those of the last version that had the keys of sends in a table of their own.
pub fn before_send_keys() -> Vec<(Dialect, Migrator)> {
    older(BEFORE_SEND_KEYS)
}

/// Every version that there was, of one of the dialects or of both.
fn versions() -> BTreeSet<i64> {
    store::migrations().iter().flat_map(|(_, migrator)| migrator.iter().map(|migration| migration.version)).collect()
}

/// Ids of messages, and their seqs in the user's inbox, newest first.
async fn history(inboxes: &Inboxes, user_id: u64, peer_id: u64) -> Vec<(u64, u64)> {
    let page = inboxes.history(user_id, peer_id, HistoryPart::before(ID_MAX), Limit::messages(100)).await.unwrap();
    page.into_iter().map(|(seq, message)| (message.id, seq)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_version_are_brought_up_to_date_with_what_is_in_them() {
    let versions = versions();
    assert!(versions.len() >= 14, "{versions:?}");
    for version in versions {
        let (data, settings) = (tempfile::tempdir().unwrap(), backend::database());
        let old = Database::open(&settings, data.path(), "logic.db", &older(version)).await.unwrap();
        for statement in rows(version) {
            old.writer.execute(statement).await.unwrap_or_else(|error| panic!("{version}: {statement}: {error}"));
        }
        old.close().await;

        let harness = start(data, settings, InboxSettings::default()).await;
        let inboxes = &harness.store.inboxes;
        assert_eq!(history(inboxes, 7, OTHER).await, [(2, 2), (1, 1)], "{version}");
        assert_eq!(history(inboxes, OTHER, 7).await, [(2, 2), (1, 1)], "{version}");
        assert_eq!(history(inboxes, 7, 7).await, [(3, 3)], "{version}");
        for (user_id, peer_id) in [(7, 9), (9, 7), (9, OTHER), (OTHER, 9)] {
            assert_eq!(history(inboxes, user_id, peer_id).await, [], "{user_id} and {peer_id} share a group only");
        }
        let seqs = if version >= GROUPS { vec![1, 2, 3, 4, 5] } else { vec![1, 2, 3, 4] };
        assert_eq!(harness.seqs(7).await, seqs, "{version}");
        assert_eq!(harness.push(&[7, OTHER]).await.seq, 6, "{version}: what comes now comes behind it");
        let repeated = sent(harness.submit_send(7, OTHER, "a")).await;
        assert_eq!((repeated.message_id, repeated.seq, repeated.is_duplicate), (1, 1, true), "{version}");
        let harness = harness.restart().await;
        assert_eq!(history(&harness.store.inboxes, 7, OTHER).await, [(2, 2), (1, 1)], "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_a_newer_version_are_refused_in_one_sentence() {
    let (data, settings) = (tempfile::tempdir().unwrap(), backend::database());
    let now = Database::open(&settings, data.path(), "logic.db", &store::migrations()).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', 1, X'00', 0)";
    now.writer.execute(later).await.unwrap();
    now.close().await;
    let refused =
        Database::open(&settings, data.path(), "logic.db", &store::migrations()).await.unwrap_err().to_string();
    assert!(refused.starts_with("cannot migrate the database "), "{refused}");
    assert!(refused.ends_with("(a newer version of this service was here)") && !refused.contains('\n'), "{refused}");
}

/// So many messages from 7 to 8 as the version before 0150 stored them, with the keys `key 1` and so on.
pub async fn fill_before_send_keys(database: &Database, count: u64) {
    let numbers: Vec<u64> = (1..=count).collect();
    for ids in numbers.chunks(1_000) {
        let rows = |row: &dyn Fn(&u64) -> String| ids.iter().map(row).collect::<Vec<_>>().join(",");
        let message = |id: &u64| format!("({id},1,X'68656C6C6F',7,{id},0,X'0708')");
        let inbox = |id: &u64| format!("(7,{id},{id}),(8,{id},{id})");
        let direct = |id: &u64| format!("(7,8,{id},{id}),(8,7,{id},{id})");
        let sent = |id: &u64| format!("(7,'key {id}',{id},{id},{id})");
        for (into, rows) in [
            ("message (id, command, content, sender_id, created_at_ms, status, receivers)", rows(&message)),
            ("user_message (user_id, seq, message_id)", rows(&inbox)),
            ("direct_message (user_id, peer_id, seq, message_id)", rows(&direct)),
            ("sent (sender_id, client_msg_id, message_id, seq, created_at_ms)", rows(&sent)),
        ] {
            database.writer.execute(AssertSqlSafe(format!("INSERT INTO {into} VALUES {rows}"))).await.unwrap();
        }
    }
    let counters = format!("INSERT INTO inbox (user_id, seq) VALUES (7, {count}), (8, {count})");
    database.writer.execute(AssertSqlSafe(counters)).await.unwrap();
}

/// How many messages an upgrade is tried with: a few, or what `scripts/upgrade` asks for.
fn message_count() -> u64 {
    std::env::var("GIM_TEST_UPGRADE_MESSAGES").map_or(10_203, |count| count.parse().unwrap())
}

/// Counts rows that are still to be put elsewhere, from outside; none once it is done.
async fn left(database: &DatabaseSettings, data: &Path) -> Option<u64> {
    let location = Location::new(database, data, "logic.db").unwrap();
    let mut left = None;
    for count in LEFT {
        left = location.number(count).await.unwrap().map(|rows| rows.cast_unsigned() + left.unwrap_or(0)).or(left);
    }
    left
}

/// Starts the service as a process, kills it once at most so many rows are left, and tells how many are then; none where it was too late.
async fn kill_when_left(settings: &LogicSettings, data: &Path, rows: u64) -> Option<u64> {
    let process = KilledProcess::start(settings, data);
    let deadline = Instant::now() + KILL_WITHIN;
    while left(&settings.database, data).await.is_some_and(|left| left > rows) {
        assert!(Instant::now() < deadline, "it does not get that far");
        tokio::task::yield_now().await;
    }
    drop(process);
    left(&settings.database, data).await
}

/// It is killed again and again: when it has hardly begun, in the middle of keys, in the middle of conversations, before the end.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_goes_on_and_keys_are_known_as_before() {
    let count = message_count();
    let (data, business) = (tempfile::tempdir().unwrap(), StubBusiness::start().await);
    let settings = support::settings(data.path(), &business);
    let old = Database::open(&settings.database, data.path(), "logic.db", &before_send_keys()).await.unwrap();
    fill_before_send_keys(&old, count).await;
    // What a sweep left of a conversation whose inbox it had swept.
    let remnant = "INSERT INTO direct_message (user_id, peer_id, seq, message_id) VALUES (9, 8, 1, 1)";
    old.writer.execute(remnant).await.unwrap();
    older_data::store(&old).await;
    let answered = older_data::answered_before(&old).await;
    old.close().await;

    let rows = left(&settings.database, data.path()).await.unwrap();
    assert!(rows > 3 * count, "a key, and a place in either conversation, and more");
    let began = Instant::now();
    let mut killed_at = Vec::new();
    for up_to in [rows - 1, rows * 5 / 6, rows * 2 / 3, rows / 2, rows / 20] {
        killed_at.extend(kill_when_left(&settings, data.path(), up_to).await);
    }
    assert!(killed_at.iter().any(|left| *left > 0), "it was never killed in the middle");
    let harness = start(data, settings.database, InboxSettings::default()).await;
    println!(
        "{count} messages were brought up to date in {:?}, killed when {killed_at:?} rows were left",
        began.elapsed()
    );
    assert_eq!(Upgrade::of(&harness.store.database).left().await.unwrap(), None);
    assert!(!Upgrade::of(&harness.store.database).is_due().await.unwrap(), "or no second node could start");
    Upgrade::of(&harness.store.database).run().await.unwrap();
    assert_eq!(harness.seqs(9).await, [0; 0], "what was deleted stays so");
    assert_eq!(older_data::answered_now(&harness, &answered).await, answered);
    is_as_before(&harness, count).await;
}

/// For its duration, which `scripts/upgrade` asks for.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_nobody_disturbs_is_one_run() {
    let count = message_count();
    let (data, settings) = (tempfile::tempdir().unwrap(), backend::database());
    let old = Database::open(&settings, data.path(), "logic.db", &before_send_keys()).await.unwrap();
    fill_before_send_keys(&old, count).await;
    old.close().await;
    let began = Instant::now();
    let harness = start(data, settings, InboxSettings::default()).await;
    println!("{count} messages were brought up to date in {:?}, undisturbed", began.elapsed());
    is_as_before(&harness, count).await;
}

async fn is_as_before(harness: &StoreHarness, count: u64) {
    for id in [1, 2, 499, 500, 501, 999, 1_000, count] {
        let again = sent(harness.submit_send(7, 8, &format!("key {id}"))).await;
        assert_eq!((again.message_id, again.seq, again.created_at_ms), (id, id, id.cast_signed()));
        assert_eq!((again.is_duplicate, again.differs_in), (true, None));
        let other = sent(harness.submit_content(b"other", &format!("key {id}"))).await;
        assert_eq!(other.differs_in, Some("content"), "{id}");
    }
    let keyless = "SELECT COUNT(*) FROM message WHERE sender_id = 7 AND (send_key IS NULL OR sender_seq <> id)";
    let keyless: i64 = sqlx::query_scalar(keyless).fetch_one(&harness.store.database.reader).await.unwrap();
    assert_eq!(keyless, 0, "every message has its key");
    for user_id in [7, 8] {
        let peer_id = 15 - user_id;
        let expected: Vec<_> = (1..=count).rev().take(100).map(|id| (id, id)).collect();
        assert_eq!(history(&harness.store.inboxes, user_id, peer_id).await, expected);
        assert_eq!(all_seqs(harness, user_id).await, count);
        assert_eq!(harness.store.inboxes.newest_seq(user_id).await.unwrap(), count);
    }
    assert!(!sent(harness.submit_send(7, 8, "key 0")).await.is_duplicate);
    let stored = harness.store.inboxes.find(count).await.unwrap().unwrap();
    assert_eq!(stored.receivers.unwrap(), [7, 8], "a recall reaches whom it did");
}

/// Syncs an inbox page by page: how many messages it has, one after the other from 1 on.
async fn all_seqs(harness: &StoreHarness, user_id: u64) -> u64 {
    let mut seq = 0;
    loop {
        let page = harness.store.inboxes.page(user_id, seq, Limit::messages(10_000)).await.unwrap();
        if page.is_empty() {
            return seq;
        }
        for (next, _) in page {
            assert_eq!(next, seq + 1);
            seq = next;
        }
    }
}
