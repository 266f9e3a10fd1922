//! `GroupIntService` and `GroupExtService`.

use gim_proto::logic::{
    GroupAddMemberRequest, GroupCreateReply, GroupCreateRequest, GroupGetMembersReply, GroupGetMembersRequest,
    GroupGetReply, GroupGetRequest, GroupListMineReply, GroupListMineRequest, GroupPushReply, GroupPushRequest,
    GroupRemoveMemberRequest, GroupUpdateMemberRequest, GroupUpdateRequest, group_ext_service_server::GroupExtService,
    group_int_service_server::GroupIntService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Services, caller::request_id};
use crate::usecase::groups::Operator;

#[async_trait]
impl GroupIntService for Services {
    async fn push(&self, request: Request<GroupPushRequest>) -> Result<Response<GroupPushReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let message_id = self.use_cases.pushes.to_group(request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupPushReply { message_id }))
    }

    async fn create(&self, request: Request<GroupCreateRequest>) -> Result<Response<GroupCreateReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let group_id = self.use_cases.groups.create(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupCreateReply { group_id }))
    }

    async fn update(&self, request: Request<GroupUpdateRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.update(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get(&self, request: Request<GroupGetRequest>) -> Result<Response<GroupGetReply>, Status> {
        let group = self.use_cases.groups.get(Operator::Service, request.into_inner().group_id).await?;
        Ok(Response::new(GroupGetReply { group: Some(group) }))
    }

    async fn add_member(&self, request: Request<GroupAddMemberRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.add_members(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn remove_member(&self, request: Request<GroupRemoveMemberRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.remove_members(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn update_member(&self, request: Request<GroupUpdateMemberRequest>) -> Result<Response<()>, Status> {
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.update_member(Operator::Service, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get_members(
        &self,
        request: Request<GroupGetMembersRequest>,
    ) -> Result<Response<GroupGetMembersReply>, Status> {
        Ok(Response::new(self.use_cases.groups.members(Operator::Service, request.into_inner()).await?))
    }
}

#[async_trait]
impl GroupExtService for Services {
    async fn create(&self, request: Request<GroupCreateRequest>) -> Result<Response<GroupCreateReply>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        let group_id = self.use_cases.groups.create(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(GroupCreateReply { group_id }))
    }

    async fn update(&self, request: Request<GroupUpdateRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.update(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get(&self, request: Request<GroupGetRequest>) -> Result<Response<GroupGetReply>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let group = self.use_cases.groups.get(operator, request.into_inner().group_id).await?;
        Ok(Response::new(GroupGetReply { group: Some(group) }))
    }

    async fn list_mine(&self, request: Request<GroupListMineRequest>) -> Result<Response<GroupListMineReply>, Status> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.use_cases.groups.list_mine(caller, request.into_inner()).await?))
    }

    async fn add_members(&self, request: Request<GroupAddMemberRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.add_members(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn update_member(&self, request: Request<GroupUpdateMemberRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.update_member(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn remove_member(&self, request: Request<GroupRemoveMemberRequest>) -> Result<Response<()>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        let request_id = request_id(&request).to_owned();
        self.use_cases.groups.remove_members(operator, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn get_members(
        &self,
        request: Request<GroupGetMembersRequest>,
    ) -> Result<Response<GroupGetMembersReply>, Status> {
        let operator = Operator::User(self.caller(&request).await?);
        Ok(Response::new(self.use_cases.groups.members(operator, request.into_inner()).await?))
    }
}
