//! What strangers' requests may take while they are received: nobody has shown a token yet whose request is not whole.
//!
//! On the tasks of their calls. Always holds: the bytes of all requests that are not whole are counted while they are held, and none
//! of them is held for longer than [`TIMEOUT`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use gim_proto::ResultCode;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

/// Bytes of requests that are being received; one that comes beyond it is put off. Far more than clients send at once, and less
/// than a host has.
const BYTES_MAX: usize = 256 << 20;

/// How long the rest of a request may take from when it is first waited for. (That of reflection is a stream: it lasts no longer.)
const TIMEOUT: Duration = Duration::from_secs(20);

/// The count. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    bytes: Arc<AtomicUsize>,
    timeout: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { bytes: Arc::default(), timeout: TIMEOUT }
    }
}

impl Bodies {
    /// The same request, counted.
    pub(crate) fn count(&self, body: Body) -> Body {
        Body::new(Counted { body, bytes: 0, all: self.clone(), deadline: None })
    }
}

/// A request that is being received.
struct Counted {
    body: Body,
    bytes: usize,
    all: Bodies,
    /// From the first time on that it is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        if self.all.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES_MAX {
            return Err(refusal("full", "too many requests are being received, try again later"));
        }
        Ok(())
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else {
            let timeout = self.all.timeout;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Some(Err(refusal("late", "the request did not come in time"))));
        };
        let Some(frame) = next.transpose()? else { return Poll::Ready(None) };
        let taken = self.take(frame.data_ref().map_or(0, Bytes::len));
        Poll::Ready(Some(taken.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

fn refusal(why: &'static str, message: &str) -> Status {
    metrics::counter!("grpc_requests_not_received_total", "why" => why).increment(1);
    ResultCode::TryAgainLater.status(message)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    struct Pieces(UnboundedReceiver<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn body(bodies: &Bodies) -> (UnboundedSender<Bytes>, Body) {
        let (pieces, received) = unbounded_channel();
        (pieces, bodies.count(Body::new(Pieces(received))))
    }

    async fn next(body: &mut Body) -> Option<Result<usize, Status>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap().len()))
    }

    #[tokio::test]
    async fn requests_that_are_not_whole_are_bounded_together() {
        let bodies = Bodies::default();
        let piece = Bytes::from(vec![0; 1 << 20]);
        let mut held = Vec::new();
        for _ in 0..BYTES_MAX / piece.len() {
            let (pieces, mut body) = body(&bodies);
            pieces.send(piece.clone()).unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), piece.len());
            held.push((pieces, body));
        }
        let one_more = async || {
            let (pieces, mut body) = body(&bodies);
            pieces.send(piece.clone()).unwrap();
            next(&mut body).await.unwrap()
        };
        let refused = one_more().await.unwrap_err();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::TryAgainLater);

        let (pieces, mut whole) = held.pop().unwrap();
        drop(pieces);
        assert!(next(&mut whole).await.is_none());
        drop(whole);
        one_more().await.unwrap();
        drop(held);
        assert_eq!(bodies.bytes.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_to_its_end_is_given_up() {
        let bodies = Bodies { timeout: Duration::from_millis(100), ..Bodies::default() };
        let (pieces, mut body) = body(&bodies);
        tokio::spawn(async move {
            while pieces.send(Bytes::from_static(b"x")).is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        let given_up = async {
            loop {
                if let Err(refused) = next(&mut body).await.unwrap() {
                    return refused;
                }
            }
        };
        let refused = tokio::time::timeout(TIMEOUT, given_up).await.unwrap();
        assert_eq!(refused.message(), "the request did not come in time");
    }
}
