//! Services that take one push with each call: how their answers are read.

use std::time::{Duration, Instant};

use gim_config::https_client::{HttpsAnswer, NoHttpsAnswer};
use gim_proto::business::{OfflinePush, offline_push::Peer};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Cause, Outcome};
use crate::domain::clock;

/// Pushes of one call, and calls at the same time: enough for 1,000 pushes a second where a call takes half of one.
pub(super) const LIMITS: (usize, usize) = (1, 512);

/// After so long nobody is woken any more by a push that the service still has.
pub(super) const TTL_S: u64 = 24 * 60 * 60;

/// A moment: as this process measures time, and as others read it in a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: Instant,
    pub unix_s: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), unix_s: clock::now_ms() / 1000 }
    }
}

/// What an answer says that is neither success nor about the device.
pub(super) fn of_answer(answer: &HttpsAnswer) -> Outcome {
    match answer.status {
        status if status.is_success() => Outcome::Taken,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Later(Cause::Device, answer.retry_after),
        status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
            service_is_busy(answer.retry_after)
        }
        status => Outcome::Refused(format!("{status}: {}", excerpt(&answer.body))),
    }
}

pub(super) fn service_is_busy(wait: Option<Duration>) -> Outcome {
    Outcome::Later(Cause::Service, wait)
}

pub(super) fn of_no_answer(error: &NoHttpsAnswer) -> Outcome {
    tracing::debug!(%error, "a push is handed out again");
    Outcome::Later(if error.may_be_taken { Cause::Unanswered } else { Cause::Service }, None)
}

/// The conversation, by which a newer push takes the place of an older one.
pub(super) fn conversation(push: &OfflinePush) -> String {
    match push.peer {
        Some(Peer::PeerUserId(user_id)) => format!("u{user_id}"),
        Some(Peer::GroupId(group_id)) => format!("g{group_id}"),
        None => format!("m{}", push.message_id),
    }
}

/// Headers, of which those are left out that cannot be sent.
pub(super) fn headers<const N: usize>(entries: [(&'static str, String); N]) -> HeaderMap {
    let entry = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    };
    entries.into_iter().filter_map(entry).collect()
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}
