//! What has to be so when all faults are over: whoever is connected is reached, is listed, and nobody else is.

use std::{collections::BTreeSet, thread, time::Instant};

use gim_proto::logic::{
    GroupPushRequest, ListOnlineRequest, OnlineDevice, PushToUsersRequest,
    device_int_service_client::DeviceIntServiceClient, group_int_service_client::GroupIntServiceClient,
    message_int_service_client::MessageIntServiceClient,
};

use crate::{
    board::Board,
    cluster::{ASK_INTERVAL, Cluster, DEADLINE},
    people::People,
};

/// An app's own.
const COMMAND: i32 = 2001;

/// Pushes that are not stored, so that no sync finds them, reach every device through every logic node: by the user, and by
/// the large group.
pub fn assert_everybody_is_reachable(cluster: &mut Cluster, people: &People, board: &Board) {
    for logic in 0..cluster.shape().logic_nodes {
        for (way, to_group) in [("users", false), ("large group", true)] {
            let beginning = format!("to {way} through {logic}: ");
            let mut number = 0;
            eventually(cluster, |cluster| {
                number += 1;
                push(cluster, logic, people, to_group, format!("{beginning}{number}"));
                let unreached = board.unreached(&people.device_ids(), &beginning);
                if unreached.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{beginning}devices not reached: {unreached:?}"))
                }
            });
        }
    }
}

/// Every logic node lists exactly the devices that are connected: all, or none.
pub fn assert_online(cluster: &mut Cluster, people: &People, are_all: bool) {
    let expected: BTreeSet<u64> = people.device_ids().into_iter().filter(|_| are_all).collect();
    for logic in 0..cluster.shape().logic_nodes {
        eventually(cluster, |cluster| {
            let online = online(cluster, logic, people);
            let listed: BTreeSet<u64> = online.iter().map(|device| device.device_id).collect();
            if listed == expected && online.len() == expected.len() {
                return Ok(());
            }
            let missing: Vec<_> = expected.difference(&listed).collect();
            let stuck: Vec<_> = online.iter().filter(|device| !expected.contains(&device.device_id)).collect();
            Err(format!(
                "logic {logic} does not list {missing:?}, lists {} devices, and is stuck with {stuck:?}",
                online.len()
            ))
        });
    }
}

/// A conn node died and stays away: its devices come back elsewhere, and none is listed with it.
pub fn assert_nobody_is_on(cluster: &mut Cluster, people: &People, node: &str) {
    for logic in 0..cluster.shape().logic_nodes {
        eventually(cluster, |cluster| {
            let online = online(cluster, logic, people);
            let left = online.iter().filter(|device| device.node == node).count();
            if left == 0 { Ok(()) } else { Err(format!("logic {logic} lists {left} devices on {node}, which is dead")) }
        });
    }
}

fn push(cluster: &Cluster, logic: usize, people: &People, to_group: bool, text: String) {
    let (channel, content) = (cluster.logic(logic), text.into());
    cluster
        .runtime
        .block_on(async {
            // What is refused meanwhile is tried again.
            if to_group {
                let (group_id, command) = (people.large_group_id, COMMAND);
                let request =
                    GroupPushRequest { group_id, command, content, is_persist: false, ..GroupPushRequest::default() };
                GroupIntServiceClient::new(channel).push(request).await.map(drop)
            } else {
                let user_ids = people.user_ids().collect();
                let request = PushToUsersRequest {
                    user_ids,
                    command: COMMAND,
                    content,
                    is_persist: false,
                    ..PushToUsersRequest::default()
                };
                MessageIntServiceClient::new(channel).push_to_users(request).await.map(drop)
            }
        })
        .unwrap_or_else(|status| println!("a push through logic {logic}: {status}"));
}

fn online(cluster: &Cluster, logic: usize, people: &People) -> Vec<OnlineDevice> {
    let request = ListOnlineRequest { user_ids: people.user_ids().collect() };
    let mut client = DeviceIntServiceClient::new(cluster.logic(logic));
    let reply = cluster.runtime.block_on(client.list_online(request));
    reply.map(|reply| reply.into_inner().devices).unwrap_or_default()
}

/// Asks until it is so; nothing tells when.
fn eventually(cluster: &mut Cluster, mut ask: impl FnMut(&Cluster) -> Result<(), String>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(problem) = ask(cluster) {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {problem}");
        cluster.check_alive();
        thread::sleep(ASK_INTERVAL);
    }
}
