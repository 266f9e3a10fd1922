//! What an operator sees of each service: metrics, health, readiness, and the descriptors of its gRPC services.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use tokio_stream::StreamExt as _;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::server::{DEADLINE, Server};

#[test]
fn each_service_shows_metrics_health_and_readiness_on_its_admin_listener() {
    let server = Server::start();
    server.business_sign_in("13800000005");
    for (service, _, admin) in server.services() {
        assert_eq!(get(admin, "/healthz"), ("200".to_owned(), "ok\n".to_owned()), "{service}");
        assert_eq!(get(admin, "/readyz"), ("200".to_owned(), "ready\n".to_owned()), "{service}");
        let (status, metrics) = get(admin, "/metrics");
        assert_eq!(status, "200", "{service}");
        assert!(
            metrics.contains("grpc_calls_total{method=\"/business.UserExtService/SignIn\""),
            "{service}: {metrics}"
        );
        assert_eq!(get(admin, "/no-such-page").0, "404", "{service}");
    }
}

#[test]
fn each_service_answers_grpc_health_and_reflection() {
    let server = Server::start();
    for (service, grpc, _) in server.services() {
        let mut health = HealthClient::new(server.channel(grpc));
        let reply = server.call(health.check(HealthCheckRequest::default())).unwrap();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service}");
        let names = reflected_services(&server, grpc);
        assert!(names.iter().any(|name| name == "logic.MessageIntService"), "{service}: {names:?}");
        assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{service}: {names:?}");
    }
}

#[test]
fn the_health_of_each_grpc_service_is_told_by_name() {
    let server = Server::start();
    let names = ["connect.ConnectIntService", "logic.MessageIntService", "business.UserIntService"];
    for ((_, grpc, _), name) in server.services().into_iter().zip(names) {
        let mut health = HealthClient::new(server.channel(grpc));
        let request = HealthCheckRequest { service: name.to_owned() };
        assert_eq!(server.call(health.check(request)).unwrap().status(), ServingStatus::Serving, "{name}");
    }
}

fn reflected_services(server: &Server, grpc: SocketAddr) -> Vec<String> {
    let mut client = ServerReflectionClient::new(server.channel(grpc));
    let question = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut answers = server.call(client.server_reflection_info(tokio_stream::iter([question]))).unwrap();
    let answer = server.runtime.block_on(async { tokio::time::timeout(DEADLINE, answers.next()).await });
    match answer.unwrap().unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|service| service.name).collect(),
        other => panic!("{other:?}"),
    }
}

/// Status and body.
pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}
