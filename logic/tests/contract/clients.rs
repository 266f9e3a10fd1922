//! The clients' listener: what it offers, what it keeps to itself, and whom it asks for.

use std::net::SocketAddr;

use gim_config::{listen::Endpoint, service::Running as _};
use gim_proto::{ResultCode, metadata, methods};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::support::{Server, business::StubBusiness, server_with, soon};

const JSON: &str = "application/json";
const WAYS: [&str; 4] = [JSON, "application/proto", "application/grpc-web", "application/grpc-web-text"];

async fn server() -> (Server, SocketAddr) {
    let server = server_with(StubBusiness::start().await, |settings| {
        settings.clients.listen = Endpoint::new("127.0.0.1:0");
    })
    .await;
    let address = server.logic.clients_address().unwrap();
    (server, address)
}

/// An answer, head and body.
async fn post(address: SocketAddr, method: &str, content_type: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /{method} HTTP/1.1\r\nhost: gim\r\nconnection: close\r\ncontent-type: {content_type}\r\n{headers}"
    );
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    let answer = String::from_utf8_lossy(&bytes);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The result code of what was refused in JSON, and the sentence.
async fn refusal(address: SocketAddr, method: &str, headers: &str) -> (String, String) {
    let (_, body) = post(address, method, JSON, headers, "{}").await;
    let error: Value = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&error["details"][0]["debug"]["reason"]), text(&error["message"]))
}

fn signed(user_id: u64, token: &str) -> String {
    format!("user_id: {user_id}\r\ndevice_id: {}\r\ntoken: {token}\r\n", user_id * 10)
}

#[tokio::test]
async fn pages_that_may_call_are_changed_while_it_runs() {
    let (mut server, address) = server().await;
    let page = "origin: https://app.example\r\n";
    let is_let_in =
        async || !refusal(address, "logic.MessageExtService/Sync", page).await.1.contains("this page is not listed");
    assert!(!is_let_in().await);
    let mut settings = server.settings.clone();
    settings.clients.origins = vec!["https://app.example".into()];
    server.logic.reload(Some(&settings)).await.unwrap();
    assert!(is_let_in().await);
    settings.clients.origins.clear();
    server.logic.reload(Some(&settings)).await.unwrap();
    assert!(!is_let_in().await);
}

#[tokio::test]
async fn nothing_that_is_for_services_is_offered_in_any_way() {
    let (_server, address) = server().await;
    let of_services = methods::of_services();
    assert!(of_services.len() > 20, "{of_services:?}");
    let headers = format!("{}internal_token: x\r\nvouched: 1\r\n", signed(1, "token-1"));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    for method in of_services {
        for content_type in WAYS {
            let (head, _) = post(address, &method, content_type, &headers, "").await;
            let is_refused = head.starts_with("HTTP/1.1 501") || head.contains("grpc-status: 12");
            assert!(is_refused, "{method} as {content_type}: {head}");
        }
        let mut grpc = Grpc::new(channel.clone());
        soon(grpc.ready()).await.unwrap();
        let path = format!("/{method}").parse().unwrap();
        let called = grpc.unary(metadata::signed((), 1, 10, "token-1"), path, ProstCodec::<(), ()>::default());
        let status = soon(called).await.unwrap_err();
        assert_eq!(ResultCode::of_status(&status), ResultCode::UnknownCommand, "{method} by gRPC");
    }
}

#[tokio::test]
async fn every_method_asks_who_calls_and_believes_nobody_without_the_token() {
    let (_server, address) = server().await;
    let closed = methods::of_clients().into_iter().filter(|method| !methods::OPEN.contains(&method.as_str()));
    for method in closed {
        let missing = ("10001".to_owned(), "user_id: is missing in the metadata".to_owned());
        assert_eq!(refusal(address, &method, "").await, missing, "{method}");
        let shown = "internal_token: x\r\nauthorization: Bearer x\r\nvouched: 1\r\n";
        assert_eq!(refusal(address, &method, shown).await, missing, "{method}");
        if method.starts_with("logic.") {
            let headers = format!("{}vouched: 1\r\n", signed(1, "token-2"));
            assert_eq!(refusal(address, &method, &headers).await.0, "10000", "{method} with somebody's token");
        }
    }
}

#[tokio::test]
async fn a_client_sends_and_syncs_in_json() {
    let (server, address) = server().await;
    let call = async |method: &str, body: &str| {
        let (head, answer) = post(address, method, JSON, &signed(1, "token-1"), body).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{method}: {head} {answer}");
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let send = r#"{"user_id":"2","command":2001,"content":"aGk=","client_msg_id":"a"}"#;
    let sent = call("logic.MessageExtService/Send", send).await;
    let again = call("logic.MessageExtService/Send", send).await;
    assert_eq!(sent["messageId"], again["messageId"], "{sent}");
    let synced = call("logic.MessageExtService/Sync", r#"{"seq":"0"}"#).await;
    // At the end of a push that says who sends.
    assert!(synced["messages"][0]["content"].as_str().unwrap().ends_with("aGk="), "{synced}");
    // The same by gRPC, on the listener of services.
    let request = metadata::signed(gim_proto::logic::SyncRequest::default(), 1, 10, "token-1");
    let messages = server.message_ext().sync(request).await.unwrap().into_inner().messages;
    assert_eq!(messages[0].message_id.to_string(), synced["messages"][0]["messageId"].as_str().unwrap());
}

#[tokio::test]
async fn a_call_of_a_method_of_business_goes_to_business() {
    let (_server, address) = server().await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut grpc = Grpc::new(channel);
    soon(grpc.ready()).await.unwrap();
    let path = "/business.UserExtService/GetUser".parse().unwrap();
    let request: Request<()> = metadata::signed((), 1, 10, "token-1");
    let status = soon(grpc.unary(request, path, ProstCodec::<(), ()>::default())).await.unwrap_err();
    // That of the tests has users, and nothing for clients.
    assert_eq!((status.code(), ResultCode::number_in_details(&status)), (tonic::Code::Unimplemented, None));
}
