//! The services of browsers' makers (Web Push: RFC 8030, 8291 and 8292): what is pushed is encrypted for the page.
//!
//! Always holds: no other hosts are called than those of the settings, whatever a page says that its service is, and no other port than that
//! of HTTPS unless the settings name one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use gim_config::https_client::HttpsClient;
use gim_proto::business::OfflinePush;
use http::{StatusCode, Uri, uri::Scheme};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    digest::{SHA256, digest},
    error::Unspecified,
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use serde::Deserialize;
use serde_json::json;
use tonic::async_trait;

use super::{
    Destination, Outcome, PushSender,
    each::{LIMITS, Moment, TTL_S, conversation, headers, of_answer, of_no_answer},
    signing::SigningKey,
};
use crate::{domain::push_device::PushService, settings::OfflinePushSettings};

/// A service takes tokens that are good for a day at most.
const TOKEN_S: i64 = 12 * 60 * 60;
const TOKEN_LIFETIME: Duration = Duration::from_secs(11 * 60 * 60);

/// Services for which a token is remembered.
const TOKENS_MAX: usize = 64;

const RECORD_BYTES: u32 = 4096;
const POINT_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct WebPushSender {
    client: HttpsClient,
    key: SigningKey,
    subject: String,
    hosts: Vec<String>,
    /// By the service that they are for.
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

/// What a browser says of where a page is reached.
#[derive(Debug, Deserialize)]
struct Subscription {
    endpoint: String,
    keys: SubscriptionKeys,
}

/// The part of it that says by whom.
#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: String,
}

#[derive(Debug, Deserialize)]
struct SubscriptionKeys {
    p256dh: String,
    auth: String,
}

/// The same, read.
struct Page {
    url: Uri,
    service: String,
    public: Vec<u8>,
    auth: Vec<u8>,
}

impl WebPushSender {
    pub(super) fn new(settings: &OfflinePushSettings) -> Result<Self, String> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Self {
            client: HttpsClient::new(&settings.authorities_file, false, timeout)?,
            key: key(settings)?,
            subject: settings.web_push_subject.clone(),
            hosts: settings.web_push_hosts.clone(),
            tokens: Mutex::default(),
        })
    }

    pub(super) async fn hand_out_one(&self, push: &OfflinePush, moment: Moment) -> Outcome {
        let (_, subscription) = PushService::of(&push.push_id);
        let Some(page) = self.page(subscription) else {
            return Outcome::Refused("the push id is no subscription with a service of web_push_hosts".into());
        };
        let text = json!({
            "id": push.id,
            "conversation": conversation(push),
            "title": push.title,
            "preview": push.preview,
            "badge": push.badge,
            "messages": push.messages,
        });
        let body = encrypted(&page.public, &page.auth, text.to_string().as_bytes());
        let (Ok(body), Ok(token)) = (body, self.token(&page.service, moment)) else {
            return Outcome::Refused("the keys of the subscription, or those of the settings, are none".into());
        };
        let public = BASE64_URL_SAFE_NO_PAD.encode(self.key.public());
        let headers = headers([
            ("authorization", format!("vapid t={token}, k={public}")),
            ("content-type", "application/octet-stream".into()),
            ("content-encoding", "aes128gcm".into()),
            ("ttl", TTL_S.to_string()),
            ("urgency", "high".into()),
            ("topic", topic(push)),
        ]);
        match self.client.post(page.url, headers, body.into()).await {
            Err(error) => of_no_answer(&error),
            Ok(answer) if [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&answer.status) => {
                Outcome::Unregistered(i64::MAX)
            }
            Ok(answer) => of_answer(&answer),
        }
    }

    /// None where it is no subscription, or one with a service that nobody allowed.
    fn page(&self, subscription: &str) -> Option<Page> {
        let Subscription { endpoint, keys } = serde_json::from_str(subscription).ok()?;
        let url: Uri = endpoint.parse().ok()?;
        let service = self.service(&url)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let (public, auth) = (decode(&keys.p256dh)?, decode(&keys.auth)?);
        let is_whole = public.len() == POINT_BYTES && auth.len() == AUTH_BYTES;
        is_whole.then_some(Page { url, service, public, auth })
    }

    /// Whose a page's address is; none where nobody allowed it.
    fn service(&self, url: &Uri) -> Option<String> {
        let authority = url.authority().filter(|_| url.scheme() == Some(&Scheme::HTTPS))?;
        let host = authority.host();
        let is_allowed = |allowed: &String| {
            let (allowed, port) = allowed.rsplit_once(':').unwrap_or((allowed, "443"));
            let is_port = authority.port_u16().unwrap_or(443).to_string() == port;
            is_port && (host == allowed || host.strip_suffix(allowed).is_some_and(|before| before.ends_with('.')))
        };
        (!authority.as_str().contains('@') && self.hosts.iter().any(is_allowed)).then(|| format!("https://{authority}"))
    }

    /// What shows the service who pushes.
    fn token(&self, service: &str, moment: Moment) -> Result<String, String> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, until)) = tokens.get(service)
            && moment.at < *until
        {
            return Ok(token.clone());
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        let claims = json!({ "aud": service, "exp": moment.unix_s + TOKEN_S, "sub": self.subject });
        let token = self.key.token(None, &claims)?;
        tokens.insert(service.to_owned(), (token.clone(), moment.at + TOKEN_LIFETIME));
        Ok(token)
    }
}

/// The key of the settings.
pub(super) fn key(settings: &OfflinePushSettings) -> Result<SigningKey, String> {
    let key = SigningKey::p256(&settings.web_push_key_file);
    key.map_err(|problem| format!("offline_push.web_push_key_file: {problem}"))
}

#[async_trait]
impl PushSender for WebPushSender {
    fn name(&self) -> &'static str {
        "web_push"
    }

    fn limits(&self) -> (usize, usize) {
        LIMITS
    }

    fn place(&self, push_id: &str) -> Destination {
        let (_, subscription) = PushService::of(push_id);
        let endpoint = serde_json::from_str(subscription).map(|read: Endpoint| read.endpoint).unwrap_or_default();
        endpoint.parse().ok().and_then(|url| self.service(&url)).unwrap_or_default().into()
    }

    async fn hand_out(&self, pushes: &[OfflinePush], _made_at_ms: i64) -> Vec<Outcome> {
        join_all(pushes.iter().map(|push| self.hand_out_one(push, Moment::now()))).await
    }
}

/// By which a newer push takes the place of one that waits, without telling the service which conversation it is.
fn topic(push: &OfflinePush) -> String {
    let hash = digest(&SHA256, format!("{} {}", push.push_id, conversation(push)).as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..24])
}

/// A text as one record of `aes128gcm`, by RFC 8291 with keys that are used once.
fn encrypted(page_public: &[u8], auth: &[u8], text: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random)?;
    let own_public = own.compute_public_key()?;
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let own_public = own_public.as_ref();
    let peer = UnparsedPublicKey::new(&ECDH_P256, page_public);
    let shared =
        agree_ephemeral(own, &peer, |shared| expand(auth, shared, &[b"WebPush: info\0", page_public, own_public]))?;
    let key = expand(&salt, shared.as_ref(), &[b"Content-Encoding: aes128gcm\0"]);
    let nonce = expand(&salt, shared.as_ref(), &[b"Content-Encoding: nonce\0"]);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key.as_ref()[..16])?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce.as_ref()[..12])?;
    // What follows the text says that this record is the last one.
    let mut record = [text, b"\x02"].concat();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)?;
    Ok([&salt[..], &RECORD_BYTES.to_be_bytes(), &[POINT_BYTES as u8], own_public, &record].concat())
}

/// HKDF with SHA-256, of which no more than the first block is needed.
fn expand(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> hmac::Tag {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()));
    info.iter().for_each(|part| context.update(part));
    context.update(&[1]);
    context.sign()
}
