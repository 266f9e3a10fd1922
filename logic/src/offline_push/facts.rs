//! What has to be known about people before anybody is woken: read for all messages of a moment together.
//!
//! For the task of [`super`], on the threads of everybody else ([`others`]). Always holds: a bounded number of statements for each bounded number
//! of people, and none about people who cannot be woken.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::decision::{Candidate, DeviceKey, Facts, Said};
use crate::{
    clients::cache::TtlCache,
    domain::{conversation::Peer, push_device::PushDevice},
    error::Error,
    shared_state::SharedState,
    store::{PushTargets, StoreError, others},
};

/// How long it is believed which devices of a user have a push id, and of how many users. It is looked at again before a push is handed out.
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

/// Of what is about to be handed out, what holds by now.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What holds pushes back.
    pub facts: Facts,
    /// Devices that have a push id.
    pub devices: HashMap<DeviceKey, PushDevice>,
    /// Messages that are there.
    pub message_ids: HashSet<u64>,
}

impl FactReader {
    pub(super) fn new(shared: Arc<dyn SharedState>, targets: PushTargets, group_members_max: u32) -> Self {
        let devices = TtlCache::new(DEVICES_TTL, DEVICES_ENTRIES_MAX);
        Self { shared, targets, devices, group_members_max }
    }

    /// About the receivers of messages: `of_all`, or of those alone who are connected from nowhere and in no large group.
    pub(super) async fn about(self: &Arc<Self>, stored: &Arc<Vec<Said>>, of_all: bool) -> Result<Facts, Error> {
        let (reader, stored) = (self.clone(), stored.clone());
        others::ask(async move { reader.read_about(&stored, of_all).await }).await
    }

    /// What these have acknowledged.
    pub(super) async fn acknowledged(self: &Arc<Self>, candidates: Vec<Candidate>) -> Result<Facts, StoreError> {
        let reader = self.clone();
        others::ask(async move { reader.read_acknowledged(&candidates).await }).await
    }

    /// A second look, right before these are handed out: nothing of it was believed before.
    pub(super) async fn standing(self: &Arc<Self>, candidates: Vec<Candidate>) -> Result<Standing, StoreError> {
        let reader = self.clone();
        others::ask(async move { reader.read_standing(&candidates).await }).await
    }

    async fn read_about(&self, stored: &[Said], of_all: bool) -> Result<Facts, Error> {
        let user_ids = sorted(stored.iter().flat_map(|said| said.receivers.iter().copied()).collect());
        let mut facts = Facts { connected: self.connected(&user_ids).await?, ..Facts::default() };
        let is_looked_up = |user_id: &u64| of_all || !facts.connected.contains_key(user_id);
        let looked_up: Vec<u64> = user_ids.into_iter().filter(is_looked_up).collect();
        facts.devices = self.devices_of(&looked_up).await?;
        let group_ids = sorted(stored.iter().map(|said| said.group_id).filter(|&id| id != 0).collect());
        facts.groups = self.targets.groups(&group_ids).await?;
        if of_all {
            self.add_large_groups(&mut facts, stored).await?;
        }
        self.add_what_holds_back(&mut facts, stored).await?;
        Ok(facts)
    }

    async fn read_acknowledged(&self, candidates: &[Candidate]) -> Result<Facts, StoreError> {
        let of_inboxes = candidates.iter().filter(|one| !one.is_large).map(|one| one.key.0);
        let in_groups = candidates.iter().filter_map(|one| one.in_large_group());
        Ok(Facts {
            unacknowledged: self.targets.unacknowledged(&sorted(of_inboxes.collect())).await?,
            unacknowledged_in_groups: self.targets.unacknowledged_in_groups(&sorted(in_groups.collect())).await?,
            ..Facts::default()
        })
    }

    async fn read_standing(&self, candidates: &[Candidate]) -> Result<Standing, StoreError> {
        let mut facts = self.read_acknowledged(candidates).await?;
        let of_user = |one: &Candidate| one.key.1.map(|peer| (one.key.0.0, peer));
        facts.muted =
            self.targets.muted(&sorted(candidates.iter().filter_map(of_user).collect::<Vec<(u64, Peer)>>())).await?;
        let with_devices = candidates.iter().map(|one| one.key.0).filter(|(_, device_id)| *device_id != 0);
        let user_ids = sorted(with_devices.map(|(user_id, _)| user_id).collect());
        let devices = self.targets.of_users(&user_ids).await?;
        let devices = devices.into_iter().map(|device| ((device.user_id, device.device_id), device)).collect();
        let message_ids = candidates.iter().flat_map(|one| [one.first.message_id, one.newest.message_id]);
        let message_ids = self.targets.standing(&sorted(message_ids.collect())).await?;
        Ok(Standing { facts, devices, message_ids })
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
    async fn add_large_groups(&self, facts: &mut Facts, stored: &[Said]) -> Result<(), Error> {
        let mut of_groups: HashMap<u64, Vec<PushDevice>> = HashMap::new();
        for said in stored.iter().filter(|said| said.is_large) {
            let Some(known) = facts.groups.get(&said.group_id) else { continue };
            let devices = if known.member_count > self.group_members_max.into() {
                self.targets.of_members(said.group_id, &said.mentioned).await?
            } else if let Some(devices) = of_groups.get(&said.group_id) {
                devices.clone()
            } else {
                let devices = self.targets.of_group(said.group_id, self.devices_max()).await?;
                of_groups.insert(said.group_id, devices.clone());
                devices
            };
            facts.of_large_groups.insert(said.message_id, devices);
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

    async fn add_what_holds_back(&self, facts: &mut Facts, stored: &[Said]) -> Result<(), Error> {
        let (mut conversations, mut devices, mut in_groups) = (HashSet::new(), HashSet::new(), HashSet::new());
        for said in stored {
            let peer = said.peer();
            for &user_id in &said.receivers {
                let of_user = facts.devices.get(&user_id);
                let is_nowhere = !facts.connected.contains_key(&user_id);
                if of_user.is_some() || is_nowhere {
                    conversations.extend(peer.map(|peer| (user_id, peer)));
                }
                if of_user.is_none() && is_nowhere {
                    devices.insert((user_id, 0));
                }
                devices.extend(of_user.into_iter().flatten().map(|device| (user_id, device.device_id)));
            }
            for device in facts.of_large_groups.get(&said.message_id).into_iter().flatten() {
                conversations.extend(peer.map(|peer| (device.user_id, peer)));
                in_groups.insert((device.user_id, said.group_id, device.device_id));
            }
        }
        facts.muted = self.targets.muted(&conversations.into_iter().collect::<Vec<_>>()).await?;
        facts.unacknowledged = self.targets.unacknowledged(&devices.into_iter().collect::<Vec<_>>()).await?;
        let in_groups: Vec<_> = in_groups.into_iter().collect();
        facts.unacknowledged_in_groups = self.targets.unacknowledged_in_groups(&in_groups).await?;
        Ok(())
    }
}

impl Standing {
    /// What is handed out of a push by now: nothing where its device has no push id any more, has it, or its user mutes the conversation,
    /// or where what it would show was recalled.
    pub(super) fn of(&self, candidate: &Candidate) -> Option<(Candidate, PushDevice)> {
        let ((user_id, device_id), _) = candidate.key;
        let device = match device_id {
            0 => PushDevice { user_id, device_id, device_type: 0, push_id: String::new() },
            _ => self.devices.get(&candidate.key.0)?.clone(),
        };
        let mut candidate = candidate.clone();
        for message_id in [candidate.newest.message_id, candidate.first.message_id] {
            if !self.message_ids.contains(&message_id) && !candidate.without(message_id) {
                return None;
            }
        }
        let is_held_back = self.facts.mutes(&candidate) || self.facts.has(&candidate, candidate.newest.message_id);
        (!is_held_back).then_some((candidate, device))
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}
