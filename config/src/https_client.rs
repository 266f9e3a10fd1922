//! Calls to services of others by HTTPS: one body each, HTTP/2 where the service speaks it.
//!
//! On Tokio. Always holds: a call ends within its deadline, head and body of the answer together, follows no redirect, and takes
//! [`ANSWER_BYTES_MAX`] of the answer at most. A connection that a network forgot is noticed by pings (HTTP/2), also while nobody calls; after
//! some calls in a row that nobody answered, all connections are left, and the next call makes a new one.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring as provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// What is read of an answer.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A connection that is not used for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection of HTTP/2 is asked so often whether anybody is there, and closed where nobody says so in time.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// After so many calls in a row that were not answered in time, no connection is used any more that was there.
const UNANSWERED_MAX: u32 = 3;

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpsClient {
    tls: Arc<ClientConfig>,
    only_http2: bool,
    timeout: Duration,
    used: Arc<Mutex<Used>>,
}

/// The connections that are used, and what is known of them.
#[derive(Debug)]
struct Used {
    connections: Connections,
    /// Which they are: a call that was made over earlier ones says nothing of these.
    number: u64,
    unanswered: u32,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct HttpsAnswer {
    /// Whether it did it.
    pub status: StatusCode,
    /// When to come again, where it says so in seconds.
    pub retry_after: Option<Duration>,
    /// What it says; nothing where that is too long.
    pub body: Bytes,
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct NoHttpsAnswer {
    problem: String,
    /// Whether the service may have got the call.
    pub may_be_taken: bool,
}

impl HttpsClient {
    /// Trusts the authorities of this host, and those of a file (an empty path for none).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(authorities_file: &Path, only_http2: bool, timeout: Duration) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let tls = builder.with_root_certificates(authorities(authorities_file)?).with_no_client_auth();
        let connections = connections(&tls, only_http2, timeout);
        let used = Arc::new(Mutex::new(Used { connections, number: 0, unanswered: 0 }));
        Ok(Self { tls: Arc::new(tls), only_http2, timeout, used })
    }

    /// Posts `body`. An answer whose body does not come in time has none.
    ///
    /// # Errors
    /// Where nobody answered in time: it is not known whether the service did it.
    pub async fn post(&self, url: Uri, headers: HeaderMap, body: Bytes) -> Result<HttpsAnswer, NoHttpsAnswer> {
        let mut request = Request::post(url).body(Full::new(body)).map_err(|error| NoHttpsAnswer::of(error, false))?;
        *request.headers_mut() = headers;
        let (connections, number) = {
            let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            (used.connections.clone(), used.number)
        };
        let deadline = tokio::time::Instant::now() + self.timeout;
        let answered = tokio::time::timeout_at(deadline, connections.request(request)).await;
        self.note(number, answered.is_ok());
        let (head, body) = match answered {
            Ok(Ok(answer)) => answer.into_parts(),
            Ok(Err(error)) => {
                let may_be_taken = !error.is_connect();
                return Err(NoHttpsAnswer::of(error, may_be_taken));
            }
            Err(_) => {
                let problem = format!("{:?} have passed", self.timeout);
                return Err(NoHttpsAnswer { problem, may_be_taken: true });
            }
        };
        let body = tokio::time::timeout_at(deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(HttpsAnswer { status: head.status, retry_after: retry_after.map(Duration::from_secs), body })
    }

    /// Notes whether a call was answered, or refused, in time.
    fn note(&self, number: u64, is_answered: bool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.number != number {
            return;
        }
        used.unanswered = if is_answered { 0 } else { used.unanswered + 1 };
        if used.unanswered >= UNANSWERED_MAX {
            let connections = connections(&self.tls, self.only_http2, self.timeout);
            *used = Used { connections, number: number + 1, unanswered: 0 };
        }
    }
}

fn connections(tls: &ClientConfig, only_http2: bool, timeout: Duration) -> Connections {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(timeout));
    http.set_keepalive(Some(PING_INTERVAL));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_only();
    let connector = if only_http2 {
        connector.enable_http2().wrap_connector(http)
    } else {
        connector.enable_all_versions().wrap_connector(http)
    };
    let mut client = Client::builder(TokioExecutor::new());
    client.http2_only(only_http2).pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
    client.timer(TokioTimer::new()).http2_keep_alive_interval(PING_INTERVAL);
    client.http2_keep_alive_timeout(PING_TIMEOUT).http2_keep_alive_while_idle(true);
    client.build(connector)
}

impl NoHttpsAnswer {
    /// What hyper says is "client error (Connect)"; why stands in the causes.
    fn of(error: impl std::error::Error, may_be_taken: bool) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self { problem: text, may_be_taken }
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let of_host = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_host.certs);
    if !file.as_os_str().is_empty() {
        let problem = |error: rustls::pki_types::pem::Error| format!("{}: {error}", file.display());
        for certificate in CertificateDer::pem_file_iter(file).map_err(problem)? {
            let added = roots.add(certificate.map_err(problem)?);
            added.map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    if roots.is_empty() {
        return Err("there are no authorities on this host, and no file names one".into());
    }
    Ok(roots)
}
