//! `OperatorIntService`.

use gim_proto::logic::{
    DrainNodeRequest, KickUserReply, KickUserRequest, ListNodesReply, operator_int_service_server::OperatorIntService,
};
use tonic::{Request, Response, Status, async_trait};

use super::Services;

#[async_trait]
impl OperatorIntService for Services {
    async fn list_nodes(&self, _: Request<()>) -> Result<Response<ListNodesReply>, Status> {
        Ok(Response::new(self.use_cases.operators.list_nodes()))
    }

    async fn kick_user(&self, request: Request<KickUserRequest>) -> Result<Response<KickUserReply>, Status> {
        let connections = self.use_cases.operators.kick_user(request.into_inner()).await?;
        Ok(Response::new(KickUserReply { connections: u32::try_from(connections).unwrap_or(u32::MAX) }))
    }

    async fn drain_node(&self, request: Request<DrainNodeRequest>) -> Result<Response<()>, Status> {
        self.use_cases.operators.drain_node(request.get_ref())?;
        Ok(Response::new(()))
    }
}
