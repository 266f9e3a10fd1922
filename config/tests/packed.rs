//! Messages of gRPC in gzip: taken, answered in the same way, and bounded by what they come to.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{io::Read as _, time::Duration};

use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, GzEncoder},
};
use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings, unary},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    logic::{
        ConnNode, LocateReply, LocateRequest,
        gateway_ext_service_server::{GatewayExtService, GatewayExtServiceServer},
    },
};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::{Request, Response, Status, body::Body, service::RoutesBuilder};
use tower::{Service as _, ServiceExt as _};

const PATIENCE: Duration = Duration::from_secs(30);
const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
const READS_GZIP: (&str, &str) = ("grpc-accept-encoding", "identity, deflate, gzip");

/// Answers with what was asked.
struct Stub;

#[tonic::async_trait]
impl GatewayExtService for Stub {
    async fn locate(&self, request: Request<LocateRequest>) -> Result<Response<LocateReply>, Status> {
        let node = ConnNode { tcp: request.into_inner().platform, ..ConnNode::default() };
        Ok(Response::new(LocateReply { nodes: vec![node], ..LocateReply::default() }))
    }
}

async fn server() -> GrpcServer {
    let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), ..GrpcSettings::default() };
    let mut routes = RoutesBuilder::default();
    routes.add_service(GatewayExtServiceServer::new(Stub));
    grpc::serve(&settings, routes, &[]).await.unwrap()
}

/// Asks for a platform of so many letters.
async fn ask(server: &GrpcServer, letters: usize, headers: &[(&str, &str)]) -> http::Response<Body> {
    let message = LocateRequest { platform: "x".repeat(letters), ..LocateRequest::default() }.encode_to_vec();
    let mut packed = Vec::new();
    GzEncoder::new(&message[..], Compression::best()).read_to_end(&mut packed).unwrap();
    let mut frame = unary::frame(&packed).to_vec();
    frame[0] = 1;
    let mut request = http::Request::post("/logic.GatewayExtService/Locate")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer = Endpoint::new(&format!("http://{}", server.address()));
    let mut channel = grpc::channel(&peer, &GrpcSettings::default(), Some(PATIENCE)).unwrap();
    let request = request.body(unary::whole(Bytes::from(frame))).unwrap();
    channel.ready().await.unwrap().call(request).await.unwrap().map(Body::new)
}

#[tokio::test]
async fn a_message_in_gzip_is_answered_in_gzip_where_the_caller_reads_it() {
    let server = server().await;
    for (headers, letters, is_packed) in
        [(&[GZIP, READS_GZIP][..], 5_000, true), (&[GZIP, READS_GZIP], 10, false), (&[GZIP], 5_000, false)]
    {
        let answer = ask(&server, letters, headers).await;
        assert_eq!(answer.headers().contains_key("grpc-encoding"), is_packed, "{headers:?}");
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        let frame = body.to_bytes();
        assert_eq!((frame[0], frame.len() < 1_000), (u8::from(is_packed), letters == 10 || is_packed));
        let mut message = frame[5..].to_vec();
        if is_packed {
            message.clear();
            GzDecoder::new(&frame[5..]).read_to_end(&mut message).unwrap();
        }
        assert_eq!(LocateReply::decode(&message[..]).unwrap().nodes[0].tcp.len(), letters);
    }
}

#[tokio::test]
async fn a_small_request_becomes_no_larger_than_the_largest_that_is_taken() {
    let answer = ask(&server().await, 16 << 20, &[GZIP]).await;
    let refused = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge, "{refused}");
    assert!(refused.message().contains("more than 131072 bytes"), "{refused}");
}

#[tokio::test]
async fn an_encoding_that_nobody_unpacks_is_refused_with_those_that_are() {
    for encoding in ["deflate", "zstd", "gzip, gzip"] {
        let answer = ask(&server().await, 10, &[("grpc-encoding", encoding)]).await;
        assert_eq!(answer.headers()["grpc-accept-encoding"], "gzip,identity");
        let refused = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(refused.code(), tonic::Code::Unimplemented, "{encoding}");
    }
}
