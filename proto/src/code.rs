//! Result codes: PROTOCOL.md part 4, what each means, which gRPC status carries it, and whether a retry can help.
//!
//! A client on the long connection sees the number in `Reply.code`; a gRPC caller sees a standard status with the number
//! in the `reason` of a `google.rpc.ErrorInfo`. Both are made from the one table here.

use std::{ops::RangeInclusive, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, ErrorInfo, RetryInfo, StatusExt as _};

/// The `domain` of every `google.rpc.ErrorInfo` we send.
pub const ERROR_DOMAIN: &str = "gim";

/// In the metadata of an `ErrorInfo`: the calling service is not trusted.
const UNTRUSTED: &str = "untrusted";

/// In the metadata of an `ErrorInfo`: the newest seq, which the request was beyond.
const NEWEST_SEQ: &str = "newest_seq";

/// In the metadata of an `ErrorInfo`: the oldest cursor, which the request was behind.
const OLDEST_CURSOR: &str = "oldest_cursor";

/// Numbers that are kept for codes of gim. A business takes its own from the positive numbers outside.
const KEPT_FOR_GIM: RangeInclusive<i32> = 10_000..=10_999;

macro_rules! result_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $grpc:ident, $retry:literal, $text:literal;)*) => {
        /// Why a request was not done. The number is part of the wire and never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ResultCode { $($(#[$doc])* $name = $number,)* }

        impl ResultCode {
            /// Every code, for tables and tests.
            pub const ALL: &[ResultCode] = &[$(ResultCode::$name,)*];

            /// The code with this number.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The sentence a client sees where the place of the error has nothing better to say.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The gRPC status that carries this code.
            pub fn grpc(self) -> Code {
                match self { $(Self::$name => Code::$grpc,)* }
            }

            /// Whether the very same request may succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
        }
    };
}

result_codes! {
    /// Done.
    Ok = 0, Ok, false, "ok";
    /// Ours to mend; details stand only in the server's log, under the request id.
    Internal = 2, Internal, false, "internal error";
    /// The token is wrong, expired or revoked.
    SignInAgain = 10000, Unauthenticated, false, "please sign in again";
    /// The request cannot be understood.
    BadRequest = 10001, InvalidArgument, false, "bad request";
    /// A content, name or list is over its limit.
    TooLarge = 10002, InvalidArgument, false, "too large";
    /// The caller is over its rate.
    TooManyRequests = 10003, ResourceExhausted, true, "too many requests";
    /// Nothing was done; the same request may be sent again.
    TryAgainLater = 10004, Unavailable, true, "try again later";
    /// No such packet command.
    UnknownCommand = 10005, Unimplemented, false, "unknown command";
    /// The caller may not do this.
    NotAllowed = 10006, PermissionDenied, false, "not allowed";
    /// A cursor or an ack is beyond the newest message: the server went back, or the client is mistaken.
    BeyondNewest = 10007, OutOfRange, false, "beyond the newest message";
    /// The connection that was named is not there.
    ConnectionNotFound = 10101, NotFound, false, "connection not found";
    /// The connection that was named is somebody else's.
    ConnectionOfOtherDevice = 10102, FailedPrecondition, false, "the connection belongs to another device";
    /// No such device.
    DeviceNotFound = 10200, NotFound, false, "device not found";
    /// The caller is no member of the group.
    NotInGroup = 10201, FailedPrecondition, false, "not in the group";
    /// The member that was named is none.
    GroupMemberNotFound = 10202, NotFound, false, "group member not found";
    /// The user is a member already.
    AlreadyInGroup = 10203, AlreadyExists, false, "already in the group";
    /// The two users are no friends.
    NotFriends = 10210, FailedPrecondition, false, "not friends";
    /// The two users are friends already.
    AlreadyFriends = 10211, AlreadyExists, false, "already friends";
    /// No such group.
    GroupNotFound = 10220, NotFound, false, "group not found";
    /// The sign-in code of the phone number is wrong.
    WrongCode = 10300, InvalidArgument, false, "wrong code";
    /// No such user.
    UserNotFound = 10301, NotFound, false, "user not found";
}

impl ResultCode {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// A gRPC status with this code and a sentence for the caller.
    pub fn status(self, message: impl Into<String>) -> Status {
        Status::with_error_details(self.grpc(), message, self.details())
    }

    /// A refusal for a while: after `wait` there is room for the very same request, which the details say for programs.
    pub fn status_after(self, message: impl Into<String>, wait: Duration) -> Status {
        // The code stands first, where it stands in every other refusal.
        let info = ErrorInfo::new(self.number().to_string(), ERROR_DOMAIN, []);
        let details = [info.into(), RetryInfo::new(Some(wait)).into()];
        Status::with_error_details_vec(self.grpc(), message, details)
    }

    /// How long a status says to wait, if it does.
    pub fn wait_of(status: &Status) -> Option<Duration> {
        status.get_details_retry_info()?.retry_delay
    }

    /// The refusal of a calling service that did not show what it has to: no answer to what it asked.
    pub fn untrusted(message: impl Into<String>) -> Status {
        let mut details = ErrorDetails::new();
        let untrusted = [(UNTRUSTED.to_owned(), "true".to_owned())];
        details.set_error_info(Self::NotAllowed.number().to_string(), ERROR_DOMAIN, untrusted);
        Status::with_error_details(Self::NotAllowed.grpc(), message, details)
    }

    /// The refusal of a seq beyond the newest one, which it names for programs as well.
    pub fn beyond_newest(message: impl Into<String>, newest_seq: u64) -> Status {
        let mut details = ErrorDetails::new();
        let newest = [(NEWEST_SEQ.to_owned(), newest_seq.to_string())];
        details.set_error_info(Self::BeyondNewest.number().to_string(), ERROR_DOMAIN, newest);
        Status::with_error_details(Self::BeyondNewest.grpc(), message, details)
    }

    /// The refusal of a cursor behind which something was deleted; the oldest one is named for programs as well.
    pub fn behind_oldest(message: impl Into<String>, oldest_cursor: u64) -> Status {
        let mut details = ErrorDetails::new();
        let oldest = [(OLDEST_CURSOR.to_owned(), oldest_cursor.to_string())];
        details.set_error_info(Self::BadRequest.number().to_string(), ERROR_DOMAIN, oldest);
        Status::with_error_details(Self::BadRequest.grpc(), message, details)
    }

    /// The oldest cursor that a status names, if it does.
    pub fn oldest_cursor(status: &Status) -> Option<u64> {
        status.get_details_error_info()?.metadata.get(OLDEST_CURSOR)?.parse().ok()
    }

    /// Whether a status is the refusal of an untrusted caller.
    pub fn is_untrusted(status: &Status) -> bool {
        status.get_details_error_info().is_some_and(|info| info.metadata.contains_key(UNTRUSTED))
    }

    /// The code inside a status: from its `ErrorInfo`, or else the nearest one for its gRPC code.
    pub fn of_status(status: &Status) -> Self {
        Self::number_in_details(status).and_then(Self::from_number).unwrap_or_else(|| Self::near_grpc(status.code()))
    }

    /// The status of a refusal by the business, with a code of gim or one of its own. What is neither is "not allowed".
    pub fn status_of_business(number: i32, message: &str) -> Status {
        if is_own_of_business(number) {
            let mut details = ErrorDetails::new();
            details.set_error_info(number.to_string(), ERROR_DOMAIN, []);
            return Status::with_error_details(Code::FailedPrecondition, message, details);
        }
        let code = Self::from_number(number).unwrap_or(Self::NotAllowed);
        code.status(if message.is_empty() { code.text() } else { message })
    }

    /// The number inside a status: a code of the business's own, or else that of [`ResultCode::of_status`].
    pub fn number_of_status(status: &Status) -> i32 {
        Self::own_of_business(status).unwrap_or_else(|| Self::of_status(status).number())
    }

    /// The number that the details of a status say, if they say one.
    pub fn number_in_details(status: &Status) -> Option<i32> {
        status.get_details_error_info()?.reason.parse().ok()
    }

    /// A number as the label of a metric: those of the business's own share one.
    pub fn label(number: i32) -> String {
        Self::from_number(number).map_or_else(|| "business".to_owned(), |code| code.number().to_string())
    }

    /// The code of the business's own that a status carries, if it does.
    pub fn own_of_business(status: &Status) -> Option<i32> {
        let number = Self::number_in_details(status)?;
        is_own_of_business(number).then_some(number)
    }

    fn near_grpc(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::Unauthenticated => Self::SignInAgain,
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => Self::BadRequest,
            Code::PermissionDenied => Self::NotAllowed,
            Code::ResourceExhausted => Self::TooManyRequests,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => Self::TryAgainLater,
            _ => Self::Internal,
        }
    }

    pub(crate) fn details(self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.number().to_string(), ERROR_DOMAIN, []);
        details
    }
}

fn is_own_of_business(number: i32) -> bool {
    number > 0 && !KEPT_FOR_GIM.contains(&number) && ResultCode::from_number(number).is_none()
}

impl From<ResultCode> for Status {
    fn from(code: ResultCode) -> Self {
        code.status(code.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_trip_through_a_status() {
        for &code in ResultCode::ALL {
            assert_eq!(ResultCode::from_number(code.number()), Some(code));
            if code != ResultCode::Ok {
                let status = Status::from(code);
                assert_eq!(status.code(), code.grpc());
                assert_eq!(ResultCode::of_status(&status), code);
            }
        }
    }

    #[test]
    fn a_code_of_the_business_travels_as_it_is() {
        for (number, expected) in
            [(1, 1), (4711, 4711), (20_000, 20_000), (10_210, 10_210), (2, 2), (i32::MAX, i32::MAX)]
        {
            assert_eq!(ResultCode::number_of_status(&ResultCode::status_of_business(number, "no")), expected);
        }
        for number in [10_999, 10_008, -1, i32::MIN] {
            let status = ResultCode::status_of_business(number, "");
            assert_eq!((ResultCode::number_of_status(&status), status.message()), (10_006, "not allowed"));
        }
    }

    #[test]
    fn who_is_beyond_the_newest_message_finds_its_seq_in_the_details() {
        let status = ResultCode::beyond_newest("seq: 10 is beyond", 6);
        assert_eq!(ResultCode::of_status(&status), ResultCode::BeyondNewest);
        assert_eq!(status.get_details_error_info().unwrap().metadata[NEWEST_SEQ], "6");
    }

    #[test]
    fn a_refusal_for_a_while_says_for_how_long() {
        let wait = Duration::from_millis(2_500);
        let status = ResultCode::TooManyRequests.status_after("slower", wait);
        assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests);
        assert_eq!(ResultCode::wait_of(&status), Some(wait));
        assert_eq!(ResultCode::wait_of(&ResultCode::TooManyRequests.into()), None);
    }

    #[test]
    fn a_foreign_status_gets_the_nearest_code() {
        assert_eq!(ResultCode::of_status(&Status::unauthenticated("no")), ResultCode::SignInAgain);
        assert_eq!(ResultCode::of_status(&Status::unavailable("down")), ResultCode::TryAgainLater);
        assert_eq!(ResultCode::of_status(&Status::unknown("?")), ResultCode::Internal);
    }
}
