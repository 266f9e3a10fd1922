//! What a node is told in place of messages that did not reach it: how far inboxes and large groups got, and which of its
//! connections belong to which group. Any task.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gim_proto::logic::{
    ConnectionSeq, GroupHeads, GroupMemberships, GroupSeq, LiveConnection, NewestSeqAnswer, down_item::Item,
};
use metrics::counter;

use super::{
    fanout::Fanout,
    nodes::{ConnectionsOfUsers, NodeLink},
};
use crate::{
    metrics as names,
    store::{Groups, Inboxes, Store, StoreError},
};

/// Connections in one item.
const CONNECTIONS_PER_ITEM: usize = 1024;

/// Groups in one item.
const GROUPS_PER_ITEM: usize = 1024;

/// Tells them. Clones share everything.
#[derive(Debug, Clone)]
pub struct CatchUp {
    inboxes: Inboxes,
    groups: Groups,
    fanout: Fanout,
}

impl CatchUp {
    /// From what `store` holds.
    pub fn new(store: &Store, fanout: Fanout) -> Self {
        Self { inboxes: store.inboxes.clone(), groups: store.groups.clone(), fanout }
    }

    /// The newest seqs of `(connection id, user id)`s.
    pub async fn newest_seqs(&self, connections: &[(u64, u64)]) -> Result<NewestSeqAnswer, StoreError> {
        let user_ids: Vec<u64> = connections.iter().map(|connection| connection.1).collect();
        let seqs = self.inboxes.newest_seqs(&user_ids).await?;
        let answer =
            |(&(connection_id, _), newest_seq): (&(u64, u64), u64)| ConnectionSeq { connection_id, newest_seq };
        Ok(NewestSeqAnswer { connections: connections.iter().zip(seqs).map(answer).collect() })
    }

    /// Tells connections the newest seq of their inbox, from which they see that a push was skipped.
    pub async fn tell_newest_seqs(&self, link: &NodeLink, connections: ConnectionsOfUsers) {
        for part in connections.chunks(CONNECTIONS_PER_ITEM) {
            match self.newest_seqs(part).await {
                Ok(answer) => {
                    counter!(names::LINK_HINTS).increment(part.len() as u64);
                    link.notice(Item::NewestSeq(answer));
                }
                Err(error) => {
                    counter!(names::LINK_HINTS_LOST).increment(part.len() as u64);
                    tracing::warn!(%error, "connections were not told their newest seq; their heartbeats tell it");
                }
            }
        }
    }

    /// Puts announced connections into the large groups of their users, out of those that they left meanwhile, and tells how
    /// far the timelines got while nobody pushed to this node.
    pub async fn reconcile_groups(&self, link: &NodeLink, connections: &[LiveConnection]) -> Result<(), StoreError> {
        let mut user_ids: Vec<u64> = connections.iter().map(|connection| connection.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let group_ids = {
            let _memberships = self.fanout.hold_memberships().await;
            let members = self.groups.large_of(&user_ids).await?;
            for (_, memberships) in changes(connections, &members) {
                link.notice(Item::GroupMemberships(memberships));
            }
            members.into_iter().map(|(_, group_id)| group_id).collect::<BTreeSet<_>>()
        };
        if !group_ids.is_empty() {
            self.tell_group_heads(link, group_ids.into_iter().collect()).await;
        }
        Ok(())
    }

    /// Tells a node how far groups got; whoever missed something there is told to sync.
    pub async fn tell_group_heads(&self, link: &NodeLink, group_ids: Vec<u64>) {
        for part in group_ids.chunks(GROUPS_PER_ITEM) {
            match self.groups.newest_seqs(part).await {
                Ok(seqs) => {
                    let group = |(group_id, newest_seq)| GroupSeq { group_id, newest_seq };
                    link.notice(Item::GroupHeads(GroupHeads { groups: seqs.into_iter().map(group).collect() }));
                }
                Err(error) => {
                    counter!(names::LINK_HINTS_LOST).increment(part.len() as u64);
                    tracing::warn!(%error, "groups were not told how far they got; their next message tells it");
                }
            }
        }
    }
}

/// What differs between the groups that connections were announced with and those that their users are in.
fn changes(connections: &[LiveConnection], members: &[(u64, u64)]) -> BTreeMap<u64, GroupMemberships> {
    let mut groups_of: HashMap<u64, BTreeSet<u64>> = HashMap::new();
    for &(user_id, group_id) in members {
        groups_of.entry(user_id).or_default().insert(group_id);
    }
    let mut changes: BTreeMap<u64, GroupMemberships> = BTreeMap::new();
    let none = BTreeSet::new();
    for connection in connections {
        let announced: BTreeSet<u64> = connection.large_group_ids.iter().copied().collect();
        let is_in = groups_of.get(&connection.user_id).unwrap_or(&none);
        for &group_id in is_in.difference(&announced) {
            changes.entry(group_id).or_default().joined_connection_ids.push(connection.connection_id);
        }
        for &group_id in announced.difference(is_in) {
            changes.entry(group_id).or_default().left_connection_ids.push(connection.connection_id);
        }
    }
    for (&group_id, memberships) in &mut changes {
        memberships.group_id = group_id;
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let connection = |connection_id, user_id, groups: &[u64]| LiveConnection {
            connection_id,
            user_id,
            large_group_ids: groups.to_vec(),
            ..LiveConnection::default()
        };
        let connections = [connection(70, 7, &[1, 2]), connection(71, 7, &[]), connection(80, 8, &[3])];
        let changes = changes(&connections, &[(7, 1), (7, 4)]);
        let told: Vec<_> = changes
            .values()
            .map(|memberships| {
                (
                    memberships.group_id,
                    memberships.joined_connection_ids.clone(),
                    memberships.left_connection_ids.clone(),
                )
            })
            .collect();
        let expected: [(u64, Vec<u64>, Vec<u64>); 4] =
            [(1, vec![71], vec![]), (2, vec![], vec![70]), (3, vec![], vec![80]), (4, vec![70, 71], vec![])];
        assert_eq!(told, expected);
    }
}
