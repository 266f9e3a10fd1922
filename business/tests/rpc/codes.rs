//! Sign-in codes that a webhook sends on.

use gim_business::BusinessSettings;
use gim_config::{Settings as _, listen::Endpoint};
use gim_proto::{
    ResultCode,
    business::{SendCodeRequest, SignInRequest},
};
use tonic::Status;

use super::{
    harness::{Server, assert_names, code, sign_in_request},
    stub_webhook::{Answer, SECRET, StubWebhook},
    web,
};

async fn start_with(change: impl FnOnce(&mut BusinessSettings)) -> (Server, StubWebhook) {
    let (webhook, address) = StubWebhook::start().await;
    let server = Server::start_with(|settings| {
        settings.sign_in.development_code = String::new();
        settings.sign_in.code_webhook = format!("http://{address}/codes");
        settings.sign_in.code_webhook_secret = SECRET.into();
        change(settings);
    })
    .await;
    (server, webhook)
}

fn asking(phone_number: &str) -> SendCodeRequest {
    SendCodeRequest { phone_number: phone_number.into() }
}

fn with_code(phone_number: &str, code: &str) -> SignInRequest {
    SignInRequest { code: code.into(), ..sign_in_request(phone_number) }
}

async fn send(server: &Server, phone_number: &str) -> Result<u32, Status> {
    Ok(server.users().send_code(asking(phone_number)).await?.into_inner().valid_s)
}

#[tokio::test]
async fn a_code_that_was_sent_signs_its_number_in_and_no_other() {
    let (server, webhook) = start_with(|_| {}).await;
    assert_eq!(send(&server, "+491").await.unwrap(), 300);
    assert_eq!(send(&server, "+492").await.unwrap(), 300);
    let sent = webhook.sent();
    assert_eq!((sent[0].0.as_str(), sent[1].0.as_str()), ("+491", "+492"));
    assert!(sent.iter().all(|(_, code)| code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())));
    if sent[0].1 != sent[1].1 {
        assert_eq!(code(server.users().sign_in(with_code("+491", &sent[1].1)).await), ResultCode::WrongCode);
    }
    assert!(server.try_sign_in(with_code("+491", &sent[0].1)).await.unwrap().is_new);
    assert!(!server.try_sign_in(with_code("+491", &sent[0].1)).await.unwrap().is_new, "a call may be repeated");
    assert_eq!(code(server.users().sign_in(with_code("+491", "123456x")).await), ResultCode::WrongCode);
}

#[tokio::test]
async fn a_code_outlives_a_restart_and_one_that_follows_it() {
    let (server, webhook) = start_with(|_| {}).await;
    send(&server, "+491").await.unwrap();
    send(&server, "+491").await.unwrap();
    let server = server.restart().await;
    server.try_sign_in(with_code("+491", &webhook.sent()[0].1)).await.unwrap();
}

#[tokio::test]
async fn so_many_codes_go_to_a_number_and_to_whoever_asks() {
    let (server, webhook) = start_with(|settings| {
        settings.sign_in.codes_per_number_max = 2;
        settings.sign_in.codes_per_address_max = 5;
    })
    .await;
    for _ in 0..2 {
        send(&server, "+491").await.unwrap();
    }
    let status = send(&server, "+491").await.unwrap_err();
    assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests);
    assert_eq!(status.message(), "too many codes for this phone number, try again later");
    for number in 2..5 {
        send(&server, &format!("+49{number}")).await.unwrap();
    }
    let status = send(&server, "+495").await.unwrap_err();
    assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests);
    assert_eq!(status.message(), "too many codes for this address, try again later");
    assert_eq!(webhook.sent().len(), 5);
}

#[tokio::test]
async fn a_webhook_that_fails_counts_only_where_it_may_have_sent() {
    let (server, webhook) = start_with(|settings| {
        settings.sign_in.codes_per_number_max = 2;
        settings.sign_in.code_webhook_timeout_ms = 50;
    })
    .await;
    for answer in [Answer::Refuses(401), Answer::Refuses(403), Answer::Refuses(429), Answer::Redirects] {
        webhook.answer(answer);
        let status = send(&server, "+491").await.unwrap_err();
        assert_eq!((ResultCode::of_status(&status), status.message()), (ResultCode::TryAgainLater, "try again later"));
    }
    assert_eq!(webhook.calls(), 4, "a redirect is not followed");
    webhook.answer(Answer::Refuses(422));
    assert_names("phone_number", server.users().send_code(asking("+491")).await);
    for (answer, expected) in [
        (Answer::Refuses(504), ResultCode::TryAgainLater),
        (Answer::IsSilent, ResultCode::TryAgainLater),
        (Answer::Takes, ResultCode::TooManyRequests),
    ] {
        webhook.answer(answer);
        assert_eq!(ResultCode::of_status(&send(&server, "+491").await.unwrap_err()), expected);
    }
    webhook.answer(Answer::IsEndless);
    assert_eq!(send(&server, "+492").await.unwrap(), 300, "what follows the status is not read");
}

#[tokio::test]
async fn whoever_tries_numbers_that_are_none_uses_up_what_an_address_has() {
    let (server, webhook) = start_with(|settings| settings.sign_in.codes_per_address_max = 2).await;
    webhook.answer(Answer::Refuses(422));
    for number in ["+491", "+492"] {
        assert_names("phone_number", server.users().send_code(asking(number)).await);
    }
    assert_eq!(code(server.users().send_code(asking("+493")).await), ResultCode::TooManyRequests);
    assert_eq!(webhook.calls(), 2);
}

#[tokio::test]
async fn a_webhook_that_is_away_or_speaks_no_tls_is_tried_again_later() {
    let (server, _) = start_with(|settings| settings.sign_in.code_webhook = "http://127.0.0.1:1/codes".into()).await;
    for _ in 0..7 {
        assert_eq!(code(server.users().send_code(asking("+491")).await), ResultCode::TryAgainLater);
    }
    let (_, address) = StubWebhook::start().await;
    let spoken_plainly = format!("https://{address}/codes");
    let (server, _) = start_with(|settings| settings.sign_in.code_webhook = spoken_plainly).await;
    assert_eq!(code(server.users().send_code(asking("+491")).await), ResultCode::TryAgainLater);
}

#[tokio::test]
async fn a_number_that_cannot_be_one_is_named() {
    let (server, webhook) = start_with(|_| {}).await;
    for number in ["", "+49 1", "é", &"1".repeat(33)] {
        assert_names("phone_number", server.users().send_code(asking(number)).await);
    }
    assert_eq!(webhook.calls(), 0);
}

#[tokio::test]
async fn the_code_of_development_is_sent_nowhere() {
    let server = Server::start().await;
    assert_eq!(send(&server, "1").await.unwrap(), 0);
    let server = Server::start_with(|settings| settings.sign_in.development_code = String::new()).await;
    let status = send(&server, "1").await.unwrap_err();
    assert_eq!(ResultCode::of_status(&status), ResultCode::BadRequest);
    assert!(status.message().contains("sign_in.code_webhook is not set"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_codes_sent() {
    let (server, webhook) = start_with(|settings| settings.web.listen = Endpoint::new("127.0.0.1:0")).await;
    let address = server.business.web_address().unwrap();
    let config = web::get(address, "/config.json");
    assert!(config.contains(r#""is_for_development":false,"sends_codes":true,"#), "{config}");
    let answer = web::post(address, "/send-code", "application/json", r#"{"phone_number":"+491"}"#);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"valid_s":300}"#), "{answer}");
    let body = format!(r#"{{"phone_number":"+491","code":"{}"}}"#, webhook.sent()[0].1);
    assert!(web::post(address, "/sign-in", "application/json", &body).starts_with("HTTP/1.1 200 "));
    let answer = web::post(address, "/send-code", "application/json", r#"{"phone_number":"+49 1"}"#);
    assert!(answer.contains("phone_number: must be visible ASCII"), "{answer}");
}

#[test]
fn a_webhook_that_cannot_be_used_is_refused_by_its_key() {
    let problem = |change: fn(&mut BusinessSettings)| {
        let mut settings = BusinessSettings::default();
        settings.sign_in.development_code = String::new();
        settings.sign_in.code_webhook = "https://sms.example.com/gim".into();
        settings.sign_in.code_webhook_secret = SECRET.into();
        assert_eq!(settings.validate(), Ok(()));
        change(&mut settings);
        settings.validate().unwrap_err()
    };
    assert!(problem(|s| s.sign_in.code_webhook = "sms.example.com".into()).starts_with("sign_in.code_webhook: must"));
    assert!(problem(|s| s.sign_in.code_webhook_secret = "x".into()).starts_with("sign_in.code_webhook_secret: must"));
    assert!(problem(|s| s.sign_in.code_webhook_secret = String::new()).starts_with("sign_in.code_webhook_secret: "));
    assert!(
        problem(|s| s.sign_in.development_code = "1".into()).starts_with("sign_in.development_code: must be empty")
    );
    assert!(problem(|s| s.sign_in.code_digits = 3).starts_with("sign_in.code_digits: "));
}
