//! The upload of gim in Go, for apps that were written for it: `POST /upload`, a form with the field `file`, from anybody; the answer has a
//! URL that does not end. Only where the settings say so.
//!
//! As any other upload, by a user who is nobody: all who upload so share that user's quota.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use gim_proto::check;
use serde::Serialize;

use super::{
    Files,
    activity::Activity,
    form::{FormFile, delimiter, file_of},
    refusal::FileRefusal,
    signed_url::Variant,
    upload::{NewUpload, WRITTEN_TO_FOR_MS, content_length, count, refuse},
};
use crate::clock;

/// The user of all uploads without one: no user ever gets this id.
const NOBODY: u64 = check::ID_MAX;

#[derive(Debug, Serialize)]
struct OldAnswer {
    code: i32,
    message: &'static str,
    data: OldData,
}

#[derive(Debug, Serialize)]
struct OldData {
    url: String,
}

/// Answers `POST /upload`.
pub async fn upload(
    State(files): State<Files>,
    uri: Uri,
    headers: HeaderMap,
    Extension(activity): Extension<Activity>,
    body: Body,
) -> Response {
    if !files.settings.old_upload {
        return refuse(FileRefusal::no_old_upload(), &headers, body, &activity).await;
    }
    let base_url = files.base_url(&uri, &headers);
    let threads = files.threads.clone();
    let task = threads.spawn(async move { files.old_upload(&headers, body, &base_url).await });
    match task.await {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            tracing::error!(%error, "an upload failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Files {
    async fn old_upload(
        &self,
        headers: &HeaderMap,
        body: Body,
        base_url: &str,
    ) -> Result<Json<OldAnswer>, FileRefusal> {
        let delimiter = delimiter(headers).map_err(|problem| FileRefusal::bad_request(problem.to_string()))?;
        let form = file_of(body, delimiter).await.map_err(|problem| FileRefusal::bad_request(problem.to_string()))?;
        let FormFile { name, body } = form;
        let length_max = content_length(headers).unwrap_or(u64::MAX).min(self.settings.file_bytes_max);
        let new = NewUpload { name: &name, metadata: None, size_bytes: length_max, rest_ms: WRITTEN_TO_FOR_MS };
        let upload = self.begin_upload_of(NOBODY, &new).await?;
        let file_id = upload.file_id;
        let stored = self.receive_whole(upload, None, None, body).await;
        if stored.is_err() {
            self.give_up(file_id).await;
        }
        count(&stored);
        stored?;
        let signed = self.signer.sign_for_good(file_id, Variant::Whole, clock::now_ms());
        let url = format!("{base_url}{}", signed.path);
        Ok(Json(OldAnswer { code: 0, message: "success", data: OldData { url } }))
    }
}
