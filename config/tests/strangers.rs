//! What strangers can hold of a gRPC server, and for how long: by the bytes that they would send.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{sync::Arc, time::Duration};

use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    connect::{
        PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
    logic::{
        ConnNode, LocateReply, LocateRequest,
        gateway_ext_service_client::GatewayExtServiceClient,
        gateway_ext_service_server::{GatewayExtService, GatewayExtServiceServer},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tonic::{Request, Response, Status, service::RoutesBuilder};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a test takes.
const NEVER_MS: u64 = 3_600_000;
const LOCATE: &str = "/logic.GatewayExtService/Locate";
const PUSH: &str = "/connect.ConnectIntService/PushToDevices";
/// A request without any field.
const EMPTY: [u8; 5] = [0; 5];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Answers with so many bytes, one call for each permit.
#[derive(Clone)]
struct Stub {
    answer_bytes: usize,
    permits: Arc<Semaphore>,
}

#[tonic::async_trait]
impl GatewayExtService for Stub {
    async fn locate(&self, _request: Request<LocateRequest>) -> Result<Response<LocateReply>, Status> {
        self.permits.acquire().await.unwrap().forget();
        let node = ConnNode { tcp: "x".repeat(self.answer_bytes), ..ConnNode::default() };
        Ok(Response::new(LocateReply { nodes: vec![node], ..LocateReply::default() }))
    }
}

#[tonic::async_trait]
impl ConnectIntService for Stub {
    async fn push_to_devices(&self, _request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }
}

/// Settings of which no deadline comes.
fn patient() -> GrpcSettings {
    GrpcSettings {
        listen: Endpoint::new("127.0.0.1:0"),
        first_call_timeout_ms: NEVER_MS,
        idle_timeout_ms: NEVER_MS,
        request_timeout_ms: NEVER_MS,
        answer_timeout_ms: NEVER_MS,
        ..GrpcSettings::default()
    }
}

async fn serve(settings: &GrpcSettings, answer_bytes: usize, permits: usize) -> (GrpcServer, Arc<Semaphore>) {
    settings.validate().unwrap();
    let permits = Arc::new(Semaphore::new(permits));
    let stub = Stub { answer_bytes, permits: permits.clone() };
    let mut routes = RoutesBuilder::default();
    routes.add_service(GatewayExtServiceServer::new(stub.clone())).add_service(ConnectIntServiceServer::new(stub));
    (grpc::serve(settings, routes, &[]).await.unwrap(), permits)
}

fn channel(server: &GrpcServer) -> grpc::PeerChannel {
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    grpc::channel(&peer, &GrpcSettings::default(), Some(PATIENCE)).unwrap()
}

/// A caller who does as he likes.
struct Raw(TcpStream);

impl Raw {
    async fn silent(server: &GrpcServer) -> Self {
        Self(TcpStream::connect(server.address()).await.unwrap())
    }

    /// With a window of nothing for each answer.
    async fn connect(server: &GrpcServer) -> Self {
        let mut raw = Self::silent(server).await;
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        raw
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // Who was ended cannot send; what follows from that is asserted where it is read.
        let _sent = self.0.write_all(&frame).await.is_ok();
    }

    async fn call(&mut self, stream: u32, request: &[u8], is_whole: bool) {
        self.call_method(stream, LOCATE, &[], request, is_whole).await;
    }

    async fn call_method(
        &mut self,
        stream: u32,
        path: &str,
        metadata: &[(&str, &str)],
        request: &[u8],
        is_whole: bool,
    ) {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "x"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for &(name, value) in headers.iter().chain(metadata) {
            for text in ["\0", name, value].iter().skip(1) {
                if *text == name {
                    block.push(0);
                }
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS, stream, &block).await;
        self.send(DATA, if is_whole { END_STREAM } else { 0 }, stream, request).await;
    }

    /// The next frame's kind, flags and stream; nothing once the connection is ended.
    async fn frame(&mut self) -> Option<(u8, u8, u32)> {
        let mut header = [0; 9];
        timeout(PATIENCE, self.0.read_exact(&mut header)).await.expect("a frame, or the end").ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        timeout(PATIENCE, self.0.read_exact(&mut payload)).await.unwrap().ok()?;
        Some((kind, flags, u32::from_be_bytes(stream)))
    }

    /// Whether the call was refused, which is an answer of headers alone.
    async fn is_refused(&mut self, wanted: u32) -> bool {
        loop {
            if let (HEADERS, flags, stream) = self.frame().await.unwrap()
                && stream == wanted
            {
                return flags & END_STREAM != 0;
            }
        }
    }

    async fn assert_ended(&mut self) {
        while self.frame().await.is_some() {}
    }
}

#[tokio::test]
async fn silent_connections_are_ended_and_so_are_idle_ones() {
    let settings = GrpcSettings { first_call_timeout_ms: 1, ..patient() };
    let (server, _) = serve(&settings, 1, 0).await;
    let mut silent = Raw::silent(&server).await;
    assert!(silent.frame().await.is_none(), "a silent connection is told nothing");
    Raw::connect(&server).await.assert_ended().await;

    let settings = GrpcSettings { idle_timeout_ms: 1, ..patient() };
    let (server, _) = serve(&settings, 1, 1).await;
    let mut raw = Raw::connect(&server).await;
    raw.call(1, &[9, 0, 0, 0, 0], true).await;
    raw.assert_ended().await;
}

#[tokio::test]
async fn who_has_something_to_ask_takes_the_place_of_a_silent_connection() {
    let settings = GrpcSettings { connections_max: 2, ..patient() };
    let (server, _) = serve(&settings, 1, 1).await;
    let (mut first, mut second) = (Raw::silent(&server).await, Raw::silent(&server).await);
    let mut service = ConnectIntServiceClient::new(channel(&server));
    service.push_to_devices(PushToDevicesRequest::default()).await.unwrap();
    first.assert_ended().await;
    // A service's connection does not count, and is not ended for others.
    let (_third, _fourth) = (Raw::silent(&server).await, Raw::silent(&server).await);
    second.assert_ended().await;
    service.push_to_devices(PushToDevicesRequest::default()).await.unwrap();
}

#[tokio::test]
async fn headers_that_do_not_end_end_the_connection() {
    let settings = GrpcSettings { request_timeout_ms: 1, ..patient() };
    let (server, _) = serve(&settings, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    raw.send(HEADERS, 0, 1, b"").await;
    raw.assert_ended().await;
}

#[tokio::test]
async fn calls_beyond_a_connections_share_are_refused_and_no_others() {
    let settings = GrpcSettings { calls_per_connection_max: 1, ..patient() };
    let (server, permits) = serve(&settings, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    raw.call(1, b"", false).await;
    raw.call(3, b"", false).await;
    assert!(raw.is_refused(3).await);
    permits.add_permits(1);
    let mut other = GatewayExtServiceClient::new(channel(&server));
    other.locate(LocateRequest::default()).await.unwrap();
}

#[tokio::test]
async fn who_has_nothing_to_show_has_shares_whatever_he_called() {
    let bounds = GrpcSettings { request_bytes_max: 1024, requests_per_connection_bytes_max: 1024, ..patient() };
    let (server, _) = serve(&GrpcSettings { calls_per_connection_max: 2, ..bounds }, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    // Its answer is not taken.
    raw.call_method(1, PUSH, &[], &EMPTY, true).await;
    assert!(!raw.is_refused(1).await);
    raw.call_method(3, PUSH, &[], &[vec![0, 0, 0, 4, 0], vec![0; 1024]].concat(), false).await;
    assert!(raw.is_refused(3).await);
    for stream in [5, 7] {
        raw.call(stream, &EMPTY, true).await;
    }
    assert!(raw.is_refused(7).await);
}

#[tokio::test]
async fn what_a_trusted_service_asks_for_users_counts_for_each_user() {
    let settings = GrpcSettings { internal_token: "secret".into(), calls_per_connection_max: 1, ..patient() };
    let (server, permits) = serve(&settings, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    raw.call_method(1, PUSH, &[("internal_token", "secret")], &EMPTY, true).await;
    for (stream, user_id) in [(3, "7"), (5, "7"), (7, "8")] {
        raw.call_method(stream, LOCATE, &[("user_id", user_id)], &EMPTY, true).await;
    }
    assert!(raw.is_refused(5).await);
    permits.add_permits(2);
    assert!(!raw.is_refused(7).await);
}

#[tokio::test]
async fn requests_that_are_not_whole_take_no_more_than_their_connections_share() {
    let bounds = GrpcSettings { request_bytes_max: 1024, requests_per_connection_bytes_max: 1024, ..patient() };
    let settings = GrpcSettings { requests_bytes_max: 1024, requests_per_address_bytes_max: 1024, ..bounds };
    let (server, permits) = serve(&settings, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    let mut request = vec![0; 700];
    request[..5].copy_from_slice(&[0, 0, 0, 4, 0]);
    raw.call(1, &request, false).await;
    raw.call(3, &request, false).await;
    // Whichever was received second.
    let refused = loop {
        if let (HEADERS, flags, stream) = raw.frame().await.unwrap() {
            assert_ne!(flags & END_STREAM, 0);
            break stream;
        }
    };
    assert!([1, 3].contains(&refused));
    permits.add_permits(1);
    let mut other = GatewayExtServiceClient::new(channel(&server));
    other.locate(LocateRequest::default()).await.unwrap();
    let large = LocateRequest { platform: "x".repeat(2000), ..LocateRequest::default() };
    let refused = other.locate(large).await.unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge, "{refused}");
}

#[tokio::test]
async fn requests_that_wait_for_their_answer_still_count() {
    let bounds = GrpcSettings { request_bytes_max: 1024, requests_per_connection_bytes_max: 1024, ..patient() };
    let settings = GrpcSettings { requests_bytes_max: 1024, requests_per_address_bytes_max: 1024, ..bounds };
    let (server, permits) = serve(&settings, 1, 0).await;
    let mut client = GatewayExtServiceClient::new(channel(&server));
    let large = || LocateRequest { platform: "x".repeat(700), ..LocateRequest::default() };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut client = client.clone();
        calls.spawn(async move { client.locate(large()).await });
    }
    // Whichever came second.
    let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TryAgainLater);
    permits.add_permits(2);
    calls.join_next().await.unwrap().unwrap().unwrap();
    client.locate(large()).await.unwrap();
}

#[tokio::test]
async fn answers_that_nobody_takes_are_bounded_and_let_go() {
    let settings = GrpcSettings { answers_per_connection_bytes_max: 64 * 1024, ..patient() };
    let (server, _) = serve(&settings, 40 * 1024, 100).await;
    let mut raw = Raw::connect(&server).await;
    let locate = [0, 0, 0, 0, 0];
    raw.call(1, &locate, true).await;
    assert!(!raw.is_refused(1).await);
    raw.call(3, &locate, true).await;
    assert!(raw.is_refused(3).await);

    // One that is longer than all that may wait is no matter of time.
    let (large, _) = serve(&settings, 65 * 1024, 1).await;
    let refused = GatewayExtServiceClient::new(channel(&large)).locate(LocateRequest::default()).await.unwrap_err();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge, "{refused}");

    let settings = GrpcSettings { answer_timeout_ms: 1, ..settings };
    let (server, _) = serve(&settings, 40 * 1024, 10_000).await;
    let mut raw = Raw::connect(&server).await;
    raw.call(1, &locate, true).await;
    assert!(!raw.is_refused(1).await);
    let let_go = async {
        for stream in (3..).step_by(2) {
            raw.call(stream, &locate, true).await;
            if !raw.is_refused(stream).await {
                break;
            }
        }
    };
    timeout(PATIENCE, let_go).await.expect("the first answer is let go");
}

#[tokio::test]
async fn who_sends_frames_that_ask_for_nothing_is_refused_for_a_while() {
    let settings = GrpcSettings { resets_per_s: 1, resets_burst: 10, refused_for_ms: NEVER_MS, ..patient() };
    let (server, _) = serve(&settings, 1, 0).await;
    let mut raw = Raw::connect(&server).await;
    for _ in 0..20 {
        raw.send(PING, 0, 0, &[0; 8]).await;
    }
    raw.assert_ended().await;
    Raw::silent(&server).await.assert_ended().await;
}

#[tokio::test]
async fn who_guesses_the_internal_token_is_ended() {
    let settings = GrpcSettings { internal_token: "right".into(), resets_burst: 200, ..patient() };
    let (server, _) = serve(&settings, 1, 0).await;
    let wrong = GrpcSettings { internal_token: "wrong".into(), ..GrpcSettings::default() };
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    let mut guessing = ConnectIntServiceClient::new(grpc::channel(&peer, &wrong, Some(PATIENCE)).unwrap());
    let answers = async {
        loop {
            let refused = guessing.push_to_devices(PushToDevicesRequest::default()).await.unwrap_err();
            if !ResultCode::is_untrusted(&refused) {
                break;
            }
        }
    };
    timeout(PATIENCE, answers).await.expect("the guesses are not answered any more");
}

/// The services that a caller is shown.
async fn shown(server: &GrpcServer, internal_token: &str) -> String {
    let settings = GrpcSettings { internal_token: internal_token.into(), ..GrpcSettings::default() };
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    let mut client = ServerReflectionClient::new(grpc::channel(&peer, &settings, Some(PATIENCE)).unwrap());
    let list = MessageRequest::ListServices(String::new());
    let question = ServerReflectionRequest { message_request: Some(list), ..ServerReflectionRequest::default() };
    let mut answers = client.server_reflection_info(tokio_stream::iter([question])).await.unwrap().into_inner();
    format!("{:?}", answers.message().await.unwrap().unwrap())
}

#[tokio::test]
async fn strangers_are_shown_the_services_of_clients_alone() {
    let settings = GrpcSettings { internal_token: "secret".into(), ..patient() };
    let (server, _) = serve(&settings, 1, 0).await;
    let to_strangers = shown(&server, "").await;
    assert!(to_strangers.contains("logic.GatewayExtService") && to_strangers.contains("grpc.health.v1.Health"));
    assert!(!to_strangers.contains("IntService") && !to_strangers.contains("LinkService"), "{to_strangers}");
    let to_services = shown(&server, "secret").await;
    assert!(to_services.contains("logic.MessageIntService") && to_services.contains("logic.LinkService"));
}

#[tokio::test]
async fn strangers_do_not_hold_a_stop_up() {
    let (server, _) = serve(&patient(), 40 * 1024, 1).await;
    let mut silent = Raw::silent(&server).await;
    let mut receiving = Raw::connect(&server).await;
    receiving.call(1, b"", false).await;
    let mut hoarding = Raw::connect(&server).await;
    hoarding.call(1, &[0, 0, 0, 0, 0], true).await;
    assert!(!hoarding.is_refused(1).await);
    let mut watching = Raw::connect(&server).await;
    watching.call_method(1, "/grpc.health.v1.Health/Watch", &[], &EMPTY, true).await;
    assert!(!watching.is_refused(1).await);
    timeout(PATIENCE, server.stop(PATIENCE * 2)).await.expect("it stops without them");
    for raw in [&mut silent, &mut receiving, &mut hoarding, &mut watching] {
        raw.assert_ended().await;
    }
}
