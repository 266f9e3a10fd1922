//! The doors of a gRPC server by the bytes that curl, browsers and others send: JSON, gRPC-Web, pages, and whom each lets in.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use gim_config::{
    grpc::{self, ClientListeners, ClientsSettings, GrpcServer, GrpcSettings, Page, Pages},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    connect::{
        DeviceMessage, Message, PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
    logic::{
        ConnNode, LocateReply, LocateRequest,
        gateway_ext_service_client::GatewayExtServiceClient,
        gateway_ext_service_server::{GatewayExtService, GatewayExtServiceServer},
    },
};
use prost::Message as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

const PATIENCE: Duration = Duration::from_secs(30);
const LOCATE: &str = "/logic.GatewayExtService/Locate";
const SYNC: &str = "/logic.MessageExtService/Sync";
const PUSH: &str = "/connect.ConnectIntService/PushToDevices";
const JSON: &str = "content-type: application/json\r\n";
const HOST: &str = "host: 127.0.0.1\r\n";

/// Answers with what was asked, and with who asks.
#[derive(Clone)]
struct Stub;

#[tonic::async_trait]
impl GatewayExtService for Stub {
    async fn locate(&self, request: Request<LocateRequest>) -> Result<Response<LocateReply>, Status> {
        let caller = grpc::caller_address(&request).map(|ip| ip.to_string()).unwrap_or_default();
        let LocateRequest { platform, room_id } = request.into_inner();
        match platform.as_str() {
            "late" => std::future::pending().await,
            "nowhere" => return Err(ResultCode::TryAgainLater.into()),
            "crowded" => return Err(ResultCode::TooManyRequests.status_after("slower", Duration::from_millis(8_001))),
            _ => {}
        }
        let node = ConnNode { tcp: platform, ws: room_id.to_string(), tls: caller, ..ConnNode::default() };
        Ok(Response::new(LocateReply { nodes: vec![node], ..LocateReply::default() }))
    }
}

#[tonic::async_trait]
impl ConnectIntService for Stub {
    async fn push_to_devices(&self, _request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

fn routes() -> RoutesBuilder {
    let mut routes = RoutesBuilder::default();
    routes.add_service(GatewayExtServiceServer::new(Stub)).add_service(ConnectIntServiceServer::new(Stub));
    routes
}

fn any_port() -> Endpoint {
    Endpoint::new("127.0.0.1:0")
}

async fn clients_door(change: impl FnOnce(&mut ClientsSettings, &mut GrpcSettings)) -> GrpcServer {
    let mut clients = ClientsSettings { listen: any_port(), ..ClientsSettings::default() };
    let mut settings = GrpcSettings { listen: any_port(), ..GrpcSettings::default() };
    change(&mut clients, &mut settings);
    let pages: Pages =
        Arc::new(|request| (request.uri.path() == "/page").then(|| Page::new(Bytes::from_static(b"a page"))));
    ClientListeners::new(&clients, &settings, &[]).serve(routes(), pages).await.unwrap()
}

async fn services_door(change: impl FnOnce(&mut GrpcSettings)) -> GrpcServer {
    let mut settings = GrpcSettings { listen: any_port(), ..GrpcSettings::default() };
    change(&mut settings);
    grpc::serve(&settings, routes(), &[]).await.unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The result code of a refusal.
    fn code(&self) -> String {
        self.json()["details"][0]["debug"]["reason"].as_str().unwrap_or("none").to_owned()
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().lines().any(|line| line == header)
    }
}

/// One request of HTTP/1.1 on a connection of its own.
async fn ask(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Who is refused before its last byte may not be read to the end.
    let _is_taken = stream.write_all(body).await.is_ok();
    let mut bytes = Vec::new();
    let _is_closed_in_order = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().is_ok();
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes.split_off(end + 4) }
}

fn grpc_client(server: &GrpcServer) -> GatewayExtServiceClient<grpc::PeerChannel> {
    GatewayExtServiceClient::new(channel(server))
}

fn channel(server: &GrpcServer) -> grpc::PeerChannel {
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    grpc::channel(&peer, &GrpcSettings::default(), Some(PATIENCE)).unwrap()
}

async fn post(server: &GrpcServer, path: &str, headers: &str, body: &[u8]) -> Answer {
    ask(server.address(), &format!("POST {path}"), headers, body).await
}

async fn post_json(server: &GrpcServer, path: &str, headers: &str, body: &str) -> Answer {
    post(server, path, &format!("{HOST}{JSON}{headers}"), body.as_bytes()).await
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn a_call_is_answered_in_what_it_speaks() {
    let server = clients_door(|_, _| ()).await;
    let answer = post_json(&server, LOCATE, "", r#"{"platform":"web","room_id":"18446744073709551615"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.has("content-type: application/json"));
    assert_eq!(answer.json()["nodes"][0]["ws"], "18446744073709551615");

    let request = LocateRequest { platform: "web".into(), room_id: 7 }.encode_to_vec();
    let answer = post(&server, LOCATE, &format!("{HOST}content-type: application/proto\r\n"), &request).await;
    assert_eq!(LocateReply::decode(answer.body.as_slice()).unwrap().nodes[0].tcp, "web");

    let answer =
        post(&server, LOCATE, &format!("{HOST}content-type: application/grpc-web\r\n"), &frame(&request)).await;
    assert!(answer.has("content-type: application/grpc-web+proto"), "{}", answer.head);
    let length = usize::try_from(u32::from_be_bytes(answer.body[1..5].try_into().unwrap())).unwrap();
    assert_eq!(LocateReply::decode(&answer.body[5..5 + length]).unwrap().nodes[0].ws, "7");
    assert_eq!(answer.body[5 + length], 0x80, "then come the trailers");
    assert!(answer.body.ends_with(b"grpc-status: 0\r\n"));

    // The frame of an empty message.
    let text = format!("{HOST}content-type: application/grpc-web-text\r\n");
    let answer = post(&server, LOCATE, &text, b"AAAAAAA=").await;
    assert!(answer.status == 200 && answer.body.starts_with(b"AAAAA"), "{}", answer.head);
}

#[tokio::test]
async fn a_refusal_says_code_result_code_and_request_id() {
    let server = clients_door(|_, _| ()).await;
    let answer = post_json(&server, LOCATE, "request_id: mine\r\n", r#"{"platform":"nowhere"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "10004"));
    assert_eq!(answer.json()["code"], "unavailable");
    assert_eq!(answer.json()["details"][1]["debug"]["requestId"], "mine");
    assert!(answer.has("retry-after: 1"), "{}", answer.head);
}

#[tokio::test]
async fn a_refusal_for_a_while_says_for_how_long_in_each_protocol() {
    let server = clients_door(|_, _| ()).await;
    let answer = post_json(&server, LOCATE, "", r#"{"platform":"crowded"}"#).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "9"));
    assert_eq!(answer.json()["details"][1]["debug"]["retryDelay"], "8.001s");
    let crowded = LocateRequest { platform: "crowded".into(), ..LocateRequest::default() };
    let text = format!("{HOST}content-type: application/grpc-web\r\n");
    let answer = post(&server, LOCATE, &text, &frame(&crowded.encode_to_vec())).await;
    assert_eq!((answer.header("grpc-status"), answer.header("retry-after")), ("8", "9"), "{}", answer.head);
    let refused = grpc_client(&server).locate(crowded).await.unwrap_err();
    assert_eq!(refused.metadata().get("retry-after").unwrap(), "9");
    assert_eq!(ResultCode::wait_of(&refused), Some(Duration::from_millis(8_001)));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let server = clients_door(|_, _| ()).await;
    let deep = format!(r#"{{"platform":{}"#, "[".repeat(10_000));
    for body in [
        r#"{"platform":"web""#,
        r#"{"platfrom":"web"}"#,
        r#"{"platform":"a","platform":"b"}"#,
        r#"{"room_id":1,"roomId":2}"#,
        r#"{"room_id":18446744073709551616}"#,
        r#"{"room_id":9007199254740993.0}"#,
        r#"{"room_id":NaN}"#,
        r#"{"platform":"\ud800"}"#,
        deep.as_str(),
        "",
    ] {
        let answer = post_json(&server, LOCATE, "", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "10001"), "{body:.60}");
        assert!(answer.json()["message"].as_str().unwrap().starts_with("the JSON of logic.LocateRequest: "));
    }
    let answer = post_json(&server, LOCATE, "content-encoding: gzip\r\n", "{}").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (501, Some("unimplemented")), "nothing is unpacked");
    for path in ["/none.Service/Method", "/", "/x"] {
        let answer = post_json(&server, path, "", "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (501, "10005"), "{path}");
    }
    let answer = post(&server, LOCATE, &format!("{HOST}content-type: text/plain\r\n"), b"{}").await;
    assert!(answer.status == 415 && answer.head.contains("accept-post: application/json"), "{}", answer.head);
    let answer = ask(server.address(), &format!("GET {LOCATE}"), HOST, b"").await;
    assert!(answer.status == 405 && answer.has("allow: post"), "{}", answer.head);
    assert_eq!(ask(server.address(), "GET /page", HOST, b"").await.body, b"a page");
    let head = ask(server.address(), "HEAD /page", HOST, b"").await;
    assert!(head.status == 200 && head.has("content-length: 6") && head.body.is_empty(), "{}", head.head);
}

#[tokio::test]
async fn what_does_not_fit_its_protocol_is_refused_with_a_result_code() {
    let server = clients_door(|_, _| ()).await;
    for (header, status, code) in [
        ("content-encoding: gzip", 501, "10005"),
        ("connect-protocol-version: 2", 400, "10001"),
        ("connect-timeout-ms: x", 400, "10001"),
        ("connect-timeout-ms: 1", 504, "10004"),
    ] {
        let headers = format!("request_id: mine\r\n{header}\r\n");
        let answer = post_json(&server, LOCATE, &headers, r#"{"platform":"late"}"#).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{header}");
        assert_eq!(answer.json()["details"][1]["debug"]["requestId"], "mine", "{header}");
        assert_eq!(answer.header("retry-after"), if status == 504 { "1" } else { "" });
    }
    for (body, header, code) in [
        (frame(b"")[..3].to_vec(), "", "10005"),
        (frame(b"abc")[..7].to_vec(), "", "10001"),
        ([frame(b""), frame(b"")].concat(), "", "10005"),
        (b"\x02\0\0\0\0".to_vec(), "", "10001"),
        (b"\x01\0\0\0\0".to_vec(), "", "10001"),
        (b"\x01\0\0\0\0".to_vec(), "grpc-encoding: snappy\r\n", "10005"),
    ] {
        let headers = format!("{HOST}content-type: application/grpc-web\r\n{header}");
        let answer = post(&server, LOCATE, &headers, &body).await;
        let details = STANDARD_NO_PAD.decode(answer.header("grpc-status-details-bin").trim_end_matches('=')).unwrap();
        assert!(details.windows(5).any(|text| text == code.as_bytes()), "{body:?} {}", answer.head);
    }
}

#[tokio::test]
async fn a_body_has_a_bound_and_a_deadline() {
    let services = services_door(|_| ()).await;
    for server in [&services, &clients_door(|_, _| ()).await] {
        let large = LocateRequest { platform: " ".repeat(200_000), ..LocateRequest::default() };
        let refused = grpc_client(server).locate(large).await.unwrap_err();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge, "{refused}");
    }
    // What services ask of each other is bounded by the library, to 4 MiB.
    let message = Message { content: Bytes::from(vec![0; 5 << 20]), ..Message::default() };
    let message = DeviceMessage { device_id: 1, message: Some(message) };
    let push = PushToDevicesRequest { device_messages: vec![message], ..PushToDevicesRequest::default() };
    let refused = ConnectIntServiceClient::new(channel(&services)).push_to_devices(push).await.unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge, "{refused}");

    let server = clients_door(|_, settings| settings.request_timeout_ms = 200).await;
    let answer = post_json(&server, LOCATE, "", &" ".repeat(200_000)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "10002"));
    assert!(answer.json()["message"].as_str().unwrap().contains("more than 131072 bytes"));

    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("POST {LOCATE} HTTP/1.1\r\n{HOST}{JSON}content-length: 1000000000\r\n\r\n{{");
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 12];
    timeout(PATIENCE, slow.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes, b"HTTP/1.1 503");
}

#[tokio::test]
async fn a_head_has_a_bound_and_a_deadline() {
    let server = clients_door(|_, settings| {
        settings.header_bytes_max = 4096;
        settings.request_timeout_ms = 200;
    })
    .await;
    let mut endless = TcpStream::connect(server.address()).await.unwrap();
    endless.write_all(b"POST / HTTP/1.1\r\nx: ").await.unwrap();
    let written = async { while endless.write_all(&[b'x'; 1024]).await.is_ok() {} };
    timeout(PATIENCE, written).await.expect("it is ended");
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    slow.write_all(b"POST / HT").await.unwrap();
    assert!(matches!(timeout(PATIENCE, slow.read(&mut [0; 1])).await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn strangers_reach_nothing_that_is_for_services_or_needs_an_identity() {
    let server = clients_door(|_, settings| settings.internal_token = "a-token-of-services".into()).await;
    for token in ["", "internal_token: a-token-of-services\r\n", "authorization: Bearer a-token-of-services\r\n"] {
        let answer = post_json(&server, PUSH, token, "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (501, "10005"), "{token}");
    }
    let answer = post_json(&server, SYNC, "internal_token: a-token-of-services\r\nvouched: 1\r\n", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "10001"));
    assert_eq!(answer.json()["message"], "user_id: is missing in the metadata");
}

#[tokio::test]
async fn pages_call_from_listed_origins_and_from_our_own() {
    let server = clients_door(|clients, _| clients.origins = vec!["https://app.example.com".into()]).await;
    let listed = "origin: https://app.example.com\r\n";
    let preflight = ask(server.address(), &format!("OPTIONS {LOCATE}"), &format!("{HOST}{listed}"), b"").await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.has("access-control-allow-origin: https://app.example.com"), "{}", preflight.head);
    assert!(preflight.head.contains("device_id, token"), "{}", preflight.head);
    let answer = post_json(&server, LOCATE, listed, "{}").await;
    assert!(answer.status == 200 && answer.has("access-control-allow-origin: https://app.example.com"));
    let answer = post_json(&server, LOCATE, "origin: http://127.0.0.1\r\n", "{}").await;
    assert_eq!(answer.status, 200, "a page of our own address");
    for line in ["OPTIONS", "POST"] {
        let headers = format!("{HOST}{JSON}origin: https://evil.test\r\n");
        let answer = ask(server.address(), &format!("{line} {LOCATE}"), &headers, b"{}").await;
        assert_eq!(answer.status, 403, "{line}");
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_proxy_tells_for_whom_it_calls_and_nobody_else_does() {
    let told = "x-forwarded-for: 1.1.1.1, 203.0.113.9\r\n";
    for (proxies, caller) in [("127.0.0.0/8", "203.0.113.9"), ("10.0.0.0/8", "127.0.0.1")] {
        let proxies = [proxies.parse().unwrap()].to_vec();
        let server = clients_door(|clients, _| clients.proxies = gim_config::networks::Networks::new(proxies)).await;
        assert_eq!(post_json(&server, LOCATE, told, "{}").await.json()["nodes"][0]["tls"], caller);
    }
}

#[tokio::test]
async fn backends_call_services_in_json_with_a_bearer() {
    let server = services_door(|settings| settings.internal_token = "a-token-of-services".into()).await;
    let answer = post_json(&server, PUSH, "authorization: Bearer a-token-of-services\r\n", "{}").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
    for token in ["", "authorization: Bearer another\r\n", "authorization: Basic a-token-of-services\r\n"] {
        let answer = post_json(&server, PUSH, token, "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "10006"), "{token}");
    }
    assert_eq!(post_json(&server, LOCATE, "", "{}").await.status, 200, "clients call here too");
}

#[tokio::test]
async fn a_page_reaches_no_service_though_none_asks_for_a_token() {
    let server = services_door(|settings| settings.names = vec!["logic.internal".into()]).await;
    assert_eq!(post_json(&server, PUSH, "", "{}").await.status, 200, "from this host, without a page");
    let origin = post_json(&server, PUSH, "origin: http://127.0.0.1\r\n", "{}").await;
    assert_eq!((origin.status, origin.code().as_str()), (403, "10006"));
    for (host, status) in [("logic.internal:8010", 200), ("localhost", 200), ("rebound.evil.test", 403)] {
        let answer = post(&server, PUSH, &format!("host: {host}\r\n{JSON}"), b"{}").await;
        assert_eq!(answer.status, status, "{host}");
    }
    let plain = post(&server, PUSH, &format!("{HOST}content-type: text/plain\r\n"), b"{}").await;
    assert_eq!(plain.status, 415, "what a form can send");
}

#[tokio::test]
async fn clients_may_be_kept_from_the_listener_of_services() {
    let server = services_door(|settings| {
        settings.internal_token = "a-token-of-services".into();
        settings.serves_clients = false;
    })
    .await;
    let answer = post_json(&server, LOCATE, "", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "10006"));
    let trusted = post_json(&server, LOCATE, "authorization: Bearer a-token-of-services\r\n", "{}").await;
    assert_eq!(trusted.status, 200, "our own services ask for clients");
}

#[tokio::test]
async fn calls_of_an_address_are_bounded_and_dear_ones_cost_more() {
    let server = clients_door(|clients, _| {
        clients.address_calls_per_s = 1;
        clients.address_calls_burst = 100;
        clients.proxies = gim_config::networks::Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    // A call comes back in each second, so that there is enough for one after as many as it costs, less what came back meanwhile.
    let calls = async |path: &str, cost: u32, client: &str| {
        let told = format!("x-forwarded-for: {client}\r\n");
        for done in 0.. {
            let answer = post_json(&server, path, &told, "{}").await;
            if answer.status == 429 {
                assert_eq!(answer.code(), "10003");
                let wait_s = answer.header("retry-after").parse::<u32>().unwrap();
                assert!((cost.div_ceil(2)..=cost).contains(&wait_s), "{}", answer.head);
                return done;
            }
        }
        unreachable!("there is a bound")
    };
    // Seconds may pass meanwhile, and bring back one call each.
    assert!((100..130).contains(&calls(LOCATE, 1, "203.0.113.1").await));
    assert!((5..7).contains(&calls("/business.UserExtService/SignIn", 20, "203.0.113.2").await));
    assert!((100..130).contains(&calls(LOCATE, 1, "203.0.113.3").await), "each has its own");
}

#[tokio::test]
async fn strangers_have_a_bound_at_the_door_of_services_and_services_have_none() {
    assert_eq!(GrpcSettings::default().address_calls_per_s, ClientsSettings::default().address_calls_per_s);
    let server = services_door(|settings| {
        settings.internal_token = "a-token-of-services".into();
        settings.accepted_tokens = vec!["the-token-of-before".into()];
        (settings.address_calls_per_s, settings.address_calls_burst) = (1, 100);
    })
    .await;
    let done = async |server: &GrpcServer, token: &str| {
        let headers = if token.is_empty() { String::new() } else { format!("internal_token: {token}\r\n") };
        let mut done = 0;
        while done < 150 && post_json(server, LOCATE, &headers, "{}").await.status == 200 {
            done += 1;
        }
        done
    };
    for token in ["a-token-of-services", "the-token-of-before"] {
        assert_eq!(done(&server, token).await, 150, "{token}");
    }
    // Seconds may pass meanwhile, and bring back one call each.
    assert!((100..130).contains(&done(&server, "").await));
    assert_eq!(done(&server, "a-token-of-services").await, 150, "what strangers of the address used up is theirs");
    let open = services_door(|settings| (settings.address_calls_per_s, settings.address_calls_burst) = (1, 100)).await;
    assert_eq!(done(&open, "").await, 150, "who reaches it may call everything there");
}

#[tokio::test]
async fn for_whom_a_call_is_made_is_believed_of_trusted_services_alone() {
    let told = "client_address: 203.0.113.9\r\n";
    let trusted = "client_address: 203.0.113.9\r\ninternal_token: a-token-of-services\r\n";
    let network = "client_address: 2001:db8::7\r\ninternal_token: a-token-of-services\r\n";
    let nonsense = "client_address: me\r\ninternal_token: a-token-of-services\r\n";
    let wrong = "client_address: 203.0.113.9\r\ninternal_token: a-token-of-everybody\r\n";
    let change = |settings: &mut GrpcSettings| {
        settings.internal_token = "a-token-of-services".into();
        (settings.address_calls_per_s, settings.address_calls_burst) = (1, 100);
    };
    let [services, clients] = [services_door(change).await, clients_door(|_, settings| change(settings)).await];
    let address = async |server: &GrpcServer, headers: &str| {
        let answer = post_json(server, LOCATE, headers, r#"{"platform":"web"}"#).await;
        answer.json()["nodes"][0]["tls"].as_str().unwrap().to_owned()
    };
    for (headers, believed) in [(trusted, "203.0.113.9"), (network, "2001:db8::"), (nonsense, "127.0.0.1")] {
        assert_eq!(address(&services, headers).await, believed, "{headers}");
    }
    for (server, headers) in [(&services, told), (&services, wrong), (&clients, told), (&clients, trusted)] {
        assert_eq!(address(server, headers).await, "127.0.0.1", "{headers}");
    }
    let sign_in = async |headers: &str| post_json(&services, "/business.UserExtService/SignIn", headers, "{}").await;
    let mut done = 0;
    while sign_in(trusted).await.status != 429 {
        done += 1;
    }
    assert!((4..7).contains(&done), "{done}: calls that are handed on take from the share of their address");
    assert_ne!(sign_in(network).await.status, 429, "and of no other one");
    assert_ne!(sign_in("").await.status, 429, "nor of that of the service");
}
