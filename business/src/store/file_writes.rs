//! Uploads begin and end: those that do so together share a transaction.
//!
//! Called by the gatherers of [`Store`](super::Store). Always holds: what a user has is counted and added to in one transaction.

use gim_config::sql::{self, Database, Dialect};
use sqlx::AnyConnection;

use super::{
    StoreError, dialect,
    file::{BeyondQuota, Content, SELECT_CONTENT, Upload, UploadQuota, number},
    key,
};
use crate::domain::file::FileId;

/// Uploads that begin, or end, in one transaction: each waits for the disk, which is busy with their bytes.
pub(super) const UPLOADS_TOGETHER_MAX: usize = 64;

/// An upload that is to begin.
pub(super) struct UploadBegin {
    pub upload: Upload,
    pub metadata: Option<String>,
    pub quota: UploadQuota,
    pub now_ms: i64,
}

/// An upload that is whole.
#[derive(Debug)]
pub struct UploadEnd {
    pub file_id: FileId,
    pub uploaded_bytes: u64,
    pub content: Content,
    /// What was kept of these bytes had been lost.
    pub is_kept_anew: bool,
    pub now_ms: i64,
}

/// Begins uploads in one transaction.
pub(super) async fn begin_uploads(
    database: Database,
    begins: Vec<UploadBegin>,
) -> Result<Vec<Result<(), BeyondQuota>>, StoreError> {
    let work = || {
        async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            let mut begun = Vec::with_capacity(begins.len());
            for begin in &begins {
                begun.push(begin_one(&mut transaction, begin).await?);
            }
            transaction.commit().await?;
            Ok(begun)
        }
    };
    database.writer.transact(work).await
}

/// Makes uploads files in one transaction.
pub(super) async fn end_uploads(database: Database, ends: Vec<UploadEnd>) -> Result<Vec<Option<Content>>, StoreError> {
    let work = || {
        async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            let mut ended = Vec::with_capacity(ends.len());
            for end in &ends {
                ended.push(end_one(&mut transaction, database.dialect, end).await?);
            }
            transaction.commit().await?;
            Ok(ended)
        }
    };
    database.writer.transact(work).await
}

async fn begin_one(connection: &mut AnyConnection, begin: &UploadBegin) -> Result<Result<(), BeyondQuota>, StoreError> {
    let UploadBegin { upload, metadata, quota, now_ms } = begin;
    lock_user(connection, upload.user_id).await?;
    if let Some(beyond) = beyond_quota(connection, upload, *quota).await? {
        return Ok(Err(beyond));
    }
    let sql = "INSERT INTO file (file_id, user_id, name, size_bytes, sha256, created_at_ms, expires_at_ms, metadata) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(upload.file_id.as_bytes())
        .bind(key(upload.user_id))
        .bind(upload.name.as_str())
        .bind(number(upload.size_bytes))
        .bind(&[][..])
        .bind(*now_ms)
        .bind(upload.expires_at_ms)
        .bind(metadata.as_deref())
        .execute(connection)
        .await?;
    Ok(Ok(()))
}

async fn end_one(
    connection: &mut AnyConnection,
    dialect: Dialect,
    end: &UploadEnd,
) -> Result<Option<Content>, StoreError> {
    let UploadEnd { file_id, uploaded_bytes, content, is_kept_anew, .. } = end;
    let sql = "UPDATE file SET sha256 = ?, size_bytes = ?, expires_at_ms = 0 WHERE file_id = ? AND expires_at_ms >= 0";
    let updated = sqlx::query(sql)
        .bind(&content.hash.0[..])
        .bind(number(*uploaded_bytes))
        .bind(file_id.as_bytes())
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(None);
    }
    insert_content(connection, dialect, end).await?;
    if *is_kept_anew {
        update_content(connection, content).await?;
    }
    let query = sqlx::query_as(SELECT_CONTENT).bind(&content.hash.0[..]);
    Ok(Some(query.fetch_one(connection).await?))
}

/// No other transaction counts what this user has until this one ends. (SQLite has one writer in any case.)
async fn lock_user(connection: &mut AnyConnection, user_id: u64) -> Result<(), StoreError> {
    let sql = "UPDATE user SET updated_at_ms = updated_at_ms WHERE user_id = ?";
    sqlx::query(sql).bind(key(user_id)).execute(connection).await?;
    Ok(())
}

async fn beyond_quota(
    connection: &mut AnyConnection,
    upload: &Upload,
    quota: UploadQuota,
) -> Result<Option<BeyondQuota>, StoreError> {
    // Whatever their age: one that is prolonged again and again takes a place as long as it is there.
    let sql = "SELECT COUNT(*) FROM file WHERE user_id = ? AND expires_at_ms > 0";
    let (uploads,): (i64,) = sqlx::query_as(sql).bind(key(upload.user_id)).fetch_one(&mut *connection).await?;
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS SIGNED) FROM file WHERE user_id = ? AND created_at_ms > ?";
    let query = sqlx::query_as(sql).bind(key(upload.user_id)).bind(quota.since_ms);
    let (files, bytes): (i64, i64) = query.fetch_one(connection).await?;
    Ok(match () {
        () if uploads >= i64::from(quota.uploads_max) => Some(BeyondQuota::Uploads),
        () if files >= i64::from(quota.files_max) => Some(BeyondQuota::Files),
        () if bytes.unsigned_abs().saturating_add(upload.size_bytes) > quota.bytes_max => Some(BeyondQuota::Bytes),
        () => None,
    })
}

async fn update_content(connection: &mut AnyConnection, content: &Content) -> Result<(), StoreError> {
    let sql = "UPDATE file_content SET kind = ?, width = ?, height = ?, thumbnail_bytes = ? WHERE sha256 = ?";
    sqlx::query(sql)
        .bind(content.kind.as_str())
        .bind(i64::from(content.width))
        .bind(i64::from(content.height))
        .bind(number(content.thumbnail_bytes))
        .bind(&content.hash.0[..])
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_content(connection: &mut AnyConnection, dialect: Dialect, end: &UploadEnd) -> Result<(), StoreError> {
    let UploadEnd { file_id, content, now_ms, .. } = end;
    sqlx::query(dialect::insert_file_content(dialect))
        .bind(&content.hash.0[..])
        .bind(content.content_id.as_bytes())
        .bind(number(content.size_bytes))
        .bind(content.kind.as_str())
        .bind(content.state.number())
        .bind(i64::from(content.width))
        .bind(i64::from(content.height))
        .bind(number(content.thumbnail_bytes))
        .bind(*now_ms)
        .bind(file_id.as_bytes())
        .execute(connection)
        .await?;
    Ok(())
}
