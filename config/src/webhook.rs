//! Calls to an HTTP endpoint of the operator's (a webhook): one JSON body each, signed as Standard Webhooks 1.0 says
//! (<https://www.standardwebhooks.com>): the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
//!
//! On Tokio. Always holds: a call ends within its deadline, follows no redirect, goes to no address beyond its [`Reach`], and keeps nothing
//! of the answer but its status; at most [`CALLS_MAX`] are under way, and one beyond is refused at once.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use rustls::{ClientConfig, crypto::ring as provider};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::public_addresses::{Reach, Resolver};

/// Calls to one webhook that are under way at the same time.
pub const CALLS_MAX: usize = 64;

/// An answer that is no longer, and comes at once, leaves its connection open for the next call.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
const ANSWER_WAIT: Duration = Duration::from_millis(100);

/// What stands before a secret that is written in base64.
const BASE64_PREFIX: &str = "whsec_";
const SECRET_BYTES_MIN: usize = 16;

/// One endpoint. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Webhook {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    url: Uri,
    secret: Secret,
    timeout: Duration,
    places: Arc<Semaphore>,
}

/// One of the [`CALLS_MAX`].
#[derive(Debug)]
pub struct CallPlace<'a>(#[expect(dead_code, reason = "it is given back when it is dropped")] SemaphorePermit<'a>);

/// What calls are signed with.
#[derive(Debug, Clone)]
pub struct Secret(hmac::Key);

/// Why nobody took a call. None of it is for a client.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It answered, but not with 2xx.
    #[error("the webhook answered {0}")]
    Refused(StatusCode),
    /// It cannot be reached, or its certificate is refused: it has not seen the call.
    #[error("the webhook cannot be reached: {0}")]
    Away(String),
    /// It may have taken the call, but did not answer.
    #[error("the webhook did not answer: {0}")]
    Unanswered(String),
    /// Too many calls wait for it.
    #[error("{CALLS_MAX} calls wait for the webhook already")]
    Full,
}

impl Webhook {
    /// The endpoint at `url`, wherever that leads.
    ///
    /// # Errors
    /// A sentence about the URL, or about the authorities of this host where it is https.
    pub fn new(url: &str, secret: Secret, timeout: Duration) -> Result<Self, String> {
        Self::within(url, secret, timeout, Reach::Anywhere)
    }

    /// The same, as long as it leads to nowhere else.
    ///
    /// # Errors
    /// As [`Webhook::new`], or that the URL names an address beyond this reach.
    pub fn within(url: &str, secret: Secret, timeout: Duration, reach: Reach) -> Result<Self, String> {
        let url = checked(url)?;
        check_reach(&url, reach)?;
        let tls = if url.scheme() == Some(&Scheme::HTTPS) { with_authorities()? } else { without_authorities()? };
        let mut http = HttpConnector::new_with_resolver(Resolver(reach));
        http.enforce_http(false);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, url, secret, timeout, places: Arc::new(Semaphore::new(CALLS_MAX)) })
    }

    /// A place for a call, to be taken before anything is done for it.
    ///
    /// # Errors
    /// [`WebhookError::Full`].
    pub fn place(&self) -> Result<CallPlace<'_>, WebhookError> {
        self.places.try_acquire().map(CallPlace).map_err(|_| WebhookError::Full)
    }

    /// Hands `body` (JSON) over. A call with the same `id` is a repetition, which the receiver may pass over.
    ///
    /// # Errors
    /// Where it is not known that the receiver took it.
    pub async fn call(&self, place: CallPlace<'_>, id: &str, body: Bytes) -> Result<(), WebhookError> {
        // Whatever else it says is of no use; where it is much, or late, its connection is closed with it.
        self.ask(place, id, body, ANSWER_BYTES_MAX).await.map(drop)
    }

    /// The same, for what it says: nothing where that is longer than `answer_bytes_max`, or does not come at once.
    ///
    /// # Errors
    /// As [`Webhook::call`].
    pub async fn ask(
        &self,
        _place: CallPlace<'_>,
        id: &str,
        body: Bytes,
        answer_bytes_max: usize,
    ) -> Result<Bytes, WebhookError> {
        let timestamp_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", self.secret.signature(id, timestamp_s, &body))
            .body(Full::new(body))
            .map_err(|error| WebhookError::Away(error.to_string()))?;
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => {
                let rest = Limited::new(answer.into_body(), answer_bytes_max).collect();
                let rest = tokio::time::timeout(ANSWER_WAIT.min(self.timeout), rest).await;
                Ok(rest.ok().and_then(Result::ok).map(|rest| rest.to_bytes()).unwrap_or_default())
            }
            Ok(Ok(answer)) => Err(WebhookError::Refused(answer.status())),
            Ok(Err(error)) if error.is_connect() => Err(WebhookError::Away(with_causes(&error))),
            Ok(Err(error)) => Err(WebhookError::Unanswered(with_causes(&error))),
            Err(_) => Err(WebhookError::Unanswered(format!("{:?} have passed", self.timeout))),
        }
    }
}

impl Secret {
    /// A secret of the settings: `whsec_` and base64, or any text of at least 16 bytes.
    ///
    /// # Errors
    /// What is wrong with it, without it.
    pub fn new(text: &str) -> Result<Self, String> {
        let bytes = match text.strip_prefix(BASE64_PREFIX) {
            Some(encoded) => {
                BASE64_STANDARD.decode(encoded).map_err(|_| format!("what follows `{BASE64_PREFIX}` must be base64"))?
            }
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(format!("must have at least {SECRET_BYTES_MIN} bytes"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// HMAC-SHA-256 of a text that is none of a call's: for what is to be kept in a form that only this secret can check.
    pub fn digest(&self, text: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.0, text.as_bytes());
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The header `webhook-signature` of a call, "Signature scheme" of Standard Webhooks.
    pub fn signature(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        signed.update(format!("{id}.{timestamp_s}.").as_bytes());
        signed.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(signed.sign()))
    }
}

/// Whether a text can be the URL of a webhook.
///
/// # Errors
/// What is wrong with it.
pub fn checked(url: &str) -> Result<Uri, String> {
    let form = || format!("must be a URL as in `https://hooks.example.com/gim`, not `{url}`");
    let uri: Uri = url.parse().map_err(|_| form())?;
    let is_http = [Scheme::HTTP, Scheme::HTTPS].iter().any(|scheme| uri.scheme() == Some(scheme));
    let authority = uri.authority().filter(|authority| is_http && !authority.host().is_empty()).ok_or_else(form)?;
    if authority.as_str().contains('@') {
        return Err("must not hold a user or a password: calls are signed instead".into());
    }
    Ok(uri)
}

/// Fails where a URL names an address beyond a reach. What a name leads to is looked at when it is called.
///
/// # Errors
/// What is wrong with it.
pub fn check_reach(url: &Uri, reach: Reach) -> Result<(), String> {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !reach.has(address) => Err(format!("must not name the address of a private network, {address}")),
        _ => Ok(()),
    }
}

/// Fails where a URL leads to one of the addresses at which this service listens: to its port, at an address of its own, whatever name that has.
///
/// # Errors
/// What is wrong with it.
pub fn check_not_own(url: &Uri, own: &[SocketAddr]) -> Result<(), String> {
    let port = url.port_u16().unwrap_or(if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let listening: Vec<IpAddr> = own.iter().filter(|own| own.port() == port).map(SocketAddr::ip).collect();
    if listening.is_empty() {
        return Ok(());
    }
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    // A name without an address leads nowhere for now.
    let leads_to = (host, port).to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
    let is_own = |address: IpAddr| {
        let at =
            |own: &IpAddr| *own == address || (own.is_unspecified() || address.is_unspecified()) && is_here(address);
        listening.iter().any(at)
    };
    if leads_to.iter().any(|address| is_own(address.ip().to_canonical())) {
        return Err(format!("is this service itself, {host}:{port}, which takes no such calls"));
    }
    Ok(())
}

/// Whether it is an address of this host: nobody else's can be listened at.
fn is_here(address: IpAddr) -> bool {
    address.is_unspecified() || TcpListener::bind((address, 0)).is_ok()
}

fn with_authorities() -> Result<ClientConfig, String> {
    let authorities =
        builder()?.with_native_roots().map_err(|error| format!("no authorities on this host: {error}"))?;
    Ok(authorities.with_no_client_auth())
}

/// For a URL without TLS: loading the authorities of the host would cost each start some milliseconds.
fn without_authorities() -> Result<ClientConfig, String> {
    Ok(builder()?.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()));
    builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())
}

/// What hyper says is "client error (Connect)"; why stands in the causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_call_is_signed_as_standard_webhooks_says() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_that_can_be_guessed_or_read_wrongly_are_refused() {
        assert!(Secret::new("fifteen-bytes-1").is_err() && Secret::new("sixteen-bytes-16").is_ok());
        assert!(Secret::new("whsec_c2hvcnQ=").is_err() && Secret::new("whsec_not base64").is_err());
        assert!(Secret::new("").is_err());
    }

    /// A receiver that writes this to each who calls, or without an end.
    async fn answers(text: &'static str, is_endless: bool) -> Webhook {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let read = stream.read(&mut request).await;
                    while read.is_ok() && stream.write_all(text.as_bytes()).await.is_ok() && is_endless {}
                });
            }
        });
        let secret = Secret::new("sixteen-bytes-16").unwrap();
        Webhook::new(&url, secret, Duration::from_millis(500)).unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_redirects_or_never_ends_ends_within_its_deadline() {
        let call =
            async |webhook: &Webhook| webhook.call(webhook.place().unwrap(), "1", Bytes::from_static(b"{}")).await;
        let redirect = answers("HTTP/1.1 307 Elsewhere\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", false).await;
        assert!(matches!(call(&redirect).await, Err(WebhookError::Refused(StatusCode::TEMPORARY_REDIRECT))));
        let gigabyte =
            answers("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxx", true).await;
        call(&gigabyte).await.unwrap();
        let endless_head = answers("HTTP/1.1 200 OK\r\nx: ", true).await;
        assert!(matches!(call(&endless_head).await, Err(WebhookError::Unanswered(_))));
        let silent = answers("", false).await;
        assert!(call(&silent).await.is_err());
    }

    #[tokio::test]
    async fn a_private_address_is_not_called_unless_that_is_allowed() {
        let secret = || Secret::new("sixteen-bytes-16").unwrap();
        let reach = Reach::PublicAddresses;
        assert!(Webhook::within("http://127.0.0.1:9/", secret(), Duration::from_secs(1), reach).is_err());
        let by_name = Webhook::within("http://localhost:9/", secret(), Duration::from_secs(1), reach).unwrap();
        let refused = by_name.call(by_name.place().unwrap(), "1", Bytes::new()).await.unwrap_err();
        assert!(matches!(&refused, WebhookError::Away(why) if why.contains("private networks")), "{refused}");
    }

    #[test]
    fn a_url_that_leads_back_is_noticed_by_where_it_leads() {
        let own = ["127.0.0.1:8010", "0.0.0.0:8080", "[::1]:8011"].map(|own| own.parse().unwrap());
        let check = |url: &str| check_not_own(&checked(url).unwrap(), &own);
        for url in [
            "http://127.0.0.1:8010/x",
            "http://localhost:8010/",
            "https://127.0.0.1:8080/",
            "http://127.0.0.2:8080/",
            "http://0.0.0.0:8010/",
            "http://[::1]:8011/",
            "http://[::ffff:127.0.0.1]:8010/",
        ] {
            assert!(check(url).unwrap_err().starts_with("is this service itself"), "{url}");
        }
        for url in ["http://127.0.0.1:9000/", "http://127.0.0.2:8010/", "http://1.1.1.1:8080/", "http://127.0.0.1/"] {
            check(url).unwrap();
        }
    }

    #[test]
    fn only_urls_of_http_are_taken() {
        for url in ["https://hooks.example.com/gim?x=1", "http://127.0.0.1:9000", "http://[::1]:9000/a"] {
            checked(url).unwrap();
        }
        for url in ["", "hooks.example.com", "ftp://x/", "https://", "/path", "https://user:secret@x/", "https://a b/"]
        {
            let problem = checked(url).unwrap_err();
            assert!(problem.starts_with("must "), "{url}: {problem}");
        }
    }
}
