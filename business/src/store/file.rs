//! Files that users upload: who brought them, what they are, and where their bytes are. The bytes are elsewhere.
//!
//! Part of [`Store`], used by tasks of Tokio. Always holds: equal bytes have one content, whose id was the id of the file that brought
//! them first; a file that is not whole counts in the quota of its user with what was announced, and one that was given up, for a day, with
//! what had come of it.

use ring::digest::{Context, SHA256};
use sqlx::{FromRow, Row as _, any::AnyRow};

use super::{
    Store, StoreError, dialect,
    file_writes::{NotEnded, UploadBegin, UploadEnd},
    id, key,
};
use crate::domain::file::{FileHash, FileId};

/// The only row of `file_secret`.
const SECRET_ID: i64 = 1;

/// Stands in the place of the end of an upload that was given up, or of a file that was taken back.
pub(super) const GIVEN_UP: i64 = -1;

const HOUR_MS: i64 = 3_600_000;

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

/// What is known under an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    Upload(Upload),
    Stored(StoredFile),
}

impl FoundFile {
    /// Who uploads it, or did.
    pub fn user_id(&self) -> u64 {
        match self {
            Self::Upload(upload) => upload.user_id,
            Self::Stored(file) => file.user_id,
        }
    }
}

impl Store {
    /// Notes that a user begins to upload a file, and what the client says of it, unless that is more than the user may. Those that begin
    /// together share a transaction.
    pub async fn begin_upload(
        &self,
        upload: &Upload,
        metadata: Option<&str>,
        quota: UploadQuota,
        now_ms: i64,
    ) -> Result<Result<(), BeyondQuota>, StoreError> {
        let (upload, metadata) = (upload.clone(), metadata.map(str::to_owned));
        let answer = self.upload_begins.ask(UploadBegin { upload, metadata, quota, now_ms }).await;
        answer.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// The file with this id.
    pub async fn file(&self, file_id: FileId) -> Result<Option<FoundFile>, StoreError> {
        let sql = "SELECT user_id, name, size_bytes, sha256, expires_at_ms FROM file WHERE file_id = ? AND expires_at_ms >= 0";
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

    /// What a client said of an upload when it began, also after it is a file.
    pub async fn upload_metadata(&self, file_id: FileId) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_as("SELECT metadata FROM file WHERE file_id = ?").bind(file_id.as_bytes());
        let row: Option<(Option<String>,)> = query.fetch_optional(&self.database.reader).await?;
        Ok(row.and_then(|(metadata,)| metadata))
    }

    /// Makes an upload a file with this content, or with the one of the same bytes that was there before, which is returned: then the
    /// bytes of this upload are needed no more. Those that end together share a transaction.
    pub async fn finish_upload(&self, end: UploadEnd) -> Result<Result<Content, NotEnded>, StoreError> {
        self.upload_ends.ask(end).await.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// Notes that an upload goes on, so that it is not given up before then.
    pub async fn extend_upload(&self, file_id: FileId, expires_at_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE file SET expires_at_ms = ? WHERE file_id = ? AND expires_at_ms > 0";
        sqlx::query(sql).bind(expires_at_ms).bind(file_id.as_bytes()).execute(&self.database.writer).await?;
        Ok(())
    }

    /// Forgets an upload that is not whole, but for what had come of it, which counts on in its user's day; whether there was one.
    pub async fn forget_upload(&self, file_id: FileId, came_bytes: u64) -> Result<bool, StoreError> {
        let query = if came_bytes == 0 {
            sqlx::query("DELETE FROM file WHERE file_id = ? AND expires_at_ms > 0").bind(file_id.as_bytes())
        } else {
            let sql = "UPDATE file SET expires_at_ms = ?, name = '', metadata = NULL, size_bytes = ? WHERE file_id = ? AND expires_at_ms > 0";
            sqlx::query(sql).bind(GIVEN_UP).bind(number(came_bytes)).bind(file_id.as_bytes())
        };
        let forgotten = query.execute(&self.database.writer).await?;
        Ok(forgotten.rows_affected() > 0)
    }

    /// Counts bytes that came and were taken back in their user's day: in one row for each hour, however many they are.
    pub async fn count_taken_back(&self, user_id: u64, bytes: u64, now_ms: i64) -> Result<(), StoreError> {
        let id = taken_back_id(user_id, now_ms);
        let query = sqlx::query(dialect::count_bytes(self.database.dialect)).bind(id.as_bytes()).bind(key(user_id));
        let query = query.bind(number(bytes)).bind(&[][..]).bind(now_ms).bind(GIVEN_UP);
        query.execute(&self.database.writer).await?;
        Ok(())
    }

    /// The bytes that a user has uploaded, or began to, since then.
    pub async fn bytes_since(&self, user_id: u64, since_ms: i64) -> Result<u64, StoreError> {
        let sql =
            "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS SIGNED) FROM file WHERE user_id = ? AND created_at_ms > ?";
        let query = sqlx::query_as(sql).bind(key(user_id)).bind(since_ms);
        let (bytes,): (i64,) = query.fetch_one(&self.database.reader).await?;
        Ok(bytes.unsigned_abs())
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

pub(super) const SELECT_CONTENT: &str = "SELECT sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes FROM file_content WHERE sha256 = ?";

impl ContentState {
    pub(super) fn number(self) -> i64 {
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

/// Where what a user sent in vain within an hour is counted.
fn taken_back_id(user_id: u64, now_ms: i64) -> FileId {
    let mut hash = Context::new(&SHA256);
    for part in [&b"taken back"[..], &user_id.to_be_bytes(), &(now_ms / HOUR_MS).to_be_bytes()] {
        hash.update(part);
    }
    FileId::of_bytes(&hash.finish().as_ref()[..16]).expect("an id has 16 bytes")
}

/// A count of bytes as it is stored.
pub(super) fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::store::testing::user;

    on_both! {
        a_file_is_an_upload_until_it_is_whole,
        what_is_said_of_an_upload_stays_with_the_file,
        equal_bytes_have_one_content,
        what_is_kept_anew_is_told_anew,
        bytes_that_were_refused_belong_to_nothing,
        a_user_has_a_quota_and_others_have_their_own,
        uploads_that_rest_too_long_are_found_and_forgotten,
        what_was_given_up_counts_for_a_day,
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

    fn end(file_id: FileId, content: &Content) -> UploadEnd {
        UploadEnd {
            file_id,
            uploaded_bytes: 9,
            content: content.clone(),
            is_known: false,
            is_kept_anew: false,
            now_ms: 200,
        }
    }

    async fn finished(
        store: &Store,
        file_id: FileId,
        content: &Content,
    ) -> Result<Result<Content, NotEnded>, StoreError> {
        store.finish_upload(end(file_id, content)).await
    }

    async fn a_file_is_an_upload_until_it_is_whole(store: Store) {
        let begun = upload(user(&store, "1").await, 9);
        store.begin_upload(&begun, None, QUOTA, 100).await.unwrap().unwrap();
        assert_eq!(store.file(begun.file_id).await.unwrap(), Some(FoundFile::Upload(begun.clone())));
        assert_eq!(store.file(FileId::random()).await.unwrap(), None);
        let content = content(begun.file_id, 1);
        assert_eq!(finished(&store, begun.file_id, &content).await.unwrap(), Ok(content.clone()));
        let stored = StoredFile { user_id: begun.user_id, name: begun.name, uploaded_bytes: 9, content };
        assert_eq!(store.file(begun.file_id).await.unwrap(), Some(FoundFile::Stored(stored)));
        assert!(!store.forget_upload(begun.file_id, 9).await.unwrap(), "it is whole");
        let gone = self::content(FileId::random(), 2);
        assert_eq!(finished(&store, gone.content_id, &gone).await.unwrap(), Err(NotEnded::NoUpload));
        assert_eq!(store.content(gone.hash).await.unwrap(), None);
    }

    async fn what_is_said_of_an_upload_stays_with_the_file(store: Store) {
        let user_id = user(&store, "1").await;
        let [said, unsaid] = [upload(user_id, 9), upload(user_id, 9)];
        let metadata = format!("filename {},is_confidential", "YQ==".repeat(2_000));
        store.begin_upload(&said, Some(&metadata), QUOTA, 100).await.unwrap().unwrap();
        store.begin_upload(&unsaid, None, QUOTA, 100).await.unwrap().unwrap();
        finished(&store, said.file_id, &content(said.file_id, 1)).await.unwrap().unwrap();
        assert_eq!(store.upload_metadata(said.file_id).await.unwrap(), Some(metadata));
        assert_eq!(store.upload_metadata(unsaid.file_id).await.unwrap(), None);
        assert_eq!(store.upload_metadata(FileId::random()).await.unwrap(), None);
    }

    async fn equal_bytes_have_one_content(store: Store) {
        let user_id = user(&store, "1").await;
        let [first, second] = [upload(user_id, 9), upload(user_id, 9)];
        for begun in [&first, &second] {
            store.begin_upload(begun, None, QUOTA, 100).await.unwrap().unwrap();
        }
        finished(&store, first.file_id, &content(first.file_id, 1)).await.unwrap().unwrap();
        let kept = finished(&store, second.file_id, &content(second.file_id, 1)).await.unwrap().unwrap();
        assert_eq!(kept.content_id, first.file_id);
    }

    async fn what_is_kept_anew_is_told_anew(store: Store) {
        let user_id = user(&store, "1").await;
        let [first, second] = [upload(user_id, 9), upload(user_id, 9)];
        for begun in [&first, &second] {
            store.begin_upload(begun, None, QUOTA, 100).await.unwrap().unwrap();
        }
        let before = content(first.file_id, 1);
        finished(&store, first.file_id, &before).await.unwrap().unwrap();
        store.judge_content(before.hash, ContentState::Good).await.unwrap();
        let anew = Content { thumbnail_bytes: 7, width: 8, ..before };
        let kept =
            store.finish_upload(UploadEnd { is_known: true, is_kept_anew: true, ..end(second.file_id, &anew) }).await;
        let kept = kept.unwrap().unwrap();
        assert_eq!(kept, Content { state: ContentState::Good, ..anew }, "what was judged stays so");
    }

    async fn bytes_that_were_refused_belong_to_nothing(store: Store) {
        let begun = upload(user(&store, "1").await, 9);
        store.begin_upload(&begun, None, QUOTA, 100).await.unwrap().unwrap();
        let content = content(begun.file_id, 1);
        finished(&store, begun.file_id, &content).await.unwrap().unwrap();
        let mut asked: Vec<FileId> = (0..500).map(|_| FileId::random()).collect();
        asked.push(content.content_id);
        assert_eq!(store.known_contents(&asked).await.unwrap(), HashSet::from([content.content_id]));
        store.judge_content(content.hash, ContentState::Refused).await.unwrap();
        assert_eq!(store.known_contents(&asked).await.unwrap(), HashSet::new());
    }

    async fn a_user_has_a_quota_and_others_have_their_own(store: Store) {
        let [alice, bob] = [user(&store, "1").await, user(&store, "2").await];
        let begin = async |user_id, size_bytes, quota| {
            store.begin_upload(&upload(user_id, size_bytes), None, quota, 100).await.unwrap()
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
            store.begin_upload(begun, None, QUOTA, 100).await.unwrap().unwrap();
        }
        assert_eq!(store.uploads_of(user_id, 10).await.unwrap().len(), 2);
        store.extend_upload(going_on.file_id, 900).await.unwrap();
        assert_eq!(store.uploads_of(user_id, 10).await.unwrap(), [resting.file_id, going_on.file_id]);
        assert_eq!(store.uploads_of(user_id, 1).await.unwrap(), [resting.file_id]);
        assert_eq!(store.expired_uploads(499, 10).await.unwrap(), []);
        assert_eq!(store.expired_uploads(500, 10).await.unwrap(), [resting.file_id]);
        assert!(store.forget_upload(resting.file_id, 0).await.unwrap());
        assert!(!store.forget_upload(resting.file_id, 0).await.unwrap());
        assert_eq!(store.expired_uploads(899, 10).await.unwrap(), []);
    }

    async fn what_was_given_up_counts_for_a_day(store: Store) {
        let user_id = user(&store, "1").await;
        let begun = upload(user_id, 900);
        store.begin_upload(&begun, None, QUOTA, 100).await.unwrap().unwrap();
        assert!(store.forget_upload(begun.file_id, 600).await.unwrap());
        assert!(!store.forget_upload(begun.file_id, 600).await.unwrap());
        assert_eq!(store.file(begun.file_id).await.unwrap(), None);
        let gone = content(begun.file_id, 1);
        assert_eq!(finished(&store, begun.file_id, &gone).await.unwrap(), Err(NotEnded::NoUpload));
        for bytes in [100, 200] {
            store.count_taken_back(user_id, bytes, 100).await.unwrap();
        }
        assert_eq!(store.bytes_since(user_id, 99).await.unwrap(), 900);
        assert_eq!(store.bytes_since(user_id, 100).await.unwrap(), 0);
        let few = UploadQuota { files_max: 3, ..QUOTA };
        assert_eq!(store.begin_upload(&upload(user_id, 101), None, few, 100).await.unwrap(), Err(BeyondQuota::Bytes));
        let one = UploadQuota { uploads_max: 1, ..QUOTA };
        assert_eq!(store.begin_upload(&upload(user_id, 101), None, one, 100).await.unwrap(), Err(BeyondQuota::Bytes));
        store.begin_upload(&upload(user_id, 100), None, one, 100).await.unwrap().unwrap();
        store.forget_given_up(99).await.unwrap();
        assert_eq!(store.begin_upload(&upload(user_id, 1), None, QUOTA, 100).await.unwrap(), Err(BeyondQuota::Bytes));
        store.forget_given_up(100).await.unwrap();
        store.begin_upload(&upload(user_id, 900), None, QUOTA, 100).await.unwrap().unwrap();
        assert_eq!(store.expired_uploads(499, 10).await.unwrap(), []);
    }

    async fn the_secret_is_made_once(store: Store) {
        assert_eq!(store.file_secret([1; 32]).await.unwrap(), [1; 32]);
        assert_eq!(store.file_secret([2; 32]).await.unwrap(), [1; 32]);
    }
}
