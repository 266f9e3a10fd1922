//! A running business service on free ports with a folder of its own, and clients of it.

use std::{net::SocketAddr, time::Duration};

use gim_business::{Business, BusinessSettings};
use gim_config::{grpc::GrpcServer, listen::Endpoint, service::Running as _, testing};
use gim_proto::{
    ResultCode,
    business::{
        SignInRequest, friend_ext_service_client::FriendExtServiceClient,
        user_ext_service_client::UserExtServiceClient, user_int_service_client::UserIntServiceClient,
    },
    logic::Device,
    metadata,
};
use tempfile::TempDir;
use tonic::{Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::stub_logic::StubLogic;

/// The binary `servers` runs on MariaDB.
const ON_SERVERS: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"servers");

pub const CODE: &str = "123456";

pub struct Server {
    pub business: Business,
    pub logic: StubLogic,
    logic_server: Option<GrpcServer>,
    pub settings: BusinessSettings,
    _folder: TempDir,
}

/// A device on which a user signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    pub user_id: u64,
    pub device_id: u64,
    pub token: String,
    pub is_new: bool,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut BusinessSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&folder);
        change(&mut settings);
        let logic = StubLogic::default();
        let logic_server = logic.serve(&settings.grpc.internal_token).await;
        settings.logic.endpoint = Endpoint::new(&format!("http://{}", logic_server.address())).into();
        let business = gim_business::start(settings.clone()).await.unwrap();
        Self { business, logic, logic_server: Some(logic_server), settings, _folder: folder }
    }

    /// Stops the service and starts it again with the same folder.
    pub async fn restart(self) -> Self {
        let Self { business, logic, logic_server, settings, _folder } = self;
        business.stop().await;
        let business = gim_business::start(settings.clone()).await.unwrap();
        Self { business, logic, logic_server, settings, _folder }
    }

    /// Nothing listens where logic was.
    pub async fn stop_logic(&mut self) {
        self.logic_server.take().unwrap().stop(Duration::from_secs(5)).await;
    }

    pub fn channel(&self) -> Channel {
        channel(self.business.grpc_address())
    }

    pub fn users(&self) -> UserExtServiceClient<Channel> {
        UserExtServiceClient::new(self.channel())
    }

    pub fn internal(&self) -> UserIntServiceClient<Channel> {
        UserIntServiceClient::new(self.channel())
    }

    pub fn friends(&self) -> FriendExtServiceClient<Channel> {
        FriendExtServiceClient::new(self.channel())
    }

    /// Signs in on a new device.
    pub async fn sign_in(&self, phone_number: &str) -> Phone {
        self.try_sign_in(sign_in_request(phone_number)).await.unwrap()
    }

    pub async fn try_sign_in(&self, request: SignInRequest) -> Result<Phone, Status> {
        let reply = self.users().sign_in(request).await?.into_inner();
        Ok(Phone { user_id: reply.user_id, device_id: reply.device_id, token: reply.token, is_new: reply.is_new })
    }
}

impl Phone {
    /// A request of this phone, with the request id "r-1".
    pub fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = metadata::signed(message, self.user_id, self.device_id, &self.token);
        metadata::put(&mut request, metadata::REQUEST_ID, "r-1");
        request
    }
}

/// Settings on free ports, with all data in `folder`.
pub fn settings(folder: &TempDir) -> BusinessSettings {
    let mut settings = BusinessSettings { data_dir: folder.path().join("data"), ..BusinessSettings::default() };
    settings.grpc.listen = Endpoint::new("127.0.0.1:0");
    settings.admin.listen = Endpoint::new("127.0.0.1:0");
    settings.database.sync_commits = false;
    if ON_SERVERS {
        settings.database.url = testing::mysql_database();
    }
    settings
}

pub fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().timeout(Duration::from_secs(20)).connect_lazy()
}

pub fn sign_in_request(phone_number: &str) -> SignInRequest {
    let device = Device { r#type: 1, brand: "brand".into(), ..Device::default() };
    SignInRequest {
        phone_number: phone_number.into(),
        code: CODE.into(),
        device: Some(device),
        ..SignInRequest::default()
    }
}

/// The result code of an answer.
pub fn code<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> ResultCode {
    ResultCode::of_status(&answer.unwrap_err())
}

/// Asserts that an answer is INVALID_ARGUMENT and names this field, in words and in the details.
#[track_caller]
pub fn assert_names<T: std::fmt::Debug>(field: &str, answer: Result<Response<T>, Status>) {
    let status = answer.expect_err(field);
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}: {status}");
    assert!(status.message().starts_with(&format!("{field}: ")), "{field}: {}", status.message());
    let details = status.get_details_bad_request().expect(field);
    assert_eq!(details.field_violations[0].field, field);
}
