//! What a use case can fail with, and the one table of what a client sees of it.
//!
//! Refusals go to the client as they are. Anything else is logged here, once, inside the span that carries the request
//! id, and the client gets a code and a sentence that tell nothing about our insides.

use std::time::{Duration, Instant};

use gim_config::{places::NoPlace, seldom::Seldom};
use gim_proto::{ResultCode, check};
use tonic::Status;

use crate::{
    domain::code::{CodeCheckError, CodeSendError},
    logic::LogicError,
    metrics::READS_REFUSED_TOTAL,
    store::StoreError,
};

/// While something is away, every request would say so.
static PUT_OFF: Seldom = Seldom::every(Duration::from_secs(10));

/// Why a use case was not done.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// The rules say no; the message is for the client.
    #[error("{message}")]
    Refused {
        /// The code for the client.
        code: ResultCode,
        /// The sentence for the client.
        message: &'static str,
    },
    /// More than anybody may have for now; the message is for the client.
    #[error("{message}")]
    Later {
        /// The sentence for the client.
        message: &'static str,
        /// How long until there is room for it.
        wait: Duration,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A call to logic failed.
    #[error(transparent)]
    Logic(#[from] LogicError),
    /// The check of sign-in codes failed.
    #[error(transparent)]
    CodeCheck(#[from] CodeCheckError),
    /// A sign-in code was not sent.
    #[error(transparent)]
    CodeSend(#[from] CodeSendError),
}

impl UseCaseError {
    /// A refusal with a sentence of its own.
    pub fn refused(code: ResultCode, message: &'static str) -> Self {
        Self::Refused { code, message }
    }
}

impl From<ResultCode> for UseCaseError {
    fn from(code: ResultCode) -> Self {
        Self::refused(code, code.text())
    }
}

impl From<UseCaseError> for Status {
    fn from(error: UseCaseError) -> Self {
        match error {
            UseCaseError::Refused { code, message } => code.status(message),
            UseCaseError::Later { message, wait } => ResultCode::TooManyRequests.status_after(message, wait),
            UseCaseError::Logic(LogicError::Refused(status)) => *status,
            UseCaseError::CodeSend(CodeSendError::NotHere) => {
                ResultCode::BadRequest.status("no sign-in codes are sent from here: sign_in.code_webhook is not set")
            }
            UseCaseError::CodeSend(CodeSendError::Refused(status)) => {
                tracing::info!(status, "the webhook sends no code to a phone number");
                check::invalid("phone_number", "no code can be sent to it").into()
            }
            UseCaseError::Store(StoreError::Busy(_))
            | UseCaseError::Logic(LogicError::Away(_))
            | UseCaseError::CodeCheck(_)
            | UseCaseError::CodeSend(CodeSendError::Away(_) | CodeSendError::Unknown(_)) => {
                match PUT_OFF.due(Instant::now()) {
                    Some(left_out) => tracing::warn!(%error, left_out, "answered: try again later"),
                    None => tracing::debug!(%error, "answered: try again later"),
                }
                ResultCode::TryAgainLater.into()
            }
            UseCaseError::Store(StoreError::NoPlace(why)) => {
                metrics::counter!(READS_REFUSED_TOTAL).increment(1);
                match why {
                    NoPlace::TooMany => ResultCode::TooManyRequests.into(),
                    NoPlace::TooLate => ResultCode::TryAgainLater.into(),
                }
            }
            UseCaseError::Store(StoreError::Failed(_)) | UseCaseError::Logic(_) => {
                tracing::error!(%error, "answered: internal error");
                ResultCode::Internal.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sees_tells_nothing_about_our_insides() {
        let status = Status::from(UseCaseError::from(StoreError::from(sqlx::Error::PoolTimedOut)));
        assert_eq!(ResultCode::of_status(&status), ResultCode::TryAgainLater);
        assert_eq!(status.message(), "try again later");
        let status = Status::from(UseCaseError::from(StoreError::from(sqlx::Error::RowNotFound)));
        assert_eq!(ResultCode::of_status(&status), ResultCode::Internal);
        assert_eq!(status.message(), "internal error");
        let status = Status::from(UseCaseError::from(CodeCheckError("the text message gateway at 10.0.0.7".into())));
        assert_eq!((ResultCode::of_status(&status), status.message()), (ResultCode::TryAgainLater, "try again later"));
    }
}
