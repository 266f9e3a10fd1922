//! A connection of HTTP/1.1 that has several calls, some of them refused: whether it goes on, and what says that it does not.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{sync::Arc, time::Duration};

use gim_config::{
    grpc::{ClientListeners, ClientsSettings, GrpcServer, GrpcSettings},
    listen::Endpoint,
};
use gim_proto::logic::{
    LocateReply, LocateRequest,
    gateway_ext_service_server::{GatewayExtService, GatewayExtServiceServer},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

const PATIENCE: Duration = Duration::from_secs(30);
const LOCATE: &str = "/logic.GatewayExtService/Locate";
const SYNC: &str = "/logic.MessageExtService/Sync";
const PUSH: &str = "/connect.ConnectIntService/PushToDevices";
const SIGN_IN: &str = "/business.UserExtService/SignIn";
const EVIL: &str = "origin: https://evil.test\r\n";

struct Stub;

#[tonic::async_trait]
impl GatewayExtService for Stub {
    async fn locate(&self, _request: Request<LocateRequest>) -> Result<Response<LocateReply>, Status> {
        Ok(Response::new(LocateReply::default()))
    }
}

async fn serve(change: impl FnOnce(&mut ClientsSettings, &mut GrpcSettings)) -> GrpcServer {
    let any_port = || Endpoint::new("127.0.0.1:0");
    let mut clients = ClientsSettings { listen: any_port(), ..ClientsSettings::default() };
    let mut settings = GrpcSettings { listen: any_port(), ..GrpcSettings::default() };
    change(&mut clients, &mut settings);
    let mut routes = RoutesBuilder::default();
    routes.add_service(GatewayExtServiceServer::new(Stub));
    ClientListeners::new(&clients, &settings, &[]).serve(routes, Arc::new(|_| None)).await.unwrap()
}

struct Kept(BufReader<TcpStream>);

struct Answer {
    status: u16,
    is_last: bool,
    body: String,
}

impl Kept {
    async fn connect(server: &GrpcServer) -> Self {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Head and body in two pieces, as most clients write them.
    async fn ask(&mut self, path: &str, headers: &str, body: &str) -> Answer {
        self.send_head(path, headers, body.len()).await;
        self.0.write_all(body.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn send_head(&mut self, path: &str, headers: &str, length: usize) {
        let fixed = "host: 127.0.0.1\r\ncontent-type: application/json\r\n";
        let head = format!("POST {path} HTTP/1.1\r\n{fixed}{headers}content-length: {length}\r\n\r\n");
        self.0.write_all(head.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(timeout(PATIENCE, self.0.read_line(&mut head)).await.unwrap().unwrap(), 0, "ended: {head}");
        }
        let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let mut body = vec![0; value("content-length").unwrap().parse().unwrap()];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.unwrap().unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            is_last: value("connection") == Some("close"),
            body: String::from_utf8(body).unwrap(),
        }
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_refused_calls() {
    let server = serve(|clients, _| (clients.address_calls_per_s, clients.address_calls_burst) = (1, 100)).await;
    let mut kept = Kept::connect(&server).await;
    let long = format!(r#"{{"platform":"{}"}}"#, "x".repeat(10_000));
    for (path, headers, status) in [
        (PUSH, "", 501),
        ("/none.Service/Method", "", 501),
        (LOCATE, EVIL, 403),
        (SYNC, "", 400),
        (LOCATE, "connect-timeout-ms: soon\r\n", 400),
    ] {
        for _ in 0..4 {
            let answer = kept.ask(path, headers, &long).await;
            assert_eq!((answer.status, answer.is_last), (status, false), "{path} {headers}");
        }
    }
    assert_eq!(kept.ask(LOCATE, "", &long).await.status, 200);
    let mut refused = 0;
    while refused < 4 {
        let answer = kept.ask(SIGN_IN, "", &long).await;
        assert!(!answer.is_last);
        refused += u32::from(answer.status == 429);
    }
}

#[tokio::test]
async fn an_answer_before_a_long_rest_says_that_it_is_the_last() {
    let server = serve(|_, _| ()).await;
    for (path, headers) in [(PUSH, ""), (LOCATE, EVIL), (SYNC, ""), (LOCATE, "connect-protocol-version: 1\r\n")] {
        let mut kept = Kept::connect(&server).await;
        kept.send_head(path, headers, 1_000_000).await;
        if headers.starts_with("connect") {
            // Refused once it has come to more than may come.
            kept.0.write_all(&[b' '; 140_000]).await.unwrap();
        }
        let answer = kept.answer().await;
        assert!(answer.status >= 400 && answer.is_last, "{path} {headers}");
        assert!(matches!(timeout(PATIENCE, kept.0.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_connection_whose_call_was_refused_is_neither_silent_nor_unfinished() {
    let server = serve(|_, settings| {
        settings.first_call_timeout_ms = 300;
        settings.request_timeout_ms = 300;
    })
    .await;
    let mut kept = Kept::connect(&server).await;
    assert_eq!(kept.ask(PUSH, "", "{}").await.status, 501);
    // As long as that of one that came later takes to be ended.
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    assert!(matches!(timeout(PATIENCE, silent.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    assert_eq!(kept.ask(LOCATE, "", "{}").await.status, 200);
}

#[tokio::test]
async fn metadata_has_the_bound_in_bytes_that_it_has_in_http_2() {
    let server = serve(|_, _| ()).await;
    let mut kept = Kept::connect(&server).await;
    let lines = |count: usize| format!("x-line: {}\r\n", "y".repeat(800)).repeat(count);
    assert_eq!(kept.ask(LOCATE, &lines(19), "{}").await.status, 200);
    // With what each line counts beside its text.
    let answer = kept.ask(LOCATE, &lines(20), "{}").await;
    assert!(answer.status == 400 && answer.body.contains("10002"), "{}", answer.body);
    assert_eq!(kept.ask(LOCATE, "", "{}").await.status, 200);
}
