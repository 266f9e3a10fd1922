//! Files that users upload: who brought them, what they are, and where their bytes are. The bytes are elsewhere.
//!
//! Part of [`Store`], used by tasks of Tokio. Always holds: equal bytes have one content, whose id was the id of the file that brought
//! them first; a file that is not whole counts in the quota of its user with what was announced.

use gim_config::sql::{self, Database, Dialect};
use sqlx::{AnyConnection, FromRow, Row as _, any::AnyRow};

use super::{Store, StoreError, dialect, id, key};
use crate::domain::file::{FileHash, FileId};

/// The only row of `file_secret`.
const SECRET_ID: i64 = 1;

/// Uploads that begin, or end, in one transaction: each waits for the disk, which is busy with their bytes.
pub(super) const UPLOADS_TOGETHER_MAX: usize = 64;

/// A file of which not all bytes are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub file_id: FileId,
    pub user_id: u64,
    pub name: String,
    /// How long it will be.
    pub size_bytes: u64,
    pub expires_at_ms: i64,
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub user_id: u64,
    pub name: String,
    /// How many bytes came; a picture may have fewer by now.
    pub uploaded_bytes: u64,
    pub content: Content,
}

/// What stands in a file, once for all that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub hash: FileHash,
    pub content_id: FileId,
    pub size_bytes: u64,
    pub kind: String,
    pub state: ContentState,
    /// Of a picture; 0 of what is none.
    pub width: u32,
    pub height: u32,
    /// Of the small picture; 0 where there is none.
    pub thumbnail_bytes: u64,
}

/// Whether a content may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentState {
    /// Somebody has to look at it first.
    Unchecked,
    Good,
    /// Whoever looked at it says that nobody may have it.
    Refused,
}

/// What a user may upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadQuota {
    pub uploads_max: u32,
    pub files_max: u32,
    pub bytes_max: u64,
    /// Files since then count.
    pub since_ms: i64,
}

/// Why an upload may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeyondQuota {
    Uploads,
    Files,
    Bytes,
}

/// An upload that is to begin.
pub(super) struct UploadBegin {
    upload: Upload,
    quota: UploadQuota,
    now_ms: i64,
}

/// An upload that is whole.
pub(super) struct UploadEnd {
    file_id: FileId,
    uploaded_bytes: u64,
    content: Content,
    now_ms: i64,
}

/// What is known under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    Upload(Upload),
    Stored(StoredFile),
}

impl Store {
    /// Notes that a user begins to upload a file, unless that is more than the user may. Those that begin together share a transaction.
    pub async fn begin_upload(
        &self,
        upload: &Upload,
        quota: UploadQuota,
        now_ms: i64,
    ) -> Result<Result<(), BeyondQuota>, StoreError> {
        let answer = self.upload_begins.ask(UploadBegin { upload: upload.clone(), quota, now_ms }).await;
        answer.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// The file with this id.
    pub async fn file(&self, file_id: FileId) -> Result<Option<FoundFile>, StoreError> {
        let sql = "SELECT user_id, name, size_bytes, sha256, expires_at_ms FROM file WHERE file_id = ?";
        let query = sqlx::query_as(sql).bind(file_id.as_bytes());
        let row: Option<(i64, String, i64, Vec<u8>, i64)> = query.fetch_optional(&self.database.reader).await?;
        let Some((user_key, name, size_bytes, sha256, expires_at_ms)) = row else { return Ok(None) };
        let user_id = id(user_key);
        let size_bytes = size_bytes.unsigned_abs();
        let Some(hash) = FileHash::of_bytes(&sha256) else {
            return Ok(Some(FoundFile::Upload(Upload { file_id, user_id, name, size_bytes, expires_at_ms })));
        };
        let content = self.content(hash).await?;
        Ok(content.map(|content| FoundFile::Stored(StoredFile { user_id, name, uploaded_bytes: size_bytes, content })))
    }

    /// What has this hash, if anything has.
    pub async fn content(&self, hash: FileHash) -> Result<Option<Content>, StoreError> {
        let query = sqlx::query_as(SELECT_CONTENT).bind(&hash.0[..]);
        Ok(query.fetch_optional(&self.database.reader).await?)
    }

    /// Makes an upload a file with this content, or with the one of the same bytes that was there before, which is returned: then the
    /// bytes of this upload are needed no more. `None` where the upload is gone. Those that end together share a transaction.
    pub async fn finish_upload(
        &self,
        file_id: FileId,
        uploaded_bytes: u64,
        content: &Content,
        now_ms: i64,
    ) -> Result<Option<Content>, StoreError> {
        let answer =
            self.upload_ends.ask(UploadEnd { file_id, uploaded_bytes, content: content.clone(), now_ms }).await;
        answer.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// Says what came of looking at a content.
    pub async fn judge_content(&self, hash: FileHash, state: ContentState) -> Result<(), StoreError> {
        let sql = "UPDATE file_content SET state = ? WHERE sha256 = ? AND state = 0";
        let query = sqlx::query(sql).bind(state.number()).bind(&hash.0[..]);
        query.execute(&self.database.writer).await?;
        Ok(())
    }

    /// Contents that nobody has looked at, the oldest first.
    pub async fn unchecked_contents(&self, most: u32) -> Result<Vec<Content>, StoreError> {
        let sql = "SELECT sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes FROM file_content \
                   WHERE state = 0 ORDER BY created_at_ms LIMIT ?";
        Ok(sqlx::query_as(sql).bind(i64::from(most)).fetch_all(&self.database.reader).await?)
    }

    /// Notes that an upload goes on, so that it is not given up before then.
    pub async fn extend_upload(&self, file_id: FileId, expires_at_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE file SET expires_at_ms = ? WHERE file_id = ? AND expires_at_ms > 0";
        sqlx::query(sql).bind(expires_at_ms).bind(file_id.as_bytes()).execute(&self.database.writer).await?;
        Ok(())
    }

    /// Forgets an upload that is not whole; whether there was one.
    pub async fn forget_upload(&self, file_id: FileId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM file WHERE file_id = ? AND expires_at_ms > 0";
        let deleted = sqlx::query(sql).bind(file_id.as_bytes()).execute(&self.database.writer).await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Uploads that were given up.
    pub async fn expired_uploads(&self, now_ms: i64, most: u32) -> Result<Vec<FileId>, StoreError> {
        let sql =
            "SELECT file_id FROM file WHERE expires_at_ms > 0 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?";
        let query = sqlx::query_as(sql).bind(now_ms).bind(i64::from(most));
        let rows: Vec<(Vec<u8>,)> = query.fetch_all(&self.database.reader).await?;
        Ok(rows.iter().filter_map(|(bytes,)| FileId::of_bytes(bytes)).collect())
    }

    /// What URLs are signed with: `made`, if nothing was kept before.
    pub async fn file_secret(&self, made: [u8; 32]) -> Result<Vec<u8>, StoreError> {
        let insert = sqlx::query(dialect::insert_file_secret(self.database.dialect)).bind(SECRET_ID).bind(&made[..]);
        insert.execute(&self.database.writer).await?;
        let query = sqlx::query_as("SELECT secret FROM file_secret WHERE id = ?").bind(SECRET_ID);
        let (secret,): (Vec<u8>,) = query.fetch_one(&self.database.writer).await?;
        Ok(secret)
    }
}

const SELECT_CONTENT: &str = "SELECT sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes FROM file_content WHERE sha256 = ?";

impl ContentState {
    fn number(self) -> i64 {
        match self {
            Self::Unchecked => 0,
            Self::Good => 1,
            Self::Refused => 2,
        }
    }

    fn of_number(number: i64) -> Self {
        match number {
            0 => Self::Unchecked,
            1 => Self::Good,
            _ => Self::Refused,
        }
    }
}

impl FromRow<'_, AnyRow> for Content {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let bytes = |column| row.try_get::<Vec<u8>, _>(column);
        let wrong = |column: &str| sqlx::Error::ColumnNotFound(format!("{column} of a length of its own"));
        Ok(Self {
            hash: FileHash::of_bytes(&bytes("sha256")?).ok_or_else(|| wrong("sha256"))?,
            content_id: FileId::of_bytes(&bytes("content_id")?).ok_or_else(|| wrong("content_id"))?,
            size_bytes: row.try_get::<i64, _>("size_bytes")?.unsigned_abs(),
            kind: row.try_get("kind")?,
            state: ContentState::of_number(row.try_get("state")?),
            width: row.try_get::<i64, _>("width")?.try_into().unwrap_or_default(),
            height: row.try_get::<i64, _>("height")?.try_into().unwrap_or_default(),
            thumbnail_bytes: row.try_get::<i64, _>("thumbnail_bytes")?.unsigned_abs(),
        })
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
    let UploadBegin { upload, quota, now_ms } = begin;
    lock_user(connection, upload.user_id).await?;
    if let Some(beyond) = beyond_quota(connection, upload, *quota).await? {
        return Ok(Err(beyond));
    }
    let sql = "INSERT INTO file (file_id, user_id, name, size_bytes, sha256, created_at_ms, expires_at_ms) \
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(upload.file_id.as_bytes())
        .bind(key(upload.user_id))
        .bind(upload.name.as_str())
        .bind(number(upload.size_bytes))
        .bind(&[][..])
        .bind(*now_ms)
        .bind(upload.expires_at_ms)
        .execute(connection)
        .await?;
    Ok(Ok(()))
}

async fn end_one(
    connection: &mut AnyConnection,
    dialect: Dialect,
    end: &UploadEnd,
) -> Result<Option<Content>, StoreError> {
    let UploadEnd { file_id, uploaded_bytes, content, now_ms } = end;
    let sql = "UPDATE file SET sha256 = ?, size_bytes = ?, expires_at_ms = 0 WHERE file_id = ?";
    let updated = sqlx::query(sql)
        .bind(&content.hash.0[..])
        .bind(number(*uploaded_bytes))
        .bind(file_id.as_bytes())
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(None);
    }
    insert_content(connection, dialect, content, *now_ms).await?;
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

async fn insert_content(
    connection: &mut AnyConnection,
    dialect: Dialect,
    content: &Content,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(dialect::insert_file_content(dialect))
        .bind(&content.hash.0[..])
        .bind(content.content_id.as_bytes())
        .bind(number(content.size_bytes))
        .bind(content.kind.as_str())
        .bind(content.state.number())
        .bind(i64::from(content.width))
        .bind(i64::from(content.height))
        .bind(number(content.thumbnail_bytes))
        .bind(now_ms)
        .execute(connection)
        .await?;
    Ok(())
}

/// A count of bytes as it is stored.
fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::user;

    on_both! {
        a_file_is_an_upload_until_it_is_whole,
        equal_bytes_have_one_content,
        a_user_has_a_quota_and_others_have_their_own,
        uploads_that_rest_too_long_are_found_and_forgotten,
        a_content_is_judged_once,
        the_secret_is_made_once,
    }

    const QUOTA: UploadQuota = UploadQuota { uploads_max: 10, files_max: 100, bytes_max: 1_000, since_ms: 0 };

    fn upload(user_id: u64, size_bytes: u64) -> Upload {
        let name = format!("{} 度假.jpg", "n".repeat(4_000));
        Upload { file_id: FileId::random(), user_id, name, size_bytes, expires_at_ms: 500 }
    }

    fn content(file_id: FileId, byte: u8) -> Content {
        Content {
            hash: FileHash([byte; 32]),
            content_id: file_id,
            size_bytes: 9,
            kind: "image/png".into(),
            state: ContentState::Unchecked,
            width: 4,
            height: 3,
            thumbnail_bytes: 5,
        }
    }

    async fn a_file_is_an_upload_until_it_is_whole(store: Store) {
        let begun = upload(user(&store, "1").await, 9);
        store.begin_upload(&begun, QUOTA, 100).await.unwrap().unwrap();
        assert_eq!(store.file(begun.file_id).await.unwrap(), Some(FoundFile::Upload(begun.clone())));
        assert_eq!(store.file(FileId::random()).await.unwrap(), None);
        let content = content(begun.file_id, 1);
        assert_eq!(store.finish_upload(begun.file_id, 9, &content, 200).await.unwrap(), Some(content.clone()));
        let stored = StoredFile { user_id: begun.user_id, name: begun.name, uploaded_bytes: 9, content };
        assert_eq!(store.file(begun.file_id).await.unwrap(), Some(FoundFile::Stored(stored)));
        assert!(!store.forget_upload(begun.file_id).await.unwrap(), "it is whole");
        let gone = self::content(FileId::random(), 2);
        assert_eq!(store.finish_upload(gone.content_id, 9, &gone, 200).await.unwrap(), None);
        assert_eq!(store.content(gone.hash).await.unwrap(), None);
    }

    async fn equal_bytes_have_one_content(store: Store) {
        let user_id = user(&store, "1").await;
        let [first, second] = [upload(user_id, 9), upload(user_id, 9)];
        for begun in [&first, &second] {
            store.begin_upload(begun, QUOTA, 100).await.unwrap().unwrap();
        }
        store.finish_upload(first.file_id, 9, &content(first.file_id, 1), 200).await.unwrap().unwrap();
        let kept = store.finish_upload(second.file_id, 9, &content(second.file_id, 1), 200).await.unwrap().unwrap();
        assert_eq!(kept.content_id, first.file_id);
    }

    async fn a_user_has_a_quota_and_others_have_their_own(store: Store) {
        let [alice, bob] = [user(&store, "1").await, user(&store, "2").await];
        let begin = async |user_id, size_bytes, quota| {
            store.begin_upload(&upload(user_id, size_bytes), quota, 100).await.unwrap()
        };
        begin(alice, 600, QUOTA).await.unwrap();
        assert_eq!(begin(alice, 401, QUOTA).await, Err(BeyondQuota::Bytes));
        begin(alice, 400, QUOTA).await.unwrap();
        assert_eq!(begin(alice, 1, QUOTA).await, Err(BeyondQuota::Bytes));
        begin(bob, 1_000, QUOTA).await.unwrap();
        let roomy = UploadQuota { bytes_max: 1 << 40, ..QUOTA };
        assert_eq!(begin(alice, 1, UploadQuota { uploads_max: 2, ..roomy }).await, Err(BeyondQuota::Uploads));
        assert_eq!(begin(alice, 1, UploadQuota { files_max: 2, ..roomy }).await, Err(BeyondQuota::Files));
        assert_eq!(begin(alice, u64::MAX, roomy).await, Err(BeyondQuota::Bytes));
        begin(alice, 1_000, UploadQuota { since_ms: 100, ..QUOTA }).await.unwrap();
        let later = UploadQuota { since_ms: 1_000_000, uploads_max: 3, ..QUOTA };
        assert_eq!(begin(alice, 1, later).await, Err(BeyondQuota::Uploads), "they are as old as they like");
    }

    async fn uploads_that_rest_too_long_are_found_and_forgotten(store: Store) {
        let user_id = user(&store, "1").await;
        let [resting, going_on] = [upload(user_id, 9), upload(user_id, 9)];
        for begun in [&resting, &going_on] {
            store.begin_upload(begun, QUOTA, 100).await.unwrap().unwrap();
        }
        store.extend_upload(going_on.file_id, 900).await.unwrap();
        assert_eq!(store.expired_uploads(499, 10).await.unwrap(), []);
        assert_eq!(store.expired_uploads(500, 10).await.unwrap(), [resting.file_id]);
        assert!(store.forget_upload(resting.file_id).await.unwrap());
        assert!(!store.forget_upload(resting.file_id).await.unwrap());
        assert_eq!(store.expired_uploads(899, 10).await.unwrap(), []);
    }

    async fn a_content_is_judged_once(store: Store) {
        let begun = upload(user(&store, "1").await, 9);
        store.begin_upload(&begun, QUOTA, 100).await.unwrap().unwrap();
        let content = content(begun.file_id, 1);
        store.finish_upload(begun.file_id, 9, &content, 200).await.unwrap();
        assert_eq!(store.unchecked_contents(10).await.unwrap(), std::slice::from_ref(&content));
        store.judge_content(content.hash, ContentState::Refused).await.unwrap();
        store.judge_content(content.hash, ContentState::Good).await.unwrap();
        assert_eq!(store.content(content.hash).await.unwrap().unwrap().state, ContentState::Refused);
        assert_eq!(store.unchecked_contents(10).await.unwrap(), []);
    }

    async fn the_secret_is_made_once(store: Store) {
        assert_eq!(store.file_secret([1; 32]).await.unwrap(), [1; 32]);
        assert_eq!(store.file_secret([2; 32]).await.unwrap(), [1; 32]);
    }
}
