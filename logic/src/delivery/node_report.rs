//! What an attached conn node told of itself: how full it is, how many connections are in which room, and which pushes to all it
//! is busy with. Any task.
//!
//! Every conn node tells every logic node, so each of them can answer for all. Bounded by the node: a room it names has a
//! connection there, and pushes to all have a limit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashSet};
use gim_proto::logic::{NodeLoad, RoomMemberCount};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct NodeReport {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    room_members: HashMap<u64, u64>,
    pushes_to_all: HashSet<u64>,
    load: NodeLoad,
}

impl NodeReport {
    /// The node said how full it is.
    pub fn set_load(&self, load: NodeLoad) {
        self.lock().load = load;
    }

    /// How full it is.
    pub fn load(&self) -> NodeLoad {
        self.lock().load
    }

    /// Takes over how many connections are in rooms.
    pub fn count_rooms(&self, rooms: &[RoomMemberCount]) {
        let mut state = self.lock();
        for room in rooms {
            if room.members == 0 {
                state.room_members.remove(&room.room_id);
            } else {
                state.room_members.insert(room.room_id, room.members);
            }
        }
    }

    /// How many connections of the node are in a room.
    pub fn members_of(&self, room_id: u64) -> u64 {
        self.lock().room_members.get(&room_id).copied().unwrap_or(0)
    }

    /// Pushes to all that the node is busy with.
    pub fn pushes_to_all(&self) -> usize {
        self.lock().pushes_to_all.len()
    }

    /// A push to all was queued for the node.
    pub fn begin_push_to_all(&self, message_id: u64) {
        self.lock().pushes_to_all.insert(message_id);
    }

    /// The node is done with it, or never got it.
    pub fn end_push_to_all(&self, message_id: u64) {
        self.lock().pushes_to_all.remove(&message_id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_everybody_left_is_forgotten() {
        let report = NodeReport::default();
        report.count_rooms(&[RoomMemberCount { room_id: 1, members: 5 }, RoomMemberCount { room_id: 2, members: 6 }]);
        report.count_rooms(&[RoomMemberCount { room_id: 1, members: 0 }, RoomMemberCount { room_id: 2, members: 7 }]);
        assert_eq!([1, 2, 3].map(|room_id| report.members_of(room_id)), [0, 7, 0]);
        assert_eq!(report.lock().room_members.len(), 1);
    }
}
