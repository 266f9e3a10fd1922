//! What a file is, and URLs by which it can be read for a while: in the answer of its upload, and whenever somebody who is signed in asks
//! by its id.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Files, refusal::FileRefusal, signed_url::Variant};
use crate::{
    clock,
    domain::file::FileId,
    store::{ContentState, FoundFile, StoredFile},
};

/// See the module's documentation.
#[derive(Debug, Serialize)]
struct About {
    file_id: String,
    name: String,
    /// The media type that its bytes say.
    kind: String,
    size_bytes: u64,
    /// Of the bytes that a download gives.
    sha256: String,
    state: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    width: u32,
    #[serde(skip_serializing_if = "is_zero")]
    height: u32,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail_url: Option<String>,
    /// When the URLs end.
    expires_at_ms: i64,
}

/// Answers `GET /files/ID/about`.
pub async fn about(
    State(files): State<Files>,
    Path(file_id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, FileRefusal> {
    let (caller, _turn) = files.reader(&headers).await?;
    let file_id = FileId::parse(&file_id).ok_or_else(FileRefusal::not_found)?;
    match files.store.file(file_id).await? {
        Some(FoundFile::Stored(file)) => Ok(answer(&files, file_id, &file, &files.base_url(&uri, &headers))),
        Some(FoundFile::Upload(upload)) if upload.user_id == caller.user_id => {
            Err(FileRefusal::bad_request("the file is not whole: its upload has to go on"))
        }
        _ => Err(FileRefusal::not_found()),
    }
}

/// All that is to be told of a file.
pub fn answer(files: &Files, file_id: FileId, file: &StoredFile, base_url: &str) -> Response {
    let (content, now_ms) = (&file.content, clock::now_ms());
    let signed = files.signer.sign(file_id, Variant::Whole, now_ms);
    let url_of = |path: &str| format!("{base_url}{path}");
    let has_thumbnail = content.thumbnail_bytes > 0;
    let thumbnail_url = has_thumbnail.then(|| url_of(&files.signer.sign(file_id, Variant::Thumbnail, now_ms).path));
    let about = About {
        file_id: file_id.to_string(),
        name: file.name.clone(),
        kind: content.kind.clone(),
        size_bytes: content.size_bytes,
        sha256: content.hash.to_string(),
        state: match content.state {
            ContentState::Unchecked => "unchecked",
            ContentState::Good => "good",
            ContentState::Refused => "refused",
        },
        width: content.width,
        height: content.height,
        url: url_of(&signed.path),
        thumbnail_url,
        expires_at_ms: signed.expires_at_ms,
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(about)).into_response()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
