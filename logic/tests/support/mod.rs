//! What the integration tests share: a logic service on free ports with its data in a folder of its own, a business that
//! answers from memory, and a conn node that speaks the link by hand. Every wait has a deadline.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part of it, and helpers of tests fail loudly

pub mod backend;
pub mod business;
pub mod conn;
pub mod push_stand_in;
pub mod receiver;

use std::{path::Path, time::Duration};

use gim_config::{listen::Endpoint, service::Running as _, sql::Database};
use gim_logic::{Logic, LogicSettings};
use gim_proto::{
    ResultCode,
    check::ID_MAX,
    logic::{
        PushToUsersRequest, SyncRequest, conversation_ext_service_client::ConversationExtServiceClient,
        device_ext_service_client::DeviceExtServiceClient, device_int_service_client::DeviceIntServiceClient,
        event_int_service_client::EventIntServiceClient, group_ext_service_client::GroupExtServiceClient,
        group_int_service_client::GroupIntServiceClient, message_ext_service_client::MessageExtServiceClient,
        message_int_service_client::MessageIntServiceClient, room_ext_service_client::RoomExtServiceClient,
        room_int_service_client::RoomIntServiceClient, word_int_service_client::WordIntServiceClient,
    },
    metadata,
};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};

use business::StubBusiness;

/// Longer than anything here takes, shorter than patience.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running logic service and what it stands on.
pub struct Server {
    pub logic: Logic,
    pub business: StubBusiness,
    pub data: TempDir,
    /// What it was started with; its ports are free ones at every start.
    pub settings: LogicSettings,
    pub channel: Channel,
}

/// Starts a service with a full business.
pub async fn server() -> Server {
    server_with(StubBusiness::start().await, |_| ()).await
}

/// Starts a service with this business and changed settings.
pub async fn server_with(business: StubBusiness, change: impl FnOnce(&mut LogicSettings)) -> Server {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path(), &business);
    change(&mut settings);
    start(data, business, settings).await
}

/// Starts a service with these settings, on what is in the folder already.
pub async fn start(data: TempDir, business: StubBusiness, settings: LogicSettings) -> Server {
    let logic = gim_logic::start(settings.clone()).await.unwrap();
    let address = format!("http://{}", logic.grpc_address());
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    Server { logic, business, data, settings, channel }
}

pub fn settings(data: &Path, business: &StubBusiness) -> LogicSettings {
    let mut settings = LogicSettings {
        data_dir: data.to_owned(),
        database: backend::database(),
        shared_state: backend::shared_state(),
        ..LogicSettings::default()
    };
    settings.grpc.listen = Endpoint::new("127.0.0.1:0");
    settings.clients.listen = Endpoint::default();
    settings.admin.listen = Endpoint::default();
    settings.business.endpoint = business.endpoint().into();
    settings.business.call_timeout_ms = 2_000;
    // Tests look again and again for what is to come, however long that takes.
    settings.limits.user_requests_burst = 10_000_000;
    settings
}

impl Server {
    /// Stops the service and starts it again on the same data.
    pub async fn restart(self) -> Server {
        let Server { logic, business, data, settings, channel } = self;
        drop(channel);
        tokio::time::timeout(DEADLINE, logic.stop()).await.expect("stops in time");
        start(data, business, settings).await
    }

    /// The database of the service, for a look from outside.
    pub async fn database(&self) -> Database {
        let settings = &self.settings.database;
        Database::open(settings, self.data.path(), "logic.db", &gim_logic::store::migrations()).await.unwrap()
    }

    /// The newest seq of a user's inbox, as a device that just signed in would learn it.
    pub async fn store_newest_seq(&self, user_id: u64) -> u64 {
        let request = SyncRequest { seq: ID_MAX, ..SyncRequest::default() };
        let token = format!("token-{user_id}");
        let refused = self.message_ext().sync(metadata::signed(request, user_id, user_id * 10, &token)).await;
        let (_, text) = refusal(refused);
        text.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub fn message_int(&self) -> MessageIntServiceClient<Channel> {
        MessageIntServiceClient::new(self.channel.clone())
    }

    pub fn message_ext(&self) -> MessageExtServiceClient<Channel> {
        MessageExtServiceClient::new(self.channel.clone())
    }

    pub fn conversation_ext(&self) -> ConversationExtServiceClient<Channel> {
        ConversationExtServiceClient::new(self.channel.clone())
    }

    pub fn event_int(&self) -> EventIntServiceClient<Channel> {
        EventIntServiceClient::new(self.channel.clone())
    }

    pub fn device_int(&self) -> DeviceIntServiceClient<Channel> {
        DeviceIntServiceClient::new(self.channel.clone())
    }

    pub fn device_ext(&self) -> DeviceExtServiceClient<Channel> {
        DeviceExtServiceClient::new(self.channel.clone())
    }

    pub fn group_int(&self) -> GroupIntServiceClient<Channel> {
        GroupIntServiceClient::new(self.channel.clone())
    }

    pub fn group_ext(&self) -> GroupExtServiceClient<Channel> {
        GroupExtServiceClient::new(self.channel.clone())
    }

    pub fn word_int(&self) -> WordIntServiceClient<Channel> {
        WordIntServiceClient::new(self.channel.clone())
    }

    pub fn room_int(&self) -> RoomIntServiceClient<Channel> {
        RoomIntServiceClient::new(self.channel.clone())
    }

    pub fn room_ext(&self) -> RoomExtServiceClient<Channel> {
        RoomExtServiceClient::new(self.channel.clone())
    }

    /// Pushes a persisted text to users and returns the message id.
    pub async fn push(&self, user_ids: &[u64], text: &str) -> u64 {
        let request = PushToUsersRequest {
            user_ids: user_ids.to_vec(),
            command: 5000,
            content: text.as_bytes().to_vec().into(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        self.message_int().push_to_users(request).await.unwrap().into_inner().message_id
    }
}

/// Stops a service before what it stands on.
pub async fn stop(server: Server) {
    let Server { logic, channel, .. } = server;
    drop(channel);
    soon(logic.stop()).await;
}

/// Waits for `future`, and fails the test where it takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("this should have happened by now")
}

/// The result code and sentence of a refused call.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (ResultCode, String) {
    let status = result.unwrap_err();
    (ResultCode::of_status(&status), status.message().to_owned())
}
