//! What can go wrong with a request, and the one place where that becomes a result code and a sentence for the caller.

use gim_proto::{ResultCode, connect::Reply};
use tonic::Status;

use crate::{shared_state::SharedStateError, store::StoreError};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request, or the service in front of us, is to blame, and the caller may read why.
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Routes and rooms.
    #[error(transparent)]
    SharedState(#[from] SharedStateError),
    /// The business service failed in a way that is no answer.
    #[error("business {call}: {status}")]
    Business {
        /// Which call.
        call: &'static str,
        /// What it said.
        status: Status,
    },
}

impl Error {
    /// A refusal with its code and a sentence for the caller.
    pub fn refused(code: ResultCode, message: impl Into<String>) -> Self {
        Self::Refused(code.status(message))
    }

    /// The result code that stands for this error.
    pub fn code(&self) -> ResultCode {
        match self {
            Self::Refused(status) => ResultCode::of_status(status),
            Self::Store(error) | Self::SharedState(SharedStateError::RoomSeqs(error)) => match error {
                StoreError::Busy(_) | StoreError::PutOff(_) => ResultCode::TryAgainLater,
                StoreError::Failed(_) => ResultCode::Internal,
            },
            Self::SharedState(SharedStateError::RoomsFull | SharedStateError::Away(_)) => ResultCode::TryAgainLater,
            Self::SharedState(SharedStateError::NameTaken(_)) => ResultCode::NotAllowed,
            Self::SharedState(SharedStateError::Failed(_) | SharedStateError::Taken { .. }) => ResultCode::Internal,
            Self::Business { .. } => ResultCode::Internal,
        }
    }

    /// The answer to a gRPC caller. What he must not read is logged here, once, under the request id of the current span.
    pub fn into_status(self) -> Status {
        let code = self.code();
        match self {
            Self::Refused(status) => status,
            error @ Self::SharedState(SharedStateError::NameTaken(_)) => Status::already_exists(error.to_string()),
            error @ (Self::Store(StoreError::PutOff(_))
            | Self::SharedState(SharedStateError::RoomsFull | SharedStateError::Away(_))) => {
                tracing::debug!(%error, "a request was put off");
                code.into()
            }
            error if code == ResultCode::TryAgainLater => {
                tracing::warn!(%error, "a request was put off");
                code.into()
            }
            error => {
                tracing::error!(%error, "a request failed");
                code.into()
            }
        }
    }

    /// The answer on a long connection; logs as [`Error::into_status`] does.
    pub fn into_reply(self) -> Reply {
        let status = self.into_status();
        let code = ResultCode::of_status(&status);
        Reply { code: code.number(), message: status.message().to_owned(), ..Reply::default() }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.into_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_insides_stay_inside() {
        let failed = Error::Store(StoreError::Failed("no such table: secret".into())).into_reply();
        assert_eq!((failed.code, failed.message.as_str()), (2, "internal error"));
        let busy = Error::Store(StoreError::Busy("disk full on /secret".into())).into_reply();
        assert_eq!((busy.code, busy.message.as_str()), (10004, "try again later"));
        let business = Error::Business { call: "Auth", status: Status::unknown("stack trace") }.into_status();
        assert_eq!(business.message(), "internal error");
    }

    #[test]
    fn a_refusal_says_why() {
        let reply = Error::refused(ResultCode::GroupNotFound, "there is no group 5").into_reply();
        assert_eq!((reply.code, reply.message.as_str()), (10220, "there is no group 5"));
    }
}
