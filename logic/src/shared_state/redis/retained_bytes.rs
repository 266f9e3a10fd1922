//! What the rooms retain of which this process put something into Redis: an upper bound of what it fills there.
//!
//! Any task; the time is passed in. Always holds: a room counts as long as what was put there last is kept, and with all that the room
//! kept then, whoever put it there.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use foldhash::HashMap;

use crate::shared_state::ROOM_BYTES;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RetainedBytes {
    bytes_max: usize,
    retained_for: Duration,
    total: usize,
    rooms: HashMap<u64, Room>,
    /// Each room once, not later than when what it keeps is over.
    ends: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Room {
    bytes: usize,
    ends_at: Instant,
}

impl RetainedBytes {
    pub(super) fn new(bytes_max: usize, retained_for: Duration) -> Self {
        Self { bytes_max, retained_for, total: 0, rooms: HashMap::default(), ends: VecDeque::new() }
    }

    /// Whether a message of so many bytes may be kept, in a room that kept nothing before.
    pub(super) fn has_bytes_for(&mut self, bytes: usize, now: Instant) -> bool {
        while let Some(&(_, room_id)) = self.ends.front().filter(|(at, _)| *at <= now) {
            self.ends.pop_front();
            match self.rooms.get(&room_id) {
                Some(room) if room.ends_at > now => self.ends.push_back((room.ends_at, room_id)),
                Some(room) => {
                    self.total -= room.bytes;
                    self.rooms.remove(&room_id);
                }
                None => {}
            }
        }
        self.total + bytes + ROOM_BYTES <= self.bytes_max
    }

    /// A message was put into a room, which keeps so many bytes since.
    pub(super) fn set(&mut self, room_id: u64, bytes: usize, now: Instant) {
        let (ends_at, bytes) = (now + self.retained_for, bytes + ROOM_BYTES);
        let room = self.rooms.entry(room_id).or_insert_with(|| {
            self.ends.push_back((ends_at, room_id));
            Room { bytes: 0, ends_at }
        });
        self.total = self.total - room.bytes + bytes;
        *room = Room { bytes, ends_at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_count_with_what_they_keep_until_it_is_over() {
        let (mut retained, start) = (RetainedBytes::new(100 + 3 * ROOM_BYTES, Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        retained.set(1, 60, at(0));
        retained.set(2, 30, at(1));
        assert!(retained.has_bytes_for(10, at(1)) && !retained.has_bytes_for(11, at(1)));
        retained.set(1, 70, at(5));
        assert!(!retained.has_bytes_for(1, at(10)), "room 1 got something at 5");
        let left = 30 + ROOM_BYTES;
        assert!(retained.has_bytes_for(left, at(11)) && !retained.has_bytes_for(left + 1, at(11)), "room 2 is over");
        assert!(retained.has_bytes_for(100 + 2 * ROOM_BYTES, at(15)));
        assert!(retained.rooms.is_empty() && retained.ends.is_empty());
    }
}
