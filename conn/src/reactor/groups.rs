//! Large groups of one reactor: which connections are in which, and which pushes still have to reach them.
//!
//! Members are walked like those of a room, a bounded number per turn. What differs: a connection is in many groups, a
//! message that does not reach a member is replaced by a hint to sync, and the device that sent it gets no copy.
//!
//! Several logic nodes tell who came and who left, and push: what one says may meet what another one says on the way. Who came may
//! have missed a message, and is told to sync; what is said of a connection that is signing in is kept until it has.
//!
//! Coming into a group, and leaving it, costs the same however many groups the connection is in.
//!
//! Always holds: a connection's memberships name its places in [`Rooms`]; only signed-in connections have some.

use std::collections::{HashMap, hash_map::Entry};

use foldhash::fast::RandomState;

use super::{Reactor, peer::Peer, rooms::Rooms};
use crate::{
    ids::ConnectionId,
    session::Phase,
    wire::{encoded::Encoded, outbound::Kind},
};

/// Changes that are kept of a connection that is signing in; of those beyond it only the answer tells.
const EARLY_MAX: usize = 64;

/// All large groups that have a member here.
#[derive(Debug)]
pub(super) struct Groups {
    members: Rooms<Push>,
    /// Of each connection: its place among the members of each of its groups.
    memberships: HashMap<u32, Memberships, RandomState>,
    /// Of connections that are signing in: groups, and whether they are in them.
    early: HashMap<u32, Vec<(u64, bool)>, RandomState>,
    /// How far each group got, as far as this node was told.
    newest_seqs: HashMap<u64, u64, RandomState>,
}

type Memberships = HashMap<u64, u32, RandomState>;

/// What everybody in a group gets.
#[derive(Debug, Clone)]
pub(super) enum Push {
    /// A message.
    Message {
        /// Encoded.
        frame: Encoded,
        /// Whether it can be synced.
        is_persisted: bool,
        /// Who needs no copy; 0 for nobody.
        origin_device_id: u64,
    },
    /// Something was not pushed.
    Hint,
}

impl Groups {
    /// No groups; each will keep `log_max` pushes at most that members have not seen.
    pub(super) fn new(log_max: usize) -> Self {
        Self {
            members: Rooms::new(log_max),
            memberships: HashMap::default(),
            early: HashMap::default(),
            newest_seqs: HashMap::default(),
        }
    }

    /// Whether members are left to visit.
    pub(super) fn is_active(&self) -> bool {
        self.members.is_active()
    }

    /// Puts a connection that signed in into its groups, and what was said of it meanwhile into effect.
    pub(super) fn begin(&mut self, slot: usize, group_ids: &[u64]) {
        let early = self.early.remove(&(slot as u32)).unwrap_or_default();
        for (group_id, is_in) in group_ids.iter().map(|&group_id| (group_id, true)).chain(early) {
            if is_in {
                self.join(slot, group_id);
            } else {
                self.leave(slot, group_id);
            }
        }
    }

    /// Notes what is said of a connection that is signing in.
    fn note_early(&mut self, slot: usize, group_id: u64, is_in: bool) {
        let changes = self.early.entry(slot as u32).or_default();
        if changes.len() < EARLY_MAX {
            changes.push((group_id, is_in));
        }
    }

    /// Puts a connection into a group; false where it is there already.
    fn join(&mut self, slot: usize, group_id: u64) -> bool {
        let memberships = self.memberships.entry(slot as u32).or_default();
        let Entry::Vacant(place) = memberships.entry(group_id) else { return false };
        place.insert(self.members.join(group_id, slot));
        true
    }

    /// Takes a connection out of a group, where it is in it.
    pub(super) fn leave(&mut self, slot: usize, group_id: u64) {
        let Some(memberships) = self.memberships.get_mut(&(slot as u32)) else { return };
        let Some(index) = memberships.remove(&group_id) else { return };
        if memberships.is_empty() {
            self.memberships.remove(&(slot as u32));
        }
        self.free(group_id, index);
    }

    /// Takes a connection out of all groups.
    pub(super) fn leave_all(&mut self, slot: usize) {
        self.early.remove(&(slot as u32));
        let memberships = self.memberships.remove(&(slot as u32)).unwrap_or_default();
        memberships.into_iter().for_each(|(group_id, index)| self.free(group_id, index));
    }

    /// The groups that a connection is in.
    pub(super) fn of(&self, slot: usize) -> Box<[u64]> {
        self.memberships.get(&(slot as u32)).into_iter().flat_map(Memberships::keys).copied().collect()
    }

    /// Queues a message for all members; `seq` is its place in the timeline, 0 for none.
    pub(super) fn push(&mut self, group_id: u64, seq: u64, origin_device_id: u64, frame: Encoded) {
        if !self.members.has(group_id) {
            return;
        }
        let newest_seq = self.newest_seqs.entry(group_id).or_default();
        *newest_seq = seq.max(*newest_seq);
        self.members.push(group_id, Push::Message { frame, is_persisted: seq > 0, origin_device_id }, false);
    }

    /// A group got as far as `newest_seq`: where less was pushed here, its members are told to sync.
    pub(super) fn on_head(&mut self, group_id: u64, newest_seq: u64) {
        if !self.members.has(group_id) {
            return;
        }
        let known = self.newest_seqs.entry(group_id).or_default();
        if newest_seq > *known {
            *known = newest_seq;
            self.members.push(group_id, Push::Hint, false);
        }
    }

    fn free(&mut self, group_id: u64, index: u32) {
        if let Some(moved) = self.members.leave(group_id, index)
            && let Some(memberships) = self.memberships.get_mut(&(moved as u32))
            && let Some(place) = memberships.get_mut(&group_id)
        {
            *place = index;
        }
        if !self.members.has(group_id) {
            self.newest_seqs.remove(&group_id);
        }
    }
}

impl Reactor {
    /// Connections came into a group or left it.
    pub(super) fn on_group_memberships(
        &mut self,
        app: usize,
        group_id: u64,
        joined: Vec<ConnectionId>,
        left: Vec<ConnectionId>,
    ) {
        let joined = joined.into_iter().map(|connection| (connection, true));
        for (connection, is_in) in joined.chain(left.into_iter().map(|connection| (connection, false))) {
            let Some(mut peer) = self.peer_of(app, connection) else { continue };
            let groups = &mut peer.context.apps[app].groups;
            match peer.connection.session.phase() {
                Phase::SigningIn => groups.note_early(peer.slot, group_id, is_in),
                Phase::Live if !is_in => groups.leave(peer.slot, group_id),
                Phase::Live if groups.join(peer.slot, group_id) => peer.hint_of_group(),
                _ => {}
            }
        }
    }

    pub(super) fn pump_groups(&mut self, app: usize, deliveries_max: usize) -> usize {
        // Lent out, so that members can be sent to while their group is walked. Nothing that is sent here ends a connection.
        let mut groups = std::mem::replace(&mut self.context.apps[app].groups, Groups::new(0));
        let (mut hinted, mut missed) = (Vec::new(), Vec::new());
        let deliveries = groups.members.pump(
            deliveries_max,
            |slot, push, _| match push {
                Push::Message { frame, is_persisted, origin_device_id } => {
                    if let Some(mut peer) = self.peer(slot) {
                        peer.send_unless_origin(frame, *is_persisted, *origin_device_id);
                    }
                }
                Push::Hint => hinted.push(slot),
            },
            |slot, count| missed.push((slot, count)),
        );
        self.context.apps[app].groups = groups;
        for (slot, count) in missed {
            self.counts_of(slot).inbox_skipped += count as u64;
            hinted.push(slot);
        }
        for slot in hinted {
            if let Some(mut peer) = self.peer(slot) {
                peer.hint_of_group();
            }
        }
        deliveries
    }
}

impl Peer<'_> {
    fn send_unless_origin(&mut self, frame: &Encoded, is_persisted: bool, origin_device_id: u64) {
        if self.identity().is_some_and(|identity| identity.device_id != origin_device_id) {
            let is_made_up_for = is_persisted && self.can_sync_groups();
            self.send(frame.clone(), if is_made_up_for { Kind::Inbox } else { Kind::Room });
        }
    }

    fn hint_of_group(&mut self) {
        if self.can_sync_groups() {
            self.hint_to_sync();
        }
    }

    /// In a dialect large groups have no seq.
    fn can_sync_groups(&self) -> bool {
        self.connection.dialect.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who got what: messages are told apart by the device that sent them, a hint is 0.
    fn delivered(groups: &mut Groups) -> Vec<(usize, u64)> {
        let mut delivered = Vec::new();
        while groups.is_active() {
            let deliver = |slot, push: &Push, _| match push {
                Push::Message { origin_device_id, .. } => delivered.push((slot, *origin_device_id)),
                Push::Hint => delivered.push((slot, 0)),
            };
            groups.members.pump(3, deliver, |_, _| panic!("nothing overflows here"));
        }
        delivered.sort_unstable();
        delivered
    }

    fn push(groups: &mut Groups, group_id: u64, seq: u64, origin_device_id: u64) {
        groups.push(group_id, seq, origin_device_id, Encoded::of(b"message"));
    }

    #[test]
    fn a_connection_is_in_many_groups_and_leaves_one_or_all_of_them() {
        let mut groups = Groups::new(8);
        for slot in 1..=3 {
            groups.join(slot, 50);
            groups.join(slot, 60);
            groups.join(slot, 60);
        }
        groups.leave(1, 50);
        groups.leave(1, 50);
        push(&mut groups, 50, 1, 5);
        push(&mut groups, 60, 1, 6);
        assert_eq!(delivered(&mut groups), [(1, 6), (2, 5), (2, 6), (3, 5), (3, 6)]);
        groups.leave_all(2);
        let mut of_3 = groups.of(3);
        of_3.sort_unstable();
        assert_eq!((&groups.of(1)[..], groups.of(2).len(), &of_3[..]), (&[60][..], 0, &[50, 60][..]));
        push(&mut groups, 50, 2, 7);
        assert_eq!(delivered(&mut groups), [(3, 7)], "places that moved are still right");
        groups.leave_all(3);
        groups.leave_all(1);
        assert!(groups.memberships.is_empty() && groups.newest_seqs.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_connection_in_very_many_groups_comes_and_goes_in_linear_time() {
        // With a look at all others for each of them, this would take minutes.
        let ids: Vec<u64> = (1..=200_000).collect();
        let mut groups = Groups::new(8);
        groups.begin(1, &ids);
        groups.begin(2, &ids);
        assert_eq!((groups.of(1).len(), groups.of(2).len()), (ids.len(), ids.len()));
        groups.leave_all(1);
        ids.iter().for_each(|&group_id| groups.leave(2, group_id));
        assert!(groups.memberships.is_empty() && !groups.members.has(7));
    }

    #[test]
    fn who_left_gets_nothing_of_what_still_waits() {
        let mut groups = Groups::new(8);
        groups.join(1, 50);
        groups.join(2, 50);
        push(&mut groups, 50, 1, 5);
        groups.leave(1, 50);
        assert_eq!(delivered(&mut groups), [(2, 5)]);
    }

    #[test]
    fn a_head_becomes_a_hint_only_where_something_was_not_pushed() {
        let mut groups = Groups::new(8);
        groups.on_head(50, 7);
        groups.join(1, 50);
        push(&mut groups, 50, 8, 5);
        assert_eq!(delivered(&mut groups), [(1, 5)]);
        groups.on_head(50, 8);
        assert_eq!(delivered(&mut groups), []);
        groups.on_head(50, 9);
        groups.on_head(50, 9);
        assert_eq!(delivered(&mut groups), [(1, 0)], "once");
    }
}
