//! The calls to the logic service: it gives device ids and delivers pushes.
//!
//! The channel connects at the first call and again whenever the connection is gone, so the services may start in any
//! order. Every call has the deadline of the settings and carries the request id on. Clones share the channel.

mod limits;
mod sends;

use std::time::Duration;

use bytes::Bytes;
use gim_config::grpc::{self, GrpcSettings, PeerChannel};
use gim_proto::{
    ResultCode, check,
    code::ERROR_DOMAIN,
    connect::MessageCommand,
    logic::{
        Device, DeviceSaveRequest, ForgetRequest, LocateReply, LocateRequest, PushToUsersRequest, RevokeRequest,
        SendAsRequest, access_int_service_client::AccessIntServiceClient,
        device_int_service_client::DeviceIntServiceClient, gateway_ext_service_client::GatewayExtServiceClient,
        message_int_service_client::MessageIntServiceClient,
    },
    metadata,
};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use self::sends::Sends;
use crate::{metrics::LOGIC_FAILURES_TOTAL, settings::LogicSettings};

/// The logic service.
#[derive(Debug, Clone)]
pub struct Logic {
    devices: DeviceIntServiceClient<PeerChannel>,
    messages: MessageIntServiceClient<PeerChannel>,
    sends: Sends,
    access: AccessIntServiceClient<PeerChannel>,
    gateway: GatewayExtServiceClient<PeerChannel>,
}

/// Why a call to logic was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogicError {
    /// Logic refused what the client asked for; the status is fit for the client.
    #[error("logic refused: {0}")]
    Refused(Box<Status>),
    /// Logic cannot be reached, or is not done within the deadline.
    #[error("logic is away: {0}")]
    Away(Box<Status>),
    /// Logic failed, or does not accept us.
    #[error("logic failed: {0}")]
    Failed(Box<Status>),
    /// Logic gave a device an id that cannot be one.
    #[error("logic gave a device the id {0}")]
    DeviceId(u64),
}

impl Logic {
    /// The logic service that `settings` name. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// Where the endpoint is no URL.
    pub fn new(settings: &LogicSettings, grpc: &GrpcSettings) -> Result<Self, String> {
        let timeout = Duration::from_millis(settings.call_timeout_ms);
        let channel = grpc::channel_to_any(&settings.endpoint, grpc, Some(timeout))?;
        let messages = MessageIntServiceClient::new(channel.clone());
        Ok(Self {
            devices: DeviceIntServiceClient::new(channel.clone()),
            sends: Sends::new(&messages),
            messages,
            access: AccessIntServiceClient::new(channel.clone()),
            gateway: GatewayExtServiceClient::new(channel),
        })
    }

    /// Saves a device and returns its id: a new one where it has none, its own where logic knows it.
    pub async fn save_device(&self, device: Device, request_id: &str) -> Result<u64, LogicError> {
        let request = with_request_id(DeviceSaveRequest { device: Some(device), user_id: 0 }, request_id);
        let reply = self.devices.clone().save(request).await.map_err(LogicError::new)?;
        let device_id = reply.into_inner().device_id;
        check::id("device_id", device_id).map_err(|_| LogicError::DeviceId(device_id))
    }

    /// Puts a message into the inbox of each user and returns its id once it is durable.
    pub async fn push(
        &self,
        user_ids: Vec<u64>,
        command: MessageCommand,
        content: impl Into<Bytes>,
        request_id: &str,
    ) -> Result<u64, LogicError> {
        let message = PushToUsersRequest {
            user_ids,
            command: command.into(),
            content: content.into(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        let request = with_request_id(message, request_id);
        let reply = self.messages.clone().push_to_users(request).await.map_err(LogicError::new)?;
        Ok(reply.into_inner().message_id)
    }

    /// Sends a message of one user to another one and returns its id once it is durable.
    pub async fn send_as(&self, message: SendAsRequest, request_id: &str) -> Result<u64, LogicError> {
        self.sends.send(message, request_id).await
    }

    /// Tokens of a user's device (0: of all devices) that were issued before a moment are worthless.
    pub async fn revoke(
        &self,
        user_id: u64,
        device_id: u64,
        not_before_ms: i64,
        request_id: &str,
    ) -> Result<(), LogicError> {
        let request = with_request_id(RevokeRequest { user_id, device_id, not_before_ms }, request_id);
        self.access.clone().revoke(request).await.map_err(LogicError::new)?;
        Ok(())
    }

    /// Where clients connect.
    pub async fn locate(&self, request: LocateRequest) -> Result<LocateReply, LogicError> {
        let reply = self.gateway.clone().locate(request).await.map_err(LogicError::new)?;
        Ok(reply.into_inner())
    }

    /// What logic remembers of a user, or (with a peer) of whether the two may write to each other, is out of date.
    pub async fn forget(&self, user_id: u64, peer_id: u64, request_id: &str) -> Result<(), LogicError> {
        let request = with_request_id(ForgetRequest { user_id, peer_id, room_id: 0 }, request_id);
        self.access.clone().forget(request).await.map_err(LogicError::new)?;
        Ok(())
    }
}

impl LogicError {
    /// Whether the same call may succeed in a moment.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(status) => ResultCode::of_status(status) == ResultCode::TryAgainLater,
            Self::Failed(_) | Self::DeviceId(_) => false,
        }
    }

    fn new(status: Status) -> Self {
        let code = ResultCode::of_status(&status);
        // What has no ErrorInfo of ours was said by the transport, in words that are not for a client.
        let is_ours = status.get_details_error_info().is_some_and(|info| info.domain == ERROR_DOMAIN);
        let (result, error) = match code {
            ResultCode::BadRequest
            | ResultCode::TooLarge
            | ResultCode::TooManyRequests
            | ResultCode::TryAgainLater
            | ResultCode::DeviceNotFound
                if is_ours =>
            {
                ("refused", Self::Refused(Box::new(without_metadata(&status))))
            }
            ResultCode::TryAgainLater => ("away", Self::Away(Box::new(status))),
            _ => ("failed", Self::Failed(Box::new(status))),
        };
        metrics::counter!(LOGIC_FAILURES_TOTAL, "result" => result).increment(1);
        error
    }
}

/// The status as logic made it; the headers of logic's answer are not ours to send.
fn without_metadata(status: &Status) -> Status {
    Status::with_details(status.code(), status.message(), Bytes::copy_from_slice(status.details()))
}

fn with_request_id<T>(message: T, request_id: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !request_id.is_empty() {
        metadata::put(&mut request, metadata::REQUEST_ID, request_id);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_that_concern_the_client_pass_through() {
        let refused = |status: Status| matches!(LogicError::new(status), LogicError::Refused(_));
        assert!(refused(ResultCode::DeviceNotFound.into()));
        assert!(refused(check::invalid("device.brand", "is wrong").into()));
        assert!(!refused(ResultCode::NotAllowed.status("the internal token is missing")));
        assert!(!refused(ResultCode::SignInAgain.into()));
        assert!(!refused(Status::invalid_argument("from a proxy")));
    }

    #[test]
    fn a_broken_connection_and_a_deadline_are_no_failure_of_logic() {
        for status in [Status::unavailable("tcp connect error"), Status::cancelled("Timeout expired")] {
            assert!(matches!(LogicError::new(status), LogicError::Away(_)));
        }
        assert!(matches!(LogicError::new(Status::unimplemented("?")), LogicError::Failed(_)));
    }
}
