//! A backend whose users have tickets, and which implements nothing but `UserIntService/Auth`.

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
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, service::RoutesBuilder, transport::Server as Tonic};

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

pub fn token_of(user_id: u64) -> String {
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
#[allow(dead_code, reason = "only the system tests have it")]
pub async fn serve_users_of_gim(address: SocketAddr) {
    let mut routes = RoutesBuilder::default();
    routes.add_service(UserIntServiceServer::new(OwnUsers { is_of_gim: true }));
    let settings = GrpcSettings { listen: address.into(), status_codes: StatusCodes::Gim, ..GrpcSettings::default() };
    let mut server = grpc::serve(&settings, routes, &[]).await.unwrap();
    tokio::spawn(async move { server.failed().await });
}

pub async fn serve_own_users(address: SocketAddr) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = Tonic::builder().add_service(UserIntServiceServer::new(OwnUsers { is_of_gim: false }));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
}
