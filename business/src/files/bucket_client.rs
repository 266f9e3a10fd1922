//! How a bucket is called: by the client of HTTP and the TLS that the rest of gim has.
//!
//! On the threads of files. Always holds: a bucket that neither takes nor gives anything for a while has failed, in whatever part of a call;
//! one that is only slow has not.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::{ClientConfig, crypto::ring as provider};
use tokio::time::{Sleep, sleep, timeout};

use super::threads::Threads;

/// How long a bucket may be silent.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What is kept of a connection in each direction, and handed on at once.
const BUFFER_BYTES: usize = 64 * 1_024;

/// See the module's documentation. Clones share the connections.
#[derive(Debug, Clone)]
pub struct BucketClient {
    client: Client<HttpsConnector<TcpConnector>, Noted>,
    threads: Threads,
}

/// What is sent, and how much of it was.
struct Noted {
    body: HttpRequestBody,
    sent_bytes: Arc<AtomicU64>,
}

/// What comes, unless it does not.
struct InTime {
    body: Incoming,
    silence: Option<Pin<Box<Sleep>>>,
}

impl BucketClient {
    pub fn new(threads: &Threads) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let tls = builder.with_native_roots().map_err(|error| format!("no authorities on this host: {error}"))?;
        let tls = tls.with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).http1_max_buf_size(BUFFER_BYTES).build(connector);
        Ok(Self { client, threads: threads.clone() })
    }
}

impl HttpConnector for BucketClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[tonic::async_trait]
impl HttpService for BucketClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sent_bytes = Arc::new(AtomicU64::new(0));
        let request = request.map(|body| Noted { body, sent_bytes: sent_bytes.clone() });
        let mut asked = pin!(self.threads.for_own(self.client.request(request)));
        let answer = loop {
            let before = sent_bytes.load(Relaxed);
            match timeout(SILENCE_MAX, asked.as_mut()).await {
                Ok(answer) => break answer,
                Err(late) if sent_bytes.load(Relaxed) == before => {
                    return Err(HttpError::new(HttpErrorKind::Timeout, late));
                }
                Err(_) => {}
            }
        };
        let answer = answer.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        Ok(answer.map(|body| HttpResponseBody::new(InTime { body, silence: None })))
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.sent_bytes.fetch_add(bytes as u64, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for InTime {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.silence = None;
            let error = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(error)));
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(SILENCE_MAX)));
        if silence.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let why = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, why))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
