//! Rooms: the next seq, the nodes with subscribers, and the newest messages: plain tables with the time as an argument.
//!
//! A push into a room that nobody is in and that is not retained leaves nothing behind, not even a seq. Where there are too many rooms,
//! or where they retain too many bytes, those that nobody is in go, of these first the ones that retain nothing.
//!
//! Always holds: a room never gives a seq beyond what was reserved for it; what it retains is ascending by seq and within
//! the count, time and byte limits; every room that nobody is in is listed as vacant, after the next sweep
//! at the latest.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::HashMap;
use gim_proto::connect;
use metrics::counter;
use prost::Message as _;

use crate::{
    domain::route::NodeKey,
    metrics as names,
    settings::RoomSettings,
    shared_state::ROOM_BYTES,
    store::room::{BLOCK_SEQS, UnusedSeqs},
};

/// All rooms of this process.
#[derive(Debug)]
pub struct Rooms {
    settings: RoomSettings,
    rooms: HashMap<u64, Room>,
    /// Rooms that nobody was in when they were listed, those that go first in front.
    vacant: VecDeque<u64>,
    /// What all rooms cost that retain something.
    retained_bytes: usize,
    /// Of rooms that went for others.
    unused: Vec<UnusedSeqs>,
    /// Whether it was logged that a bound was met, since the last sweep.
    has_told: bool,
}

/// Why a message got no seq.
#[derive(Debug, PartialEq, Eq)]
pub enum NoSeq {
    /// The reserved block is used up: reserve another, [`Rooms::grant`] it and come again.
    NeedsBlock,
    /// There are as many rooms as the settings allow.
    TooManyRooms,
}

#[derive(Debug)]
struct Room {
    /// The last seq that a message got.
    last_used: u64,
    reserved_until: u64,
    interested: Vec<Arc<NodeKey>>,
    retained: VecDeque<Retained>,
    retained_bytes: usize,
    touched: Instant,
    /// Whether it is listed as vacant, where it may be though somebody came.
    is_listed: bool,
}

#[derive(Debug)]
struct Retained {
    seq: u64,
    at: Instant,
    encoded: Bytes,
}

impl Rooms {
    /// No rooms yet.
    pub fn new(settings: RoomSettings) -> Self {
        Self {
            settings,
            rooms: HashMap::default(),
            vacant: VecDeque::new(),
            retained_bytes: 0,
            unused: Vec::new(),
            has_told: false,
        }
    }

    /// Says whether a node has subscribers; false where the room cannot be opened, because there are too many.
    pub fn set_interest(&mut self, room_id: u64, node: &Arc<NodeKey>, interested: bool, now: Instant) -> bool {
        if interested {
            let Some(room) = self.open(room_id, now) else { return false };
            if !room.interested.contains(node) {
                room.interested.push(node.clone());
            }
        } else if let Some(room) = self.rooms.get_mut(&room_id) {
            room.interested.retain(|other| other != node);
            self.list_if_vacant(room_id);
        }
        true
    }

    /// Numbers and encodes a message; returns its seq, its bytes and the nodes that want it. One that nobody gets has no seq.
    pub fn publish(
        &mut self,
        mut message: connect::Message,
        is_retained: bool,
        now: Instant,
    ) -> Result<(u64, Bytes, Vec<Arc<NodeKey>>), NoSeq> {
        let retained_for = Duration::from_millis(self.settings.retained_ms);
        let (count_max, bytes_max) = (self.settings.retained_count_max, self.settings.retained_bytes_max);
        let room_id = message.room_id;
        if !is_retained && self.rooms.get(&room_id).is_none_or(|room| room.interested.is_empty()) {
            return Ok((0, Bytes::new(), Vec::new()));
        }
        let is_retained = is_retained && self.has_bytes_for(room_id, message.content.len() + ROOM_BYTES);
        let room = self.open(room_id, now).ok_or(NoSeq::TooManyRooms)?;
        if room.last_used == room.reserved_until {
            return Err(NoSeq::NeedsBlock);
        }
        room.last_used += 1;
        message.room_seq = room.last_used;
        let encoded: Bytes = message.encode_to_vec().into();
        let (before, interested) = (room.cost(), room.interested.clone());
        if is_retained {
            room.retain(Retained { seq: message.room_seq, at: now, encoded: encoded.clone() });
            room.trim(count_max, bytes_max, retained_for, now);
        }
        let after = room.cost();
        self.retained_bytes = self.retained_bytes + after - before;
        self.list_if_vacant(room_id);
        Ok((message.room_seq, encoded, interested))
    }

    /// Gives a room the block that ends with `reserved_until`.
    pub fn grant(&mut self, room_id: u64, reserved_until: u64) {
        if let Some(room) = self.rooms.get_mut(&room_id)
            && reserved_until > room.reserved_until
        {
            room.last_used = room.last_used.max(reserved_until - BLOCK_SEQS);
            room.reserved_until = reserved_until;
        }
    }

    /// Retained messages after `seq`, ascending.
    pub fn retained(&mut self, room_id: u64, seq: u64, now: Instant) -> Vec<Bytes> {
        let Some(room) = self.rooms.get_mut(&room_id) else { return Vec::new() };
        let retained_for = Duration::from_millis(self.settings.retained_ms);
        let before = room.cost();
        room.trim(self.settings.retained_count_max, self.settings.retained_bytes_max, retained_for, now);
        self.retained_bytes = self.retained_bytes + room.cost() - before;
        room.retained.iter().filter(|retained| retained.seq > seq).map(|retained| retained.encoded.clone()).collect()
    }

    /// Forgets the interest of a node process in every room.
    pub fn forget_node(&mut self, node: &NodeKey) {
        for room in self.rooms.values_mut() {
            room.interested.retain(|other| **other != *node);
        }
        self.list_vacant();
    }

    /// Forgets rooms that nobody is in and that retain nothing; returns the seqs that they had not used.
    pub fn sweep(&mut self, now: Instant) -> Vec<UnusedSeqs> {
        let retained_for = Duration::from_millis(self.settings.retained_ms);
        let (count_max, bytes_max) = (self.settings.retained_count_max, self.settings.retained_bytes_max);
        let mut unused = std::mem::take(&mut self.unused);
        let mut retained_bytes = 0;
        self.has_told = false;
        self.rooms.retain(|&room_id, room| {
            room.trim(count_max, bytes_max, retained_for, now);
            let is_idle = room.interested.is_empty()
                && room.retained.is_empty()
                && now.saturating_duration_since(room.touched) >= retained_for;
            if is_idle {
                unused.extend(room.unused(room_id));
            }
            retained_bytes += room.cost();
            !is_idle
        });
        self.retained_bytes = retained_bytes;
        let rooms = &self.rooms;
        self.vacant.retain(|room_id| rooms.contains_key(room_id));
        self.list_vacant();
        unused
    }

    /// The seqs that all rooms have not used.
    pub fn close(&mut self) -> Vec<UnusedSeqs> {
        let unused = std::mem::take(&mut self.unused);
        unused.into_iter().chain(self.rooms.drain().filter_map(|(room_id, room)| room.unused(room_id))).collect()
    }

    /// Lists every room that nobody is in.
    fn list_vacant(&mut self) {
        let unlisted = self.rooms.iter().filter(|(_, room)| room.interested.is_empty() && !room.is_listed);
        let unlisted: Vec<u64> = unlisted.map(|(&room_id, _)| room_id).collect();
        unlisted.into_iter().for_each(|room_id| self.list_if_vacant(room_id));
    }

    /// Lists a room that nobody is in; one that retains nothing is the next to go.
    fn list_if_vacant(&mut self, room_id: u64) {
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        if !room.interested.is_empty() || room.is_listed {
            return;
        }
        room.is_listed = true;
        if room.retained.is_empty() {
            self.vacant.push_front(room_id);
        } else {
            self.vacant.push_back(room_id);
        }
    }

    /// Takes the place of a room that nobody is in; false where there is none but `kept`.
    fn take_vacant(&mut self, kept: u64) -> bool {
        for _ in 0..self.vacant.len() {
            let Some(room_id) = self.vacant.pop_front() else { return false };
            if room_id == kept {
                self.vacant.push_back(kept);
                continue;
            }
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            room.is_listed = false;
            if room.interested.is_empty()
                && let Some(room) = self.rooms.remove(&room_id)
            {
                self.retained_bytes -= room.cost();
                self.unused.extend(room.unused(room_id));
                return true;
            }
        }
        false
    }

    /// Whether so many bytes more may be retained by a room, for which others may go.
    fn has_bytes_for(&mut self, room_id: u64, bytes: usize) -> bool {
        while self.retained_bytes + bytes > self.settings.rooms_retained_bytes_max {
            self.tell("rooms retain all that room.rooms_retained_bytes_max allows: those that nobody is in lose it");
            counter!(names::ROOMS_RETAINED_FULL).increment(1);
            if !self.take_vacant(room_id) {
                return false;
            }
        }
        true
    }

    fn tell(&mut self, what: &str) {
        if !std::mem::replace(&mut self.has_told, true) {
            tracing::warn!(rooms = self.rooms.len(), retained_bytes = self.retained_bytes, "{what}");
        }
    }

    fn open(&mut self, room_id: u64, now: Instant) -> Option<&mut Room> {
        if !self.rooms.contains_key(&room_id) && self.rooms.len() >= self.settings.rooms_max {
            self.tell("there are as many rooms as room.rooms_max allows: those that nobody is in go");
            if !self.take_vacant(room_id) {
                return None;
            }
        }
        let room = self.rooms.entry(room_id).or_insert_with(|| Room {
            last_used: 0,
            reserved_until: 0,
            interested: Vec::new(),
            retained: VecDeque::new(),
            retained_bytes: 0,
            touched: now,
            is_listed: false,
        });
        room.touched = now;
        Some(room)
    }
}

impl Room {
    /// What it takes of the bytes that all rooms may retain.
    fn cost(&self) -> usize {
        if self.retained.is_empty() { 0 } else { ROOM_BYTES + self.retained_bytes }
    }

    fn retain(&mut self, retained: Retained) {
        self.retained_bytes += retained.encoded.len();
        self.retained.push_back(retained);
    }

    fn trim(&mut self, count_max: usize, bytes_max: usize, retained_for: Duration, now: Instant) {
        while let Some(oldest) = self.retained.front() {
            let is_over = self.retained.len() > count_max
                || self.retained_bytes > bytes_max
                || now.saturating_duration_since(oldest.at) >= retained_for;
            if !is_over {
                return;
            }
            self.retained_bytes -= oldest.encoded.len();
            self.retained.pop_front();
        }
    }

    fn unused(&self, room_id: u64) -> Option<UnusedSeqs> {
        let (last_used, reserved_until) = (self.last_used, self.reserved_until);
        (last_used < reserved_until).then_some(UnusedSeqs { room_id, last_used, reserved_until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rooms(change: impl FnOnce(&mut RoomSettings)) -> Rooms {
        let mut settings = RoomSettings { retained_count_max: 3, retained_ms: 60_000, ..RoomSettings::default() };
        change(&mut settings);
        Rooms::new(settings)
    }

    fn message(room_id: u64) -> connect::Message {
        connect::Message { room_id, content: Bytes::from_static(b"hello"), ..connect::Message::default() }
    }

    fn publish(rooms: &mut Rooms, now: Instant) -> u64 {
        rooms.publish(message(9), true, now).unwrap().0
    }

    fn retained(rooms: &mut Rooms, seq: u64, now: Instant) -> Vec<u64> {
        let retained = rooms.retained(9, seq, now);
        retained.into_iter().map(|encoded| connect::Message::decode(encoded).unwrap().room_seq).collect()
    }

    #[test]
    fn seqs_follow_the_reserved_blocks() {
        let (mut rooms, now) = (rooms(|_| ()), Instant::now());
        assert_eq!(rooms.publish(message(9), true, now).unwrap_err(), NoSeq::NeedsBlock);
        rooms.grant(9, BLOCK_SEQS);
        let seqs: Vec<u64> = (0..BLOCK_SEQS).map(|_| publish(&mut rooms, now)).collect();
        assert_eq!(seqs, (1..=BLOCK_SEQS).collect::<Vec<_>>());
        assert_eq!(rooms.publish(message(9), true, now).unwrap_err(), NoSeq::NeedsBlock);
        rooms.grant(9, 5 * BLOCK_SEQS);
        assert_eq!(publish(&mut rooms, now), 4 * BLOCK_SEQS + 1, "somebody else had the blocks between");
        let unused = rooms.close();
        assert_eq!(unused, [UnusedSeqs { room_id: 9, last_used: 4 * BLOCK_SEQS + 1, reserved_until: 5 * BLOCK_SEQS }]);
    }

    #[test]
    fn a_room_retains_by_count_time_and_bytes() {
        let (mut rooms, start) = (rooms(|_| ()), Instant::now());
        assert_eq!(rooms.publish(message(9), true, start).unwrap_err(), NoSeq::NeedsBlock);
        rooms.grant(9, BLOCK_SEQS);
        for _ in 0..4 {
            publish(&mut rooms, start);
        }
        let node = Arc::new(NodeKey { name: "a".into(), epoch: 1 });
        assert!(rooms.set_interest(9, &node, true, start));
        rooms.publish(message(9), false, start).unwrap();
        publish(&mut rooms, start + MINUTE / 2);
        assert_eq!(retained(&mut rooms, 0, start + MINUTE / 2), [3, 4, 6]);
        assert_eq!(retained(&mut rooms, 4, start + MINUTE / 2), [6]);
        assert_eq!(retained(&mut rooms, 0, start + MINUTE), [6]);
        rooms.settings.retained_bytes_max = 0;
        assert_eq!(retained(&mut rooms, 0, start + MINUTE), [0; 0]);
    }

    #[test]
    fn only_rooms_that_nobody_needs_are_forgotten() {
        let (mut rooms, start) = (rooms(|settings| settings.rooms_max = 2), Instant::now());
        let node = Arc::new(NodeKey { name: "a".into(), epoch: 1 });
        assert!(rooms.set_interest(1, &node, true, start));
        assert!(rooms.set_interest(2, &node, true, start));
        assert!(!rooms.set_interest(3, &node, true, start), "one room too many");
        assert_eq!(rooms.publish(message(3), true, start).unwrap_err(), NoSeq::TooManyRooms);
        rooms.set_interest(1, &node, false, start);
        rooms.sweep(start + MINUTE / 2);
        assert!(rooms.rooms.contains_key(&1), "it may be needed again soon");
        assert!(rooms.set_interest(3, &node, true, start), "but goes for one that somebody is in");
        assert!(!rooms.rooms.contains_key(&1) && !rooms.set_interest(4, &node, true, start));
        rooms.forget_node(&node);
        assert!(rooms.set_interest(4, &node, true, start));
        rooms.forget_node(&node);
        rooms.sweep(start + MINUTE);
        assert!(rooms.rooms.is_empty() && rooms.vacant.is_empty());
    }

    #[test]
    fn a_push_nobody_gets_costs_nothing_and_empty_rooms_go_first() {
        let (mut rooms, now) =
            (rooms(|settings| settings.rooms_retained_bytes_max = 25 + 2 * ROOM_BYTES), Instant::now());
        let node = Arc::new(NodeKey { name: "a".into(), epoch: 1 });
        for room_id in 1..=1000 {
            assert_eq!(rooms.publish(message(room_id), false, now).unwrap().0, 0);
        }
        assert!(rooms.rooms.is_empty());
        let retain = |rooms: &mut Rooms, room_id| {
            assert_eq!(rooms.publish(message(room_id), true, now).unwrap_err(), NoSeq::NeedsBlock);
            rooms.grant(room_id, BLOCK_SEQS);
            assert_eq!(rooms.publish(message(room_id), true, now).unwrap().0, 1);
        };
        assert!(rooms.set_interest(1, &node, true, now));
        (1..=3).for_each(|room_id| retain(&mut rooms, room_id));
        assert!(
            rooms.retained_bytes <= 2 * (25 + ROOM_BYTES),
            "the last one may go beyond it: {}",
            rooms.retained_bytes
        );
        let kept = [1, 2, 3].map(|room_id| rooms.retained(room_id, 0, now).len());
        assert_eq!((kept[0], kept[2]), (1, 1), "{kept:?}");
        assert_eq!(rooms.sweep(now).len() + rooms.rooms.len(), 3, "the seqs of those that went are given back");
    }
}
