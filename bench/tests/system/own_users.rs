//! A backend that brings its own users implements `UserIntService/Auth`, and nothing else.

use std::net::SocketAddr;

use gim_config::grpc::{self, GrpcSettings, StatusCodes};
use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, GetBlockersReply, GetBlockersRequest, GetUserReply, GetUserRequest, GetUsersReply,
        GetUsersRequest, MayAddReply, MayAddRequest, MayWriteReply, MayWriteRequest, MayWriteToRoomRequest,
        RevokeTokensRequest,
        user_int_service_server::{UserIntService, UserIntServiceServer},
    },
    connect::{PacketCommand, SendReply, SendRequest, send_request::Target},
    logic::UserMessagePush,
};
use prost::Message as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, service::RoutesBuilder, transport::Server as Tonic};

use crate::server::{Server, receive_message};

/// Lets users in whose token is their id in words of the backend's own.
struct OwnUsers {
    /// It answers as backends for gim in Go do: with a result code as the number of the status, in whichever method.
    is_of_gim: bool,
}

impl OwnUsers {
    fn refuse<T>(&self, status: Status, as_gim: ResultCode) -> Result<Response<T>, Status> {
        Err(if self.is_of_gim { as_gim.into() } else { status })
    }
}

fn token_of(user_id: u64) -> String {
    format!("ticket for {user_id}")
}

#[tonic::async_trait]
impl UserIntService for OwnUsers {
    async fn auth(&self, request: Request<AuthRequest>) -> Result<Response<()>, Status> {
        let AuthRequest { user_id, token, .. } = request.into_inner();
        if token == token_of(user_id) {
            return Ok(Response::new(()));
        }
        self.refuse(Status::unauthenticated("no such ticket"), ResultCode::SignInAgain)
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        self.refuse(Status::unimplemented("only Auth"), ResultCode::UserNotFound)
    }

    async fn get_users(&self, _: Request<GetUsersRequest>) -> Result<Response<GetUsersReply>, Status> {
        Err(Status::unimplemented("only Auth"))
    }

    async fn revoke_tokens(&self, _: Request<RevokeTokensRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("only Auth"))
    }

    async fn may_write_to_room(&self, _: Request<MayWriteToRoomRequest>) -> Result<Response<MayWriteReply>, Status> {
        Err(Status::unimplemented("only Auth"))
    }

    async fn get_blockers(&self, _: Request<GetBlockersRequest>) -> Result<Response<GetBlockersReply>, Status> {
        Err(Status::unimplemented("nobody blocks anybody"))
    }

    async fn may_add(&self, _: Request<MayAddRequest>) -> Result<Response<MayAddReply>, Status> {
        Err(Status::unimplemented("only Auth"))
    }

    async fn may_write(&self, _: Request<MayWriteRequest>) -> Result<Response<MayWriteReply>, Status> {
        self.refuse(Status::unimplemented("only Auth"), ResultCode::NotFriends)
    }
}

/// A server of gRPC whose statuses have the numbers that Go's `status.Code(10000)` gives them.
async fn serve_users_of_gim(address: SocketAddr) {
    let mut routes = RoutesBuilder::default();
    routes.add_service(UserIntServiceServer::new(OwnUsers { is_of_gim: true }));
    let settings = GrpcSettings { listen: address.into(), status_codes: StatusCodes::Gim, ..GrpcSettings::default() };
    let mut server = grpc::serve(&settings, routes, &[]).await.unwrap();
    tokio::spawn(async move { server.failed().await });
}

async fn serve_own_users(address: SocketAddr) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = Tonic::builder().add_service(UserIntServiceServer::new(OwnUsers { is_of_gim: false }));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
}

#[test]
fn a_backend_with_its_own_users_needs_only_auth() {
    let server = Server::start_with_business(serve_own_users);
    let mut stranger = server.connect();
    let refused = stranger.sign_in(7, 70, "forged").unwrap();
    assert_eq!(refused.code, ResultCode::SignInAgain.number());

    let [mut ada, mut bob] = [(7, 70), (8, 80)].map(|(user_id, device_id)| {
        let mut client = server.connect();
        assert_eq!(client.sign_in(user_id, device_id, &token_of(user_id)).unwrap().code, 0);
        client
    });
    let request = SendRequest {
        target: Some(Target::UserId(8)),
        content: "hello".into(),
        client_msg_id: "1".into(),
        ..SendRequest::default()
    };
    let reply = ada.request(PacketCommand::PcSend as i32, request.encode_to_vec()).unwrap();
    assert_eq!(reply.code, 0, "{}", reply.message);
    let sent = SendReply::decode(reply.data).unwrap();
    let message = receive_message(&mut bob);
    assert_eq!((message.message_id, message.seq), (sent.message_id, 1));
    let push = UserMessagePush::decode(message.content).unwrap();
    assert_eq!(push.from_user.map(|card| (card.user_id, card.device_id)), Some((7, 70)));
    assert_eq!((push.to_user_id, &push.content[..]), (8, &b"hello"[..]));

    server.push_to_users(&[7], "from the backend");
    assert_eq!(&receive_message(&mut ada).content[..], b"from the backend");
}

#[test]
fn a_backend_of_gim_refuses_by_the_number_of_the_status() {
    let server = Server::start_with_business(serve_users_of_gim);
    let mut client = server.connect();
    let refused = client.sign_in(7, 70, "expired").unwrap();
    assert_eq!(refused.code, ResultCode::SignInAgain.number(), "{}", refused.message);
    assert_eq!(client.sign_in(7, 70, &token_of(7)).unwrap().code, 0);

    let mut send = |user_id| {
        let target = Some(Target::UserId(user_id));
        let request = SendRequest { target, client_msg_id: "1".into(), ..SendRequest::default() };
        client.request(PacketCommand::PcSend as i32, request.encode_to_vec()).unwrap().code
    };
    assert_eq!(send(8), ResultCode::NotFriends.number(), "what it says by MayWrite");
    assert_eq!(send(7), ResultCode::UserNotFound.number(), "and by GetUser");
}
