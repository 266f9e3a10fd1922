//! How many are in rooms, for clients: counted once in a second for each room, however many ask.
//!
//! Any task. Always holds: rooms that are remembered are bounded.

use std::time::{Duration, Instant};

use crate::clients::cache::TtlCache;

/// How long a count holds.
const COUNT_TTL: Duration = Duration::from_secs(1);

/// Rooms whose counts are remembered.
const ROOMS_MAX: usize = 16_384;

/// The counts.
#[derive(Debug)]
pub(super) struct RoomCounts {
    known: TtlCache<u64, u64>,
}

impl Default for RoomCounts {
    fn default() -> Self {
        Self { known: TtlCache::new(COUNT_TTL, ROOMS_MAX) }
    }
}

impl RoomCounts {
    /// Members of a room, as they were counted within the last second, or are now.
    pub(super) fn members(&self, room_id: u64, now: Instant, count: impl FnOnce() -> u64) -> u64 {
        self.known.get(&room_id, now).unwrap_or_else(|| {
            let members = count();
            self.known.put(room_id, members, now);
            members
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_counted_once_in_a_second() {
        let (counts, start) = (RoomCounts::default(), Instant::now());
        let members =
            |room_id, after_ms, members| counts.members(room_id, start + Duration::from_millis(after_ms), || members);
        assert_eq!([members(1, 0, 5), members(2, 0, 7)], [5, 7]);
        assert_eq!([members(1, 999, 6), members(1, 1_000, 8), members(1, 1_001, 9)], [5, 8, 8]);
    }
}
