//! Requests of the app that are none of the client's own: calls of services and commands of a backend. Each is answered once, whatever
//! happens: by the server, by its deadline, or because the connection broke.

use bytes::Bytes;
use gim_proto::ResultCode;

use super::types::{Answer, NEVER, local_code};
use crate::wire::is_put_off;

const REQUESTS_MAX: usize = 256;
/// Before a read that was put off is asked again.
const RETRY_PAUSE_MS: u64 = 1000;

/// What the app asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRequest {
    /// Different for each.
    pub request_id: String,
    /// Of the packet.
    pub command: i32,
    /// Of the packet.
    pub content: Bytes,
    /// Whether it may be sent again where nobody knows if the server did it: reads are.
    pub is_repeatable: bool,
    /// When it has failed.
    pub deadline_ms: u64,
}

#[derive(Debug)]
struct Waiting {
    request: AppRequest,
    is_under_way: bool,
    not_before_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// In the order in which they were asked.
    waiting: Vec<Waiting>,
    /// What is to be handed out.
    pub(super) answers: Vec<(String, Answer)>,
}

impl Requests {
    pub(super) fn add(&mut self, request: AppRequest) {
        if self.waiting.len() >= REQUESTS_MAX {
            self.refuse(request.request_id, local_code::TOO_MANY_WAITING, "too many requests wait");
        } else {
            self.waiting.push(Waiting { request, is_under_way: false, not_before_ms: 0 });
        }
    }

    /// Those that may go out now, oldest first; they are under way from here on.
    pub(super) fn take_ready(&mut self, now_ms: u64) -> Vec<AppRequest> {
        let ready = self.waiting.iter_mut().filter(|one| !one.is_under_way && one.not_before_ms <= now_ms);
        ready
            .map(|one| {
                one.is_under_way = true;
                one.request.clone()
            })
            .collect()
    }

    /// Returns whether the server asks for a new sign-in.
    pub(super) fn settle(&mut self, request_id: &str, answer: Answer, now_ms: u64) -> bool {
        let Some(index) = self.waiting.iter().position(|one| one.request.request_id == request_id) else {
            return false;
        };
        let one = &mut self.waiting[index];
        if one.request.is_repeatable && is_put_off(answer.code) {
            one.is_under_way = false;
            one.not_before_ms = now_ms + RETRY_PAUSE_MS;
            return false;
        }
        let asks_for_sign_in = answer.code == ResultCode::SignInAgain as i32;
        if !(asks_for_sign_in && one.request.is_repeatable) {
            self.waiting.remove(index);
            self.answers.push((request_id.to_owned(), answer));
        }
        asks_for_sign_in
    }

    /// The connection ended: reads are asked again on the next one.
    pub(super) fn disconnected(&mut self) {
        self.refuse_those(local_code::CONNECTION_LOST, "the connection broke before the answer came", |one| {
            one.is_under_way && !one.request.is_repeatable
        });
        for one in &mut self.waiting {
            one.is_under_way = false;
            one.not_before_ms = 0;
        }
    }

    pub(super) fn advance(&mut self, now_ms: u64) {
        self.refuse_those(local_code::TIMEOUT, "no answer came in time", |one| one.request.deadline_ms <= now_ms);
    }

    pub(super) fn cancel(&mut self, request_id: &str) {
        self.waiting.retain(|one| one.request.request_id != request_id);
    }

    pub(super) fn stop(&mut self) {
        self.refuse_those(local_code::STOPPED, "the client was stopped", |_| true);
    }

    pub(super) fn deadline_ms(&self, is_live: bool) -> u64 {
        let deadline = |one: &Waiting| {
            let retry_ms = if is_live && !one.is_under_way { one.not_before_ms } else { NEVER };
            one.request.deadline_ms.min(retry_ms)
        };
        self.waiting.iter().map(deadline).min().unwrap_or(NEVER)
    }

    fn refuse_those(&mut self, code: i32, message: &str, is_refused: impl Fn(&Waiting) -> bool) {
        let (refused, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(is_refused);
        self.waiting = kept;
        refused.into_iter().for_each(|one| self.refuse(one.request.request_id, code, message));
    }

    fn refuse(&mut self, request_id: String, code: i32, message: &str) {
        self.answers.push((request_id, Answer { code, message: message.to_owned(), data: Bytes::new() }));
    }
}
