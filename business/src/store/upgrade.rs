//! Databases of older versions, brought up to date. Tests only.

use std::{collections::BTreeSet, path::Path};

use gim_config::{sql::DatabaseSettings, testing::mysql_database};
use sqlx::Executor as _;

use super::*;

/// What a service of the first version had stored; later ones added to it.
const ROWS: [&str; 3] = [
    "INSERT INTO user (user_id, phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms) VALUES \
     (7, '+17', 'Ann', 0, '', '', 1000, 1000), (8, '+18', 'Bob', 0, '', '', 1000, 1000)",
    "INSERT INTO token (user_id, device_id, hash, created_at_ms, expires_at_ms) VALUES (7, 70, X'61', 1000, 2000)",
    "INSERT INTO friend (user_id, friend_id, status, remarks, extra, description, created_at_ms, updated_at_ms) VALUES \
     (7, 8, 2, 'the one with the boat', '', '', 1000, 1000), (8, 7, 2, '', '', '', 1000, 1000)",
];

async fn open(settings: &DatabaseSettings, folder: &Path, until: i64) -> Database {
    let older = migrations().map(|(dialect, migrator)| {
        let migrations = migrator.iter().filter(|migration| migration.version <= until).cloned().collect();
        (dialect, Migrator::with_migrations(migrations))
    });
    Database::open(settings, folder, "test.db", &older).await.unwrap()
}

async fn is_brought_up_to_date(settings: impl Fn() -> DatabaseSettings) {
    let versions: BTreeSet<i64> =
        migrations().iter().flat_map(|(_, migrator)| migrator.iter().map(|migration| migration.version)).collect();
    assert!(versions.len() >= 6, "{versions:?}");
    for version in versions {
        let (folder, settings) = (tempfile::tempdir().unwrap(), settings());
        let old = open(&settings, folder.path(), version).await;
        for statement in ROWS {
            old.writer.execute(statement).await.unwrap();
        }
        old.close().await;

        let store = Store::new(open(&settings, folder.path(), i64::MAX).await);
        store.fill_search_names().await.unwrap();
        let (found, _) = store.search(7, "bob", 0, 10, false).await.unwrap();
        assert_eq!(found.iter().map(|user| user.user_id).collect::<Vec<_>>(), [8], "{version}");
        assert_eq!(store.token(7, 70).await.unwrap().unwrap().hash, b"a", "{version}");
        let friends = store.friends(7, 0, 10).await.unwrap();
        assert_eq!((friends.len(), friends[0].remarks.as_str()), (1, "the one with the boat"), "{version}");
        store.block(7, 8, 10, 3000).await.unwrap();
        assert_eq!(store.blocked(7, 0, 10).await.unwrap().len(), 1, "{version}");
        store.database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_older_sqlite_is_brought_up_to_date_with_all_that_is_in_it() {
    is_brought_up_to_date(DatabaseSettings::default).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_older_mariadb_is_brought_up_to_date_with_all_that_is_in_it() {
    is_brought_up_to_date(|| DatabaseSettings { url: mysql_database(), ..DatabaseSettings::default() }).await;
}

/// Of two contents that waited, one was asked about before; user 7 has both.
const WAITING: [&str; 2] = [
    "INSERT INTO file (file_id, user_id, name, size_bytes, sha256, created_at_ms, expires_at_ms) VALUES \
     (X'01', 8, 'a', 9, X'0000000000000000000000000000000000000000000000000000000000000001', 1000, 0), \
     (X'02', 7, 'a', 9, X'0000000000000000000000000000000000000000000000000000000000000001', 1000, 0), \
     (X'03', 7, 'b', 9, X'0000000000000000000000000000000000000000000000000000000000000002', 1000, 0)",
    "INSERT INTO file_content (sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, created_at_ms, asked_at_ms) VALUES \
     (X'0000000000000000000000000000000000000000000000000000000000000001', X'00000000000000000000000000000001', 9, '', 0, 0, 0, 0, 1000, 0), \
     (X'0000000000000000000000000000000000000000000000000000000000000002', X'00000000000000000000000000000002', 9, '', 0, 0, 0, 0, 1000, 1500)",
];

async fn what_waits_to_be_checked_is_still_asked_about(settings: DatabaseSettings) {
    let folder = tempfile::tempdir().unwrap();
    let old = open(&settings, folder.path(), 195).await;
    for statement in WAITING {
        old.writer.execute(statement).await.unwrap();
    }
    old.close().await;
    let store = Store::new(open(&settings, folder.path(), i64::MAX).await);
    let new = store.new_content(0).await.unwrap().unwrap();
    assert_eq!((new.user_id, new.content.hash.0[31], new.ask_at_ms), (7, 1, 0));
    assert!(store.reserve_check(&new, 5_000).await.unwrap());
    assert_eq!(store.new_content(0).await.unwrap(), None);
    assert_eq!(store.due_content(0, 1_499).await.unwrap(), None);
    let due = store.due_content(0, 1_500).await.unwrap().unwrap();
    assert_eq!((due.user_id, due.content.hash.0[31], due.failed_checks), (7, 2, 0));
    store.database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_checked_in_an_older_sqlite_is_still_asked_about() {
    what_waits_to_be_checked_is_still_asked_about(DatabaseSettings::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_checked_in_an_older_mariadb_is_still_asked_about() {
    let settings = DatabaseSettings { url: mysql_database(), ..DatabaseSettings::default() };
    what_waits_to_be_checked_is_still_asked_about(settings).await;
}
