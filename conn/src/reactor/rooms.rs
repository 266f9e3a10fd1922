//! Rooms of one reactor: who subscribed here, and which pushes still have to reach them.
//!
//! A push is not copied to its members at once: it is put into the room's log, and members are visited round after round, a
//! bounded number of pushes per turn. A visit hands over everything that the member has not seen, so a burst costs one visit,
//! and neither a room of a hundred thousand nor a long burst holds up a turn.
//!
//! Always holds: `remaining` members from `scan` on (in a circle) include all that have not seen the whole log; each member
//! sees each push of a log once and in order, or, where the log overflowed, not at all, which is counted.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

/// Visits that one room gets before the next one's turn.
const VISITS_PER_ROOM: usize = 256;

/// Normal pushes, and those that overtake them.
const LOGS: usize = 2;
const NORMAL: usize = 0;
const URGENT: usize = 1;

/// All rooms that have a member here; a `T` is what is pushed.
#[derive(Debug)]
pub struct Rooms<T> {
    rooms: HashMap<u64, Room<T>, RandomState>,
    /// Rooms with members left to visit.
    active: VecDeque<u64>,
    log_max: usize,
}

#[derive(Debug)]
struct Room<T> {
    members: Vec<Member>,
    logs: [RoomLog<T>; LOGS],
    scan: usize,
    remaining: usize,
}

#[derive(Debug)]
struct Member {
    slot: u32,
    /// Per log, the number of the next push to see.
    next: [u32; LOGS],
}

#[derive(Debug)]
struct RoomLog<T> {
    pushes: VecDeque<T>,
    /// The number that the next push gets; counts around.
    end: u32,
}

/// What one member got.
struct Visit {
    slot: usize,
    delivered: usize,
    missed: usize,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Self { members: Vec::new(), logs: [RoomLog::default(), RoomLog::default()], scan: 0, remaining: 0 }
    }
}

impl<T> Default for RoomLog<T> {
    fn default() -> Self {
        Self { pushes: VecDeque::new(), end: 0 }
    }
}

impl<T> Rooms<T> {
    /// No rooms; each will keep `log_max` pushes of a log at most that members have not seen.
    pub fn new(log_max: usize) -> Self {
        Self { rooms: HashMap::default(), active: VecDeque::new(), log_max }
    }

    /// How many rooms have a member here.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether a room has a member here.
    pub fn has(&self, room_id: u64) -> bool {
        self.rooms.contains_key(&room_id)
    }

    /// Whether members are left to visit.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Adds a member, who sees pushes from now on. Returns its place.
    pub fn join(&mut self, room_id: u64, slot: usize) -> u32 {
        let room = self.rooms.entry(room_id).or_default();
        let next = [room.logs[NORMAL].end, room.logs[URGENT].end];
        room.members.push(Member { slot: slot as u32, next });
        // A round under way may have to come past the newcomer to reach those before it in the circle.
        room.remaining += usize::from(room.remaining > 0);
        (room.members.len() - 1) as u32
    }

    /// Removes the member at a place. Returns the slot that moved to that place, if one did.
    pub fn leave(&mut self, room_id: u64, index: u32) -> Option<usize> {
        let room = self.rooms.get_mut(&room_id)?;
        let index = index as usize;
        if index >= room.members.len() {
            return None;
        }
        room.members.swap_remove(index);
        room.remaining = room.remaining.min(room.members.len());
        if room.members.is_empty() {
            self.rooms.remove(&room_id);
            return None;
        }
        let moved = room.members.get(index)?;
        if room.logs.iter().zip(moved.next).any(|(log, next)| log.end != next) {
            // It may have moved to where this round has been already.
            room.remaining = room.members.len();
        }
        Some(moved.slot as usize)
    }

    /// Queues a push for all members; a room without any is not there, and nothing happens.
    pub fn push(&mut self, room_id: u64, frame: T, urgent: bool) {
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        let log = &mut room.logs[if urgent { URGENT } else { NORMAL }];
        log.pushes.push_back(frame);
        log.end = log.end.wrapping_add(1);
        if log.pushes.len() > self.log_max {
            log.pushes.pop_front();
        }
        if room.remaining == 0 {
            self.active.push_back(room_id);
        }
        room.remaining = room.members.len();
    }

    /// Visits members, rooms taking turns, and hands each all that it has not seen, saying what is urgent, until that came to
    /// `deliveries_max` pushes: beyond it by what one member is behind at most. Notes who missed how many because the log overflowed. How many
    /// were handed over, with the visits to members who had seen all.
    pub fn pump(
        &mut self,
        deliveries_max: usize,
        mut deliver: impl FnMut(usize, &T, bool),
        mut note_missed: impl FnMut(usize, usize),
    ) -> usize {
        let mut deliveries = 0;
        while deliveries < deliveries_max {
            let Some(room_id) = self.active.pop_front() else { break };
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            let mut visits_left = room.remaining.min(VISITS_PER_ROOM);
            while visits_left > 0 && deliveries < deliveries_max {
                visits_left -= 1;
                let Visit { slot, delivered, missed } = room.visit_next(&mut deliver);
                if missed > 0 {
                    note_missed(slot, missed);
                }
                // To find that a member has seen all takes time, too.
                deliveries += delivered.max(1);
            }
            if room.remaining > 0 {
                self.active.push_back(room_id);
            } else {
                room.logs.iter_mut().for_each(|log| log.pushes.clear());
            }
        }
        deliveries
    }
}

impl<T> Room<T> {
    fn visit_next(&mut self, deliver: &mut impl FnMut(usize, &T, bool)) -> Visit {
        if self.scan >= self.members.len() {
            self.scan = 0;
        }
        let member = &mut self.members[self.scan];
        self.scan += 1;
        self.remaining -= 1;
        let mut visit = Visit { slot: member.slot as usize, delivered: 0, missed: 0 };
        for log in [URGENT, NORMAL] {
            let hand_over = |frame: &T| {
                visit.delivered += 1;
                deliver(member.slot as usize, frame, log == URGENT);
            };
            visit.missed += self.logs[log].read(&mut member.next[log], hand_over);
        }
        visit
    }
}

impl<T> RoomLog<T> {
    fn read(&self, next: &mut u32, mut deliver: impl FnMut(&T)) -> usize {
        let behind = self.end.wrapping_sub(*next) as usize;
        let missed = behind.saturating_sub(self.pushes.len());
        for frame in self.pushes.iter().skip(self.pushes.len() - (behind - missed)) {
            deliver(frame);
        }
        *next = self.end;
        missed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Of a member: its index, what it should see, what it saw.
    type Occupied = (u32, Vec<u8>, Vec<u8>);

    fn frame(number: u8) -> Bytes {
        vec![number].into()
    }

    fn nobody_misses(slot: usize, count: usize) {
        panic!("{slot} missed {count}");
    }

    fn pump_all(rooms: &mut Rooms<Bytes>) -> Vec<(usize, u8)> {
        let mut delivered = Vec::new();
        while rooms.is_active() {
            rooms.pump(3, |slot, frame, _| delivered.push((slot, frame[0])), nobody_misses);
        }
        delivered
    }

    #[test]
    fn leaving_an_empty_room_and_pushing_to_it_harms_nothing() {
        let mut rooms = Rooms::new(8);
        let index = rooms.join(5, 1);
        rooms.push(5, frame(1), false);
        assert_eq!(rooms.leave(5, index), None);
        assert_eq!(rooms.leave(5, index), None);
        rooms.push(5, frame(2), false);
        assert_eq!(rooms.len(), 0);
        assert_eq!(pump_all(&mut rooms), []);
    }

    #[test]
    fn a_burst_reaches_each_member_in_one_visit() {
        let mut rooms = Rooms::new(8);
        rooms.join(5, 1);
        rooms.join(5, 2);
        for number in 0..4 {
            rooms.push(5, frame(number), false);
        }
        let mut delivered = Vec::new();
        let pumped = rooms.pump(100, |slot, frame, _| delivered.push((slot, frame[0])), nobody_misses);
        assert_eq!(pumped, 8);
        assert_eq!(delivered, [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]);
    }

    #[test]
    fn a_long_burst_is_spread_over_turns_by_whole_members() {
        let mut rooms = Rooms::new(8);
        for slot in 0..5 {
            rooms.join(5, slot);
        }
        (0..4).for_each(|number| rooms.push(5, frame(number), false));
        let mut delivered = Vec::new();
        for expected in [8, 8, 4, 0] {
            let pumped = rooms.pump(7, |slot, frame, _| delivered.push((slot, frame[0])), nobody_misses);
            assert_eq!(pumped, expected);
        }
        assert_eq!(delivered, (0..5).flat_map(|slot| (0..4).map(move |number| (slot, number))).collect::<Vec<_>>());
    }

    #[test]
    fn an_urgent_push_overtakes() {
        let mut rooms = Rooms::new(8);
        rooms.join(5, 1);
        rooms.push(5, frame(1), false);
        rooms.push(5, frame(9), true);
        assert_eq!(pump_all(&mut rooms), [(1, 9), (1, 1)]);
    }

    #[test]
    fn a_late_member_sees_only_what_comes_later() {
        let mut rooms = Rooms::new(8);
        rooms.join(5, 1);
        rooms.push(5, frame(1), false);
        rooms.join(5, 2);
        rooms.push(5, frame(2), false);
        let mut delivered = pump_all(&mut rooms);
        delivered.sort_unstable();
        assert_eq!(delivered, [(1, 1), (1, 2), (2, 2)]);
    }

    #[test]
    fn an_overflowing_log_drops_the_oldest_and_counts() {
        let mut rooms = Rooms::new(2);
        rooms.join(5, 1);
        for number in 0..5 {
            rooms.push(5, frame(number), false);
        }
        let mut delivered = Vec::new();
        let mut missed = Vec::new();
        rooms.pump(100, |_, frame, _| delivered.push(frame[0]), |slot, count| missed.push((slot, count)));
        assert_eq!((delivered, missed), (vec![3, 4], vec![(1, 3)]));
    }

    #[test]
    fn rooms_take_turns() {
        let mut rooms = Rooms::new(8);
        for slot in 0..2 * VISITS_PER_ROOM {
            rooms.join(1, slot);
        }
        rooms.join(2, 10_000);
        rooms.push(1, frame(1), false);
        rooms.push(2, frame(2), false);
        let mut delivered = Vec::new();
        rooms.pump(VISITS_PER_ROOM + 1, |slot, _, _| delivered.push(slot), nobody_misses);
        assert_eq!(delivered.last(), Some(&10_000));
    }

    proptest! {
        /// Members come and go in the middle of rounds; everyone who stays sees every push since it joined, once, in order.
        #[test]
        fn members_that_stay_miss_nothing(operations in proptest::collection::vec((0u8..4, 0usize..8), 1..300)) {
            let mut rooms = Rooms::new(1000);
            let mut places: Vec<Option<Occupied>> = vec![None; 8];
            let mut number = 0u8;
            for (operation, slot) in operations {
                match (operation, places[slot].is_some()) {
                    (0, false) => places[slot] = Some((rooms.join(7, slot), Vec::new(), Vec::new())),
                    (0 | 1, true) => {
                        let (index, ..) = places[slot].take().unwrap();
                        if let Some(moved) = rooms.leave(7, index) {
                            places[moved].as_mut().unwrap().0 = index;
                        }
                    }
                    (2, _) => {
                        number = number.wrapping_add(1);
                        rooms.push(7, frame(number), false);
                        places.iter_mut().flatten().for_each(|(_, expected, _)| expected.push(number));
                    }
                    _ => {
                        rooms.pump(slot, |slot, frame, _| places[slot].as_mut().unwrap().2.push(frame[0]), nobody_misses);
                    }
                }
            }
            while rooms.is_active() {
                rooms.pump(2, |slot, frame, _| places[slot].as_mut().unwrap().2.push(frame[0]), nobody_misses);
            }
            for (_, expected, seen) in places.into_iter().flatten() {
                prop_assert_eq!(seen, expected);
            }
        }
    }
}
