//! Alone in its process, of which all files are made with the same mask.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use gim_config::{
    files,
    sql::{Database, DatabaseSettings, Dialect},
};
use sqlx::migrate::Migrator;

#[tokio::test]
async fn nobody_else_can_read_a_database() {
    files::keep_private();
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let migrations = [(Dialect::Sqlite, Migrator::with_migrations(Vec::new()))];
    let database = Database::open(&DatabaseSettings::default(), &folder, "logic.db", &migrations).await.unwrap();

    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let modes: BTreeMap<String, u32> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), mode(&entry.path()))).collect();
    assert!(["logic.db", "logic.db-wal", "logic.db-shm"].iter().all(|name| modes.contains_key(*name)), "{modes:?}");
    assert!(modes.values().all(|&mode| mode == 0o600), "{modes:?}");
    database.close().await;
}
