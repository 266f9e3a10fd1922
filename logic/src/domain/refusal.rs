//! Why a request is refused, in words that whoever asked may read.

use gim_proto::{ResultCode, check::Violation};

use super::group::GroupRefusal;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field says what it may not.
    #[error(transparent)]
    Field(#[from] Violation),
    /// A group is left as it is.
    #[error(transparent)]
    Group(#[from] GroupRefusal),
    /// What the code stands for, in a sentence of its own.
    #[error("{reason}")]
    Other {
        /// What kind of refusal it is.
        code: ResultCode,
        /// Why.
        reason: String,
    },
}

impl Refusal {
    /// A refusal with its code and a sentence.
    pub fn new(code: ResultCode, reason: impl Into<String>) -> Self {
        Self::Other { code, reason: reason.into() }
    }

    /// What kind of refusal it is.
    pub fn code(&self) -> ResultCode {
        match self {
            Self::Field(violation) => violation.code,
            Self::Group(refusal) => refusal.code(),
            Self::Other { code, .. } => *code,
        }
    }
}

impl From<ResultCode> for Refusal {
    fn from(code: ResultCode) -> Self {
        Self::new(code, code.text())
    }
}
