//! Tokens of the senders end: each is renewed before the service would refuse it. The time is passed in; the services are stand-ins that
//! speak what those speak.

#[path = "../../../tests/support/push_stand_in.rs"]
mod push_stand_in;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gim_config::testing::Authority;
use metrics_exporter_prometheus::PrometheusBuilder;
use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256},
};
use serde_json::{Value, json};

use self::push_stand_in::{StandIn, fcm_account, p256_key, verified};
use super::{each::Moment, *};

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;

impl Moment {
    fn after(self, seconds: u64) -> Self {
        Self { at: self.at + Duration::from_secs(seconds), unix_s: self.unix_s + seconds as i64 }
    }
}

fn push_to(push_id: &str) -> OfflinePush {
    OfflinePush { id: "1-8-50".into(), title: "nick-7".into(), push_id: push_id.into(), ..OfflinePush::default() }
}

fn settings_with(authority: &Authority) -> OfflinePushSettings {
    OfflinePushSettings { authorities_file: authority.ca(), ..OfflinePushSettings::default() }
}

fn fcm(authority: &Authority, folder: &Path, google: &StandIn) -> (FcmSender, Vec<u8>) {
    let (fcm_account_file, public) = fcm_account(folder, &format!("{}/token", google.url));
    let fcm_endpoint = google.url.clone();
    let settings = OfflinePushSettings { fcm_account_file, fcm_endpoint, ..settings_with(authority) };
    (FcmSender::new(&settings).unwrap(), public)
}

/// An answer of Google's that gives a token.
fn given(token: &str, seconds: u64) -> String {
    json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" }).to_string()
}

/// The tokens of all calls, in their order.
async fn shown(service: &StandIn, path_end: &str, before: &str) -> Vec<String> {
    let calls = service.calls(path_end, 0).await;
    calls.iter().map(|call| call.header("authorization").strip_prefix(before).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_token_of_google_is_renewed_five_minutes_before_it_ends() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let google = StandIn::start(&authority).await;
    let (sender, public) = fcm(&authority, folder.path(), &google);
    let tokens = [given("first", HOUR_S), given("second", HOUR_S)];
    google.answers("/token", &tokens.each_ref().map(|token| (200, "", token.as_str())));
    let begun = Moment::now();
    let renewed = HOUR_S - 5 * MINUTE_S;
    for seconds in [0, renewed - 1, renewed, renewed + 1] {
        assert_eq!(sender.hand_out_one(&push_to("a"), begun.after(seconds)).await, Outcome::Taken);
    }
    assert_eq!(shown(&google, ":send", "Bearer ").await, ["first", "first", "second", "second"]);
    let asked = google.calls("/token", 2).await;
    assert_eq!(asked.len(), 2);
    for (call, seconds) in asked.iter().zip([0, renewed]) {
        let form = String::from_utf8(call.body.clone()).unwrap();
        let (_, claims) = verified(form.rsplit_once('=').unwrap().1, &RSA_PKCS1_2048_8192_SHA256, &public);
        let now_s = begun.after(seconds).unix_s;
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now_s), &json!(now_s + 600)));
        assert_eq!(claims["scope"], json!("https://www.googleapis.com/auth/firebase.messaging"));
    }
}

#[tokio::test]
async fn a_token_of_google_that_ended_early_is_asked_for_again() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let google = StandIn::start(&authority).await;
    let (sender, _) = fcm(&authority, folder.path(), &google);
    // One that is good for a minute, which is used for the half of it, and one that Google forgets.
    let tokens = [given("short", MINUTE_S), given("forgotten", HOUR_S), given("good", HOUR_S)];
    google.answers("/token", &tokens.each_ref().map(|token| (200, "", token.as_str())));
    google.answers(":send", &[(200, "", "{}"), (200, "", "{}"), (200, "", "{}"), (401, "", "{}")]);
    let begun = Moment::now();
    for seconds in [0, 29, 30] {
        assert_eq!(sender.hand_out_one(&push_to("a"), begun.after(seconds)).await, Outcome::Taken);
    }
    let refused = sender.hand_out_one(&push_to("a"), begun.after(31)).await;
    assert_eq!(refused, Outcome::Later(Cause::Service, None), "nothing is lost by it");
    assert_eq!(sender.hand_out_one(&push_to("a"), begun.after(32)).await, Outcome::Taken);
    assert_eq!(shown(&google, ":send", "Bearer ").await, ["short", "short", "forgotten", "forgotten", "good"]);
}

#[tokio::test]
async fn a_token_that_google_does_not_give_is_not_asked_for_by_every_push() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let google = StandIn::start(&authority).await;
    let (sender, _) = fcm(&authority, folder.path(), &google);
    let token = given("first", HOUR_S);
    google.answers("/token", &[(503, "", ""), (200, "", token.as_str())]);
    let begun = Moment::now();
    for _ in 0..2 {
        let put_off = sender.hand_out_one(&push_to("a"), begun).await;
        assert_eq!(put_off, Outcome::Later(Cause::Service, None));
    }
    assert_eq!(google.calls("/token", 1).await.len(), 1);
    assert_eq!(sender.hand_out_one(&push_to("a"), begun.after(MINUTE_S)).await, Outcome::Taken);
    assert_eq!(google.calls("/token", 2).await.len(), 2);
}

#[tokio::test]
async fn a_token_for_apple_is_made_anew_within_the_hour_and_not_too_often() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let apple = StandIn::start(&authority).await;
    let (apns_key_file, public) = p256_key(folder.path());
    let settings = OfflinePushSettings { apns_key_file, apns_endpoint: apple.url.clone(), ..settings_with(&authority) };
    let sender = ApnsSender::new(&settings).unwrap();
    let (device, begun, renewed) = ("ab".repeat(32), Moment::now(), 40 * MINUTE_S);
    for seconds in [0, renewed - 1, renewed, renewed + 1] {
        assert_eq!(sender.hand_out_one(&push_to(&device), begun.after(seconds)).await, Outcome::Taken);
    }
    let tokens = shown(&apple, &device, "bearer ").await;
    assert!(tokens[0] == tokens[1] && tokens[1] != tokens[2] && tokens[2] == tokens[3], "{tokens:?}");
    let made_s = |token: &str| verified(token, &ECDSA_P256_SHA256_FIXED, &public).1["iat"].clone();
    let made_s: Vec<Value> = tokens.iter().step_by(2).map(|token| made_s(token)).collect();
    assert_eq!(made_s, [json!(begun.unix_s), json!(begun.after(renewed).unix_s)]);
}

#[tokio::test]
async fn a_token_for_a_browsers_service_is_renewed_an_hour_before_it_ends() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let service = StandIn::start(&authority).await;
    let (web_push_key_file, public) = p256_key(folder.path());
    let web_push_hosts = vec![service.url.replace("https://", "")];
    let settings = OfflinePushSettings { web_push_key_file, web_push_hosts, ..settings_with(&authority) };
    let sender = WebPushSender::new(&settings).unwrap();
    let page = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({ "p256dh": encode(page.compute_public_key().unwrap().as_ref()), "auth": encode(&[7; 16]) });
    let subscription = json!({ "endpoint": format!("{}/page", service.url), "keys": keys }).to_string();
    let (begun, renewed) = (Moment::now(), 11 * HOUR_S);
    let moments = [0, renewed - 1, renewed, renewed + 1].map(|seconds| begun.after(seconds));
    for moment in moments {
        assert_eq!(sender.hand_out_one(&push_to(&subscription), moment).await, Outcome::Taken);
    }
    let tokens = shown(&service, "/page", "vapid t=").await;
    assert!(tokens[0] == tokens[1] && tokens[1] != tokens[2] && tokens[2] == tokens[3], "{tokens:?}");
    for (token, moment) in tokens.iter().zip(moments) {
        let (token, _) = token.split_once(", k=").unwrap();
        let (_, claims) = verified(token, &ECDSA_P256_SHA256_FIXED, &public);
        let left_s = claims["exp"].as_i64().unwrap() - moment.unix_s;
        assert!((1..=24 * HOUR_S as i64).contains(&left_s), "a service takes it for a day at most: {left_s}");
    }
}

#[test]
fn what_may_become_of_pushes_is_counted_before_anything_does() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        Senders::default().add(&OfflinePushSettings::default(), None, Arc::new(LogSender));
    });
    let page = recorder.handle().render();
    for result in RESULTS {
        let series = format!("logic_offline_pushes_total{{sender=\"log\",result=\"{result}\"}} 0\n");
        assert!(page.contains(&series), "{series} is not there: {page}");
    }
}
