//! One call of the business, from the wait for a place to the note of how it went. Any task.

use std::time::Instant;

use gim_proto::ResultCode;
use tokio::{sync::Semaphore, time::timeout_at};
use tonic::{Code, Response, Status};

use super::{Business, breaker::Breaker, is_away};

impl Business {
    /// Waits for a call, and for a place for it, no longer than a call may last: a burst of them is asked a part at a time, which
    /// also a business that breaks off connections with too many calls can bear. Each kind has places of its own. One that never had
    /// a place says nothing about the business.
    pub(super) fn ask<T>(
        &self,
        places: &Semaphore,
        breaker: Option<&Breaker>,
        call: impl Future<Output = Result<Response<T>, Status>> + Send,
    ) -> impl Future<Output = Result<T, Status>> + Send {
        // A call takes thousands of bytes, which every packet would otherwise carry about for the few that ask.
        let call = Box::pin(call);
        let deadline = tokio::time::Instant::now() + self.call_timeout;
        async move {
            let Ok(permit) = timeout_at(deadline, places.acquire()).await else {
                return Err(Status::deadline_exceeded("no place for the call in time"));
            };
            let _permit = permit.expect("the semaphore is never closed");
            let answered = timeout_at(deadline, call).await.unwrap_or_else(|_| Err(self.no_answer()));
            let answered = answered.map(Response::into_inner);
            self.note(breaker, answered.as_ref().err().filter(|status| is_away(status)));
            answered
        }
    }

    /// What is told of a call that is given up.
    fn no_answer(&self) -> Status {
        Status::deadline_exceeded(format!("{}: no answer within {} ms", self.name, self.call_timeout.as_millis()))
    }

    fn note(&self, breaker: Option<&Breaker>, failure: Option<&Status>) {
        let now = Instant::now();
        match failure {
            Some(status) => {
                if has_answered(status) {
                    self.outage.answered(now);
                    self.late.answered(now);
                    self.put_off.failed(&status.message(), now);
                } else if status.code() == Code::DeadlineExceeded {
                    self.outage.answered(now);
                    self.late.failed(&status.message(), now);
                } else {
                    self.outage.failed(status, now);
                }
                if let Some(breaker) = breaker {
                    breaker.failed(now);
                }
            }
            None => {
                self.outage.answered(now);
                self.late.answered(now);
                self.put_off.answered(now);
                if let Some(breaker) = breaker {
                    breaker.answered(now);
                }
            }
        }
    }
}

/// Whether the business itself says that it cannot, and not that it does not trust us.
fn has_answered(status: &Status) -> bool {
    ResultCode::number_in_details(status).is_some() && !ResultCode::is_untrusted(status)
}
