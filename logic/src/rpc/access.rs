//! `AccessIntService`: what a business tells about its users.

use gim_proto::logic::{ForgetRequest, RevokeRequest, access_int_service_server::AccessIntService};
use tonic::{Request, Response, Status, async_trait};

use super::Services;

#[async_trait]
impl AccessIntService for Services {
    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<()>, Status> {
        self.use_cases.access.revoke(request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Result<Response<()>, Status> {
        self.use_cases.access.forget(request.into_inner())?;
        Ok(Response::new(()))
    }
}
