//! Uploads that go on where they broke off, as tus 1.0 says (<https://tus.io/protocols/resumable-upload>): `POST /uploads` begins one, `PATCH`
//! brings bytes from an offset, `HEAD` asks for it, `DELETE` gives up. The extensions creation, expiration, checksum and termination.
//!
//! What came before a connection broke stays, but of a `PATCH` with a checksum, of which a part may be anything: that is taken back.
//! Each `PATCH` is a task of its own, which goes on to its end where the client is gone. Always holds: the offset is what is in the file,
//! and was on the disk before it was told; the id of an upload is that of the file that it becomes.

use std::{
    io,
    time::{Duration, SystemTime},
};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use gim_config::in_gauge::InGauge;
use metrics::gauge;

use super::{
    Files,
    activity::Activity,
    checksum::{ALGORITHMS, Checksum},
    refusal::FileRefusal,
    staged::{ReceiveError, Received, Staged, receive},
    upload::{NewUpload, content_length, count, refuse},
};
use crate::{
    clock,
    domain::file::{FileId, NAME_BYTES_MAX},
    metrics::FILE_TRANSFERS,
    store::{FoundFile, Upload},
};

/// What is kept of what a client says of an upload: its name, and other things.
const METADATA_BYTES_MAX: usize = 8_192;

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,expiration,checksum,termination";
const OFFSET_BYTES: &str = "application/offset+octet-stream";

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Has a request of a client that cannot say another method be one by it.
pub async fn overridden(mut request: Request, next: Next) -> Response {
    let Some(method) = request.headers().get(&METHOD_OVERRIDE) else { return next.run(request).await };
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) => *request.method_mut() = method,
        Err(_) => return spoken(FileRefusal::bad_request("x-http-method-override: must be a method").into_response()),
    }
    next.run(request).await
}

/// Answers `OPTIONS`: what is understood.
pub async fn options(State(files): State<Files>) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let headers = answer.headers_mut();
    headers.insert(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(ALGORITHMS));
    headers.insert(TUS_MAX_SIZE, files.settings.file_bytes_max.into());
    spoken(answer)
}

/// Answers `POST /uploads`: an upload begins.
pub async fn create(
    State(files): State<Files>,
    uri: Uri,
    headers: HeaderMap,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    let created = async {
        check_version(&headers)?;
        let length = number(&headers, &UPLOAD_LENGTH)?;
        let metadata = metadata_of(&headers)?;
        let name = name_in(metadata.unwrap_or_default())?;
        let new = NewUpload { name: &name, metadata, size_bytes: length, rest_ms: files.rest_ms() };
        files.begin_upload(&headers, &new).await
    };
    let upload = match created.await {
        Ok(upload) => upload,
        Err(refusal) => return spoken(refuse(refusal, &headers, body, &activity).await),
    };
    let location = format!("{}/uploads/{}", files.base_url(&uri, &headers), upload.file_id);
    let mut answer = StatusCode::CREATED.into_response();
    put_expires(answer.headers_mut(), upload.expires_at_ms);
    if let Ok(location) = location.try_into() {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    spoken(answer)
}

/// Answers `HEAD /uploads/ID`: how far it is.
pub async fn offset(State(files): State<Files>, Path(file_id): Path<String>, headers: HeaderMap) -> Response {
    let told = async {
        let (file_id, found) = files.upload_of(&file_id, &headers).await?;
        let metadata = files.store.upload_metadata(file_id).await?;
        let (offset, length, expires_at_ms) = match found {
            FoundFile::Stored(file) => (file.uploaded_bytes, file.uploaded_bytes, None),
            FoundFile::Upload(upload) => {
                let staged = files.staged(upload.file_id).await?;
                let offset = staged.length();
                if offset == upload.size_bytes {
                    // All bytes had come, and something went wrong then. It goes on to its end where the client is gone.
                    let (threads, files, upload) = (files.threads.clone(), files.clone(), upload.clone());
                    let task = threads.spawn(async move {
                        let stored = files.finish(&upload, staged).await;
                        count(&stored);
                        stored
                    });
                    task.await.map_err(|error| FileRefusal::from(io::Error::other(error)))??;
                }
                (offset, upload.size_bytes, Some(upload.expires_at_ms))
            }
        };
        let mut answer = StatusCode::OK.into_response();
        let headers = answer.headers_mut();
        headers.insert(UPLOAD_OFFSET, offset.into());
        headers.insert(UPLOAD_LENGTH, length.into());
        if let Some(metadata) = metadata.and_then(|metadata| HeaderValue::try_from(metadata).ok()) {
            headers.insert(UPLOAD_METADATA, metadata);
        }
        if let Some(expires_at_ms) = expires_at_ms {
            put_expires(headers, expires_at_ms);
        }
        Ok::<_, FileRefusal>(answer)
    };
    let mut answer = told.await.unwrap_or_else(IntoResponse::into_response);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    spoken(answer)
}

/// Answers `PATCH /uploads/ID`: bytes from an offset on.
pub async fn append(
    State(files): State<Files>,
    Path(file_id): Path<String>,
    headers: HeaderMap,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    let begun = async {
        if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != OFFSET_BYTES) {
            return Err(FileRefusal::unsupported_kind(OFFSET_BYTES));
        }
        let checksum = Checksum::of(&headers).map_err(FileRefusal::bad_request)?;
        let offset = number(&headers, &UPLOAD_OFFSET)?;
        let upload = match files.upload_of(&file_id, &headers).await?.1 {
            FoundFile::Upload(upload) => upload,
            // The answer to the last bytes was lost, say.
            FoundFile::Stored(file) if offset == file.uploaded_bytes && content_length(&headers) == Some(0) => {
                return Ok(Err(offset));
            }
            FoundFile::Stored(_) => return Err(FileRefusal::wrong_offset()),
        };
        if checksum.is_some() {
            // What is not what it should be is taken back, and counts all the same.
            files.check_bytes_of_day(upload.user_id).await?;
        }
        let staged = files.staged(upload.file_id).await?;
        if offset == staged.length() { Ok(Ok((upload, staged, checksum))) } else { Err(FileRefusal::wrong_offset()) }
    };
    let (upload, staged, checksum) = match begun.await {
        Ok(Ok(begun)) => begun,
        Ok(Err(offset)) => return spoken(appended(offset, None)),
        Err(refusal) => return spoken(refuse(refusal, &headers, body, &activity).await),
    };
    let threads = files.threads.clone();
    let task = threads.spawn(async move { files.append(upload, staged, checksum.as_ref(), body).await });
    spoken(match task.await {
        Ok(Ok((offset, expires_at_ms))) => appended(offset, Some(expires_at_ms)),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => {
            tracing::error!(%error, "an upload failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// Answers `DELETE /uploads/ID`: it is given up, or taken back where it is a file by now.
pub async fn terminate(State(files): State<Files>, Path(file_id): Path<String>, headers: HeaderMap) -> Response {
    let ended = async {
        let (file_id, found) = files.upload_of(&file_id, &headers).await?;
        files.end(file_id, found).await.map(|()| StatusCode::NO_CONTENT)
    };
    spoken(ended.await.into_response())
}

impl Files {
    /// What whoever asks began to upload under this id.
    async fn upload_of(&self, file_id: &str, headers: &HeaderMap) -> Result<(FileId, FoundFile), FileRefusal> {
        check_version(headers)?;
        let (caller, _turn) = self.reader(headers).await?;
        let file_id = FileId::parse(file_id).ok_or_else(FileRefusal::not_found)?;
        let found = self.store.file(file_id).await?.ok_or_else(FileRefusal::not_found)?;
        if found.user_id() == caller.user_id { Ok((file_id, found)) } else { Err(FileRefusal::not_found()) }
    }

    /// Returns the new offset, and until when the upload may rest.
    async fn append(
        &self,
        upload: Upload,
        staged: Staged,
        checksum: Option<&Checksum>,
        body: Body,
    ) -> Result<(u64, i64), FileRefusal> {
        let begin = staged.length();
        let transfer = InGauge::one(&gauge!(FILE_TRANSFERS, "direction" => "up"));
        let received = receive(&self.disk, body, staged, upload.size_bytes, checksum).await?;
        drop(transfer);
        let Received { staged, taken_back_bytes, outcome } = received;
        self.count_taken_back(upload.user_id, taken_back_bytes).await;
        let offset = staged.length();
        if outcome.is_ok() && offset == upload.size_bytes {
            let stored = self.finish(&upload, staged).await;
            count(&stored);
            return stored.map(|_| (offset, upload.expires_at_ms));
        }
        let staged = self.disk.run(move || staged.sync().map(|()| staged)).await?;
        let (now_ms, mut expires_at_ms) = (clock::now_ms(), upload.expires_at_ms);
        // Not for each part: a write of the database costs as much as one of a part. And not for nothing, or it may rest for ever.
        if offset > begin && expires_at_ms - now_ms < self.rest_ms() / 2 {
            expires_at_ms = now_ms + self.rest_ms();
            self.store.extend_upload(upload.file_id, expires_at_ms).await?;
        }
        drop(staged);
        match outcome {
            // What came before is there.
            Ok(()) | Err(ReceiveError::BrokenOff(_)) => Ok((offset, expires_at_ms)),
            Err(error) => Err(error.into()),
        }
    }
}

/// How far an upload is now.
fn appended(offset: u64, expires_at_ms: Option<i64>) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    answer.headers_mut().insert(UPLOAD_OFFSET, offset.into());
    if let Some(expires_at_ms) = expires_at_ms {
        put_expires(answer.headers_mut(), expires_at_ms);
    }
    answer
}

/// Every answer says which version is spoken.
fn spoken(mut answer: Response) -> Response {
    answer.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    answer.headers_mut().insert(TUS_VERSION, HeaderValue::from_static(VERSION));
    answer
}

fn check_version(headers: &HeaderMap) -> Result<(), FileRefusal> {
    if headers.get(&TUS_RESUMABLE).is_some_and(|version| version == VERSION) {
        return Ok(());
    }
    Err(FileRefusal::unsupported_version(VERSION))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, FileRefusal> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| FileRefusal::bad_request(format!("{name}: must be a number of bytes")))
}

/// What a client says of an upload.
fn metadata_of(headers: &HeaderMap) -> Result<Option<&str>, FileRefusal> {
    let Some(metadata) = headers.get(&UPLOAD_METADATA) else { return Ok(None) };
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(FileRefusal::bad_request("upload-metadata: has more than 8192 bytes"));
    }
    metadata.to_str().map(Some).map_err(|_| wrong_metadata())
}

/// The name in `Upload-Metadata`: pairs of a key and base64, with commas between them.
fn name_in(metadata: &str) -> Result<String, FileRefusal> {
    for pair in metadata.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        if key == "filename" || key == "name" {
            if value.len() > NAME_BYTES_MAX * 2 {
                return Err(FileRefusal::bad_request(format!(
                    "upload-metadata: the name has more than {NAME_BYTES_MAX} bytes"
                )));
            }
            let bytes = BASE64_STANDARD.decode(value.trim()).map_err(|_| wrong_metadata())?;
            return String::from_utf8(bytes)
                .map_err(|_| FileRefusal::bad_request("upload-metadata: the name is no UTF-8"));
        }
    }
    Ok(String::new())
}

fn wrong_metadata() -> FileRefusal {
    FileRefusal::bad_request(
        "upload-metadata: must have pairs of a key and a value in base64, with commas between them",
    )
}

/// When an upload is given up, as HTTP writes a date.
fn put_expires(headers: &mut HeaderMap, expires_at_ms: i64) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(expires_at_ms.unsigned_abs());
    if let Ok(date) = httpdate::fmt_http_date(at).try_into() {
        headers.insert(UPLOAD_EXPIRES, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_among_the_metadata() {
        assert_eq!(name_in("filetype aW1hZ2UvcG5n,filename c2VhLnBuZw==").unwrap(), "sea.png");
        assert_eq!(name_in("name c2VhLnBuZw==").unwrap(), "sea.png");
        for nothing in ["", "is_confidential", "filename"] {
            assert_eq!(name_in(nothing).unwrap(), "");
        }
        name_in("filename ***").unwrap_err();
        name_in("filename /w==").unwrap_err();
    }
}
