//! Who takes part: users with their devices, signed up at business, and their groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use gim_proto::{
    business::{SignInRequest, user_ext_service_client::UserExtServiceClient},
    logic::{self, GroupCreateRequest, GroupKind, GroupMember, group_int_service_client::GroupIntServiceClient},
};
use tokio::task::JoinSet;

use crate::{
    DEVICES_PER_USER, GROUPS, USERS,
    cluster::{Cluster, DEADLINE},
};

#[derive(Debug)]
pub struct People {
    pub identities: Vec<Identity>,
    groups: Vec<Group>,
    group_of: BTreeMap<u64, usize>,
    /// Everybody is in it.
    pub large_group_id: u64,
}

/// A device that may sign in.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user_id: u64,
    pub device_id: u64,
    pub token: String,
}

/// A normal group.
#[derive(Debug)]
pub struct Group {
    pub id: u64,
    pub user_ids: Vec<u64>,
}

impl People {
    pub fn sign_up(cluster: &Cluster) -> Self {
        let started = Instant::now();
        let identities = cluster.runtime.block_on(sign_up(cluster));
        let user_ids: Vec<u64> =
            identities.iter().map(|identity| identity.user_id).collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(user_ids.len(), USERS, "users who signed up in {:?}", started.elapsed());
        let mut members = vec![Vec::new(); GROUPS];
        let mut group_of = BTreeMap::new();
        for (index, &user_id) in user_ids.iter().enumerate() {
            members[index % GROUPS].push(user_id);
            group_of.insert(user_id, index % GROUPS);
        }
        let create = |kind, user_ids: &[u64]| cluster.runtime.block_on(create_group(cluster, kind, user_ids));
        let groups = members
            .into_iter()
            .map(|user_ids| Group { id: create(GroupKind::GkNormal, &user_ids), user_ids })
            .collect();
        Self { identities, groups, group_of, large_group_id: create(GroupKind::GkLarge, &user_ids) }
    }

    pub fn group_of(&self, user_id: u64) -> &Group {
        &self.groups[self.group_of[&user_id]]
    }

    pub fn user_ids(&self) -> impl Iterator<Item = u64> {
        self.group_of.keys().copied()
    }

    pub fn device_ids(&self) -> Vec<u64> {
        self.identities.iter().map(|identity| identity.device_id).collect()
    }
}

async fn sign_up(cluster: &Cluster) -> Vec<Identity> {
    let mut users = JoinSet::new();
    for user in 0..USERS {
        let mut business = UserExtServiceClient::new(cluster.business());
        users.spawn(async move {
            let mut devices = Vec::new();
            for device in 0..DEVICES_PER_USER {
                let request = SignInRequest {
                    phone_number: format!("+1555{user:06}"),
                    code: "123456".into(),
                    device: Some(logic::Device { brand: format!("checker {device}"), ..logic::Device::default() }),
                    ..SignInRequest::default()
                };
                let reply = business.sign_in(request).await.unwrap().into_inner();
                devices.push(Identity { user_id: reply.user_id, device_id: reply.device_id, token: reply.token });
            }
            devices
        });
    }
    let signed_up = tokio::time::timeout(DEADLINE, users.join_all()).await;
    signed_up.expect("everybody signs up within the deadline").concat()
}

async fn create_group(cluster: &Cluster, kind: GroupKind, user_ids: &[u64]) -> u64 {
    let group = logic::Group { name: "checked".into(), kind: kind as i32, ..logic::Group::default() };
    let member = |&user_id: &u64| GroupMember { user_id, ..GroupMember::default() };
    let request = GroupCreateRequest { group: Some(group), members: user_ids.iter().map(member).collect() };
    GroupIntServiceClient::new(cluster.logic(0)).create(request).await.unwrap().into_inner().group_id
}
