//! `AccessIntService`: what a business tells about its users.

use gim_proto::logic::{ForgetRequest, GetLimitsReply, RevokeRequest, access_int_service_server::AccessIntService};
use tonic::{Request, Response, Status, async_trait};

use super::Services;

#[async_trait]
impl AccessIntService for Services {
    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<()>, Status> {
        self.use_cases.access.revoke(request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Result<Response<()>, Status> {
        self.use_cases.access.forget(request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn get_limits(&self, _: Request<()>) -> Result<Response<GetLimitsReply>, Status> {
        Ok(Response::new(self.use_cases.access.limits))
    }
}
