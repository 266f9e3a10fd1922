//! `gim-bench backend`: a stand-in for a customer's own backend, the one call that has to be there: `UserIntService/Auth`. It
//! lets in whoever `--token backend` makes up, so that a run can have any number of users without asking a database for
//! them. Serves on a runtime of its own until the process is ended.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use gim_proto::business::{
    AuthRequest, GetBlockersReply, GetBlockersRequest, GetUserReply, GetUserRequest, GetUsersReply, GetUsersRequest,
    MayAddReply, MayAddRequest, MayWriteReply, MayWriteRequest, MayWriteToRoomRequest, RevokeTokensRequest,
    user_int_service_server::{UserIntService, UserIntServiceServer},
};
use tonic::{Request, Response, Status, transport::Server};

use crate::webhook::{Take, WebhookListener};

/// Arguments of `backend`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where logic asks, its setting `[business] endpoint`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8020")]
    listen: SocketAddr,
    /// Take events of logic there, its setting `[events] webhook`
    #[arg(long, value_name = "ADDR")]
    events: Option<SocketAddr>,
}

/// The token of a made-up user.
pub fn token_of(user_id: u64) -> String {
    format!("gim-bench lets {user_id:016x} in")
}

struct Backend;

#[tonic::async_trait]
impl UserIntService for Backend {
    async fn auth(&self, request: Request<AuthRequest>) -> Result<Response<()>, Status> {
        let AuthRequest { user_id, token, .. } = request.into_inner();
        if token == token_of(user_id) { Ok(Response::new(())) } else { Err(Status::unauthenticated("no such token")) }
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }

    async fn get_users(&self, _: Request<GetUsersRequest>) -> Result<Response<GetUsersReply>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }

    async fn revoke_tokens(&self, _: Request<RevokeTokensRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }

    async fn may_write_to_room(&self, _: Request<MayWriteToRoomRequest>) -> Result<Response<MayWriteReply>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }

    async fn get_blockers(&self, _: Request<GetBlockersRequest>) -> Result<Response<GetBlockersReply>, Status> {
        Err(Status::unimplemented("nobody blocks anybody"))
    }

    async fn may_add(&self, _: Request<MayAddRequest>) -> Result<Response<MayAddReply>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }

    async fn may_write(&self, _: Request<MayWriteRequest>) -> Result<Response<MayWriteReply>, Status> {
        Err(Status::unimplemented("this backend only has Auth"))
    }
}

/// Serves until the process is ended.
pub fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = Server::builder().add_service(UserIntServiceServer::new(Backend));
    let takes_all: Take = Arc::new(|_| true);
    let _webhook = match arguments.events {
        Some(address) => Some(runtime.block_on(WebhookListener::start(address, takes_all))?),
        None => None,
    };
    let serving = runtime.block_on(server.serve(arguments.listen));
    serving.with_context(|| format!("cannot serve on {}", arguments.listen))
}
