//! Tokens that are ended before their time, and tokens that logic can check by itself.

use gim_proto::{
    ResultCode,
    business::{AuthRequest, RevokeTokensRequest, SignOutRequest},
};
use tonic::{Response, Status};

use super::harness::{Phone, Server, code, sign_in_request};

async fn auth(server: &Server, phone: &Phone) -> Result<Response<()>, Status> {
    let request = AuthRequest { user_id: phone.user_id, device_id: phone.device_id, token: phone.token.clone() };
    server.internal().auth(request).await
}

#[tokio::test]
async fn a_device_that_signs_out_is_out_and_logic_closes_its_connections() {
    let server = Server::start().await;
    let [phone, laptop] = [server.sign_in("1").await, server.sign_in("1").await];
    server.users().sign_out(phone.ask(SignOutRequest { all_devices: false })).await.unwrap();
    let revoked = server.logic.take_revoked();
    assert_eq!((revoked[0].user_id, revoked[0].device_id), (phone.user_id, phone.device_id));
    assert!(revoked[0].not_before_ms > 1_600_000_000_000);
    assert_eq!(code(auth(&server, &phone).await), ResultCode::SignInAgain);
    assert_eq!(code(server.friends().get_friends(phone.ask(())).await), ResultCode::SignInAgain);
    auth(&server, &laptop).await.unwrap();
}

#[tokio::test]
async fn a_user_signs_all_devices_out_at_once() {
    let server = Server::start().await;
    let [phone, laptop, other] = [server.sign_in("1").await, server.sign_in("1").await, server.sign_in("2").await];
    server.users().sign_out(phone.ask(SignOutRequest { all_devices: true })).await.unwrap();
    let revoked = server.logic.take_revoked();
    assert_eq!((revoked.len(), revoked[0].user_id, revoked[0].device_id), (1, phone.user_id, 0));
    for out in [&phone, &laptop] {
        assert_eq!(code(auth(&server, out).await), ResultCode::SignInAgain);
    }
    auth(&server, &other).await.unwrap();
    let again = server.sign_in("1").await;
    auth(&server, &again).await.unwrap();
}

#[tokio::test]
async fn a_trusted_service_revokes_and_repeats_where_logic_was_away() {
    let server = Server::start().await;
    let phone = server.sign_in("1").await;
    let request = RevokeTokensRequest { user_id: phone.user_id, device_id: phone.device_id };
    server.logic.refuse_with(Some(Status::unavailable("down")));
    assert_eq!(code(server.internal().revoke_tokens(request).await), ResultCode::TryAgainLater);
    assert_eq!(code(auth(&server, &phone).await), ResultCode::SignInAgain, "the token is gone in any case");
    server.logic.refuse_with(None);
    server.internal().revoke_tokens(request).await.unwrap();
    assert_eq!(server.logic.take_revoked()[0].device_id, phone.device_id);
    server.internal().revoke_tokens(RevokeTokensRequest { user_id: 999, device_id: 0 }).await.unwrap();
}

#[tokio::test]
async fn with_a_key_tokens_are_json_web_tokens_and_good_for_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("secret");
    std::fs::write(&key_file, "a secret of at least 32 bytes, so\n").unwrap();
    let server = Server::start_with(|settings| settings.jwt.key_file = key_file).await;
    let phone = server.sign_in("1").await;
    assert_eq!(phone.token.split('.').count(), 3);
    auth(&server, &phone).await.unwrap();
    server.friends().get_friends(phone.ask(())).await.unwrap();
    let mut request = sign_in_request("1");
    request.device.as_mut().unwrap().id = phone.device_id;
    let newer = server.try_sign_in(request).await.unwrap();
    assert_ne!(newer.token, phone.token);
    let revoked = server.logic.take_revoked();
    assert_eq!((revoked.len(), revoked[0].device_id), (1, phone.device_id), "logic takes the older one no more");
    auth(&server, &newer).await.unwrap();
    server.users().sign_out(newer.ask(SignOutRequest::default())).await.unwrap();
    assert_eq!(code(auth(&server, &newer).await), ResultCode::SignInAgain);
}

#[tokio::test]
async fn a_key_that_cannot_be_read_keeps_the_service_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = super::harness::settings(&folder);
    settings.jwt.key_file = folder.path().join("none");
    let error = gim_business::start(settings).await.unwrap_err().to_string();
    assert!(error.starts_with("settings: jwt.key_file: "), "{error}");
}

#[tokio::test]
async fn a_sign_in_bears_a_logic_that_is_away_for_a_moment_and_no_longer() {
    let server = Server::start().await;
    let phone = server.sign_in("1").await;
    let again = || {
        let mut request = sign_in_request("1");
        request.device.as_mut().unwrap().id = phone.device_id;
        server.try_sign_in(request)
    };
    server.logic.put_off_revocations(2);
    again().await.unwrap();
    assert_eq!(server.logic.take_revoked().len(), 1);
    server.logic.put_off_revocations(3);
    let refused = ResultCode::of_status(&again().await.unwrap_err());
    assert_eq!(refused, ResultCode::TryAgainLater, "nobody is told of a token while the old one lives");
    again().await.unwrap();
    assert_eq!(server.logic.take_revoked().len(), 1);
}
