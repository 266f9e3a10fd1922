//! A stand-in for the services that wake devices: it speaks TLS and HTTP/2 as they do, notes who calls, and answers as it is told. Unit tests of
//! the senders use this file as well.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part of it, and helpers of tests fail loudly

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use gim_config::testing::Authority;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header::HeaderMap, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::{
    rand::SystemRandom,
    signature::{self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rsa::pkcs8::EncodePrivateKey as _;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Barrier};
use tokio_rustls::TlsAcceptor;

/// How long is waited for a call.
const DEADLINE: Duration = Duration::from_secs(20);

/// A call that a stand-in got.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What it answers: a status, a header and a body, for paths that end so.
type Answers = HashMap<&'static str, Vec<(u16, &'static str, String)>>;

/// A service of somebody else. Dropping it takes it away.
pub struct StandIn {
    pub url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Mutex<Answers>>,
    /// Where it is set, calls are answered when there are so many.
    gate: Arc<Mutex<Option<Arc<Barrier>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    pub async fn start(authority: &Authority) -> Self {
        Self::start_with(authority, 0).await
    }

    /// The same, of which the first so many connections are forgotten after one answer, as by a network between.
    pub async fn start_with(authority: &Authority, forgotten: usize) -> Self {
        let (certificate, key) = authority.issue();
        let certificates = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut tls = tls
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (calls, answers) = (Arc::<Mutex<Vec<Call>>>::default(), Arc::<Mutex<Answers>>::default());
        let gate = Arc::<Mutex<Option<Arc<Barrier>>>>::default();
        let (noted, said, gated) = (calls.clone(), answers.clone(), gate.clone());
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, noted, said) = (acceptor.clone(), noted.clone(), said.clone());
                let gated = gated.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answered = Arc::new(AtomicUsize::new(0));
                    let service = service_fn(move |request| {
                        let (noted, said, answered) = (noted.clone(), said.clone(), answered.clone());
                        let barrier = gated.lock().unwrap().clone();
                        async move {
                            if let Some(barrier) = barrier {
                                barrier.wait().await;
                            }
                            if number < forgotten && answered.fetch_add(1, Relaxed) > 0 {
                                std::future::pending::<()>().await;
                            }
                            answer(request, noted, said).await
                        }
                    });
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { url, calls, answers, gate, task }
    }

    /// Answers when so many calls are under way.
    pub fn answer_together(&self, count: usize) {
        *self.gate.lock().unwrap() = Some(Arc::new(Barrier::new(count)));
    }

    /// Answers, one after the other, for paths that end so; without one left, 200.
    pub fn answers(&self, path_end: &'static str, answers: &[(u16, &'static str, &str)]) {
        let answers = answers.iter().map(|&(status, retry_after, body)| (status, retry_after, body.to_owned()));
        self.answers.lock().unwrap().insert(path_end, answers.collect());
    }

    /// The calls for a path that ends so, once there are so many.
    pub async fn calls(&self, path_end: &str, count: usize) -> Vec<Call> {
        let begun = Instant::now();
        loop {
            let calls = self.calls.lock().unwrap().clone();
            let found: Vec<Call> = calls.into_iter().filter(|call| call.path.ends_with(path_end)).collect();
            if found.len() >= count {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "{} calls of {path_end}", found.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    noted: Arc<Mutex<Vec<Call>>>,
    said: Arc<Mutex<Answers>>,
) -> Result<Response<Full<hyper::body::Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let path = head.uri.path().to_owned();
    let answer = {
        let mut said = said.lock().unwrap();
        let answers = said.iter_mut().find(|(end, answers)| path.ends_with(**end) && !answers.is_empty());
        answers.map_or((200, "", String::new()), |(_, answers)| answers.remove(0))
    };
    noted.lock().unwrap().push(Call { path, headers: head.headers, body });
    let (status, retry_after, body) = answer;
    let response = Response::builder().status(status);
    let response = if retry_after.is_empty() { response } else { response.header("retry-after", retry_after) };
    Ok(response.body(Full::new(body.into())).unwrap())
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Header and claims of a token, whose signature is right.
pub fn verified(
    token: &str,
    algorithm: &'static dyn signature::VerificationAlgorithm,
    public: &[u8],
) -> (Value, Value) {
    let (signed, by) = token.rsplit_once('.').unwrap();
    let by = BASE64_URL_SAFE_NO_PAD.decode(by).unwrap();
    signature::UnparsedPublicKey::new(algorithm, public).verify(signed.as_bytes(), &by).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(header), read(claims))
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der))
}

/// The file of a new key, and its public part.
pub fn p256_key(folder: &Path) -> (PathBuf, Vec<u8>) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
    let file = folder.join("key.pem");
    fs::write(&file, pem(der.as_ref())).unwrap();
    (file, key.public_key().as_ref().to_vec())
}

/// The file of an account of Google's whose tokens are given at an address, and its public key.
pub fn fcm_account(folder: &Path, token_url: &str) -> (PathBuf, Vec<u8>) {
    let der = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap().to_pkcs8_der().unwrap();
    let public = signature::RsaKeyPair::from_pkcs8(der.as_bytes()).unwrap().public_key().as_ref().to_vec();
    let account = json!({
        "project_id": "p1", "client_email": "gim@p1.example", "private_key": pem(der.as_bytes()), "token_uri": token_url,
    });
    let file = folder.join("account.json");
    fs::write(&file, account.to_string()).unwrap();
    (file, public)
}
