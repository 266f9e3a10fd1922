//! `GatewayExtService`. No token: who asks has yet to connect.

use gim_proto::logic::{LocateReply, LocateRequest, gateway_ext_service_server::GatewayExtService};
use tonic::{Request, Response, Status, async_trait};

use super::Services;

#[async_trait]
impl GatewayExtService for Services {
    async fn locate(&self, request: Request<LocateRequest>) -> Result<Response<LocateReply>, Status> {
        Ok(Response::new(self.use_cases.directory.locate(request.get_ref())?))
    }
}
