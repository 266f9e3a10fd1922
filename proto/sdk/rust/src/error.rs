//! What an app hears of what it asked for.

use crate::core::{Answer, local_code};

/// A refusal, by a code of the server or of the backend. Codes below 0 are the client's own ([`local_code`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {message}")]
pub struct GimError {
    /// As in PROTOCOL.md.
    pub code: i32,
    /// For people.
    pub message: String,
}

impl GimError {
    pub(crate) fn new(code: i32, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(crate) fn stopped() -> Self {
        Self::new(local_code::STOPPED, "the client was stopped")
    }

    pub(crate) fn unreadable() -> Self {
        Self::new(local_code::UNREADABLE, "the answer cannot be read")
    }
}

impl From<Answer> for GimError {
    fn from(Answer { code, message, .. }: Answer) -> Self {
        Self { code, message }
    }
}

/// Options with which there is no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Ids are from 1 to 2⁶³ − 1.
    #[error("user_id and device_id must be from 1 to 2^63 - 1")]
    Id,
    /// Neither `url` nor `locate` is set.
    #[error("url or locate must be set")]
    Way,
    /// `get_token` is not set.
    #[error("get_token must be set")]
    Token,
    /// The client runs in Tokio.
    #[error("there is no Tokio runtime here")]
    Runtime,
}
