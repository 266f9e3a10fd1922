//! A logic service of a few methods. It gives device ids from 100 on, knows those it gave, records every call with its
//! request id, and refuses with a status where a test tells it to.

use std::sync::{Arc, Mutex};

use gim_config::{
    grpc::{self, GrpcServer, GrpcSettings},
    listen::Endpoint,
};
use gim_proto::{
    ResultCode,
    connect::SendReply,
    logic::{
        Device, DeviceSaveReply, DeviceSaveRequest, ForgetRequest, GetLimitsReply, HeartbeatRequest, ListOnlineReply,
        ListOnlineRequest, OfflineRequest, PushToAllRequest, PushToUsersReply, PushToUsersRequest, RevokeRequest,
        SendAsRequest, SendManyAsItem, SendManyAsReply, SendManyAsRequest, SendManyAsResult, SignInReply,
        SignInRequest,
        access_int_service_server::{AccessIntService, AccessIntServiceServer},
        device_int_service_server::{DeviceIntService, DeviceIntServiceServer},
        message_int_service_server::{MessageIntService, MessageIntServiceServer},
    },
    metadata,
};
use tonic::{Request, Response, Status, service::Routes};

const FIRST_DEVICE_ID: u64 = 100;
const FIRST_MESSAGE_ID: u64 = 9_000;

/// What the stub saw and what it shall do. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StubLogic(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    saved: Vec<(Device, String)>,
    pushed: Vec<(PushToUsersRequest, String)>,
    sent: Vec<(SendAsRequest, String)>,
    revoked: Vec<RevokeRequest>,
    forgotten: Vec<(u64, u64)>,
    refusal: Option<Status>,
    /// So many revocations are still put off.
    revocations_put_off: u32,
}

impl StubLogic {
    pub async fn serve(&self, internal_token: &str) -> GrpcServer {
        let settings = GrpcSettings {
            listen: Endpoint::new("127.0.0.1:0"),
            internal_token: internal_token.to_owned(),
            ..GrpcSettings::default()
        };
        let mut routes = Routes::builder();
        routes
            .add_service(AccessIntServiceServer::new(self.clone()))
            .add_service(DeviceIntServiceServer::new(self.clone()))
            .add_service(MessageIntServiceServer::new(self.clone()));
        grpc::serve(&settings, routes, &[]).await.unwrap()
    }

    /// From now on every call is refused so; `None` ends it.
    pub fn refuse_with(&self, refusal: Option<Status>) {
        self.0.lock().unwrap().refusal = refusal;
    }

    /// The next revocations are answered "try again later".
    pub fn put_off_revocations(&self, count: u32) {
        self.0.lock().unwrap().revocations_put_off = count;
    }

    /// The devices that were saved, each with the request id of its call.
    pub fn saved(&self) -> Vec<(Device, String)> {
        self.0.lock().unwrap().saved.clone()
    }

    /// The pushes since the last look, each with the request id of its call.
    pub fn take_pushed(&self) -> Vec<(PushToUsersRequest, String)> {
        std::mem::take(&mut self.0.lock().unwrap().pushed)
    }
}

impl StubLogic {
    /// The messages of users since the last look, each with the request id of its call.
    pub fn take_sent(&self) -> Vec<(SendAsRequest, String)> {
        std::mem::take(&mut self.0.lock().unwrap().sent)
    }

    /// The revocations since the last look.
    pub fn take_revoked(&self) -> Vec<RevokeRequest> {
        std::mem::take(&mut self.0.lock().unwrap().revoked)
    }

    /// What was to be forgotten since the last look, users' cards left out.
    pub fn take_forgotten(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().unwrap().forgotten)
    }
}

#[tonic::async_trait]
impl AccessIntService for StubLogic {
    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<()>, Status> {
        let mut state = self.0.lock().unwrap();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        if let Some(left) = state.revocations_put_off.checked_sub(1) {
            state.revocations_put_off = left;
            return Err(ResultCode::TryAgainLater.into());
        }
        state.revoked.push(request.into_inner());
        Ok(Response::new(()))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Result<Response<()>, Status> {
        let mut state = self.0.lock().unwrap();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let ForgetRequest { user_id, peer_id, .. } = request.into_inner();
        if peer_id != 0 {
            state.forgotten.push((user_id, peer_id));
        }
        Ok(Response::new(()))
    }

    async fn get_limits(&self, _: Request<()>) -> Result<Response<GetLimitsReply>, Status> {
        Err(Status::unimplemented("a logic that is older"))
    }
}

#[tonic::async_trait]
impl DeviceIntService for StubLogic {
    async fn save(&self, request: Request<DeviceSaveRequest>) -> Result<Response<DeviceSaveReply>, Status> {
        let request_id = metadata::text(&request, metadata::REQUEST_ID).unwrap_or_default().to_owned();
        let mut state = self.0.lock().unwrap();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let device = request.into_inner().device.unwrap();
        let given = FIRST_DEVICE_ID + state.saved.iter().filter(|(device, _)| device.id == 0).count() as u64;
        let device_id = if device.id == 0 { given } else { device.id };
        state.saved.push((device, request_id));
        Ok(Response::new(DeviceSaveReply { device_id }))
    }

    async fn sign_in(&self, _: Request<SignInRequest>) -> Result<Response<SignInReply>, Status> {
        Err(Status::unimplemented("business does not call it"))
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("business does not call it"))
    }

    async fn offline(&self, _: Request<OfflineRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("business does not call it"))
    }

    async fn list_online(&self, _: Request<ListOnlineRequest>) -> Result<Response<ListOnlineReply>, Status> {
        Err(Status::unimplemented("business does not call it"))
    }
}

#[tonic::async_trait]
impl MessageIntService for StubLogic {
    async fn push_to_users(&self, request: Request<PushToUsersRequest>) -> Result<Response<PushToUsersReply>, Status> {
        let request_id = metadata::text(&request, metadata::REQUEST_ID).unwrap_or_default().to_owned();
        let mut state = self.0.lock().unwrap();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.pushed.push((request.into_inner(), request_id));
        Ok(Response::new(PushToUsersReply { message_id: FIRST_MESSAGE_ID + state.pushed.len() as u64 }))
    }

    async fn send_as(&self, request: Request<SendAsRequest>) -> Result<Response<SendReply>, Status> {
        let request_id = metadata::text(&request, metadata::REQUEST_ID).unwrap_or_default().to_owned();
        let mut state = self.0.lock().unwrap();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.sent.push((request.into_inner(), request_id));
        let message_id = FIRST_MESSAGE_ID + state.sent.len() as u64;
        Ok(Response::new(SendReply { message_id, ..SendReply::default() }))
    }

    async fn send_many_as(&self, request: Request<SendManyAsRequest>) -> Result<Response<SendManyAsReply>, Status> {
        let mut results = Vec::new();
        for SendManyAsItem { message, request_id } in request.into_inner().items {
            let mut one = Request::new(message.unwrap());
            metadata::put(&mut one, metadata::REQUEST_ID, &request_id);
            let reply = Some(self.send_as(one).await?.into_inner());
            results.push(SendManyAsResult { reply, ..SendManyAsResult::default() });
        }
        Ok(Response::new(SendManyAsReply { results }))
    }

    async fn push_to_all(&self, _: Request<PushToAllRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("business does not call it"))
    }
}
