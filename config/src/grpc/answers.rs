//! Answers to strangers, from when they are made until they are taken.
//!
//! On the tasks of their calls. Always holds: what is made and not yet taken is counted in bytes, for its connection, its address and
//! in all; it is handed out in pieces of [`PIECE_BYTES`], so that HTTP/2 keeps no more than that of what the caller's window does not
//! take; and it is let go after `grpc.answer_timeout_ms`.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_proto::ResultCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{
    connection::{CallPlace, Taken},
    settings::{GrpcSettings, Kind},
};

use crate::metrics as names;

const PIECE_BYTES: usize = 16 * 1024;
/// Of a larger answer the last byte is a piece of its own: it is asked for when there is a window for all before it, and until then
/// the answer counts.
const WHOLE_BYTES_MAX: usize = 256;

/// What waits of one answer; the sweep may take it away.
#[derive(Debug)]
pub(super) struct HeldAnswer {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Bytes,
    _taken: Option<Taken>,
    is_late: bool,
}

/// An answer that holds the place of its call until it was taken.
struct Answer {
    held: Arc<HeldAnswer>,
    key: usize,
    rest: Body,
    place: CallPlace,
}

/// The same answer, counted; or what a caller hears who leaves too many untaken.
pub(super) async fn hold(answer: http::Response<Body>, place: CallPlace) -> Result<http::Response<Body>, Status> {
    let (parts, mut body) = answer.into_parts();
    let first = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
    let bytes = match first {
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(bytes) => bytes,
            Err(frame) => {
                // There are but trailers.
                let trailers = frame.into_trailers().unwrap_or_default();
                return Ok(http::Response::from_parts(parts, Body::new(http_body_of(trailers, place))));
            }
        },
        Poll::Ready(Some(Err(status))) => return Err(status),
        Poll::Ready(None) | Poll::Pending => Bytes::new(),
    };
    if !place.may_have(Kind::AnswerBytes, bytes.len()) {
        metrics::counter!(names::GRPC_CALLS_REFUSED, "why" => "answers").increment(1);
        return Err(ResultCode::TooLarge.status("the answer is longer than may wait to be taken; ask for less at once"));
    }
    let taken = place.take(Kind::AnswerBytes, bytes.len());
    if taken.is_none() {
        metrics::counter!(names::GRPC_CALLS_REFUSED, "why" => "answers").increment(1);
        return Err(ResultCode::TryAgainLater.status("too many answers are not taken, try again later"));
    }
    let state = Mutex::new(State { bytes, _taken: taken, is_late: false });
    let held = Arc::new(HeldAnswer { since: Instant::now(), state });
    let key = place.connection().track(held.clone());
    Ok(http::Response::from_parts(parts, Body::new(Answer { held, key, rest: body, place })))
}

/// Trailers alone, while the place of the call is held.
fn http_body_of(trailers: http::HeaderMap, place: CallPlace) -> impl HttpBody<Data = Bytes, Error = Status> {
    struct Trailers(Option<http::HeaderMap>, #[allow(dead_code, reason = "it is held")] CallPlace);
    impl HttpBody for Trailers {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }
    Trailers(Some(trailers), place)
}

impl HeldAnswer {
    /// Whether it is late; what waits of it is let go then.
    pub(super) fn expire(&self, now: Instant, settings: &GrpcSettings) -> bool {
        let mut state = self.lock();
        let is_over = now.saturating_duration_since(self.since) >= Duration::from_millis(settings.answer_timeout_ms);
        // What goes on without end, as the watch of a health check, has nothing that waits.
        if is_over && !state.bytes.is_empty() {
            *state = State { is_late: true, ..State::default() };
            metrics::counter!(names::GRPC_ANSWERS_LATE).increment(1);
        }
        state.is_late
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next piece, copied where it would keep the whole answer in memory.
    fn piece(&mut self) -> Option<Bytes> {
        let count = match self.bytes.len() {
            0 => return None,
            all @ ..=WHOLE_BYTES_MAX => all,
            all => PIECE_BYTES.min(all - 1),
        };
        let piece = self.bytes.split_to(count);
        let is_small_part = count < self.bytes.len();
        Some(if is_small_part { Bytes::copy_from_slice(&piece) } else { piece })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        {
            let mut state = self.held.lock();
            if state.is_late {
                return Poll::Ready(Some(Err(ResultCode::TryAgainLater.status("the answer was not taken in time"))));
            }
            if let Some(piece) = state.piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.held.lock();
        state.bytes.is_empty() && !state.is_late && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What has no trailers is whole: HTTP/1.1 says how long it is.
        if self.rest.is_end_stream() {
            SizeHint::with_exact(self.held.lock().bytes.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.place.connection().untrack(self.key);
    }
}
