//! `MessageExtService` and `MessageIntService`.

use gim_proto::{
    connect::{SendReply, SendRequest},
    logic::{
        HistoryReply, HistoryRequest, MessageAckRequest, PushToAllRequest, PushToUsersReply, PushToUsersRequest,
        RecallRequest, SendAsRequest, SendManyAsReply, SendManyAsRequest, SyncReply, SyncRequest,
        message_ext_service_server::MessageExtService, message_int_service_server::MessageIntService,
    },
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Services,
    caller::{page_for, request_id},
};
use crate::usecase::{messages::Messages, syncs::Syncs};

#[async_trait]
impl MessageExtService for Services {
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncReply>, Status> {
        let caller = self.caller(&request).await?;
        let page_for = page_for(&request);
        Ok(Response::new(self.use_cases.syncs.sync(caller, request.into_inner(), page_for).await?))
    }

    async fn message_ack(&self, request: Request<MessageAckRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        Syncs::finish_ack(self.use_cases.syncs.submit_ack(caller, request.get_ref()).await?).await?;
        Ok(Response::new(()))
    }

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendReply>, Status> {
        let caller = self.caller(&request).await?;
        let request_id = request_id(&request).to_owned();
        let submitted = self.use_cases.messages.submit(caller, request.into_inner(), &request_id).await?;
        Ok(Response::new(Messages::finish(submitted).await?.0))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryReply>, Status> {
        let caller = self.caller(&request).await?;
        let page_for = page_for(&request);
        Ok(Response::new(self.use_cases.histories.read(caller, request.into_inner(), page_for).await?))
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        let request_id = request_id(&request).to_owned();
        self.use_cases.recalls.recall(caller, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }
}

#[async_trait]
impl MessageIntService for Services {
    async fn push_to_users(&self, request: Request<PushToUsersRequest>) -> Result<Response<PushToUsersReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let message_id = self.use_cases.pushes.to_users(request.into_inner(), &request_id).await?;
        Ok(Response::new(PushToUsersReply { message_id }))
    }

    async fn send_as(&self, request: Request<SendAsRequest>) -> Result<Response<SendReply>, Status> {
        let request_id = request_id(&request).to_owned();
        Ok(Response::new(self.use_cases.messages.send_as(request.into_inner(), &request_id).await?))
    }

    async fn send_many_as(&self, request: Request<SendManyAsRequest>) -> Result<Response<SendManyAsReply>, Status> {
        Ok(Response::new(self.use_cases.messages.send_many_as(request.into_inner()).await?))
    }

    async fn push_to_all(&self, request: Request<PushToAllRequest>) -> Result<Response<()>, Status> {
        self.use_cases.pushes.to_all(request.into_inner())?;
        Ok(Response::new(()))
    }
}
