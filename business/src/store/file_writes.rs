//! Uploads begin and end: those that do so together share a transaction.
//!
//! Called by the gatherers of [`Store`](super::Store). Always holds: what a user has is counted and added to in one transaction.

use gim_config::sql::{self, Database, Dialect};
use sqlx::AnyConnection;

use super::{
    Store, StoreError, dialect,
    file::{BeyondQuota, Content, GIVEN_UP, SELECT_CONTENT, Upload, UploadQuota, number},
    key,
};
use crate::domain::file::{FileHash, FileId};

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
    /// The content was there before: its bytes are not those of this upload.
    pub is_known: bool,
    /// What was kept of these bytes had been lost.
    pub is_kept_anew: bool,
    pub now_ms: i64,
}

/// Why an upload is no file. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotEnded {
    /// It was given up.
    NoUpload,
    /// The content that was there before was taken back meanwhile.
    NoContent,
}

impl Store {
    /// Takes back a file that is whole, unless that was done before; whether its content is gone with it, as no other file has it: then
    /// its bytes are to be removed. What counts in a quota counts on, and a content that was refused stays so for whoever brings it again.
    pub async fn take_back_file(&self, file_id: FileId, hash: FileHash) -> Result<bool, StoreError> {
        let work = || {
            async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let is_gone = take_back(&mut transaction, file_id, hash).await?;
                transaction.commit().await?;
                Ok(is_gone)
            }
        };
        self.database.writer.transact(work).await
    }
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
pub(super) async fn end_uploads(
    database: Database,
    ends: Vec<UploadEnd>,
) -> Result<Vec<Result<Content, NotEnded>>, StoreError> {
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
) -> Result<Result<Content, NotEnded>, StoreError> {
    let UploadEnd { file_id, uploaded_bytes, content, is_known, is_kept_anew, .. } = end;
    if *is_known && !lock_content(connection, content.hash).await? {
        return Ok(Err(NotEnded::NoContent));
    }
    let sql = "UPDATE file SET sha256 = ?, size_bytes = ?, expires_at_ms = 0 WHERE file_id = ? AND expires_at_ms >= 0";
    let updated = sqlx::query(sql)
        .bind(&content.hash.0[..])
        .bind(number(*uploaded_bytes))
        .bind(file_id.as_bytes())
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(Err(NotEnded::NoUpload));
    }
    insert_content(connection, dialect, end).await?;
    if *is_kept_anew {
        update_content(connection, content).await?;
    }
    let query = sqlx::query_as(SELECT_CONTENT).bind(&content.hash.0[..]);
    Ok(Ok(query.fetch_one(connection).await?))
}

async fn take_back(connection: &mut AnyConnection, file_id: FileId, hash: FileHash) -> Result<bool, StoreError> {
    lock_content(connection, hash).await?;
    let sql = "UPDATE file SET expires_at_ms = ?, name = '', metadata = NULL, sha256 = ? \
               WHERE file_id = ? AND sha256 = ? AND expires_at_ms = 0";
    let query = sqlx::query(sql).bind(GIVEN_UP).bind(&[][..]).bind(file_id.as_bytes()).bind(&hash.0[..]);
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let sql =
        "DELETE FROM file_content WHERE sha256 = ? AND state <> 2 AND NOT EXISTS (SELECT 1 FROM file WHERE sha256 = ?)";
    let query = sqlx::query(sql).bind(&hash.0[..]).bind(&hash.0[..]);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Whether there is such a content; no other transaction takes it away until this one ends.
async fn lock_content(connection: &mut AnyConnection, hash: FileHash) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE file_content SET state = state WHERE sha256 = ?").bind(&hash.0[..]);
    Ok(query.execute(connection).await?.rows_affected() > 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        ContentState, FoundFile,
        testing::{begun, unchecked, user},
    };

    on_both! {
        a_content_goes_with_the_last_file_that_has_it,
        a_content_that_was_taken_back_is_not_known_to_an_upload_that_ends,
        a_content_that_was_refused_stays_when_its_file_is_taken_back,
        what_was_taken_back_counts_on_in_its_day,
    }

    async fn ended(store: &Store, file_id: FileId, known: Option<FileId>) -> Result<Content, NotEnded> {
        let content = unchecked(known.unwrap_or(file_id), 7);
        let is_known = known.is_some();
        let end = UploadEnd { file_id, uploaded_bytes: 9, content, is_known, is_kept_anew: false, now_ms: 200 };
        store.finish_upload(end).await.unwrap()
    }

    async fn a_content_goes_with_the_last_file_that_has_it(store: Store) {
        let user_id = user(&store, "1").await;
        let [first, second] = [begun(&store, user_id, 100).await, begun(&store, user_id, 100).await];
        let content = ended(&store, first, None).await.unwrap();
        assert_eq!(ended(&store, second, Some(first)).await.unwrap(), content);
        assert!(!store.take_back_file(first, content.hash).await.unwrap());
        assert_eq!(store.file(first).await.unwrap(), None);
        let Some(FoundFile::Stored(left)) = store.file(second).await.unwrap() else { panic!("the other is there") };
        assert_eq!(left.content, content);
        assert!(!store.take_back_file(first, content.hash).await.unwrap(), "once");
        assert!(!store.take_back_file(second, FileHash([8; 32])).await.unwrap(), "it has another content");
        assert!(store.take_back_file(second, content.hash).await.unwrap());
        assert_eq!(store.content(content.hash).await.unwrap(), None);
    }

    async fn a_content_that_was_taken_back_is_not_known_to_an_upload_that_ends(store: Store) {
        let user_id = user(&store, "1").await;
        let [first, second] = [begun(&store, user_id, 100).await, begun(&store, user_id, 100).await];
        let content = ended(&store, first, None).await.unwrap();
        assert!(store.take_back_file(first, content.hash).await.unwrap());
        assert_eq!(ended(&store, second, Some(first)).await, Err(NotEnded::NoContent));
        assert!(matches!(store.file(second).await.unwrap(), Some(FoundFile::Upload(_))), "it is still an upload");
        assert_eq!(ended(&store, second, None).await.unwrap().content_id, second);
    }

    async fn a_content_that_was_refused_stays_when_its_file_is_taken_back(store: Store) {
        let file_id = begun(&store, user(&store, "1").await, 100).await;
        let content = ended(&store, file_id, None).await.unwrap();
        store.judge_content(content.hash, ContentState::Refused).await.unwrap();
        assert!(!store.take_back_file(file_id, content.hash).await.unwrap());
        assert_eq!(store.content(content.hash).await.unwrap().unwrap().state, ContentState::Refused);
        assert_eq!(store.file(file_id).await.unwrap(), None);
    }

    async fn what_was_taken_back_counts_on_in_its_day(store: Store) {
        let user_id = user(&store, "1").await;
        let file_id = begun(&store, user_id, 100).await;
        let content = ended(&store, file_id, None).await.unwrap();
        assert!(store.take_back_file(file_id, content.hash).await.unwrap());
        assert_eq!(store.bytes_since(user_id, 99).await.unwrap(), 9);
        store.forget_given_up(100).await.unwrap();
        assert_eq!(store.bytes_since(user_id, 99).await.unwrap(), 0);
    }
}
