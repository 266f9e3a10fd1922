//! What has to be known about people before anybody is woken: read for all messages of a moment together.
//!
//! On the task of [`super`]. Always holds: a bounded number of statements for each bounded number of people, and none about people who
//! cannot be woken.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::decision::{DeviceKey, Facts, is_worth_it, mentioned, peer_of};
use crate::{
    clients::cache::TtlCache,
    domain::{message::Delivery, push_device::PushDevice},
    error::Error,
    shared_state::SharedState,
    store::PushTargets,
};

/// How long it is believed which devices of a user have a push id, and of how many users.
const DEVICES_TTL: Duration = Duration::from_secs(2);
const DEVICES_ENTRIES_MAX: usize = 100_000;

/// Where facts come from.
#[derive(Debug)]
pub(super) struct FactReader {
    shared: Arc<dyn SharedState>,
    targets: PushTargets,
    devices: TtlCache<u64, Arc<[PushDevice]>>,
    group_members_max: u32,
}

impl FactReader {
    pub(super) fn new(shared: Arc<dyn SharedState>, targets: PushTargets, group_members_max: u32) -> Self {
        let devices = TtlCache::new(DEVICES_TTL, DEVICES_ENTRIES_MAX);
        Self { shared, targets, devices, group_members_max }
    }

    /// About the receivers of messages: `of_all`, or of those alone who are connected from nowhere and in no large group.
    pub(super) async fn about(&self, stored: &[Delivery], of_all: bool) -> Result<Facts, Error> {
        let worth_it = || stored.iter().filter(|delivery| is_worth_it(&delivery.message));
        let persisted = worth_it().flat_map(|delivery| {
            let others =
                delivery.receivers.iter().filter(|one| one.seq > 0 && one.user_id != delivery.message.sender_id);
            others.map(|receiver| receiver.user_id)
        });
        let user_ids = sorted(persisted.collect());
        let mut facts = Facts { connected: self.connected(&user_ids).await?, ..Facts::default() };
        let is_looked_up = |user_id: &u64| of_all || !facts.connected.contains_key(user_id);
        let looked_up: Vec<u64> = user_ids.into_iter().filter(is_looked_up).collect();
        facts.devices = self.devices_of(&looked_up).await?;
        let group_ids = sorted(worth_it().map(|delivery| delivery.message.group_id).filter(|&id| id != 0).collect());
        facts.groups = self.targets.groups(&group_ids).await?;
        if of_all {
            self.add_large_groups(&mut facts, worth_it()).await?;
        }
        self.add_what_holds_back(&mut facts, worth_it()).await?;
        Ok(facts)
    }

    /// How far these devices have acknowledged inboxes, and their users these large groups.
    pub(super) async fn acknowledged(&self, devices: &[DeviceKey], members: &[(u64, u64)]) -> Result<Facts, Error> {
        let (acks, cursors) = (self.targets.acks(devices).await?, self.targets.group_cursors(members).await?);
        Ok(Facts { acks, cursors, ..Facts::default() })
    }

    async fn connected(&self, user_ids: &[u64]) -> Result<HashMap<u64, HashSet<u64>>, Error> {
        let mut connected: HashMap<u64, HashSet<u64>> = HashMap::new();
        for route in self.shared.routes_of(user_ids).await? {
            connected.entry(route.user_id).or_default().insert(route.device_id);
        }
        Ok(connected)
    }

    async fn devices_of(&self, user_ids: &[u64]) -> Result<HashMap<u64, Vec<PushDevice>>, Error> {
        let now = Instant::now();
        let mut devices: HashMap<u64, Vec<PushDevice>> = HashMap::new();
        let mut unknown = Vec::new();
        for &user_id in user_ids {
            match self.devices.get(&user_id, now) {
                Some(known) if known.is_empty() => {}
                Some(known) => drop(devices.insert(user_id, known.to_vec())),
                None => unknown.push(user_id),
            }
        }
        for device in self.targets.of_users(&unknown).await? {
            devices.entry(device.user_id).or_default().push(device);
        }
        for user_id in unknown {
            let known = devices.get(&user_id).map_or_else(|| Arc::from([]), |devices| Arc::from(devices.as_slice()));
            self.devices.put(user_id, known, now);
        }
        Ok(devices)
    }

    /// The devices of members of large groups: all, or those of members who are mentioned where there are too many.
    async fn add_large_groups<'a>(
        &self,
        facts: &mut Facts,
        stored: impl Iterator<Item = &'a Delivery>,
    ) -> Result<(), Error> {
        let mut of_groups: HashMap<u64, Vec<PushDevice>> = HashMap::new();
        for delivery in stored {
            let Some(group) = delivery.group.as_ref().filter(|group| group.is_live && group.seq > 0) else { continue };
            let Some(known) = facts.groups.get(&group.group_id) else { continue };
            let devices = if known.member_count > self.group_members_max.into() {
                self.targets.of_members(group.group_id, &mentioned(&delivery.message)).await?
            } else if let Some(devices) = of_groups.get(&group.group_id) {
                devices.clone()
            } else {
                let devices = self.targets.of_group(group.group_id, self.devices_max()).await?;
                of_groups.insert(group.group_id, devices.clone());
                devices
            };
            facts.of_large_groups.insert(delivery.message.id, devices);
        }
        let members = facts.of_large_groups.values().flatten().map(|device| device.user_id);
        let members = sorted(members.filter(|user_id| !facts.connected.contains_key(user_id)).collect());
        facts.connected.extend(self.connected(&members).await?);
        Ok(())
    }

    /// A member may have more than one device.
    fn devices_max(&self) -> u32 {
        self.group_members_max.saturating_mul(2)
    }

    async fn add_what_holds_back<'a>(
        &self,
        facts: &mut Facts,
        stored: impl Iterator<Item = &'a Delivery>,
    ) -> Result<(), Error> {
        let (mut conversations, mut devices, mut members) = (HashSet::new(), HashSet::new(), HashSet::new());
        for delivery in stored {
            let message = &delivery.message;
            let peer = peer_of(message);
            for receiver in delivery.receivers.iter().filter(|receiver| receiver.seq > 0) {
                let of_user = facts.devices.get(&receiver.user_id);
                let is_nowhere = !facts.connected.contains_key(&receiver.user_id);
                if of_user.is_some() || is_nowhere {
                    conversations.extend(peer.map(|peer| (receiver.user_id, peer)));
                }
                devices.extend(of_user.into_iter().flatten().map(|device| (device.user_id, device.device_id)));
            }
            for device in facts.of_large_groups.get(&message.id).into_iter().flatten() {
                conversations.extend(peer.map(|peer| (device.user_id, peer)));
                members.insert((device.user_id, message.group_id));
            }
        }
        facts.muted = self.targets.muted(&conversations.into_iter().collect::<Vec<_>>()).await?;
        facts.acks = self.targets.acks(&devices.into_iter().collect::<Vec<_>>()).await?;
        facts.cursors = self.targets.group_cursors(&members.into_iter().collect::<Vec<_>>()).await?;
        Ok(())
    }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
