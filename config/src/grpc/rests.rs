//! What is left of a request by HTTP/1.1 that was answered before it was whole: without it, its connection cannot go on.
//!
//! On the tasks of calls, around all else. Always holds: a rest is read within bounds of bytes and of time, or the answer says that the
//! connection ends; and a request that was answered, be it by a refusal, counts as finished.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::connection::Connection;

/// A rest that takes longer to come is not read.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

/// Puts a [`RestService`] around services.
#[derive(Debug, Clone)]
pub(super) struct RestLayer {
    /// A longer rest is not read: no more than may come while no call is under way.
    pub(super) bytes_max: usize,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct RestService<S> {
    inner: S,
    bytes_max: usize,
}

impl<S> Layer<S> for RestLayer {
    type Service = RestService<S>;

    fn layer(&self, inner: S) -> RestService<S> {
        RestService { inner, bytes_max: self.bytes_max }
    }
}

impl<S> Service<Request<Body>> for RestService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.version() == Version::HTTP_2 {
            return Either::Left(self.inner.call(request));
        }
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let (rest, bytes_max) = (Rest::default(), self.bytes_max);
        let answered = self.inner.call(request.map(|body| rest.lend(body)));
        Either::Right(Box::pin(async move {
            let mut answer = answered.await?;
            let note_answer = || connection.iter().for_each(|connection| connection.on_answer(Instant::now()));
            // The rest is not counted with the head, nor with the head of what comes next.
            note_answer();
            if !rest.is_read(bytes_max).await {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            note_answer();
            Ok(answer)
        }))
    }
}

/// What its reader left of a body.
#[derive(Debug, Clone, Default)]
struct Rest(Arc<Mutex<Option<Body>>>);

impl Rest {
    fn lend(&self, body: Body) -> Body {
        Body::new(LentBody { body: Some(body), rest: self.clone() })
    }

    /// Whether nothing of it remains; who still reads it sees to that himself.
    async fn is_read(&self, bytes_max: usize) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = left else { return true };
        if body.size_hint().lower() > bytes_max as u64 {
            return false;
        }
        let read = async {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > bytes_max {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(REST_TIMEOUT, read).await.unwrap_or(false)
    }
}

/// A body that is given back where it was not read to its end.
struct LentBody {
    body: Option<Body>,
    rest: Rest,
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = std::task::ready!(Pin::new(body).poll_frame(context));
        if next.is_none() {
            self.body = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}
