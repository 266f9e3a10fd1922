//! Calls for whose user a trusted service vouches: it has seen the token, and none comes.

use gim_business::BusinessSettings;
use gim_proto::{ResultCode, business::GetUserRequest, metadata};
use tonic::Request;

use super::harness::{CODE, Phone, Server, assert_names, code, sign_in_request};

const SECRET: &str = "sixteen-bytes-16";

fn asks_for_proof(settings: &mut BusinessSettings) {
    settings.grpc.internal_token = SECRET.into();
}

/// A request in a user's name, without her token.
fn in_name_of<T>(phone: &Phone, message: T, shown: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    metadata::put(&mut request, metadata::USER_ID, &phone.user_id.to_string());
    metadata::put(&mut request, metadata::DEVICE_ID, &phone.device_id.to_string());
    shown.iter().for_each(|(name, value)| metadata::put(&mut request, name, value));
    request
}

#[tokio::test]
async fn only_who_shows_the_internal_token_speaks_for_a_user() {
    let server = Server::start_with(asks_for_proof).await;
    let alice = server.sign_in("1").await;
    let ask = async |shown: &[(&'static str, &str)]| {
        let request = GetUserRequest { user_id: alice.user_id };
        server.users().get_user(in_name_of(&alice, request, shown)).await
    };
    let vouched = (metadata::VOUCHED, "1");
    let found = ask(&[vouched, (metadata::INTERNAL_TOKEN, SECRET)]).await.unwrap().into_inner().user.unwrap();
    assert_eq!(found.user_id, alice.user_id);
    let untrusted = [
        vec![vouched],
        vec![(metadata::VOUCHED, "")],
        vec![vouched, (metadata::INTERNAL_TOKEN, "guessed")],
        vec![vouched, (metadata::TOKEN, &alice.token)],
    ];
    for shown in untrusted {
        let status = ask(&shown).await.unwrap_err();
        assert!(ResultCode::is_untrusted(&status), "{shown:?}: {status}");
    }
    // Who may call internal services and vouches for nobody has to show the user's token like everybody.
    assert_names("token", ask(&[(metadata::INTERNAL_TOKEN, SECRET)]).await);
    assert_names("token", ask(&[]).await);
}

#[tokio::test]
async fn wrong_codes_count_for_the_user_who_tries_them_over_the_connection() {
    let server = Server::start_with(|settings| {
        asks_for_proof(settings);
        settings.sign_in.wrong_codes_per_address_max = 2;
    })
    .await;
    let (alice, bob) = (server.sign_in("1").await, server.sign_in("2").await);
    let shown = [(metadata::VOUCHED, "1"), (metadata::INTERNAL_TOKEN, SECRET)];
    let sign_in = async |phone: &Phone, phone_number: &str, code: &str| {
        let request = gim_proto::business::SignInRequest { code: code.into(), ..sign_in_request(phone_number) };
        server.users().sign_in(in_name_of(phone, request, &shown)).await
    };
    assert_eq!(code(sign_in(&alice, "91", "wrong").await), ResultCode::WrongCode);
    assert_eq!(code(sign_in(&alice, "92", "wrong").await), ResultCode::WrongCode);
    assert_eq!(code(sign_in(&alice, "93", CODE).await), ResultCode::TooManyRequests);
    sign_in(&bob, "93", CODE).await.expect("another user has tries of her own");
    server.sign_in("94").await;
}
