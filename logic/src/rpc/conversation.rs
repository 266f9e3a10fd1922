//! `ConversationExtService`.

use gim_proto::logic::{
    ConversationDeleteRequest, ConversationListReply, ConversationListRequest, ConversationReadRequest,
    ConversationReadersReply, ConversationReadersRequest, ConversationSetRequest,
    conversation_ext_service_server::ConversationExtService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Services, caller::page_for};

#[async_trait]
impl ConversationExtService for Services {
    async fn list(&self, request: Request<ConversationListRequest>) -> Result<Response<ConversationListReply>, Status> {
        let caller = self.caller(&request).await?;
        let page_for = page_for(&request);
        Ok(Response::new(self.use_cases.conversations.list(caller, request.into_inner(), page_for).await?))
    }

    async fn set(&self, request: Request<ConversationSetRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        self.use_cases.conversations.set(caller, request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn delete(&self, request: Request<ConversationDeleteRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        self.use_cases.conversations.delete(caller, request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn read(&self, request: Request<ConversationReadRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        self.use_cases.reads.read(caller, request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn readers(
        &self,
        request: Request<ConversationReadersRequest>,
    ) -> Result<Response<ConversationReadersReply>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.use_cases.reads.readers(caller, request.into_inner()).await?))
    }
}
