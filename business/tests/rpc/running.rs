//! The service as an operator sees it: start, readiness, restart, stop, and why it may not start.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gim_business::StartError;
use gim_config::{listen::Endpoint, service::Running as _};
use gim_proto::{
    ResultCode,
    business::{AuthRequest, FriendAddRequest, FriendAgreeRequest, user_int_service_client::UserIntServiceClient},
    metadata,
};
use tonic::Request;

use super::harness::{Server, channel, code, settings};

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn users_tokens_and_friends_outlive_a_restart() {
    let server = Server::start().await;
    let [alice, bob] = [server.sign_in("1").await, server.sign_in("2").await];
    let add = FriendAddRequest { friend_id: bob.user_id, ..Default::default() };
    server.friends().add(alice.ask(add)).await.unwrap();
    let server = server.restart().await;
    let agree = FriendAgreeRequest { user_id: alice.user_id, ..Default::default() };
    server.friends().agree(bob.ask(agree)).await.unwrap();
    let server = server.restart().await;
    let friends = server.friends().get_friends(alice.ask(())).await.unwrap().into_inner().friends;
    assert_eq!(friends[0].user_id, bob.user_id);
    let again = server.sign_in("1").await;
    assert_eq!((again.user_id, again.is_new), (alice.user_id, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_ready_and_counts_what_it_does() {
    let server = Server::start().await;
    assert_eq!(server.business.readiness().missing(), [""; 0]);
    server.sign_in("1").await;
    let admin = server.business.admin_address().unwrap();
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(admin, "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = get(admin, "/metrics");
    assert!(metrics.contains("business_sign_ins_total{result=\"new_user\"}"), "{metrics}");
    let readiness = server.business.readiness().clone();
    server.business.stop().await;
    assert_eq!(readiness.missing(), ["database", "grpc"]);
}

#[tokio::test]
async fn trusted_calls_need_the_internal_token_both_ways() {
    let server = Server::start_with(|settings| settings.grpc.internal_token = "secret".into()).await;
    let phone = server.sign_in("1").await;
    let message = AuthRequest { user_id: phone.user_id, device_id: phone.device_id, token: phone.token.clone() };
    let mut client = UserIntServiceClient::new(channel(server.business.grpc_address()));
    assert_eq!(code(client.auth(message.clone()).await), ResultCode::NotAllowed);
    let mut request = Request::new(message);
    metadata::put(&mut request, metadata::INTERNAL_TOKEN, "secret");
    client.auth(request).await.unwrap();
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_one_sentence() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();

    let mut taken = settings(&folder);
    taken.grpc.listen = Endpoint::from(server.business.grpc_address());
    let error = gim_business::start(taken).await.unwrap_err();
    assert!(matches!(error, StartError::Listen(_)));
    assert!(error.to_string().ends_with("the port is already taken"), "{error}");

    let mut unwritable = settings(&folder);
    unwritable.data_dir = "/dev/null/data".into();
    unwritable.database.url = String::new();
    let error = gim_business::start(unwritable).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot write to the data folder /dev/null/data: "), "{error}");

    let mut second = settings(&folder);
    second.database.url = format!("sqlite:{}", folder.path().join("x.db").display());
    let offline = gim_business::open_offline(second.clone()).await.unwrap();
    second.data_dir = folder.path().join("elsewhere");
    let error = gim_business::start(second).await.unwrap_err().to_string();
    let expected = format!("the data folder {} is in use by another gim-business", folder.path().display());
    assert!(error.starts_with(&expected), "{error}");
    offline.close().await;

    let mut nonsense = settings(&folder);
    nonsense.sign_in.wrong_codes_max = 0;
    let error = gim_business::start(nonsense).await.unwrap_err();
    assert_eq!(error.to_string(), "settings: sign_in.wrong_codes_max: must be between 1 and 1000000");
}
