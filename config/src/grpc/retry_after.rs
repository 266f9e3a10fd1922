//! How long a refused caller waits at least, as the header `retry-after` says it whatever is spoken. Pure.
//!
//! Always holds: whoever is refused only for a while is told whole seconds, from 1 to [`WAIT_S_MAX`]; where the share is known that was
//! used up, it has as much again by then as the refused call takes.

use std::time::Duration;

use gim_proto::ResultCode;
use http::{HeaderMap, header};
use tonic::{Code, Status};

/// Nobody is told to stay away for longer; whoever comes then is told the rest.
const WAIT_S_MAX: u64 = 3_600;

/// Puts it beside a refusal for a while, unless it is there already.
pub(super) fn put(headers: &mut HeaderMap, status: &Status) {
    let wait = ResultCode::wait_of(status);
    let is_for_a_while = matches!(status.code(), Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded);
    if wait.is_some() || is_for_a_while {
        headers.entry(header::RETRY_AFTER).or_insert(seconds(wait.unwrap_or_default()).into());
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_nanos().div_ceil(1_000_000_000).clamp(1, WAIT_S_MAX.into()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_whole_seconds_that_are_enough() {
        let said = |status: Status| {
            let mut headers = HeaderMap::new();
            put(&mut headers, &status);
            headers.get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned())
        };
        for (millis, expected) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60"), (u64::MAX, "3600")] {
            let status = ResultCode::TooManyRequests.status_after("slower", Duration::from_millis(millis));
            assert_eq!(said(status).as_deref(), Some(expected), "{millis} ms");
        }
        assert_eq!(said(ResultCode::TryAgainLater.into()).as_deref(), Some("1"), "where nothing is known");
        assert_eq!(said(ResultCode::BadRequest.into()), None);
    }
}
