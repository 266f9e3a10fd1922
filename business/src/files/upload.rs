//! A file in one request: `POST` or `PUT /files?name=NAME`, whose body is the file.
//!
//! Each upload is a task of its own, which goes on to its end where the client is gone. Always holds: what was not stored leaves nothing.

use std::time::Duration;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use gim_config::in_gauge::InGauge;
use metrics::gauge;
use serde::Deserialize;

use super::{
    Files, about,
    activity::Activity,
    checksum::Checksum,
    refusal::FileRefusal,
    staged::{CHUNK_BYTES, Received, Staged, receive},
    writers::{HasWriter, WriterPlace},
};
use crate::{
    clock,
    domain::file::{FileId, NAME_BYTES_MAX, clean_name},
    metrics::{FILE_TRANSFERS, FILE_UPLOADS_TOTAL},
    store::{BeyondQuota, StoredFile, Upload, UploadQuota},
};

/// What a refused client may still send before its connection is closed, so that it can read why.
const REFUSED_BYTES_MAX: usize = 4 << 20;
const REFUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// A begun upload that nobody wrote to for so long gives its place to another one of its user.
const RESTED_FOR: Duration = Duration::from_secs(600);

/// Quotas are by it.
pub const DAY_MS: i64 = 86_400_000;

/// What stands behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct UploadQuery {
    name: String,
}

/// An upload in one request, of which nothing is left but its row (the process ended, say), is given up after so long. As long as somebody
/// writes to it, the sweep prolongs it.
pub const WRITTEN_TO_FOR_MS: i64 = 180_000;

/// What is to be uploaded.
pub struct NewUpload<'a> {
    pub name: &'a str,
    /// What a client of tus says of it, as it says it.
    pub metadata: Option<&'a str>,
    pub size_bytes: u64,
    /// How long nobody may write to it.
    pub rest_ms: i64,
}

/// Answers `POST /files`.
pub async fn upload(
    State(files): State<Files>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    uri: Uri,
    headers: HeaderMap,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    let begun = async {
        let Query(query) = query.map_err(|_| {
            FileRefusal::bad_request("name: must be there once at most, as UTF-8 with percent-encoding")
        })?;
        check_conditions(&headers)?;
        let checksum = Checksum::of(&headers).map_err(FileRefusal::bad_request)?;
        let length = content_length(&headers);
        let size_bytes = length.unwrap_or(files.settings.file_bytes_max);
        let new = NewUpload { name: &query.name, metadata: None, size_bytes, rest_ms: WRITTEN_TO_FOR_MS };
        let upload = files.begin_upload(&headers, &new).await?;
        Ok((upload, length, checksum))
    };
    let (upload, length, checksum) = match begun.await {
        Ok(begun) => begun,
        Err(refusal) => return refuse(refusal, &headers, body, &activity).await,
    };
    let base_url = files.base_url(&uri, &headers);
    let threads = files.threads.clone();
    let task = threads.spawn(async move {
        let file_id = upload.file_id;
        let stored = files.receive_whole(upload, length, checksum.as_ref(), body).await;
        if stored.is_err() {
            files.give_up(file_id).await;
        }
        count(&stored);
        stored.map(|file| created(&files, file_id, &file, &base_url))
    });
    match task.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => {
            tracing::error!(%error, "an upload failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A file is uploaded as a whole and as it is, and is a new one (RFC 9110, 14.5, 8.4 and 13.1.1).
fn check_conditions(headers: &HeaderMap) -> Result<(), FileRefusal> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(FileRefusal::bad_request(
            "content-range: a file comes as a whole here; one that comes in parts begins at /uploads",
        ));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FileRefusal::unsupported_coding());
    }
    if headers.contains_key(header::IF_MATCH) { Err(FileRefusal::no_match()) } else { Ok(()) }
}

/// Tells a client why, after some of what it sends all the same; at once where it asks before it sends (RFC 9110, 10.1.1): to read would
/// be to ask for its bytes.
pub async fn refuse(refusal: FileRefusal, headers: &HeaderMap, body: Body, activity: &Activity) -> Response {
    metrics::counter!(FILE_UPLOADS_TOTAL, "result" => "refused").increment(1);
    if headers.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return refusal.into_response();
    }
    let _refused = activity.refused();
    let mut left = REFUSED_BYTES_MAX;
    let rest = async {
        let mut body = body.into_data_stream();
        while let Some(Ok(bytes)) = body.next().await {
            match left.checked_sub(bytes.len()) {
                Some(fewer) => left = fewer,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(REFUSED_TIMEOUT, rest).await;
    refusal.into_response()
}

/// What is told of a file that was just uploaded.
pub fn created(files: &Files, file_id: FileId, file: &StoredFile, base_url: &str) -> Response {
    let mut answer = about::answer(files, file_id, file, base_url);
    *answer.status_mut() = StatusCode::CREATED;
    let location = format!("{base_url}/files/{file_id}/about");
    if let Ok(location) = location.try_into() {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

/// Counts how an upload ended.
pub fn count(stored: &Result<StoredFile, FileRefusal>) {
    let result = if stored.is_ok() { "stored" } else { "failed" };
    metrics::counter!(FILE_UPLOADS_TOTAL, "result" => result).increment(1);
}

/// How long a body will be, where it says so.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Files {
    /// A new upload of whoever asks, if that is allowed.
    pub async fn begin_upload(&self, headers: &HeaderMap, new: &NewUpload<'_>) -> Result<Upload, FileRefusal> {
        let caller = self.caller(headers).await?;
        self.begin_upload_of(caller.user_id, new).await
    }

    /// The same for this user.
    pub async fn begin_upload_of(&self, user_id: u64, new: &NewUpload<'_>) -> Result<Upload, FileRefusal> {
        let NewUpload { name, metadata, size_bytes, rest_ms } = *new;
        let settings = &self.settings;
        let name = clean_name(name)
            .ok_or_else(|| FileRefusal::bad_request(format!("name: has more than {NAME_BYTES_MAX} bytes")))?;
        if size_bytes > settings.file_bytes_max {
            return Err(FileRefusal::too_large(settings.file_bytes_max));
        }
        if size_bytes == 0 {
            return Err(FileRefusal::empty());
        }
        let now_ms = clock::now_ms();
        let upload = Upload { file_id: FileId::random(), user_id, name, size_bytes, expires_at_ms: now_ms + rest_ms };
        let quota = UploadQuota {
            uploads_max: settings.uploads_per_user_max,
            files_max: settings.files_per_day_max,
            bytes_max: settings.bytes_per_day_max,
            since_ms: now_ms - DAY_MS,
        };
        match self.store.begin_upload(&upload, metadata, quota, now_ms).await? {
            Err(BeyondQuota::Uploads) if self.give_up_resting(user_id).await? => {
                self.store.begin_upload(&upload, metadata, quota, now_ms).await??;
            }
            begun => begun?,
        }
        let (folder, file_id) = (self.folder.clone(), upload.file_id);
        let create = move || {
            folder.check_room(CHUNK_BYTES as u64)?;
            folder.create_upload(file_id).map(drop)
        };
        let created = self.disk.run(create).await;
        if let Err(error) = created {
            self.give_up(file_id).await;
            return Err(error.into());
        }
        Ok(upload)
    }

    /// How long an upload may rest that goes on by further requests.
    pub fn rest_ms(&self) -> i64 {
        i64::from(self.settings.upload_ttl_s) * 1_000
    }

    /// The upload, for whoever writes to it now.
    ///
    /// # Errors
    /// Somebody else does.
    pub async fn staged(&self, file_id: FileId) -> Result<Staged, FileRefusal> {
        let place = self.writers.take(file_id, clock::now_ms());
        self.open_staged(file_id, place).await
    }

    /// The same for who can wait for whoever writes to it: nobody is sent away.
    ///
    /// # Errors
    /// Somebody else does.
    pub async fn staged_if_free(&self, file_id: FileId) -> Result<Staged, FileRefusal> {
        let place = self.writers.take_if_free(file_id, clock::now_ms());
        self.open_staged(file_id, place).await
    }

    async fn open_staged(&self, file_id: FileId, place: Result<WriterPlace, HasWriter>) -> Result<Staged, FileRefusal> {
        let place = place.map_err(|_| FileRefusal::has_writer())?;
        let folder = self.folder.clone();
        let opened = self.disk.run(move || Staged::open(folder, file_id, place)).await;
        opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => FileRefusal::has_writer(),
            std::io::ErrorKind::NotFound => FileRefusal::not_found(),
            _ => error.into(),
        })
    }

    /// Gives up one of a user's uploads that has rested for a while, so that another one may begin; whether there was one.
    async fn give_up_resting(&self, user_id: u64) -> Result<bool, FileRefusal> {
        for file_id in self.store.uploads_of(user_id, self.settings.uploads_per_user_max).await? {
            // Its writer's place is held until it is gone, so that nobody begins to write meanwhile.
            let Ok(staged) = self.staged_if_free(file_id).await else { continue };
            if staged.has_rested(RESTED_FOR) {
                self.give_up(file_id).await;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a user may bring more today.
    ///
    /// # Errors
    /// It is too much already.
    pub async fn check_bytes_of_day(&self, user_id: u64) -> Result<(), FileRefusal> {
        let bytes = self.store.bytes_since(user_id, clock::now_ms() - DAY_MS).await?;
        if bytes <= self.settings.bytes_per_day_max { Ok(()) } else { Err(BeyondQuota::Bytes.into()) }
    }

    /// Forgets an upload with all that came of it.
    pub async fn give_up(&self, file_id: FileId) {
        let folder = self.folder.clone();
        let counted = self.disk.run(move || folder.upload_bytes(file_id)).await;
        let came_bytes = counted.unwrap_or_else(|error| {
            tracing::warn!(%file_id, %error, "nobody knows how much came of an upload that ended");
            0
        });
        let forgotten = match self.store.forget_upload(file_id, came_bytes).await {
            Ok(true) => match self.remove_upload(file_id).await {
                // It may have come so far.
                Ok(()) => self.contents.remove_of_upload(file_id).await,
                failed => failed,
            },
            Ok(false) => Ok(()),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = forgotten {
            tracing::warn!(%file_id, %error, "an upload that ended could not be removed; it will be later");
        }
    }

    /// Removes what is on the disk of an upload, and parts of it that a bucket has.
    pub async fn remove_upload(&self, file_id: FileId) -> std::io::Result<()> {
        self.contents.forget_sent(self.folder.sent(file_id)).await?;
        let folder = self.folder.clone();
        self.disk.run(move || folder.remove_upload(file_id)).await
    }

    /// Counts what was sent in vain in its user's day: else the disk could be written to without end.
    pub async fn count_taken_back(&self, user_id: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        if let Err(error) = self.store.count_taken_back(user_id, bytes, clock::now_ms()).await {
            tracing::warn!(%error, user_id, "what was sent in vain does not count in its user's quota");
        }
    }

    /// Takes the bytes of an upload, all in one request, and makes it a file.
    pub async fn receive_whole(
        &self,
        upload: Upload,
        length: Option<u64>,
        checksum: Option<&Checksum>,
        body: Body,
    ) -> Result<StoredFile, FileRefusal> {
        let staged = self.staged(upload.file_id).await?;
        let _transfer = InGauge::one(&gauge!(FILE_TRANSFERS, "direction" => "up"));
        let received = receive(&self.disk, body, staged, upload.size_bytes, checksum).await?;
        let Received { staged, taken_back_bytes, outcome } = received;
        self.count_taken_back(upload.user_id, taken_back_bytes).await;
        outcome?;
        if staged.length() == 0 {
            return Err(FileRefusal::empty());
        }
        if length.is_some_and(|length| length != staged.length()) {
            return Err(FileRefusal::bad_request("the upload broke off"));
        }
        self.finish(&upload, staged).await
    }
}
