//! Offline push by the services of Google, Apple and browsers' makers: stand-ins speak what those speak, by TLS and HTTP/2, and check
//! who calls and what they are told.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gim_config::testing::Authority;
use gim_logic::LogicSettings;
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256},
};
use serde_json::{Value, json};

use super::group::harness::signed;
use crate::support::{
    DEADLINE, Server,
    business::StubBusiness,
    push_stand_in::{StandIn, fcm_account, p256_key, verified},
    server_with, stop,
};

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
    let token_url = format!("{}/token", google.url);
    let (file, public) = fcm_account(folder.path(), &token_url);
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
    let (header, claims) = verified(assertion.unwrap(), &RSA_PKCS1_2048_8192_SHA256, &public);
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
