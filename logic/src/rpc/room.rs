//! `RoomIntService` and `RoomExtService`.

use std::time::Instant;

use gim_proto::logic::{
    CountRoomMembersReply, CountRoomMembersRequest, PushRoomRequest, SubscribeRoomRequest,
    room_ext_service_server::RoomExtService, room_int_service_server::RoomIntService,
};
use tonic::{Request, Response, Status, async_trait};

use super::{Services, caller::request_id};

#[async_trait]
impl RoomIntService for Services {
    async fn push_room(&self, request: Request<PushRoomRequest>) -> Result<Response<()>, Status> {
        self.use_cases.rooms.push(request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn subscribe_room(&self, request: Request<SubscribeRoomRequest>) -> Result<Response<()>, Status> {
        self.use_cases.rooms.subscribe_device(request.into_inner()).await?;
        Ok(Response::new(()))
    }

    async fn count_members(
        &self,
        request: Request<CountRoomMembersRequest>,
    ) -> Result<Response<CountRoomMembersReply>, Status> {
        let rooms = self.use_cases.rooms.count_members(request.get_ref())?;
        Ok(Response::new(CountRoomMembersReply { rooms }))
    }
}

#[async_trait]
impl RoomExtService for Services {
    async fn push_room(&self, request: Request<PushRoomRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        let request_id = request_id(&request).to_owned();
        self.use_cases.rooms.push_as(caller, request.into_inner(), &request_id).await?;
        Ok(Response::new(()))
    }

    async fn count_members(
        &self,
        request: Request<CountRoomMembersRequest>,
    ) -> Result<Response<CountRoomMembersReply>, Status> {
        self.caller(&request).await?;
        let rooms = self.use_cases.rooms.count_members_for_client(request.get_ref(), Instant::now())?;
        Ok(Response::new(CountRoomMembersReply { rooms }))
    }
}
