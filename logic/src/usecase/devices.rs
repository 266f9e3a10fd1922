//! Devices: registered before anybody signs in on them; and which of them are online.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use gim_proto::{
    ResultCode, check,
    logic::{Device, ListOnlineRequest, OnlineDevice},
};
use metrics::counter;

use crate::{
    domain::{caller::Caller, clock, device, registrations::Registrations, short_id::ShortIds},
    error::Error,
    events::LiveEvents,
    metrics as names,
    shared_state::SharedState,
    store::{
        work::{DeviceChange, DeviceSave, Saver},
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
    /// What users did, over long connections.
    pub(super) registrations_of_users: Mutex<Registrations<u64>>,
    pub(super) ids: Arc<ShortIds>,
    pub(super) writer: Writer,
    pub(super) shared: Arc<dyn SharedState>,
    pub(super) live_events: LiveEvents,
    pub(super) web_push_key: Bytes,
}

impl Devices {
    /// Stores what a device says of itself: one without an id (0) gets one, one that is not known becomes so. Returns its id.
    pub async fn save(&self, owner: u64, device: Option<Device>, saver: Saver) -> Result<u64, Error> {
        let mut device = self.checked(device)?;
        if device.id != 0 && device == (Device { id: device.id, ..Device::default() }) {
            // It says nothing of itself, as older clients do at a sign-in: what is known of it stays.
            return Ok(device.id);
        }
        let (now_ms, text_bytes) = (clock::now_ms(), device::text_bytes(&device));
        match saver {
            Saver::Stranger(address) => begin(&self.registrations, address, text_bytes, now_ms).map_err(|wait| {
                refused("address", "too many devices were registered from this address, try again later", wait)
            })?,
            Saver::User(user_id) if device.id == 0 => begin(&self.registrations_of_users, user_id, text_bytes, now_ms)
                .map_err(|wait| {
                    refused("user", "too many devices were registered by this user, try again later", wait)
                })?,
            _ => {}
        }
        let is_new = device.id == 0;
        if is_new {
            device.id = self.ids.next_id();
        }
        let save = DeviceSave { owner, device: device.clone(), change: DeviceChange::All, now_ms, saver };
        self.writer.submit_device(save)?.committed().await?;
        if is_new {
            self.live_events.registered(owner, &device);
        }
        Ok(device.id)
    }

    /// Where pushes reach the caller's device from now on, and which versions run on it.
    pub async fn update(&self, caller: Caller, device: Option<Device>) -> Result<(), Error> {
        let mut device = self.checked(device)?;
        check_own(caller, device.id)?;
        device.id = caller.device_id;
        let save = DeviceSave {
            owner: caller.user_id,
            device,
            change: DeviceChange::PushIdAndVersions,
            now_ms: clock::now_ms(),
            saver: Saver::User(caller.user_id),
        };
        Ok(self.writer.submit_device(save)?.committed().await?)
    }

    fn checked(&self, device: Option<Device>) -> Result<Device, Error> {
        let device = device.ok_or_else(|| check::invalid("device", "must be set"))?;
        device::check(&device, self.text_bytes_max)?;
        Ok(device)
    }

    /// The key with which pages subscribe to Web Push; empty where no pages are woken.
    pub fn web_push_key(&self) -> Bytes {
        self.web_push_key.clone()
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

/// Fails where a caller speaks of another device than the own one (0: the own one).
pub fn check_own(caller: Caller, device_id: u64) -> Result<(), Error> {
    if device_id == 0 || device_id == caller.device_id {
        return Ok(());
    }
    let problem = "device.id: only the device itself may change what is known of it";
    Err(Error::refused(ResultCode::NotAllowed, problem))
}

/// Counts a registration that is within the bound; else, how long until one is.
fn begin<K: Eq + Hash>(
    registrations: &Mutex<Registrations<K>>,
    who: K,
    text_bytes: usize,
    now_ms: i64,
) -> Result<(), Duration> {
    registrations.lock().unwrap_or_else(PoisonError::into_inner).begin(who, text_bytes, now_ms)
}

fn refused(bound: &'static str, problem: &str, wait: Duration) -> Error {
    counter!(names::REGISTRATIONS_REFUSED, "bound" => bound).increment(1);
    Error::later(problem, wait)
}
