//! Offline push by the services of Google, Apple and browsers' makers: stand-ins speak what those speak, by TLS and HTTP/2, and check
//! who calls and what they are told.

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
use gim_logic::LogicSettings;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header::HeaderMap, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::SystemRandom,
    signature::{self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rsa::pkcs8::EncodePrivateKey as _;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Barrier};
use tokio_rustls::TlsAcceptor;

use super::group::harness::signed;
use crate::support::{DEADLINE, Server, business::StubBusiness, server_with, stop};

/// A call that a stand-in got.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What it answers: a status, a header and a body, for paths that end so.
type Answers = HashMap<&'static str, Vec<(u16, &'static str, String)>>;

/// A service of somebody else. Dropping it takes it away.
pub(super) struct StandIn {
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
fn verified(token: &str, algorithm: &'static dyn signature::VerificationAlgorithm, public: &[u8]) -> (Value, Value) {
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
pub(super) fn p256_key(folder: &Path) -> (PathBuf, Vec<u8>) {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
    let file = folder.join("key.pem");
    fs::write(&file, pem(der.as_ref())).unwrap();
    (file, key.public_key().as_ref().to_vec())
}

pub(super) async fn server_of(authority: &Authority, change: impl FnOnce(&mut LogicSettings)) -> Server {
    server_with(StubBusiness::that_wakes().await, |settings| {
        settings.offline_push.coalesce_ms = 20;
        settings.offline_push.authorities_file = authority.ca();
        change(settings);
    })
    .await
}

impl Server {
    pub(super) async fn push_id_of(&self, user_id: u64) -> String {
        let database = self.database().await;
        let sql = "SELECT branch_push_id FROM device WHERE user_id = ?";
        let found = sqlx::query_scalar(sql).bind(user_id as i64).fetch_one(&database.reader).await.unwrap();
        database.close().await;
        found
    }

    /// Waits until the device of a user has no push id any more.
    pub(super) async fn is_forgotten(&self, user_id: u64) {
        let begun = Instant::now();
        while !self.push_id_of(user_id).await.is_empty() {
            assert!(begun.elapsed() < DEADLINE, "the push id of {user_id} is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn fcm_is_told_with_a_token_that_is_asked_for_once() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let google = StandIn::start(&authority).await;
    let der = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap().to_pkcs8_der().unwrap();
    let public = ring::signature::RsaKeyPair::from_pkcs8(der.as_bytes()).unwrap().public_key().as_ref().to_vec();
    let token_url = format!("{}/token", google.url);
    let account = json!({
        "project_id": "p1", "client_email": "gim@p1.example", "private_key": pem(der.as_bytes()), "token_uri": token_url,
    });
    let file = folder.path().join("account.json");
    fs::write(&file, account.to_string()).unwrap();
    let server = server_of(&authority, |settings| {
        settings.offline_push.fcm_account_file = file;
        settings.offline_push.fcm_endpoint = google.url.clone();
    })
    .await;
    let access = r#"{"access_token": "access", "expires_in": 3600, "token_type": "Bearer"}"#;
    google.answers("/token", &[(200, "", access)]);
    let unregistered = r#"{"error": {"code": 404, "details": [{"errorCode": "UNREGISTERED"}]}}"#;
    google.answers(":send", &[(200, "", "{}"), (429, "1", "{}"), (200, "", "{}"), (404, "", unregistered)]);

    server.give_push_id(8, 80, "an-fcm:token").await;
    server.say_to(7, 8, "one").await;
    let first = google.calls("/v1/projects/p1/messages:send", 1).await.remove(0);
    assert_eq!(first.header("authorization"), "Bearer access");
    let message = &first.json()["message"];
    assert_eq!((&message["token"], &message["notification"]["title"]), (&json!("an-fcm:token"), &json!("nick-7")));
    assert_eq!((&message["notification"]["body"], &message["android"]["collapse_key"]), (&json!("one"), &json!("u7")));

    server.say_to(7, 8, "two").await;
    let calls = google.calls(":send", 3).await;
    assert_eq!(calls[1].body, calls[2].body, "after 429 the same comes again");
    server.say_to(7, 8, "three").await;
    server.is_forgotten(8).await;

    let asked = google.calls("/token", 1).await;
    assert_eq!(asked.len(), 1);
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    let assertion = form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let (header, claims) = verified(assertion.unwrap(), &signature::RSA_PKCS1_2048_8192_SHA256, &public);
    assert_eq!(
        (&header["alg"], &claims["iss"], &claims["aud"]),
        (&json!("RS256"), &json!("gim@p1.example"), &json!(token_url))
    );
    assert!(server.business.state.pushes.lock().unwrap().is_empty(), "nobody is woken twice");
    stop(server).await;
}

#[tokio::test]
async fn apns_is_told_by_http_2_with_a_token_of_the_key() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let apple = StandIn::start(&authority).await;
    let (file, public) = p256_key(folder.path());
    let server = server_of(&authority, |settings| {
        let settings = &mut settings.offline_push;
        (settings.apns_key_file, settings.apns_endpoint) = (file, apple.url.clone());
        settings.apns_key_id = "KEY1".into();
        settings.apns_team_id = "TEAM1".into();
        settings.apns_topic = "example.chat".into();
    })
    .await;
    let device = "ab".repeat(32);
    let before = r#"{"reason": "Unregistered", "timestamp": 1700000000000}"#;
    let gone = r#"{"reason": "Unregistered", "timestamp": 4100000000000}"#;
    let expired = r#"{"reason": "ExpiredProviderToken"}"#;
    let answers = [(200, "", ""), (403, "", expired), (200, "", ""), (410, "", before), (410, "", gone)];
    apple.answers("", &answers);
    server.give_push_id(8, 80, &device).await;
    server.say_to(7, 8, "one").await;
    let path = format!("/3/device/{device}");
    let first = apple.calls(&path, 1).await.remove(0);
    let token = first.header("authorization").strip_prefix("bearer ").unwrap();
    let (header, claims) = verified(token, &ECDSA_P256_SHA256_FIXED, &public);
    assert_eq!((&header["alg"], &header["kid"], &claims["iss"]), (&json!("ES256"), &json!("KEY1"), &json!("TEAM1")));
    let told = ["apns-topic", "apns-push-type", "apns-collapse-id"].map(|name| first.header(name));
    assert_eq!((told, first.header("apns-id").len()), (["example.chat", "alert", "u7"], 36));
    let aps = &first.json()["aps"];
    assert_eq!(aps["alert"], json!({ "title": "nick-7", "body": "one" }));
    assert_eq!(aps["badge"], json!(1));

    server.say_to(7, 8, "two").await;
    let calls = apple.calls(&path, 3).await;
    assert_eq!(calls[1].header("apns-id"), calls[2].header("apns-id"));
    assert_ne!(calls[1].header("authorization"), calls[2].header("authorization"), "the token is another one");
    server.say_to(7, 8, "after it registered anew").await;
    apple.calls(&path, 4).await;
    assert_eq!(server.push_id_of(8).await, device);
    server.say_to(7, 8, "three").await;
    server.is_forgotten(8).await;
    stop(server).await;
}

/// How long a part of a key is.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn derived(salt: &[u8], secret: &[u8], info: &[&[u8]], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(info, Bytes(length)).unwrap().fill(&mut out).unwrap();
    out
}

/// What a page reads, by RFC 8291.
fn decrypted(own: EphemeralPrivateKey, auth: &[u8], body: &[u8]) -> Value {
    let own_public = own.compute_public_key().unwrap();
    let (salt, rest) = body.split_at(16);
    assert_eq!((&rest[..4], rest[4]), (&4096_u32.to_be_bytes()[..], 65));
    let (server_public, sealed) = rest[5..].split_at(65);
    let peer = UnparsedPublicKey::new(&ECDH_P256, server_public);
    let secret = agree_ephemeral(own, &peer, |shared| {
        derived(auth, shared, &[b"WebPush: info\0", own_public.as_ref(), server_public], 32)
    });
    let secret = secret.unwrap();
    let key = derived(salt, &secret, &[b"Content-Encoding: aes128gcm\0"], 16);
    let nonce = derived(salt, &secret, &[b"Content-Encoding: nonce\0"], 12);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
    let mut sealed = sealed.to_vec();
    let record = key.open_in_place(nonce, Aad::empty(), &mut sealed).unwrap();
    let (last, text) = record.split_last().unwrap();
    assert_eq!(*last, 2, "it is the last record");
    serde_json::from_slice(text).unwrap()
}

#[tokio::test]
async fn web_push_is_encrypted_for_the_page_and_goes_to_known_hosts_alone() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let service = StandIn::start(&authority).await;
    let (file, public) = p256_key(folder.path());
    let server = server_of(&authority, |settings| {
        settings.offline_push.web_push_key_file = file;
        settings.offline_push.web_push_subject = "mailto:ops@example.com".into();
        settings.offline_push.web_push_hosts = vec![service.url.replace("https://", "")];
    })
    .await;
    let told = server.device_ext().get_web_push_key(signed(8, ())).await.unwrap().into_inner();
    assert_eq!(told.public_key, public, "pages subscribe with it");
    service.answers("/page", &[(201, "", ""), (410, "", "")]);
    let page = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
    let (auth, encode) = ([7; 16], |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let subscription = |endpoint: String| {
        let p256dh = encode(page.compute_public_key().unwrap().as_ref());
        json!({ "endpoint": endpoint, "keys": { "p256dh": p256dh, "auth": encode(&auth) } }).to_string()
    };
    server.give_push_id(8, 80, &subscription(format!("{}/page", service.url))).await;
    server.give_push_id(9, 90, &subscription(service.url.replace("localhost", "127.0.0.1"))).await;
    server.say_to(7, 8, "one").await;
    let first = service.calls("/page", 1).await.remove(0);
    let (token, key) = first.header("authorization").strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key, encode(&public));
    let (header, claims) = verified(token, &ECDSA_P256_SHA256_FIXED, &public);
    assert_eq!((&header["alg"], &claims["aud"]), (&json!("ES256"), &json!(service.url)));
    assert_eq!(claims["sub"], json!("mailto:ops@example.com"));
    assert_eq!((first.header("content-encoding"), first.header("topic").len()), ("aes128gcm", 32));
    let text = decrypted(page, &auth, &first.body);
    assert_eq!(
        (&text["title"], &text["preview"], &text["conversation"]),
        (&json!("nick-7"), &json!("one"), &json!("u7"))
    );

    server.say_to(7, 8, "two").await;
    server.is_forgotten(8).await;
    server.say_to(7, 9, "to a host that nobody allowed").await;
    server.say_to(7, 10, "to the business").await;
    server.handed_out_until("to the business").await;
    assert_eq!(service.calls("", 0).await.len(), 2);
    assert!(!server.push_id_of(9).await.is_empty(), "what the settings do not allow is not forgotten");
    stop(server).await;
}
