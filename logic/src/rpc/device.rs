//! `DeviceIntService` and `DeviceExtService`.

use std::net::{IpAddr, Ipv4Addr};

use gim_config::grpc;
use gim_proto::{
    check,
    logic::{
        DeviceRegisterReply, DeviceRegisterRequest, DeviceSaveReply, DeviceSaveRequest, DeviceUpdateRequest,
        GetWebPushKeyReply, HeartbeatRequest, ListOnlineReply, ListOnlineRequest, OfflineRequest, SignInReply,
        SignInRequest, device_ext_service_server::DeviceExtService, device_int_service_server::DeviceIntService,
    },
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Services,
    caller::{request_id, vouched},
};
use crate::{
    domain::{caller::Caller, device::ADDRESS_BYTES_MAX},
    store::{device::NOBODY, work::Saver},
    usecase::devices::check_own,
};

/// In place of an address that is not known.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// `SignIn`, `Heartbeat` and `Offline` are what conn nodes of others call. They check, and change no route: a route belongs
/// to a stream of `LinkService`, over which alone a push could reach the device.
#[async_trait]
impl DeviceIntService for Services {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInReply>, Status> {
        let request_id = request_id(&request).to_owned();
        let request = request.into_inner();
        check::size("client_addr", &request.client_addr, ADDRESS_BYTES_MAX)?;
        let caller = Caller { user_id: request.user_id, device_id: request.device_id };
        self.use_cases.sign_ins.check_token(caller, &request.token, &request_id).await?;
        Ok(Response::new(SignInReply {}))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        check::id("user_id", request.user_id)?;
        check::id("device_id", request.device_id)?;
        Ok(Response::new(()))
    }

    async fn offline(&self, request: Request<OfflineRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        check::id("user_id", request.user_id)?;
        check::id("device_id", request.device_id)?;
        check::size("client_addr", &request.client_addr, ADDRESS_BYTES_MAX)?;
        Ok(Response::new(()))
    }

    async fn save(&self, request: Request<DeviceSaveRequest>) -> Result<Response<DeviceSaveReply>, Status> {
        let DeviceSaveRequest { device, user_id } = request.into_inner();
        if user_id != NOBODY {
            check::id("user_id", user_id)?;
        }
        let device_id = self.use_cases.devices.save(user_id, device, Saver::Service).await?;
        Ok(Response::new(DeviceSaveReply { device_id }))
    }

    async fn list_online(&self, request: Request<ListOnlineRequest>) -> Result<Response<ListOnlineReply>, Status> {
        let devices = self.use_cases.devices.list_online(request.into_inner()).await?;
        Ok(Response::new(ListOnlineReply { devices }))
    }
}

#[async_trait]
impl DeviceExtService for Services {
    /// A new device needs no token. One that is known does: nobody may rewrite the push id of somebody else's phone.
    async fn register(&self, request: Request<DeviceRegisterRequest>) -> Result<Response<DeviceRegisterReply>, Status> {
        let device_id = request.get_ref().device.as_ref().map_or(0, |device| device.id);
        let stranger = || Saver::Stranger(grpc::caller_address(&request).unwrap_or(NOWHERE));
        let mut saver = vouched(&request).map_or_else(stranger, |caller| Saver::User(caller.user_id));
        let mut owner = NOBODY;
        if device_id != 0 {
            check::id("device.id", device_id)?;
            let caller = self.caller(&request).await?;
            check_own(caller, device_id)?;
            (owner, saver) = (caller.user_id, Saver::User(caller.user_id));
        }
        let device_id = self.use_cases.devices.save(owner, request.into_inner().device, saver).await?;
        Ok(Response::new(DeviceRegisterReply { device_id }))
    }

    async fn update(&self, request: Request<DeviceUpdateRequest>) -> Result<Response<()>, Status> {
        let caller = self.caller(&request).await?;
        self.use_cases.devices.update(caller, request.into_inner().device).await?;
        Ok(Response::new(()))
    }

    async fn get_web_push_key(&self, request: Request<()>) -> Result<Response<GetWebPushKeyReply>, Status> {
        self.caller(&request).await?;
        Ok(Response::new(GetWebPushKeyReply { public_key: self.use_cases.devices.web_push_key() }))
    }
}
