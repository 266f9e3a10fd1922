//! Calls to services of others by HTTPS: one body each, HTTP/2 where the service speaks it.
//!
//! On Tokio. Always holds: a call ends within its deadline, follows no redirect, and takes [`ANSWER_BYTES_MAX`] of the answer at most.

use std::{path::Path, sync::Arc, time::Duration};

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

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct HttpsClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
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
#[error("{0}")]
pub struct NoHttpsAnswer(String);

impl HttpsClient {
    /// Trusts the authorities of this host, and those of a file (an empty path for none).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(authorities_file: &Path, only_http2: bool, timeout: Duration) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let tls = builder.with_root_certificates(authorities(authorities_file)?).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector =
            if only_http2 { connector.enable_http2().build() } else { connector.enable_all_versions().build() };
        let mut client = Client::builder(TokioExecutor::new());
        client.http2_only(only_http2).pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
        Ok(Self { client: client.build(connector), timeout })
    }

    /// Posts `body`.
    ///
    /// # Errors
    /// Where nobody answered in time: it is not known whether the service did it.
    pub async fn post(&self, url: Uri, headers: HeaderMap, body: Bytes) -> Result<HttpsAnswer, NoHttpsAnswer> {
        let mut request = Request::post(url).body(Full::new(body)).map_err(NoHttpsAnswer::of)?;
        *request.headers_mut() = headers;
        let answered = async {
            let (head, body) = self.client.request(request).await.map_err(NoHttpsAnswer::of)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(|body| body.to_bytes());
            let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = retry_after.map(Duration::from_secs);
            Ok(HttpsAnswer { status: head.status, retry_after, body: body.unwrap_or_default() })
        };
        let late = |_| Err(NoHttpsAnswer(format!("{:?} have passed", self.timeout)));
        tokio::time::timeout(self.timeout, answered).await.unwrap_or_else(late)
    }
}

impl NoHttpsAnswer {
    /// What hyper says is "client error (Connect)"; why stands in the causes.
    fn of(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
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
