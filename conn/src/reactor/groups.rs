//! Large groups of one reactor: which connections are in which, and which pushes still have to reach them.
//!
//! Members are walked like those of a room, a bounded number per turn. What differs: a connection is in many groups, a
//! message that does not reach a member is replaced by a hint to sync, and the device that sent it gets no copy.
//!
//! Always holds: a connection's seats name its places in [`Rooms`]; only signed-in connections have seats.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use gim_proto::connect::PacketCommand;

use super::{Reactor, rooms::Rooms};
use crate::{
    connection::Seat,
    ids::ConnectionId,
    wire::{encoded::Encoded, outbound::Kind, packet},
};

/// All large groups that have a member here.
#[derive(Debug)]
pub(super) struct Groups {
    members: Rooms<Push>,
    seats: HashMap<u32, Vec<Seat>, RandomState>,
    /// How far each group got, as far as this node was told.
    newest_seqs: HashMap<u64, u64, RandomState>,
}

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
        Self { members: Rooms::new(log_max), seats: HashMap::default(), newest_seqs: HashMap::default() }
    }

    /// Whether members are left to visit.
    pub(super) fn is_active(&self) -> bool {
        self.members.is_active()
    }

    /// Puts a connection into a group, where it is not yet.
    pub(super) fn sit(&mut self, slot: usize, group_id: u64) {
        let seats = self.seats.entry(slot as u32).or_default();
        if seats.iter().all(|seat| seat.room_id != group_id) {
            seats.push(Seat { room_id: group_id, index: self.members.join(group_id, slot) });
        }
    }

    /// Takes a connection out of a group, where it is in it.
    pub(super) fn leave(&mut self, slot: usize, group_id: u64) {
        let Some(seats) = self.seats.get_mut(&(slot as u32)) else { return };
        let Some(place) = seats.iter().position(|seat| seat.room_id == group_id) else { return };
        let seat = seats.swap_remove(place);
        if seats.is_empty() {
            self.seats.remove(&(slot as u32));
        }
        self.free(seat);
    }

    /// Takes a connection out of all groups.
    pub(super) fn leave_all(&mut self, slot: usize) {
        let seats = self.seats.remove(&(slot as u32)).unwrap_or_default();
        seats.into_iter().for_each(|seat| self.free(seat));
    }

    /// The groups that a connection is in.
    pub(super) fn of(&self, slot: usize) -> Box<[u64]> {
        self.seats.get(&(slot as u32)).into_iter().flatten().map(|seat| seat.room_id).collect()
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
    pub(super) fn on_news(&mut self, group_id: u64, newest_seq: u64) {
        if !self.members.has(group_id) {
            return;
        }
        let known = self.newest_seqs.entry(group_id).or_default();
        if newest_seq > *known {
            *known = newest_seq;
            self.members.push(group_id, Push::Hint, false);
        }
    }

    fn free(&mut self, seat: Seat) {
        if let Some(moved) = self.members.leave(seat.room_id, seat.index)
            && let Some(seats) = self.seats.get_mut(&(moved as u32))
            && let Some(other) = seats.iter_mut().find(|other| other.room_id == seat.room_id)
        {
            other.index = seat.index;
        }
        if !self.members.has(seat.room_id) {
            self.newest_seqs.remove(&seat.room_id);
        }
    }
}

impl Reactor {
    /// Connections came into a group or left it. One that is signing in is told its groups by the answer to that.
    pub(super) fn on_group_seats(
        &mut self,
        app: usize,
        group_id: u64,
        joined: Vec<ConnectionId>,
        left: Vec<ConnectionId>,
    ) {
        for connection in joined {
            if let Some(slot) = self.find_live(app, connection) {
                self.apps[app].groups.sit(slot, group_id);
            }
        }
        for connection in left {
            if let Some(slot) = self.find_live(app, connection) {
                self.apps[app].groups.leave(slot, group_id);
            }
        }
    }

    pub(super) fn pump_groups(&mut self, app: usize, deliveries: usize) {
        if !self.apps[app].groups.is_active() {
            return;
        }
        // Lent out, so that members can be sent to while their group is walked. Nothing that is sent here ends a connection.
        let mut groups = std::mem::replace(&mut self.apps[app].groups, Groups::new(0));
        let (mut hinted, mut missed) = (Vec::new(), Vec::new());
        groups.members.pump_noting(
            deliveries,
            |slot, push, _| match push {
                Push::Message { frame, is_persisted, origin_device_id } => {
                    self.send_unless_origin(slot, frame, *is_persisted, *origin_device_id);
                }
                Push::Hint => hinted.push(slot),
            },
            |slot, count| missed.push((slot, count)),
        );
        self.apps[app].groups = groups;
        for (slot, count) in missed {
            self.metrics.tally.inbox_skipped += count as u64;
            hinted.push(slot);
        }
        hinted.into_iter().for_each(|slot| self.hint(slot));
    }

    fn send_unless_origin(&mut self, slot: usize, frame: &Encoded, is_persisted: bool, origin_device_id: u64) {
        let device_id = self.table.peek(slot).and_then(|found| found.session.identity()).map(|found| found.device_id);
        if device_id.is_some_and(|device_id| device_id != origin_device_id) {
            self.send(slot, frame.clone(), if is_persisted { Kind::Inbox } else { Kind::Room });
        }
    }

    /// Tells a client to sync.
    fn hint(&mut self, slot: usize) {
        let Some(connection) = self.table.get(slot) else { return };
        let seq = connection.session.newest_seq();
        self.metrics.tally.sync_hints += 1;
        self.send(slot, packet::notice(PacketCommand::PcSyncHint, &[], seq), Kind::Reply);
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
            groups.members.pump_noting(3, deliver, |_, _| panic!("nothing overflows here"));
        }
        delivered.sort_unstable();
        delivered
    }

    fn push(groups: &mut Groups, group_id: u64, seq: u64, origin_device_id: u64) {
        groups.push(group_id, seq, origin_device_id, Encoded::of(b"message"));
    }

    #[test]
    fn a_connection_is_in_many_groups_and_leaves_them_one_by_one_or_all_at_once() {
        let mut groups = Groups::new(8);
        for slot in 1..=3 {
            groups.sit(slot, 50);
            groups.sit(slot, 60);
            groups.sit(slot, 60);
        }
        groups.leave(1, 50);
        groups.leave(1, 50);
        push(&mut groups, 50, 1, 5);
        push(&mut groups, 60, 1, 6);
        assert_eq!(delivered(&mut groups), [(1, 6), (2, 5), (2, 6), (3, 5), (3, 6)]);
        groups.leave_all(2);
        assert_eq!((&groups.of(1)[..], groups.of(2).len(), &groups.of(3)[..]), (&[60][..], 0, &[50, 60][..]));
        push(&mut groups, 50, 2, 7);
        assert_eq!(delivered(&mut groups), [(3, 7)], "places that moved are still right");
        groups.leave_all(3);
        groups.leave_all(1);
        assert!(groups.seats.is_empty() && groups.newest_seqs.is_empty(), "nothing is left behind");
    }

    #[test]
    fn who_left_gets_nothing_of_what_still_waits() {
        let mut groups = Groups::new(8);
        groups.sit(1, 50);
        groups.sit(2, 50);
        push(&mut groups, 50, 1, 5);
        groups.leave(1, 50);
        assert_eq!(delivered(&mut groups), [(2, 5)]);
    }

    #[test]
    fn news_become_a_hint_only_where_something_was_not_pushed() {
        let mut groups = Groups::new(8);
        groups.on_news(50, 7);
        groups.sit(1, 50);
        push(&mut groups, 50, 8, 5);
        assert_eq!(delivered(&mut groups), [(1, 5)]);
        groups.on_news(50, 8);
        assert_eq!(delivered(&mut groups), []);
        groups.on_news(50, 9);
        groups.on_news(50, 9);
        assert_eq!(delivered(&mut groups), [(1, 0)], "once");
    }
}
