//! Why something was not done with a file, and the one table of what a client sees of it: a status of HTTP, a result code, a sentence.
//!
//! What is ours to mend is logged here, once, and the client is told nothing of our insides.

use std::{io, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gim_config::page_json::Problem;
use gim_proto::ResultCode;
use tonic::{Code, Status};

use super::{picture::PictureProblem, staged::ReceiveError};
use crate::{
    error::UseCaseError,
    store::{BeyondQuota, StoreError},
};

/// What tus answers where a checksum is that of other bytes.
const CHECKSUM_MISMATCH: u16 = 460;

/// After so long a client may try again where something is full, or somebody else is at it.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct FileRefusal {
    status: StatusCode,
    code: i32,
    message: String,
    wait: Option<Duration>,
}

impl FileRefusal {
    fn new(status: StatusCode, code: ResultCode, message: impl Into<String>) -> Self {
        Self { status, code: code.number(), message: message.into(), wait: None }
    }

    fn later(status: StatusCode, code: ResultCode, message: impl Into<String>) -> Self {
        Self { wait: Some(PAUSE), ..Self::new(status, code, message) }
    }

    /// The request makes no sense; the sentence names the field.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ResultCode::BadRequest, message)
    }

    /// There is no such file, or it is somebody else's upload.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, ResultCode::NotAllowed, "there is no such file")
    }

    /// A file of somebody else.
    pub fn not_uploader() -> Self {
        let message = "only who uploaded a file takes it back";
        Self::new(StatusCode::FORBIDDEN, ResultCode::NotAllowed, message)
    }

    /// Nobody may upload without a user.
    pub fn no_old_upload() -> Self {
        let message = "uploads without a user are not taken here: files.old_upload is off";
        Self::new(StatusCode::NOT_FOUND, ResultCode::NotAllowed, message)
    }

    /// More bytes than a file may have.
    pub fn too_large(bytes_max: u64) -> Self {
        let message = format!("a file may have no more than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ResultCode::TooLarge, message)
    }

    /// A picture that would take too much to decode.
    pub fn too_many_pixels(problem: &PictureProblem) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, ResultCode::TooLarge, problem.to_string())
    }

    /// A file without bytes.
    pub fn empty() -> Self {
        Self::bad_request("a file needs at least one byte")
    }

    /// A URL that is none of ours.
    pub fn wrong_url() -> Self {
        Self::new(StatusCode::FORBIDDEN, ResultCode::NotAllowed, "this URL is not one that was given away here")
    }

    /// A URL that was good.
    pub fn expired_url() -> Self {
        Self::new(StatusCode::FORBIDDEN, ResultCode::NotAllowed, "this URL has expired: ask for a new one")
    }

    /// Nobody has looked at the file yet.
    pub fn unchecked() -> Self {
        Self::later(
            StatusCode::SERVICE_UNAVAILABLE,
            ResultCode::TryAgainLater,
            "the file is being checked: try again later",
        )
    }

    /// Somebody looked at the file.
    pub fn refused_content() -> Self {
        Self::new(StatusCode::FORBIDDEN, ResultCode::NotAllowed, "the file was checked and is refused")
    }

    /// Too many requests are under way.
    pub fn too_many_requests() -> Self {
        let message = "too many transfers are under way: try again later";
        Self::later(StatusCode::SERVICE_UNAVAILABLE, ResultCode::TryAgainLater, message)
    }

    /// Another request writes to the upload.
    pub fn has_writer() -> Self {
        Self::later(StatusCode::LOCKED, ResultCode::TryAgainLater, "another request writes to this upload")
    }

    /// The bytes of a request begin elsewhere than those that are there end.
    pub fn wrong_offset() -> Self {
        let message = "upload-offset: is not how many bytes are there: ask by HEAD";
        Self::new(StatusCode::CONFLICT, ResultCode::BadRequest, message)
    }

    /// A body that calls itself something else.
    pub fn unsupported_kind(kind: &str) -> Self {
        let message = format!("content-type: must be {kind}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ResultCode::BadRequest, message)
    }

    /// A body that is packed.
    pub fn unsupported_coding() -> Self {
        let message = "content-encoding: a file comes as it is, and is kept so";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ResultCode::BadRequest, message)
    }

    /// Another version of tus, or none.
    pub fn unsupported_version(version: &str) -> Self {
        let message = format!("tus-resumable: must be {version}");
        Self::new(StatusCode::PRECONDITION_FAILED, ResultCode::BadRequest, message)
    }

    /// A page that may not call.
    pub fn other_origin() -> Self {
        let message = "origin: this page is not listed in files.origins";
        Self::new(StatusCode::FORBIDDEN, ResultCode::NotAllowed, message)
    }

    /// What is asked for on a condition is another thing by now, or is not there.
    pub fn no_match() -> Self {
        let message = "if-match: there is nothing with this entity tag";
        Self::new(StatusCode::PRECONDITION_FAILED, ResultCode::BadRequest, message)
    }

    /// A part of a file that begins after its end.
    pub fn beyond_end(length: u64) -> Self {
        let message = format!("range: begins after the end, the file has {length} bytes");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, ResultCode::BadRequest, message)
    }

    /// No request has this path.
    pub fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ResultCode::BadRequest, "there is nothing at this path")
    }

    /// None with this path has this method.
    pub fn unknown_method() -> Self {
        let message = "this path has no such method: `allow` names those that it has";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ResultCode::BadRequest, message)
    }

    /// Whether it is because there is no such file.
    pub fn is_of_absence(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whether it is because another request writes to the upload.
    pub fn is_of_writer(&self) -> bool {
        self.status == StatusCode::LOCKED
    }
}

impl IntoResponse for FileRefusal {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(Problem::new(self.code, self.message))).into_response();
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.wait {
            answer.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        answer
    }
}

impl From<Status> for FileRefusal {
    fn from(status: Status) -> Self {
        let http = match status.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let code = ResultCode::number_of_status(&status);
        let wait = ResultCode::wait_of(&status);
        Self { status: http, code, message: status.message().to_owned(), wait }
    }
}

impl From<StoreError> for FileRefusal {
    fn from(error: StoreError) -> Self {
        Status::from(UseCaseError::from(error)).into()
    }
}

impl From<io::Error> for FileRefusal {
    fn from(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            tracing::warn!(%error, "the folder of files is full");
            let message = "the server has no room for the file: try again later";
            return Self::later(StatusCode::INSUFFICIENT_STORAGE, ResultCode::TryAgainLater, message);
        }
        if error.kind() == io::ErrorKind::HostUnreachable {
            tracing::warn!(%error, "the bucket of files does not do what it is asked for");
            let message = "the store of files does not answer: try again later";
            return Self::later(StatusCode::SERVICE_UNAVAILABLE, ResultCode::TryAgainLater, message);
        }
        tracing::error!(%error, "the folder of files fails");
        ResultCode::Internal.status(ResultCode::Internal.text()).into()
    }
}

impl From<ReceiveError> for FileRefusal {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TooLong => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, ResultCode::TooLarge, "more bytes came than were announced")
            }
            ReceiveError::BrokenOff(_) => Self::bad_request("the upload broke off"),
            ReceiveError::Displaced => Self::has_writer(),
            ReceiveError::WrongChecksum => {
                let status = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
                Self::new(status, ResultCode::BadRequest, "upload-checksum: other bytes came; they were not kept")
            }
            ReceiveError::Disk(error) => error.into(),
        }
    }
}

impl From<BeyondQuota> for FileRefusal {
    fn from(beyond: BeyondQuota) -> Self {
        let message = match beyond {
            BeyondQuota::Uploads => "too many uploads of yours are not at their end",
            BeyondQuota::Files => "you have uploaded as many files as a day allows",
            BeyondQuota::Bytes => "you have uploaded as many bytes as a day allows",
        };
        Self::new(StatusCode::TOO_MANY_REQUESTS, ResultCode::TooManyRequests, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_any_other_trouble_of_it_is_not() {
        let full = FileRefusal::from(io::Error::from(io::ErrorKind::StorageFull)).into_response();
        assert_eq!(full.status(), StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(full.headers()[header::RETRY_AFTER], "1");
        let error = io::Error::other("/var/lib/gim/files: Input/output error");
        let broken = FileRefusal::from(error);
        assert_eq!((broken.status, broken.message.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "internal error"));
    }
}
