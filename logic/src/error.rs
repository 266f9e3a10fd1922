//! What can go wrong with a request, and the one place where that becomes a result code and a sentence for the caller.

use std::time::{Duration, Instant};

use gim_config::seldom::Seldom;
use gim_proto::{
    ResultCode,
    check::Violation,
    connect::Reply,
    logic::{GroupPage, SyncReply},
};
use prost::Message as _;
use tonic::Status;

use crate::{
    clients::business::BusinessError,
    domain::{
        group::GroupRefusal,
        refusal::{Numbered, Refusal},
    },
    shared_state::SharedStateError,
    store::StoreError,
};

/// While something is away, every request would say so.
static PUT_OFF: Seldom = Seldom::every(Duration::from_secs(10));

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is to blame, and the caller may read why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Routes and rooms.
    #[error(transparent)]
    SharedState(#[from] SharedStateError),
    /// The business service.
    #[error(transparent)]
    Business(#[from] BusinessError),
}

impl Error {
    /// A refusal with its code and a sentence for the caller.
    pub fn refused(code: ResultCode, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(code, message))
    }

    /// The refusal of more than anybody may have for now, which there is room for after `wait`.
    pub fn later(reason: impl Into<String>, wait: Duration) -> Self {
        Self::Refused(Refusal::Later { reason: reason.into(), wait })
    }

    /// The result code that stands for this error.
    pub fn code(&self) -> ResultCode {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Store(error) | Self::SharedState(SharedStateError::RoomSeqs(error)) => match error {
                StoreError::Busy(_) | StoreError::PutOff(_) => ResultCode::TryAgainLater,
                StoreError::TooMany(_) | StoreError::BudgetSpent { .. } => ResultCode::TooManyRequests,
                StoreError::Failed(_) => ResultCode::Internal,
            },
            Self::SharedState(SharedStateError::RoomsFull | SharedStateError::Away(_)) => ResultCode::TryAgainLater,
            Self::SharedState(SharedStateError::NameTaken(_)) => ResultCode::NotAllowed,
            Self::SharedState(
                SharedStateError::Failed(_)
                | SharedStateError::Mistaken(_)
                | SharedStateError::OfAnotherDatabase { .. }
                | SharedStateError::Taken { .. },
            ) => ResultCode::Internal,
            Self::Business(error) => error.code(),
        }
    }

    /// The answer to a gRPC caller. What he must not read is logged here, once, under the request id of the current span.
    pub fn into_status(self) -> Status {
        let code = self.code();
        match self {
            Self::Refused(refusal) => to_status(refusal),
            Self::Store(ref error @ StoreError::BudgetSpent { wait_s }) => {
                code.status_after(error.to_string(), Duration::from_secs(wait_s))
            }
            Self::Business(BusinessError::Refused(status)) => status,
            Self::Business(error @ BusinessError::Unanswered(_)) => ResultCode::TryAgainLater.status(error.to_string()),
            error @ Self::SharedState(SharedStateError::NameTaken(_)) => Status::already_exists(error.to_string()),
            error @ (Self::Store(StoreError::PutOff(_) | StoreError::TooMany(_))
            | Self::SharedState(SharedStateError::RoomsFull | SharedStateError::Away(_))) => {
                tracing::debug!(%error, "a request was put off");
                code.into()
            }
            error if code == ResultCode::TryAgainLater => {
                match PUT_OFF.due(Instant::now()) {
                    Some(left_out) => tracing::warn!(%error, left_out, "a request was put off"),
                    None => tracing::debug!(%error, "a request was put off"),
                }
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
        let data = match &self {
            Self::Refused(Refusal::BeyondNewest { of, newest_seq, .. }) => newest(*of, *newest_seq).encode_to_vec(),
            _ => Vec::new(),
        };
        let status = self.into_status();
        let code = ResultCode::number_of_status(&status);
        Reply { code, message: status.message().to_owned(), data: data.into() }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Refused(violation.into())
    }
}

impl From<GroupRefusal> for Error {
    fn from(refusal: GroupRefusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<ResultCode> for Error {
    fn from(code: ResultCode) -> Self {
        Self::Refused(code.into())
    }
}

fn to_status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Field(violation) => violation.into(),
        Refusal::BeyondNewest { newest_seq, .. } => ResultCode::beyond_newest(refusal.to_string(), newest_seq),
        Refusal::BehindOldest { oldest_cursor } => ResultCode::behind_oldest(refusal.to_string(), oldest_cursor),
        Refusal::Later { ref reason, wait } => refusal.code().status_after(reason, wait),
        refusal => refusal.code().status(refusal.to_string()),
    }
}

/// Where a client that is beyond the newest message finds it: where a sync says after which seq it begins.
fn newest(of: Numbered, newest_seq: u64) -> SyncReply {
    match of {
        Numbered::Inbox => SyncReply { start_seq: newest_seq, ..SyncReply::default() },
        Numbered::Group(group_id) => {
            let page = GroupPage { group_id, newest_seq, ..GroupPage::default() };
            SyncReply { groups: vec![page], ..SyncReply::default() }
        }
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
        let business = Error::Business(BusinessError::Failed { call: "Auth", status: Status::unknown("stack trace") });
        let business = business.into_status();
        assert_eq!(business.message(), "internal error");
    }

    #[test]
    fn who_is_beyond_the_newest_message_is_told_which_it_is() {
        let beyond = |of| Error::from(Refusal::BeyondNewest { field: "seq", seq: 10, of, newest_seq: 6 });
        let reply = beyond(Numbered::Inbox).into_reply();
        let sentence = "seq: 10 is beyond the newest message of the inbox, which is 6";
        assert_eq!((reply.code, reply.message.as_str()), (10007, sentence));
        assert_eq!(SyncReply::decode(reply.data).unwrap().start_seq, 6);
        let reply = beyond(Numbered::Group(5)).into_reply();
        let groups = SyncReply::decode(reply.data).unwrap().groups;
        assert_eq!(groups.iter().map(|page| (page.group_id, page.newest_seq)).collect::<Vec<_>>(), [(5, 6)]);
    }

    #[test]
    fn a_refusal_says_why() {
        let reply = Error::refused(ResultCode::GroupNotFound, "there is no group 5").into_reply();
        assert_eq!((reply.code, reply.message.as_str()), (10220, "there is no group 5"));
    }
}
