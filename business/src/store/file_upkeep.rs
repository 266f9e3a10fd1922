//! Which uploads and contents have to go: what the sweep of files asks.
//!
//! Part of [`Store`], used by tasks of Tokio.

use std::collections::HashSet;

use sqlx::AssertSqlSafe;

use super::{Store, StoreError, dialect, key};
use crate::domain::file::FileId;

/// Rows that one statement deletes, and ids that one asks about.
const FORGOTTEN_TOGETHER: i64 = 500;
const ASKED_TOGETHER: usize = 500;

impl Store {
    /// Of these ids those under which bytes are kept that belong to anything that may be read, or may be some day.
    pub async fn known_contents(&self, content_ids: &[FileId]) -> Result<HashSet<FileId>, StoreError> {
        let mut known = HashSet::new();
        for together in content_ids.chunks(ASKED_TOGETHER) {
            let places = vec!["?"; together.len()].join(", ");
            let sql = format!("SELECT content_id FROM file_content WHERE content_id IN ({places}) AND state <> 2");
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for content_id in together {
                query = query.bind(content_id.as_bytes());
            }
            let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.database.reader).await?;
            known.extend(rows.iter().filter_map(|(bytes,)| FileId::of_bytes(bytes)));
        }
        Ok(known)
    }

    /// Uploads of a user that are not whole, those first that are given up first.
    pub async fn uploads_of(&self, user_id: u64, most: u32) -> Result<Vec<FileId>, StoreError> {
        let sql = "SELECT file_id FROM file WHERE user_id = ? AND expires_at_ms > 0 ORDER BY expires_at_ms LIMIT ?";
        let query = sqlx::query_as(sql).bind(key(user_id)).bind(i64::from(most));
        let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.database.reader).await?;
        Ok(rows.iter().filter_map(|(bytes,)| FileId::of_bytes(bytes)).collect())
    }

    /// Forgets what counted for so long, a part at a time: other writes come between.
    pub async fn forget_given_up(&self, since_ms: i64) -> Result<(), StoreError> {
        loop {
            let query = sqlx::query(dialect::delete_given_up(self.database.dialect)).bind(since_ms);
            let deleted = query.bind(FORGOTTEN_TOGETHER).execute(&self.database.writer).await?.rows_affected();
            if deleted < FORGOTTEN_TOGETHER.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Uploads that were given up.
    pub async fn expired_uploads(&self, now_ms: i64, most: u32) -> Result<Vec<FileId>, StoreError> {
        let sql =
            "SELECT file_id FROM file WHERE expires_at_ms > 0 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?";
        let query = sqlx::query_as(sql).bind(now_ms).bind(i64::from(most));
        let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.database.reader).await?;
        Ok(rows.iter().filter_map(|(bytes,)| FileId::of_bytes(bytes)).collect())
    }
}
