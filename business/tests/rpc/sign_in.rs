//! Signing in, and the token that comes of it.

use std::sync::Arc;

use gim_business::{CodeCheck, CodeCheckError};
use gim_proto::{
    ResultCode,
    business::{AuthRequest, SignInRequest},
    logic::Device,
    metadata,
};
use tonic::{Request, Status};

use super::harness::{Phone, Server, channel, code, settings, sign_in_request};

async fn auth(server: &Server, phone: &Phone) -> Result<(), Status> {
    let Phone { user_id, device_id, token, .. } = phone.clone();
    server.internal().auth(AuthRequest { user_id, device_id, token }).await.map(drop)
}

fn of(error: Result<impl Sized, Status>) -> ResultCode {
    ResultCode::of_status(&error.err().unwrap())
}

#[tokio::test]
async fn the_first_sign_in_makes_the_user_and_a_later_one_finds_it() {
    let server = Server::start().await;
    let first = server.sign_in("+15550001").await;
    let second = server.sign_in("+15550001").await;
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.user_id, second.user_id);
    assert_ne!(first.device_id, second.device_id);
    auth(&server, &first).await.unwrap();
    auth(&server, &second).await.unwrap();
    assert_ne!(server.sign_in("+15550002").await.user_id, first.user_id);
}

#[tokio::test]
async fn two_sign_ins_of_a_new_number_at_once_make_one_user() {
    let server = Server::start().await;
    let (first, second) = tokio::join!(server.sign_in("1"), server.sign_in("1"));
    assert_eq!(first.user_id, second.user_id);
    assert!(first.is_new != second.is_new);
    auth(&server, &first).await.unwrap();
    auth(&server, &second).await.unwrap();
}

#[tokio::test]
async fn a_device_of_somebody_else_is_not_taken_over() {
    let server = Server::start().await;
    let owner = server.sign_in("1").await;
    let mut request = sign_in_request("2");
    request.device = Some(Device { id: owner.device_id, branch_push_id: "mine".into(), ..Device::default() });
    let other = server.try_sign_in(request).await.unwrap();
    assert_ne!(other.device_id, owner.device_id);
    assert_eq!(server.logic.saved()[1].0.id, 0, "what logic knows of the owner's device stays");
    auth(&server, &owner).await.unwrap();
    auth(&server, &other).await.unwrap();
}

#[tokio::test]
async fn who_wants_this_device_or_none_is_refused_before_anything_is_used() {
    let server = Server::start().await;
    let owner = server.sign_in("1").await;
    let ask = |phone_number: &str, code: &str| {
        let device = Some(Device { id: owner.device_id, ..Device::default() });
        let request = sign_in_request(phone_number);
        let code = if code.is_empty() { request.code.clone() } else { code.to_owned() };
        server.try_sign_in(SignInRequest { code, device, on_this_device_only: true, ..request })
    };
    // More often than codes may be wrong: it counts for whoever asks, and not against the number.
    for _ in 0..12 {
        assert_eq!(of(ask("2", "not looked at").await), ResultCode::DeviceNotFound);
    }
    assert_eq!(of(ask("2", "").await), ResultCode::DeviceNotFound);
    server.sign_in("2").await;
    assert_eq!(server.logic.saved().len(), 2, "no other device was made");
    assert_eq!(ask("1", "").await.unwrap().device_id, owner.device_id);
}

#[tokio::test]
async fn who_shows_the_token_of_a_device_hands_it_over_to_somebody_else() {
    let server = Server::start().await;
    let (owner, elsewhere) = (server.sign_in("1").await, server.sign_in("1").await);
    let hand_over = |phone_number: &str, code: &str, shown: &Phone, device_id: u64| {
        let request = sign_in_request(phone_number);
        let code = if code.is_empty() { request.code.clone() } else { code.to_owned() };
        let device = Some(Device { id: device_id, ..Device::default() });
        let request = SignInRequest { code, device, on_this_device_only: true, ..request };
        let mut users = server.users();
        let request = shown.ask(request);
        async move { users.sign_in(request).await.map(tonic::Response::into_inner) }
    };
    // Neither a wrong token, nor that of another device or of another user, nor a wrong code moves anything.
    let stranger = server.sign_in("3").await;
    let wrong = Phone { token: stranger.token.clone(), ..owner.clone() };
    for shown in [&wrong, &elsewhere, &stranger] {
        assert_eq!(of(hand_over("2", "", shown, owner.device_id).await), ResultCode::DeviceNotFound);
    }
    assert_eq!(of(hand_over("2", "654321", &owner, owner.device_id).await), ResultCode::WrongCode);
    auth(&server, &owner).await.unwrap();

    let next = hand_over("2", "", &owner, owner.device_id).await.unwrap();
    assert_eq!(next.device_id, owner.device_id);
    let next = Phone { user_id: next.user_id, token: next.token, ..owner.clone() };
    auth(&server, &next).await.unwrap();
    assert_eq!(of(auth(&server, &owner).await), ResultCode::SignInAgain, "who was there before is signed out");
    auth(&server, &elsewhere).await.unwrap();
    assert_eq!(of(hand_over("4", "", &owner, owner.device_id).await), ResultCode::DeviceNotFound, "its token is over");
}

#[tokio::test]
async fn a_device_that_signs_in_again_keeps_its_id_and_gets_another_token() {
    let server = Server::start().await;
    let old = server.sign_in("1").await;
    let mut request = sign_in_request("1");
    request.device = Some(Device { id: old.device_id, model: "newer".into(), ..Device::default() });
    let new = server.try_sign_in(request).await.unwrap();
    assert_eq!(new.device_id, old.device_id);
    assert_eq!(server.logic.saved()[1].0.model, "newer");
    auth(&server, &new).await.unwrap();
    assert_eq!(of(auth(&server, &old).await), ResultCode::SignInAgain);
}

#[tokio::test]
async fn logic_hears_of_the_device_under_the_request_id() {
    let server = Server::start().await;
    let mut request = Request::new(sign_in_request("1"));
    metadata::put(&mut request, metadata::REQUEST_ID, "r-7");
    server.users().sign_in(request).await.unwrap();
    let (device, request_id) = server.logic.saved().remove(0);
    assert_eq!((device.id, device.brand.as_str(), request_id.as_str()), (0, "brand", "r-7"));
}

#[tokio::test]
async fn a_device_keeps_the_id_that_its_client_gave_it() {
    let server = Server::start().await;
    let mut request = sign_in_request("1");
    request.device = Some(Device { id: 5, ..Device::default() });
    let signed_in = server.try_sign_in(request).await.unwrap();
    assert_eq!(signed_in.device_id, 5);
    auth(&server, &signed_in).await.unwrap();
}

#[tokio::test]
async fn without_logic_a_sign_in_is_told_to_try_again_later_and_then_works() {
    let mut server = Server::start().await;
    server.logic.refuse_with(Some(Status::internal("a secret of logic")));
    let status = server.try_sign_in(sign_in_request("1")).await.unwrap_err();
    assert_eq!((ResultCode::of_status(&status), status.message()), (ResultCode::Internal, "internal error"));
    server.logic.refuse_with(Some(ResultCode::TryAgainLater.into()));
    assert_eq!(of(server.try_sign_in(sign_in_request("1")).await), ResultCode::TryAgainLater);
    server.logic.refuse_with(None);
    assert!(server.sign_in("1").await.is_new);
    server.stop_logic().await;
    let status = server.try_sign_in(sign_in_request("2")).await.unwrap_err();
    assert_eq!((ResultCode::of_status(&status), status.message()), (ResultCode::TryAgainLater, "try again later"));
}

#[tokio::test]
async fn a_wrong_code_lets_nobody_in_and_reaches_nobody() {
    let server = Server::start().await;
    let mut request = sign_in_request("1");
    request.code = "654321".into();
    assert_eq!(of(server.try_sign_in(request).await), ResultCode::WrongCode);
    assert!(server.logic.saved().is_empty());
    assert!(server.sign_in("1").await.is_new);
}

#[tokio::test]
async fn without_a_development_code_no_code_is_right() {
    let server = Server::start_with(|settings| settings.sign_in.development_code.clear()).await;
    assert_eq!(of(server.try_sign_in(sign_in_request("1")).await), ResultCode::WrongCode);
}

#[tokio::test]
async fn too_many_wrong_codes_close_a_phone_number_even_to_the_right_one() {
    let server = Server::start_with(|settings| settings.sign_in.wrong_codes_max = 3).await;
    let mut wrong = sign_in_request("1");
    wrong.code = "0".into();
    for _ in 0..3 {
        assert_eq!(of(server.try_sign_in(wrong.clone()).await), ResultCode::WrongCode);
    }
    let status = server.try_sign_in(sign_in_request("1")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests);
    server.sign_in("2").await;
}

#[tokio::test]
async fn too_many_wrong_codes_close_an_address_but_no_device_that_is_signed_in() {
    let server = Server::start_with(|settings| settings.sign_in.wrong_codes_per_address_max = 3).await;
    let phone = server.sign_in("0").await;
    for number in ["1", "2", "3"] {
        let wrong = SignInRequest { code: "0".into(), ..sign_in_request(number) };
        assert_eq!(of(server.try_sign_in(wrong).await), ResultCode::WrongCode);
    }
    for number in ["0", "4"] {
        let status = server.try_sign_in(sign_in_request(number)).await.unwrap_err();
        assert_eq!(ResultCode::of_status(&status), ResultCode::TooManyRequests);
        assert_eq!(status.message(), "too many wrong codes from this address, try again later");
    }
    server.friends().get_friends(phone.ask(())).await.unwrap();
    auth(&server, &phone).await.unwrap();
}

#[tokio::test]
async fn guesses_at_once_get_no_more_tries_than_guesses_in_turn() {
    let server = Server::start().await;
    let mut wrong = sign_in_request("1");
    wrong.code = "0".into();
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (mut client, wrong) = (server.users(), wrong.clone());
        guesses.spawn(async move { code(client.sign_in(wrong).await) });
    }
    let codes = guesses.join_all().await;
    assert_eq!(codes.iter().filter(|&&code| code == ResultCode::WrongCode).count(), 10);
    assert_eq!(codes.iter().filter(|&&code| code == ResultCode::TooManyRequests).count(), 30);
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_is_said_in_the_same_words() {
    let server = Server::start().await;
    let phone = server.sign_in("1").await;
    let other = server.sign_in("2").await;
    let wrong = [
        Phone { token: other.token.clone(), ..phone.clone() },
        Phone { token: "x".into(), ..phone.clone() },
        Phone { user_id: other.user_id, ..phone.clone() },
        Phone { user_id: 1 << 40, ..phone.clone() },
        Phone { device_id: 1 << 40, ..phone.clone() },
    ];
    for wrong in wrong {
        let status = auth(&server, &wrong).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert_eq!(ResultCode::of_status(&status), ResultCode::SignInAgain);
        assert_eq!(status.message(), "please sign in again");
        let status = server.friends().get_friends(wrong.ask(())).await.unwrap_err();
        assert_eq!(ResultCode::of_status(&status), ResultCode::SignInAgain);
    }
}

/// A customer's own check: the code is the number turned around; one number cannot be checked.
struct Reversed;

#[tonic::async_trait]
impl CodeCheck for Reversed {
    async fn check(&self, phone_number: &str, code: &str) -> Result<bool, CodeCheckError> {
        if phone_number == "13" {
            return Err(CodeCheckError("no answer from 10.0.0.7".into()));
        }
        Ok(phone_number.chars().rev().eq(code.chars()))
    }
}

#[tokio::test]
async fn a_product_plugs_its_own_check_of_codes_in() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    let logic = server.logic.serve("").await;
    settings.logic.endpoint = gim_config::listen::Endpoint::new(&format!("http://{}", logic.address())).into();
    let business = gim_business::start_with_code_check(settings, Arc::new(Reversed)).await.unwrap();
    let mut client =
        gim_proto::business::user_ext_service_client::UserExtServiceClient::new(channel(business.grpc_address()));
    let mut request = sign_in_request("42");
    assert_eq!(code(client.sign_in(request.clone()).await), ResultCode::WrongCode);
    request.code = "24".into();
    assert!(client.sign_in(request.clone()).await.unwrap().into_inner().is_new);
    request.phone_number = "13".into();
    let status = client.sign_in(request).await.unwrap_err();
    assert_eq!((ResultCode::of_status(&status), status.message()), (ResultCode::TryAgainLater, "try again later"));
}
