//! Offline push where services, networks or single devices fail: what is about one of them stops nobody else.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gim_config::testing::Authority;
use gim_logic::LogicSettings;
use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey},
    rand::SystemRandom,
};
use serde_json::json;

use super::offline_push_services::server_of;
use crate::support::{
    push_stand_in::{StandIn, p256_key},
    stop,
};

fn apns(settings: &mut LogicSettings, folder: &Path, endpoint: &str) {
    let (file, _) = p256_key(folder);
    let settings = &mut settings.offline_push;
    (settings.apns_key_file, settings.apns_endpoint) = (file, endpoint.to_owned());
    settings.apns_key_id = "KEY1".into();
    settings.apns_team_id = "TEAM1".into();
    settings.apns_topic = "example.chat".into();
}

fn device(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn subscription(endpoint: &str) -> String {
    let page = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).unwrap();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let p256dh = encode(page.compute_public_key().unwrap().as_ref());
    json!({ "endpoint": endpoint, "keys": { "p256dh": p256dh, "auth": encode(&[7; 16]) } }).to_string()
}

#[tokio::test]
async fn a_busy_device_waits_alone_and_a_bad_token_goes_after_a_good_one() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let apple = StandIn::start(&authority).await;
    let server = server_of(&authority, |settings| apns(settings, folder.path(), &apple.url)).await;
    let [busy, fine, bad] = [1, 2, 3].map(device);
    for (user_id, device) in [(8, &busy), (9, &fine), (10, &bad)] {
        server.give_push_id(user_id, user_id * 10, device).await;
    }
    let bad_token = (400, "", r#"{"reason": "BadDeviceToken"}"#);
    let (of_busy, of_bad): (&'static str, &'static str) = (busy.clone().leak(), bad.clone().leak());
    apple.answers(of_bad, &[bad_token, bad_token]);
    apple.answers(of_busy, &[(429, "0", r#"{"reason": "TooManyRequests"}"#); 40]);
    server.say_to(7, 10, "before anything worked").await;
    apple.calls(of_bad, 1).await;
    server.say_to(7, 8, "to the busy one").await;
    apple.calls(of_busy, 2).await;
    for text in ["one", "two", "three"] {
        let before = apple.calls(&fine, 0).await.len();
        server.say_to(7, 9, text).await;
        apple.calls(&fine, before + 1).await;
    }
    let tries = apple.calls(of_busy, 2).await;
    assert!(tries.len() < 20, "it is tried again and again without a pause: {}", tries.len());
    assert!(tries.iter().all(|call| call.header("apns-id") == tries[0].header("apns-id")));
    assert_eq!(server.push_id_of(10).await, bad, "all of them are bad where the settings are wrong");
    server.say_to(7, 10, "now it is known to be bad").await;
    server.is_forgotten(10).await;
    stop(server).await;
}

#[tokio::test]
async fn a_dead_subscription_holds_back_no_page_of_another_service() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let service = StandIn::start(&authority).await;
    // Nobody listens at a port that was given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = server_of(&authority, |settings| {
        let settings = &mut settings.offline_push;
        (settings.web_push_key_file, _) = p256_key(folder.path());
        settings.web_push_subject = "mailto:ops@example.com".into();
        let hosts = [service.url.replace("https://", ""), format!("localhost:{nobody}")];
        settings.web_push_hosts = hosts.to_vec();
    })
    .await;
    service.answers("/busy", &[(429, "1", ""), (201, "", "")]);
    server.give_push_id(8, 80, &subscription(&format!("https://localhost:{nobody}/dead"))).await;
    server.give_push_id(9, 90, &subscription(&format!("{}/page", service.url))).await;
    server.give_push_id(10, 100, &subscription(&format!("{}/busy", service.url))).await;
    server.say_to(7, 10, "to the busy one").await;
    for number in 1..=6 {
        server.say_to(7, 8, &format!("to nobody {number}")).await;
        server.say_to(7, 9, &format!("to the page {number}")).await;
        service.calls("/page", number).await;
    }
    let calls = service.calls("/busy", 2).await;
    assert_eq!(calls[0].header("topic"), calls[1].header("topic"), "the later one takes the place of the first");
    stop(server).await;
}

#[tokio::test]
async fn a_connection_that_a_network_forgot_is_left_for_another() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let apple = StandIn::start_with(&authority, 1).await;
    let server = server_of(&authority, |settings| {
        apns(settings, folder.path(), &apple.url);
        settings.offline_push.timeout_ms = 300;
    })
    .await;
    for user_id in 8..=13 {
        server.give_push_id(user_id, user_id * 10, &device(user_id as u8)).await;
    }
    server.say_to(7, 8, "over the first connection").await;
    apple.calls(&device(8), 1).await;
    for user_id in 9..=13 {
        server.say_to(7, user_id, &format!("over another one, to {user_id}")).await;
    }
    for user_id in 9..=13 {
        apple.calls(&device(user_id as u8), 1).await;
    }
    stop(server).await;
}

#[tokio::test]
async fn a_hundred_calls_are_under_way_at_the_same_time() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let apple = StandIn::start(&authority).await;
    let server = server_of(&authority, |settings| apns(settings, folder.path(), &apple.url)).await;
    apple.answer_together(100);
    for user_id in 100..200 {
        server.give_push_id(user_id, user_id * 10, &device(user_id as u8)).await;
        server.say_to(7, user_id, &format!("to {user_id}")).await;
    }
    for user_id in 100..200 {
        apple.calls(&device(user_id as u8), 1).await;
    }
    stop(server).await;
}
