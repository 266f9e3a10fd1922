//! What tests ask of a server, with deadlines.

use std::{fs, future::Future, net::SocketAddr, path::PathBuf};

use gim_proto::{
    business::{SignInReply, SignInRequest, user_ext_service_client::UserExtServiceClient},
    client::Client,
    logic::{
        Device, ListOnlineRequest, OnlineDevice, PushToUsersRequest, device_int_service_client::DeviceIntServiceClient,
        message_int_service_client::MessageIntServiceClient,
    },
};
use tokio::task::JoinSet;
use tonic::{
    Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

use super::{BUSINESS_GRPC, CONN_GRPC, DEADLINE, LOGIC_GRPC, Server};

impl Server {
    pub fn conn(&self) -> Channel {
        self.certified_channel(CONN_GRPC)
    }

    pub fn logic(&self) -> Channel {
        self.certified_channel(LOGIC_GRPC)
    }

    pub fn business(&self) -> Channel {
        self.certified_channel(BUSINESS_GRPC)
    }

    /// A channel to any gRPC server.
    pub fn channel(&self, address: SocketAddr) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let _in_runtime = self.runtime.enter();
        endpoint.connect_lazy()
    }

    /// To logic, believing its certificate and showing none.
    pub fn anonymous_logic(&self) -> Channel {
        let files = self.certificates.as_ref().expect("services have certificates");
        self.channel_over_tls(LOGIC_GRPC, ClientTlsConfig::new().ca_certificate(pem(&files.ca)))
    }

    fn certified_channel(&self, port: u16) -> Channel {
        let Some(files) = &self.certificates else { return self.channel(self.address(port)) };
        let identity = Identity::from_pem(fs::read(&files.certificate).unwrap(), fs::read(&files.key).unwrap());
        self.channel_over_tls(port, ClientTlsConfig::new().ca_certificate(pem(&files.ca)).identity(identity))
    }

    fn channel_over_tls(&self, port: u16, tls: ClientTlsConfig) -> Channel {
        let endpoint = Channel::from_shared(self.url(port).to_string()).unwrap().tls_config(tls).unwrap();
        let _in_runtime = self.runtime.enter();
        endpoint.connect_lazy()
    }

    /// Waits for the answer of a call.
    pub fn call<T>(&self, answer: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, answer).await });
        answer.expect("answered within the deadline").map(Response::into_inner)
    }

    /// The same for many at once.
    #[allow(dead_code, reason = "only the system tests ask for it")]
    pub fn call_all<T>(
        &self,
        answers: impl Iterator<Item = impl Future<Output = Result<Response<T>, Status>> + Send + 'static>,
    ) -> Vec<Result<T, Status>>
    where
        T: Send + 'static,
    {
        let all = async { tokio::time::timeout(DEADLINE, answers.collect::<JoinSet<_>>().join_all()).await };
        let answers = self.runtime.block_on(all).expect("answered within the deadline");
        answers.into_iter().map(|answer| answer.map(Response::into_inner)).collect()
    }

    /// Signs a phone number in over business.
    pub fn business_sign_in(&self, phone_number: &str) -> SignInReply {
        let request = SignInRequest {
            phone_number: phone_number.to_owned(),
            code: "123456".into(),
            device: Some(Device { brand: "test".into(), ..Device::default() }),
            ..SignInRequest::default()
        };
        self.call(UserExtServiceClient::new(self.business()).sign_in(request)).unwrap()
    }

    /// A connection that has not signed in.
    pub fn connect(&self) -> Client {
        Client::connect(self.tcp_address(), DEADLINE).unwrap()
    }

    /// A signed-in connection.
    pub fn connect_as(&self, identity: &SignInReply) -> Client {
        let mut client = self.connect();
        let reply = client.sign_in(identity.user_id, identity.device_id, &identity.token).unwrap();
        assert_eq!((reply.code, reply.message.as_str()), (0, reply.message.as_str()));
        client
    }

    /// A backend pushes a persisted message.
    pub fn push_to_users(&self, user_ids: &[u64], content: &str) -> u64 {
        let request = PushToUsersRequest {
            user_ids: user_ids.to_vec(),
            command: 2001,
            content: content.to_owned().into(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        self.call(MessageIntServiceClient::new(self.logic()).push_to_users(request)).unwrap().message_id
    }

    /// The devices of a user that are online.
    pub fn online(&self, user_id: u64) -> Vec<OnlineDevice> {
        let request = ListOnlineRequest { user_ids: vec![user_id] };
        self.call(DeviceIntServiceClient::new(self.logic()).list_online(request)).unwrap().devices
    }
}

fn pem(path: &PathBuf) -> Certificate {
    Certificate::from_pem(fs::read(path).unwrap())
}
