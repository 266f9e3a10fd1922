//! `GroupIntService` and `GroupExtService`.

use gim_proto::logic::{
    GroupAddMemberRequest, GroupCreateReply, GroupCreateRequest, GroupGetMembersReply, GroupGetMembersRequest,
    GroupGetReply, GroupGetRequest, GroupListMineReply, GroupListMineRequest, GroupPushReply, GroupPushRequest,
    GroupRemoveMemberRequest, GroupUpdateMemberRequest, GroupUpdateRequest, group_ext_service_server::GroupExtService,
    group_int_service_server::GroupIntService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Services, caller::request_id};
use crate::usecase::Operator;

#[async_trait]
impl GroupIntService for Services {
    async fn push(&self, request: Request<GroupPushRequest>) -> Result<Response<GroupPushReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let message_id = self.app.push_to_group(request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupPushReply { message_id }))
    }

    async fn create(&self, request: Request<GroupCreateRequest>) -> Result<Response<GroupCreateReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let group_id = self.app.create_group(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupCreateReply { group_id }))
    }

    async fn update(&self, request: Request<GroupUpdateRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.app.update_group(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get(&self, request: Request<GroupGetRequest>) -> Result<Response<GroupGetReply>, Status> {
        let group = self.app.get_group(Operator::Service, request.into_inner().group_id).await?;
        Ok(Response::new(GroupGetReply { group: Some(group) }))
    }

    async fn add_member(&self, request: Request<GroupAddMemberRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.app.add_group_members(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn remove_member(&self, request: Request<GroupRemoveMemberRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.app.remove_group_members(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }
}

#[async_trait]
impl GroupExtService for Services {
    async fn create(&self, request: Request<GroupCreateRequest>) -> Result<Response<GroupCreateReply>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        let group_id = self.app.create_group(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupCreateReply { group_id }))
    }

    async fn update(&self, request: Request<GroupUpdateRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.app.update_group(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get(&self, request: Request<GroupGetRequest>) -> Result<Response<GroupGetReply>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let group = self.app.get_group(operator, request.into_inner().group_id).await?;
        Ok(Response::new(GroupGetReply { group: Some(group) }))
    }

    async fn list_mine(&self, request: Request<GroupListMineRequest>) -> Result<Response<GroupListMineReply>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.app.list_groups(caller, request.into_inner()).await?))
    }

    async fn add_members(&self, request: Request<GroupAddMemberRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.app.add_group_members(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn update_member(&self, request: Request<GroupUpdateMemberRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        let request_id = request_id(&request).to_owned();
        self.app.update_group_member(caller, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn remove_member(&self, request: Request<GroupRemoveMemberRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.app.remove_group_members(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get_members(
        &self,
        request: Request<GroupGetMembersRequest>,
    ) -> Result<Response<GroupGetMembersReply>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.app.group_members(caller, request.into_inner()).await?))
    }
}
