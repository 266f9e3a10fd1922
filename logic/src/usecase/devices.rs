//! Devices: registered before anybody signs in on them; and which of them are online.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use gim_proto::{
    ResultCode, check,
    logic::{Device, ListOnlineRequest, OnlineDevice},
};

use crate::{
    domain::{clock, device, message_id::MessageIds, registrations::Registrations},
    error::Error,
    shared_state::SharedState,
    store::{
        work::{DeviceSave, Saver},
        writer::Writer,
    },
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Devices {
    /// Most users of one question.
    pub(super) users_max: usize,
    pub(super) text_bytes_max: usize,
    /// What strangers registered of late.
    pub(super) registrations: Mutex<Registrations<IpAddr>>,
    pub(super) ids: Arc<MessageIds>,
    pub(super) writer: Writer,
    pub(super) shared: Arc<dyn SharedState>,
}

impl Devices {
    /// Stores a device that is new (id 0), or what changed of one that is known. Returns its id.
    pub async fn save(&self, device: Option<Device>, saver: Saver) -> Result<u64, Error> {
        let mut device = device.ok_or_else(|| check::invalid("device", "must be set"))?;
        device::check(&device, self.text_bytes_max)?;
        let (is_new, now_ms) = (device.id == 0, clock::now_ms());
        if let Saver::Stranger(address) = saver
            && !self.registrations.lock().unwrap_or_else(PoisonError::into_inner).begin(address, now_ms)
        {
            let problem = "too many devices were registered from this address, try again later";
            return Err(Error::refused(ResultCode::TooManyRequests, problem));
        }
        if is_new {
            device.id = self.ids.next_id();
        }
        let device_id = device.id;
        let is_saved = self.writer.submit_device(DeviceSave { device, is_new, now_ms, saver })?.committed().await?;
        if !is_saved {
            return Err(Error::refused(ResultCode::DeviceNotFound, format!("there is no device {device_id}")));
        }
        Ok(device_id)
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
