//! Checks of request fields. To a caller every [`Violation`] is an `INVALID_ARGUMENT` that names its field, in the message, in a
//! `google.rpc.BadRequest` and with result code 10001 (10002 for a field over its limit).

use std::fmt;

use tonic::Status;
use tonic_types::StatusExt as _;

use crate::ResultCode;

/// The largest id that every store can hold: ids travel as uint64 and are stored as signed 64-bit integers.
pub const ID_MAX: u64 = i64::MAX as u64;

/// Longest key by which a repeated send is recognised.
pub const CLIENT_MSG_ID_BYTES_MAX: usize = 64;

/// A field that says what it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// As the caller is told.
    pub code: ResultCode,
    /// The name of the field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for Status {
    fn from(violation: Violation) -> Self {
        let mut details = violation.code.details();
        details.add_bad_request_violation(&violation.field, &violation.problem);
        Self::with_error_details(violation.code.grpc(), violation.to_string(), details)
    }
}

/// The violation of `field`, and what is wrong with it.
pub fn invalid(field: &str, problem: impl Into<String>) -> Violation {
    Violation { code: ResultCode::BadRequest, field: field.to_owned(), problem: problem.into() }
}

/// Fails where an id is 0 or beyond [`ID_MAX`].
pub fn id(field: &str, value: u64) -> Result<u64, Violation> {
    match value {
        0 => Err(invalid(field, "must not be 0")),
        1..=ID_MAX => Ok(value),
        // True also for whoever said a negative number: it came as one beyond.
        _ => Err(invalid(field, format!("must be from 1 to {ID_MAX}"))),
    }
}

/// Fails where a list of ids is empty, longer than `count_max`, or holds an id that [`id`] refuses.
pub fn ids(field: &str, values: &[u64], count_max: usize) -> Result<(), Violation> {
    if values.is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    if values.len() > count_max {
        return Err(too_large(field, format!("has {} entries, at most {count_max} are allowed", values.len())));
    }
    values.iter().try_for_each(|&value| id(field, value).map(drop))
}

/// Fails where a text or a content is longer than `bytes_max`.
pub fn size(field: &str, value: impl AsRef<[u8]>, bytes_max: usize) -> Result<(), Violation> {
    let length = value.as_ref().len();
    if length > bytes_max {
        return Err(too_large(field, format!("has {length} bytes, at most {bytes_max} are allowed")));
    }
    Ok(())
}

/// Fails where a text or a content is empty, or longer than `bytes_max`.
pub fn filled(field: &str, value: impl AsRef<[u8]>, bytes_max: usize) -> Result<(), Violation> {
    if value.as_ref().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    size(field, value, bytes_max)
}

/// The violation of a field over its limit.
pub fn too_large(field: &str, problem: String) -> Violation {
    Violation { code: ResultCode::TooLarge, field: field.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_its_field_everywhere() {
        let status = Status::from(id("user_id", 0).unwrap_err());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.message(), "user_id: must not be 0");
        assert_eq!(ResultCode::of_status(&status), ResultCode::BadRequest);
        let request = status.get_details_bad_request().unwrap();
        assert_eq!(request.field_violations[0].field, "user_id");
    }

    #[test]
    fn ids_at_both_ends_of_the_range() {
        assert!(id("id", 1).is_ok());
        assert!(id("id", ID_MAX).is_ok());
        assert!(id("id", ID_MAX + 1).is_err());
        assert_eq!(id("id", u64::MAX).unwrap_err().problem, "must be from 1 to 9223372036854775807");
        assert!(ids("ids", &[], 3).is_err());
        assert!(ids("ids", &[1, 2, 3], 3).is_ok());
        assert!(ids("ids", &[1, 0], 3).is_err());
        assert_eq!(ids("ids", &[1; 4], 3).unwrap_err().code, ResultCode::TooLarge);
    }

    #[test]
    fn sizes_at_the_limit() {
        assert!(size("name", "abc", 3).is_ok());
        assert_eq!(size("name", "abcd", 3).unwrap_err().code, ResultCode::TooLarge);
        assert!(filled("name", "", 3).is_err());
    }
}
