//! Why a request is refused, in words that whoever asked may read.

use std::{fmt, time::Duration};

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
    /// A seq that nobody was given: the database went back, or the client is mistaken.
    #[error("{field}: {seq} is beyond the newest message of {of}, which is {newest_seq}")]
    BeyondNewest {
        /// Which field.
        field: &'static str,
        /// What it said.
        seq: u64,
        /// Of what.
        of: Numbered,
        /// Up to where there are messages.
        newest_seq: u64,
    },
    /// A cursor behind which something was deleted.
    #[error("what happened after this cursor is deleted, at least in part; the oldest cursor is {oldest_cursor}")]
    BehindOldest {
        /// Nothing after it is deleted.
        oldest_cursor: u64,
    },
    /// More than anybody may have for now.
    #[error("{reason}")]
    Later {
        /// Why.
        reason: String,
        /// How long until there is room for it.
        wait: Duration,
    },
    /// What the code stands for, in a sentence of its own.
    #[error("{reason}")]
    Other {
        /// What kind of refusal it is.
        code: ResultCode,
        /// Why.
        reason: String,
    },
}

/// What has seqs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// Of the caller.
    Inbox,
    /// With this id.
    Group(u64),
}

impl fmt::Display for Numbered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox => formatter.write_str("the inbox"),
            Self::Group(group_id) => write!(formatter, "group {group_id}"),
        }
    }
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
            Self::BeyondNewest { .. } => ResultCode::BeyondNewest,
            Self::BehindOldest { .. } => ResultCode::BadRequest,
            Self::Later { .. } => ResultCode::TooManyRequests,
            Self::Other { code, .. } => *code,
        }
    }
}

impl From<ResultCode> for Refusal {
    fn from(code: ResultCode) -> Self {
        Self::new(code, code.text())
    }
}
