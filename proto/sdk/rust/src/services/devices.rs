//! The user's own device: where it is woken when it is not connected.

use bytes::Bytes;
use gim_proto::logic::{Device, DeviceUpdateRequest, GetWebPushKeyReply};

use crate::{client::Client, error::GimError};

/// See [`Client::devices`].
#[derive(Debug, Clone, Copy)]
pub struct Devices<'a> {
    pub(super) client: &'a Client,
}

/// What a device may say of itself later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFields {
    /// Under which id the maker of the system, or of the browser, reaches it; empty for none.
    pub push_id: String,
    /// The version of the system.
    pub system_version: String,
    /// That of the app.
    pub sdk_version: String,
}

impl Devices<'_> {
    /// Says where this device is reached from now on, and which versions run on it: what is empty is so from then on.
    pub async fn update(&self, fields: DeviceFields) -> Result<(), GimError> {
        let DeviceFields { push_id: branch_push_id, system_version, sdk_version } = fields;
        let device = Device { branch_push_id, system_version, sdk_version, ..Device::default() };
        let request = DeviceUpdateRequest { device: Some(device) };
        self.client.rpc("logic.DeviceExtService/Update", &request).await
    }

    /// The key with which pages subscribe to Web Push; empty where the server wakes no pages.
    pub async fn web_push_key(&self) -> Result<Bytes, GimError> {
        let reply: GetWebPushKeyReply = self.client.rpc("logic.DeviceExtService/GetWebPushKey", &()).await?;
        Ok(reply.public_key)
    }
}
