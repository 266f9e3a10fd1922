//! Result codes as the number of a gRPC status: sent where a setting says so, and read from any peer that does so.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::net::SocketAddr;

use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings, StatusCodes},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    connect::{
        PushToDevicesRequest,
        connect_int_service_client::ConnectIntServiceClient,
        connect_int_service_server::{ConnectIntService, ConnectIntServiceServer},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder, transport::Channel};

/// What a server of grpc-go (1.85) writes before it answers: its settings, and that ours arrived.
const GO_BEGINS: &str = "00 00 06 04 00 00 00 00 00 00 05 00 00 40 00 00 00 00 04 01 00 00 00 00";

/// What it writes for `status.Error(10000, "please sign in again")`: one frame of headers, which ends the stream.
const GO_REFUSES: &str = "00 00 37 01 05 00 00 00 01 88 5f 8b 1d 75 d0 62 0d 26 3d 4c 4d 65 64 40 88 9a ca c8 b2 12 34 da 8f 84 \
                          08 00 00 7f 40 89 9a ca c8 b5 25 42 07 31 7f 8e ae 82 8d 05 51 06 9a a5 0d 52 83 98 66 ab";

/// Longest beginning of a client's connection, and its first call.
const READ_BYTES_MAX: usize = 4096;

/// HTTP/2's type of the frame in which the message of a call is.
const DATA: u8 = 0;

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Refuses every call, always in the same words.
struct Refuses;

#[tonic::async_trait]
impl ConnectIntService for Refuses {
    async fn push_to_devices(&self, _request: Request<PushToDevicesRequest>) -> Result<Response<()>, Status> {
        Err(ResultCode::NotFriends.status("you two do not know each other"))
    }
}

async fn serve(status_codes: StatusCodes) -> GrpcServer {
    let settings = GrpcSettings { listen: Endpoint::new("127.0.0.1:0"), status_codes, ..GrpcSettings::default() };
    let mut routes = RoutesBuilder::default();
    routes.add_service(ConnectIntServiceServer::new(Refuses));
    grpc::serve(&settings, routes, &[]).await.unwrap()
}

/// What our services make of an answer.
async fn ask(address: SocketAddr) -> Status {
    let peer = Endpoint::new(&format!("http://{address}"));
    let channel = grpc::channel(&peer, &GrpcSettings::default(), None).unwrap();
    ConnectIntServiceClient::new(channel).push_to_devices(PushToDevicesRequest::default()).await.unwrap_err()
}

#[tokio::test]
async fn a_server_sends_the_number_that_its_setting_says_and_we_read_both() {
    for (status_codes, seen_by_others) in
        [(StatusCodes::Standard, ResultCode::NotFriends.grpc()), (StatusCodes::Gim, Code::Unknown)]
    {
        let server = serve(status_codes).await;
        let status = ask(server.address()).await;
        assert_eq!((status.code(), ResultCode::of_status(&status)), (Code::FailedPrecondition, ResultCode::NotFriends));
        assert_eq!(status.message(), "you two do not know each other");
        let plain = Channel::from_shared(format!("http://{}", server.address())).unwrap().connect_lazy();
        let status = ConnectIntServiceClient::new(plain).push_to_devices(PushToDevicesRequest::default()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), seen_by_others, "10210 is no number that tonic knows");
        assert_eq!(ResultCode::of_status(&status), ResultCode::NotFriends, "the details are the same");
    }
}

#[tokio::test]
async fn what_a_server_in_go_writes_for_a_number_of_gim_is_read_as_that_code() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&bytes(GO_BEGINS)).await.unwrap();
        let mut preface = [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()];
        stream.read_exact(&mut preface).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            assert!(length <= READ_BYTES_MAX);
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == DATA {
                break;
            }
        }
        stream.write_all(&bytes(GO_REFUSES)).await.unwrap();
        // Until the client is gone.
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    });
    let status = ask(address).await;
    assert_eq!((status.code(), ResultCode::of_status(&status)), (Code::Unauthenticated, ResultCode::SignInAgain));
    assert_eq!(status.message(), "please sign in again");
    server.abort();
}
