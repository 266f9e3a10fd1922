//! What the bridge counts over all reactors: subscriptions per room, and reactors that are done with a push to all. Owned by
//! the distributor.
//!
//! Always holds: a room is listed exactly while it has a subscription; `changed` names every room whose number logic was not
//! told yet.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use gim_proto::logic::RoomMemberCount;

/// Subscriptions per room: those that are joined, and those on their way to logic.
#[derive(Debug, Default)]
pub(super) struct RoomTally {
    rooms: HashMap<u64, usize>,
    changed: HashSet<u64>,
}

impl RoomTally {
    /// One more; whether it is the room's first.
    pub(super) fn add(&mut self, room_id: u64) -> bool {
        let count = self.rooms.entry(room_id).or_insert(0);
        *count += 1;
        self.changed.insert(room_id);
        *count == 1
    }

    /// One less; whether it was the room's last.
    pub(super) fn remove(&mut self, room_id: u64) -> bool {
        let Entry::Occupied(mut entry) = self.rooms.entry(room_id) else { return false };
        self.changed.insert(room_id);
        *entry.get_mut() -= 1;
        let is_last = *entry.get() == 0;
        if is_last {
            entry.remove();
        }
        is_last
    }

    /// Whether there is something to tell.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The rooms that changed since the last call, 0 for those that nobody is in any more.
    pub(super) fn take_changed(&mut self) -> Vec<RoomMemberCount> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|room_id| self.count(room_id)).collect()
    }

    /// All rooms.
    pub(super) fn all(&self) -> Vec<RoomMemberCount> {
        self.rooms.keys().map(|&room_id| self.count(room_id)).collect()
    }

    fn count(&self, room_id: u64) -> RoomMemberCount {
        RoomMemberCount { room_id, members: self.rooms.get(&room_id).map_or(0, |&count| count as u64) }
    }
}

/// How many reactors are done with each push to all that is under way.
#[derive(Debug, Default)]
pub(super) struct PushAllTally {
    done: HashMap<u64, usize>,
}

impl PushAllTally {
    /// One more reactor is done; whether all of them are now.
    pub(super) fn is_done(&mut self, message_id: u64, reactors: usize) -> bool {
        let done = self.done.entry(message_id).or_insert(0);
        *done += 1;
        let is_done = *done >= reactors;
        if is_done {
            self.done.remove(&message_id);
        }
        is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_once_and_an_empty_room_as_such() {
        let mut rooms = RoomTally::default();
        assert_eq!([rooms.add(1), rooms.add(1), rooms.add(2)], [true, false, true]);
        let sorted = |mut rooms: Vec<RoomMemberCount>| {
            rooms.sort_by_key(|room| room.room_id);
            rooms.into_iter().map(|room| (room.room_id, room.members)).collect::<Vec<_>>()
        };
        assert_eq!(sorted(rooms.take_changed()), [(1, 2), (2, 1)]);
        assert!(!rooms.has_changed());
        assert_eq!([rooms.remove(2), rooms.remove(2), rooms.remove(1)], [true, false, false]);
        assert_eq!(sorted(rooms.take_changed()), [(1, 1), (2, 0)]);
        assert_eq!(sorted(rooms.all()), [(1, 1)]);
    }

    #[test]
    fn a_push_to_all_is_done_when_every_reactor_is() {
        let mut pushes = PushAllTally::default();
        assert_eq!([9, 8, 9, 9, 8].map(|id| pushes.is_done(id, 2)), [false, false, true, false, true]);
    }
}
