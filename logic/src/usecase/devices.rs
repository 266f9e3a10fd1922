//! Devices: registered before anybody signs in on them; and which of them are online.

use std::sync::Arc;

use gim_proto::{
    ResultCode, check,
    logic::{Device, ListOnlineRequest, OnlineDevice},
};

use crate::{
    domain::{clock, device, message_id::MessageIds},
    error::Error,
    shared_state::SharedState,
    store,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Devices {
    /// Most users of one question.
    pub(super) users_max: usize,
    pub(super) text_bytes_max: usize,
    pub(super) ids: Arc<MessageIds>,
    pub(super) devices: store::Devices,
    pub(super) shared: Arc<dyn SharedState>,
}

impl Devices {
    /// Stores a device that is new (id 0), or what changed of one that is known. Returns its id.
    pub async fn save(&self, device: Option<Device>) -> Result<u64, Error> {
        let mut device = device.ok_or_else(|| check::invalid("device", "must be set"))?;
        device::check(&device, self.text_bytes_max)?;
        let now_ms = clock::now_ms();
        if device.id == 0 {
            device.id = self.ids.next_id();
            self.devices.insert(&device, now_ms).await?;
        } else if !self.devices.update(&device, now_ms).await? {
            return Err(Error::refused(ResultCode::DeviceNotFound, format!("there is no device {}", device.id)));
        }
        Ok(device.id)
    }

    /// The devices of users that are connected now.
    pub async fn list_online(&self, request: ListOnlineRequest) -> Result<Vec<OnlineDevice>, Error> {
        check::ids("user_ids", &request.user_ids, self.users_max)?;
        let mut user_ids = request.user_ids;
        user_ids.sort_unstable();
        user_ids.dedup();
        let routes = self.shared.routes_of(&user_ids).await?;
        let online = routes.into_iter().map(|route| OnlineDevice {
            user_id: route.user_id,
            device_id: route.device_id,
            r#type: route.device_type,
            node: route.node.name.clone(),
            since_ms: route.since_ms,
        });
        Ok(online.collect())
    }
}
