//! The order of rooms into which several logic nodes push. Each stream keeps a room's order; a push that follows one of another
//! node (`after_seq`) waits here until that came, too. No IO, the time is passed in.
//!
//! Always holds: a room's pushes are let through with ascending seq, each once; none waits longer than `hold`, and no more than
//! `held_max` wait in all rooms together. Where that ends the waiting, what comes behind its successors after all is left out:
//! a room's messages are at most once, and never out of order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

/// Newest pushes of a room that are kept for subscriptions which were answered before them; for `hold` at most.
const RECENT_MAX: usize = 64;

/// A room without pushes for so long is forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// Longer than any push is late. A room that gets nothing but late ones for so long is numbered anew, after its database was lost.
const LATE_MAX: Duration = Duration::from_secs(60);

/// A push that is not urgent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SequencedPush<T> {
    pub(super) room_id: u64,
    pub(super) seq: u64,
    /// The newest push before it that came from another node; 0 for none.
    pub(super) after_seq: u64,
    pub(super) frame: T,
}

/// What happened since it was last asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pushes that had to wait.
    pub(super) held: u64,
    /// Pushes that waited in vain.
    pub(super) given_up: u64,
    /// Pushes that came behind their successors, and were left out.
    pub(super) late: u64,
}

/// See the module's documentation. What is let through is appended to `out`.
#[derive(Debug)]
pub(super) struct RoomResequencer<T> {
    rooms: HashMap<u64, Room<T>, RandomState>,
    /// Rooms that something is due in, soonest first: everything waits equally long.
    due: VecDeque<(Instant, u64)>,
    swept: Option<Instant>,
    held: usize,
    held_max: usize,
    hold: Duration,
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Room<T> {
    /// The newest that was let through; nothing is known of what came before the first.
    passed: Option<u64>,
    held: BTreeMap<u64, WaitingPush<T>>,
    recent: VecDeque<(Instant, u64, T)>,
    /// When the last push came that was not late.
    touched: Instant,
}

#[derive(Debug)]
struct WaitingPush<T> {
    after_seq: u64,
    until: Instant,
    frame: T,
}

impl<T: Clone> RoomResequencer<T> {
    pub(super) fn new(hold: Duration, held_max: usize) -> Self {
        Self {
            rooms: HashMap::default(),
            due: VecDeque::new(),
            swept: None,
            held: 0,
            held_max,
            hold,
            counts: Counts::default(),
        }
    }

    /// A push came.
    pub(super) fn push(&mut self, push: SequencedPush<T>, now: Instant, out: &mut Vec<T>) {
        let SequencedPush { room_id, seq, after_seq, frame } = push;
        let until = now + self.hold;
        let room = self.rooms.entry(room_id).or_insert_with(|| Room::new(None, now));
        if room.passed.is_some_and(|passed| seq <= passed) {
            if now.saturating_duration_since(room.touched) < LATE_MAX {
                self.counts.late += 1;
                return;
            }
            room.passed = None;
        }
        room.touched = now;
        self.due.push_back((until, room_id));
        if room.held.is_empty() && room.has_passed(after_seq) {
            room.pass(seq, frame, until, out);
            return;
        }
        // Where its like is there already, it came a second time.
        if room.held.insert(seq, WaitingPush { after_seq, until, frame }).is_none() {
            self.held += 1;
        }
        self.held -= room.release(None, out);
        if room.held.contains_key(&seq) {
            self.counts.held += 1;
        }
        if self.held > self.held_max {
            let released = room.release(Some(until), out);
            self.held -= released;
            self.counts.given_up += released as u64;
        }
    }

    /// A subscription was answered when the room was at `newest_seq` (0 where that is not known), with what the room had kept by
    /// then, ascending. Returns what its connection is to be given before it joins, so that it sees each push once and in order.
    pub(super) fn subscribed(&mut self, room_id: u64, newest_seq: u64, kept: Vec<(u64, T)>, now: Instant) -> Vec<T> {
        if newest_seq == 0 {
            return kept.into_iter().map(|(_, frame)| frame).collect();
        }
        let room = self.rooms.entry(room_id).or_insert_with(|| Room::new(Some(newest_seq), now));
        let passed = *room.passed.get_or_insert(newest_seq);
        // What has not been let through yet will come to it like to everybody else.
        let mut given: BTreeMap<u64, T> = kept.into_iter().filter(|(seq, _)| *seq <= passed).collect();
        let missed = room.recent.iter().filter(|(_, seq, _)| *seq > newest_seq);
        given.extend(missed.map(|(_, seq, frame)| (*seq, frame.clone())));
        given.into_values().collect()
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Lets through what waited long enough, and forgets what is of no use any more. Says which rooms `out` is for.
    pub(super) fn expire(&mut self, now: Instant, mut pass: impl FnMut(u64, T)) {
        let mut out = Vec::new();
        while let Some((_, room_id)) = self.due.pop_front_if(|(at, _)| *at <= now) {
            let Some(room) = self.rooms.get_mut(&room_id) else { continue };
            room.recent.retain(|(until, _, _)| *until > now);
            let released = room.release(Some(now), &mut out);
            self.held -= released;
            self.counts.given_up += released as u64;
            out.drain(..).for_each(|frame| pass(room_id, frame));
        }
        if now.saturating_duration_since(*self.swept.get_or_insert(now)) >= IDLE / 10 {
            self.swept = Some(now);
            self.rooms.retain(|_, room| !room.held.is_empty() || now.saturating_duration_since(room.touched) < IDLE);
        }
    }
}

impl<T: Clone> Room<T> {
    fn new(passed: Option<u64>, now: Instant) -> Self {
        Self { passed, held: BTreeMap::new(), recent: VecDeque::new(), touched: now }
    }

    fn has_passed(&self, seq: u64) -> bool {
        seq <= self.passed.unwrap_or(0)
    }

    fn pass(&mut self, seq: u64, frame: T, until: Instant, out: &mut Vec<T>) {
        self.passed = Some(seq);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((until, seq, frame.clone()));
        out.push(frame);
    }

    /// Lets through what waits for nothing any more, and everything before what may wait no longer than until `now`. Returns how
    /// many.
    fn release(&mut self, now: Option<Instant>, out: &mut Vec<T>) -> usize {
        let overdue = now.and_then(|now| self.held.iter().rfind(|(_, held)| held.until <= now).map(|(seq, _)| *seq));
        let mut released = 0;
        while let Some(first) = self.held.first_entry() {
            let is_overdue = overdue.is_some_and(|overdue| *first.key() <= overdue);
            if !is_overdue && first.get().after_seq > self.passed.unwrap_or(0) {
                break;
            }
            let (seq, held) = first.remove_entry();
            self.pass(seq, held.frame, held.until, out);
            released += 1;
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOLD: Duration = Duration::from_millis(100);
    const NONE: [u64; 0] = [];

    fn order() -> RoomResequencer<u64> {
        RoomResequencer::new(HOLD, 1_000)
    }

    fn push(order: &mut RoomResequencer<u64>, seq: u64, after_seq: u64, now: Instant) -> Vec<u64> {
        let mut out = Vec::new();
        order.push(SequencedPush { room_id: 1, seq, after_seq, frame: seq }, now, &mut out);
        out
    }

    fn expire(order: &mut RoomResequencer<u64>, now: Instant) -> Vec<u64> {
        let mut out = Vec::new();
        order.expire(now, |_, frame| out.push(frame));
        out
    }

    #[test]
    fn a_push_waits_for_the_one_before_it_on_another_stream() {
        let (mut order, now) = (order(), Instant::now());
        assert_eq!(push(&mut order, 1, 0, now), [1]);
        assert_eq!(push(&mut order, 3, 2, now), NONE);
        assert_eq!(push(&mut order, 4, 2, now), NONE);
        assert_eq!(push(&mut order, 2, 1, now), [2, 3, 4]);
        assert_eq!((order.held, order.counts), (0, Counts { held: 2, ..Counts::default() }));
    }

    #[test]
    fn a_room_that_one_node_pushes_into_never_waits_whatever_is_missing() {
        let (mut order, now) = (order(), Instant::now());
        for seq in [5, 9, 10, 4_000] {
            assert_eq!(push(&mut order, seq, 0, now), [seq]);
        }
    }

    #[test]
    fn what_never_comes_is_waited_for_for_a_while_and_late_afterwards() {
        let (mut order, now) = (order(), Instant::now());
        push(&mut order, 1, 0, now);
        assert_eq!(push(&mut order, 3, 2, now), NONE);
        assert_eq!(expire(&mut order, now + HOLD / 2), NONE);
        assert_eq!(expire(&mut order, now + HOLD), [3]);
        assert_eq!(push(&mut order, 2, 1, now + HOLD), NONE);
        assert_eq!(order.counts, Counts { held: 1, given_up: 1, late: 1 });
    }

    #[test]
    fn a_room_that_is_numbered_anew_is_not_silent_for_ever() {
        let (mut order, now) = (order(), Instant::now());
        push(&mut order, 5_000, 0, now);
        expire(&mut order, now + HOLD);
        for seq in 1..=3 {
            assert_eq!(push(&mut order, seq, 0, now + LATE_MAX / 4 * u32::try_from(seq).unwrap()), NONE);
        }
        assert_eq!(order.counts.late, 3);
        assert_eq!(push(&mut order, 4, 0, now + LATE_MAX), [4]);
        assert_eq!(push(&mut order, 5, 0, now + LATE_MAX), [5]);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (mut order, now) = (RoomResequencer::new(HOLD, 2), Instant::now());
        push(&mut order, 1, 0, now);
        assert_eq!(push(&mut order, 3, 2, now), NONE);
        assert_eq!(push(&mut order, 5, 4, now), NONE);
        assert_eq!(push(&mut order, 7, 6, now), [3, 5, 7]);
        assert_eq!((order.held, order.counts.given_up), (0, 3));
    }

    #[test]
    fn who_subscribes_sees_each_push_once_and_in_order_whatever_is_under_way() {
        let (mut order, now) = (order(), Instant::now());
        push(&mut order, 1, 0, now);
        push(&mut order, 2, 0, now);
        // 3 is kept already and still on its way here: it comes to the newcomer as to all others.
        assert_eq!(order.subscribed(1, 3, vec![(1, 1), (2, 2), (3, 3)], now), [1, 2]);
        assert_eq!(push(&mut order, 3, 2, now), [3]);
        assert_eq!(push(&mut order, 4, 3, now), [4]);
        // 4 was here before the answer that knew nothing of it.
        assert_eq!(order.subscribed(1, 3, vec![(2, 2), (3, 3)], now), [2, 3, 4]);
        // Of a room that nothing came of yet, the answer tells how far it is.
        assert_eq!(order.subscribed(2, 8, vec![(8, 8)], now), [8]);
        let mut out = Vec::new();
        order.push(SequencedPush { room_id: 2, seq: 9, after_seq: 8, frame: 9 }, now, &mut out);
        assert_eq!(out, [9]);
    }

    #[test]
    fn idle_rooms_and_old_pushes_are_forgotten() {
        let (mut order, now) = (order(), Instant::now());
        push(&mut order, 1, 0, now);
        expire(&mut order, now + HOLD);
        assert!(order.rooms[&1].recent.is_empty() && order.due.is_empty());
        expire(&mut order, now + HOLD + IDLE);
        assert!(order.rooms.is_empty());
    }

    proptest! {
        /// Three nodes number messages, their streams deliver in any interleaving, some messages are lost.
        #[test]
        fn pushes_come_out_ascending_and_nothing_that_came_in_time_is_missing(
            numbered in proptest::collection::vec((0usize..3, 0u8..10), 1..120),
            picks in proptest::collection::vec((0usize..3, 0u64..30), 1..400),
            loses: bool,
        ) {
            let mut streams: [VecDeque<(u64, u64)>; 3] = Default::default();
            let (mut newest_of, mut sent) = ([0u64; 3], Vec::new());
            for (index, &(node, luck)) in numbered.iter().enumerate() {
                let seq = index as u64 + 1;
                let after = (0..3).filter(|other| *other != node).map(|other| newest_of[other]).max().unwrap();
                newest_of[node] = seq;
                if !loses || luck > 0 {
                    streams[node].push_back((seq, after));
                    sent.push(seq);
                }
            }
            let (mut order, mut now) = (order(), Instant::now());
            let mut out = Vec::new();
            let picks = picks.into_iter().chain((0..3).cycle().map(|node| (node, 1)));
            for (node, pause_ms) in picks {
                if streams.iter().all(VecDeque::is_empty) {
                    break;
                }
                if loses {
                    now += Duration::from_millis(pause_ms);
                    order.expire(now, |_, seq| out.push(seq));
                }
                if let Some((seq, after_seq)) = streams[node].pop_front() {
                    order.push(SequencedPush { room_id: 1, seq, after_seq, frame: seq }, now, &mut out);
                }
            }
            order.expire(now + HOLD, |_, seq| out.push(seq));
            prop_assert!(out.is_sorted_by(|a, b| a < b), "{out:?}");
            prop_assert_eq!(out.len() as u64 + order.counts.late, sent.len() as u64);
            prop_assert_eq!(order.held, 0);
            if !loses {
                prop_assert_eq!((out, order.counts.late, order.counts.given_up), (sent, 0, 0));
            }
        }
    }
}
