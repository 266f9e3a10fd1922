//! What requests of clients may take from their first byte until they are answered: nobody has looked at the token of one that is not
//! whole, and one that is whole may wait for others.
//!
//! On the tasks of their calls. Always holds: the bytes of a request are counted until its call is done, for its connection, its
//! address and in all; it has no more than `grpc.request_bytes_max`, and is given up where it is not whole after
//! `grpc.request_timeout_ms`.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_proto::ResultCode;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::{
    connection::{CallPlace, Connection, Taken},
    settings::{GrpcSettings, Kind},
};

use crate::metrics as names;

/// What the library takes of a message.
const LIBRARY_BYTES_MAX: usize = 4 << 20;

/// What a request may have, and what it has: given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct RequestRoom {
    bytes_max: usize,
    /// Where it is counted.
    taken: Option<Arc<Mutex<Option<Taken>>>>,
    whole_at: Arc<OnceLock<Instant>>,
}

impl Default for RequestRoom {
    /// Nobody counts it.
    fn default() -> Self {
        Self::of(LIBRARY_BYTES_MAX)
    }
}

impl RequestRoom {
    /// So many bytes, which nobody counts.
    pub(super) fn of(bytes_max: usize) -> Self {
        Self { bytes_max, taken: None, whole_at: Arc::default() }
    }

    /// Since when nothing more of the request is waited for: what a call takes before that is its caller's time. None until then.
    pub(super) fn whole_at(&self) -> Option<Instant> {
        self.whole_at.get().copied()
    }

    /// Takes more bytes, by which it comes to `all`.
    pub(super) fn take(&self, all: usize, more: usize) -> Result<(), Status> {
        if all > self.bytes_max {
            let problem = format!("the request has more than {} bytes", self.bytes_max);
            return Err(refusal("large", ResultCode::TooLarge, &problem));
        }
        let Some(taken) = &self.taken else { return Ok(()) };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !taken.as_mut().is_some_and(|taken| taken.add(more)) {
            let problem = "too many requests are under way, try again later";
            return Err(refusal("full", ResultCode::TryAgainLater, problem));
        }
        Ok(())
    }
}

/// The same request, counted, of `bytes_max` at most, and what it takes, to be held until it is answered.
pub(super) fn count(body: Body, place: &CallPlace, bytes_max: usize, settings: &GrpcSettings) -> (Body, RequestRoom) {
    let connection = place.connection().clone();
    connection.receive(1);
    let taken = Some(Arc::new(Mutex::new(place.take(Kind::RequestBytes, 0))));
    let room = RequestRoom { bytes_max, taken, whole_at: Arc::default() };
    let mut counted = Counted {
        body,
        bytes: 0,
        timeout: Duration::from_millis(settings.request_timeout_ms),
        room: room.clone(),
        deadline: None,
        receiving: Some(connection),
    };
    if counted.is_end_stream() {
        counted.end();
    }
    (Body::new(counted), room)
}

/// A request that is being received.
struct Counted {
    body: Body,
    bytes: usize,
    timeout: Duration,
    room: RequestRoom,
    /// From the first time on that it is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Until it is whole.
    receiving: Option<Arc<Connection>>,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        self.room.take(self.bytes, bytes)
    }

    fn end(&mut self) {
        if let Some(connection) = self.receiving.take() {
            connection.receive(-1);
            self.room.whole_at.get_or_init(Instant::now);
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else {
            let timeout = self.timeout;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(refusal(
                "late",
                ResultCode::TryAgainLater,
                "the request did not come in time",
            ))));
        };
        let Some(frame) = next.transpose()? else {
            self.end();
            return Poll::Ready(None);
        };
        let taken = self.take(frame.data_ref().map_or(0, Bytes::len));
        if self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(taken.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end();
    }
}

fn refusal(why: &'static str, code: ResultCode, message: &str) -> Status {
    metrics::counter!(names::GRPC_REQUESTS_NOT_RECEIVED, "why" => why).increment(1);
    code.status(message)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::{super::peers::Peers, *};
    use crate::networks::Networks;

    #[tokio::test]
    async fn a_request_is_whole_once_its_caller_has_sent_all_of_it() {
        let (settings, began) = (GrpcSettings::default(), Instant::now());
        let peers = Arc::new(Peers::new(&settings, Networks::default(), 1_000));
        let connection = peers.admit(Ipv4Addr::LOCALHOST.into(), began).unwrap();
        let place = connection.begin(None, None, began).unwrap();
        let (sender, parts) = mpsc::channel::<Result<Frame<Bytes>, Status>>(1);
        let sent = Body::new(StreamBody::new(ReceiverStream::new(parts)));
        let (mut body, room) = count(sent, &place, 1_000, &settings);

        sender.send(Ok(Frame::data(Bytes::from_static(b"a part")))).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(room.whole_at(), None, "the caller may yet take his time");
        let last_sent_at = Instant::now();
        drop(sender);
        assert!(body.frame().await.is_none());
        assert!(room.whole_at().is_some_and(|whole_at| whole_at >= last_sent_at));

        let (_body, empty) = count(Body::empty(), &place, 1_000, &settings);
        assert!(empty.whole_at().is_some(), "nothing is to come");
    }
}
