//! A file, or a part of it, for whoever has a URL that was signed here: `GET /files/ID?expires=…&signature=…`.
//!
//! On tasks of Tokio. Always holds: a transfer keeps one chunk and what its connection has not taken yet; what could run in a browser is
//! only saved by it, never shown.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use gim_config::in_gauge::InGauge;
use metrics::gauge;
use serde::Deserialize;

use super::{
    Files,
    contents::{FileBytes, ReadAs},
    disposition::content_disposition,
    kind,
    range::{Asked, asked},
    refusal::FileRefusal,
    signed_url::{UrlProblem, Variant},
};
use crate::{
    clock,
    domain::file::FileId,
    metrics::{FILE_BYTES_TOTAL, FILE_DOWNLOADS_TOTAL, FILE_TRANSFERS},
    store::{ContentState, StoredFile},
};

/// S3 signs for no longer than a week.
const PRESIGNED_S_MAX: i64 = 7 * 86_400;

/// Nothing of a file may do anything in a browser, or be shown in a page of somebody else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; sandbox";

/// The media type of all thumbnails.
pub const THUMBNAIL_KIND: &str = "image/jpeg";

/// What stands behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DownloadQuery {
    expires: String,
    signature: String,
    /// `1` has a browser save also what it could show.
    download: String,
}

/// Answers `GET /files/ID`.
pub async fn whole(
    State(files): State<Files>,
    Path(file_id): Path<String>,
    query: Result<Query<DownloadQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    counted(files.read(&file_id, Variant::Whole, query, &method, &headers).await)
}

/// Answers `GET /files/ID/thumbnail`.
pub async fn variant(
    State(files): State<Files>,
    Path((file_id, variant)): Path<(String, String)>,
    query: Result<Query<DownloadQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(variant) = Variant::of_path(&variant) else { return FileRefusal::not_found().into_response() };
    counted(files.read(&file_id, variant, query, &method, &headers).await)
}

fn counted(answer: Result<Response, FileRefusal>) -> Response {
    let result = if answer.is_ok() { "answered" } else { "refused" };
    metrics::counter!(FILE_DOWNLOADS_TOTAL, "result" => result).increment(1);
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// What a request reads, after its URL was found to be good.
struct Readable<'a> {
    file: &'a StoredFile,
    variant: Variant,
    is_saved: bool,
    /// Whether only the head of the answer is asked for.
    is_head: bool,
    /// For how many seconds more the URL is good.
    good_for_s: i64,
}

impl Files {
    async fn read(
        &self,
        file_id: &str,
        variant: Variant,
        query: Result<Query<DownloadQuery>, QueryRejection>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, FileRefusal> {
        let Query(query) = query.map_err(|_| FileRefusal::wrong_url())?;
        let file_id = FileId::parse(file_id).ok_or_else(FileRefusal::wrong_url)?;
        let now_ms = clock::now_ms();
        let checked = self.signer.check(file_id, variant, &query.expires, &query.signature, now_ms);
        let expires_at_ms = checked.map_err(|problem| match problem {
            UrlProblem::Wrong => FileRefusal::wrong_url(),
            UrlProblem::Expired => FileRefusal::expired_url(),
        })?;
        let file = self.lookup.stored(file_id).await?.ok_or_else(FileRefusal::not_found)?;
        let content = &file.content;
        match content.state {
            ContentState::Good => {}
            ContentState::Unchecked if variant == Variant::Check => {}
            ContentState::Unchecked => return Err(FileRefusal::unchecked()),
            ContentState::Refused => return Err(FileRefusal::refused_content()),
        }
        let (is_saved, good_for_s) = (query.download == "1", (expires_at_ms - now_ms) / 1_000);
        let is_head = method == Method::HEAD;
        self.answer(&Readable { file: &file, variant, is_saved, is_head, good_for_s }, headers).await
    }

    async fn answer(&self, readable: &Readable<'_>, headers: &HeaderMap) -> Result<Response, FileRefusal> {
        let etag = readable.etag();
        let text_of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if text_of(header::IF_MATCH).is_some_and(|meant| !names_strongly(meant, &etag)) {
            return Err(FileRefusal::no_match());
        }
        if text_of(header::IF_NONE_MATCH).is_some_and(|known| names(known, &etag)) {
            let mut answer = StatusCode::NOT_MODIFIED.into_response();
            readable.describe(&etag, answer.headers_mut());
            return Ok(answer);
        }
        if let Some(url) = self.redirect(readable).await? {
            let mut answer = StatusCode::TEMPORARY_REDIRECT.into_response();
            put(answer.headers_mut(), header::LOCATION, &url);
            put(answer.headers_mut(), header::CACHE_CONTROL, "no-store");
            return Ok(answer);
        }
        let length = readable.length();
        let is_same = text_of(header::IF_RANGE).is_none_or(|known| known == etag);
        let part = match text_of(header::RANGE).filter(|_| is_same).map(|range| asked(range, length)) {
            None | Some(Asked::Whole) => None,
            Some(Asked::Part(part)) => Some(part),
            Some(Asked::Beyond) => {
                let mut answer = FileRefusal::beyond_end(length).into_response();
                put(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
                return Ok(answer);
            }
        };
        let (content_id, variant) = (readable.file.content.content_id, readable.variant);
        let bytes = part.clone().unwrap_or(0..length);
        let mut answer = Response::new(Body::empty());
        if !readable.is_head {
            *answer.body_mut() = body(self.contents.read(content_id, variant, bytes.clone()).await?);
        }
        readable.describe(&etag, answer.headers_mut());
        answer.headers_mut().insert(header::CONTENT_LENGTH, (bytes.end - bytes.start).into());
        if part.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
            put(answer.headers_mut(), header::CONTENT_RANGE, &range);
        }
        Ok(answer)
    }
}

impl Files {
    /// Where the client reads it from the bucket, if that is meant.
    async fn redirect(&self, readable: &Readable<'_>) -> Result<Option<String>, FileRefusal> {
        let mut headers = HeaderMap::new();
        readable.describe("", &mut headers);
        let text_of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let read_as = ReadAs {
            kind: text_of(header::CONTENT_TYPE),
            disposition: text_of(header::CONTENT_DISPOSITION),
            good_for: Duration::from_secs(readable.good_for_s.clamp(1, PRESIGNED_S_MAX).unsigned_abs()),
        };
        Ok(self.contents.redirect(readable.file.content.content_id, readable.variant, &read_as).await?)
    }
}

impl Readable<'_> {
    fn length(&self) -> u64 {
        match self.variant {
            Variant::Whole | Variant::Check => self.file.content.size_bytes,
            Variant::Thumbnail => self.file.content.thumbnail_bytes,
        }
    }

    fn etag(&self) -> String {
        match self.variant {
            Variant::Whole | Variant::Check => format!("\"{}\"", self.file.content.hash),
            Variant::Thumbnail => format!("\"{}-thumbnail\"", self.file.content.hash),
        }
    }

    fn describe(&self, etag: &str, headers: &mut HeaderMap) {
        let kind = match self.variant {
            Variant::Whole | Variant::Check => self.file.content.kind.as_str(),
            Variant::Thumbnail => THUMBNAIL_KIND,
        };
        let is_inline = kind::is_inline(kind, self.file.content.width > 0) && !self.is_saved;
        put(headers, header::CONTENT_TYPE, kind::content_type(kind));
        headers.insert(header::CONTENT_DISPOSITION, content_disposition(is_inline, &self.file.name));
        put(headers, header::ETAG, etag);
        put(headers, header::CACHE_CONTROL, &format!("private, max-age={}, immutable", self.good_for_s));
        put(headers, header::ACCEPT_RANGES, "bytes");
        put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(headers, header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
        put(headers, header::REFERRER_POLICY, "no-referrer");
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Whether a list of entity tags names this one (weakly, as `If-None-Match` asks).
fn names(list: &str, etag: &str) -> bool {
    list.trim() == "*" || list.split(',').any(|known| known.trim().trim_start_matches("W/") == etag)
}

/// The same, as `If-Match` asks.
fn names_strongly(list: &str, etag: &str) -> bool {
    list.trim() == "*" || list.split(',').any(|known| known.trim() == etag)
}

/// The bytes of a file, counted as they are taken.
fn body(bytes: FileBytes) -> Body {
    let transfer = InGauge::one(&gauge!(FILE_TRANSFERS, "direction" => "down"));
    let taken_bytes = metrics::counter!(FILE_BYTES_TOTAL, "direction" => "down");
    Body::from_stream(bytes.inspect(move |read| {
        let _as_long_as_this = &transfer;
        match read {
            Ok(chunk) => taken_bytes.increment(chunk.len() as u64),
            Err(error) => tracing::error!(%error, "a file cannot be read"),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_entity_tags_names_one_of_them() {
        for list in ["*", "\"a\"", "W/\"a\"", "\"b\", \"a\""] {
            assert!(names(list, "\"a\""), "{list}");
        }
        for list in ["", "a", "\"b\"", "\"a"] {
            assert!(!names(list, "\"a\""), "{list}");
        }
        assert!(names_strongly("\"b\", \"a\"", "\"a\"") && !names_strongly("W/\"a\"", "\"a\""));
    }
}
