//! Deadlines of connections: one hashed wheel per reactor, driven by the reactor's clock.
//!
//! Traffic never touches the wheel. A connection is filed once under a time at which it is worth looking at again; when that
//! comes, its owner either acts or files it anew for the real deadline. Each slot is filed at most once.
//!
//! Always holds: entries are doubly linked through `links`, so that a closed connection leaves in constant time; a slot that
//! is not filed has `bucket == NONE`. Links live in blocks of fixed size: growing moves nothing.

use crate::clock::TICK_MS;

/// Ticks around the wheel (about 524 s); later deadlines are looked at once per round.
const BUCKETS: usize = 4096;

/// Links per block.
const BLOCK: usize = 4096;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Neighbours {
    next: u32,
    previous: u32,
    /// The bucket the slot is filed in, or `NONE`.
    bucket: u32,
}

const UNFILED: Neighbours = Neighbours { next: NONE, previous: NONE, bucket: NONE };

/// The wheel of one reactor.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[u32]>,
    links: Vec<Box<[Neighbours]>>,
    /// The last tick whose bucket was emptied.
    tick: u64,
    filed: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { heads: vec![NONE; BUCKETS].into(), links: Vec::new(), tick: 0, filed: 0 }
    }
}

impl Wheel {
    /// How many slots are filed.
    pub fn len(&self) -> usize {
        self.filed
    }

    /// Whether no slot is filed.
    pub fn is_empty(&self) -> bool {
        self.filed == 0
    }

    /// Files `slot` under `deadline_ms`, or moves it there.
    pub fn schedule(&mut self, slot: usize, deadline_ms: u64) {
        self.cancel(slot);
        // A deadline within the current tick falls into the next one: late by a tick at most, never early.
        let tick = deadline_ms.div_ceil(TICK_MS).max(self.tick + 1).min(self.tick + BUCKETS as u64 - 1);
        let bucket = (tick % BUCKETS as u64) as usize;
        let head = self.heads[bucket];
        *self.link(slot) = Neighbours { next: head, previous: NONE, bucket: bucket as u32 };
        if head != NONE {
            self.link(head as usize).previous = slot as u32;
        }
        self.heads[bucket] = slot as u32;
        self.filed += 1;
    }

    /// Takes `slot` out, if it is filed.
    pub fn cancel(&mut self, slot: usize) {
        let Neighbours { next, previous, bucket } = *self.link(slot);
        if bucket == NONE {
            return;
        }
        match previous {
            NONE => self.heads[bucket as usize] = next,
            _ => self.link(previous as usize).next = next,
        }
        if next != NONE {
            self.link(next as usize).previous = previous;
        }
        *self.link(slot) = UNFILED;
        self.filed -= 1;
    }

    /// Takes out one slot whose time has come, if there is one. Call it until it returns `None` or a budget is spent.
    pub fn expire(&mut self, now_ms: u64) -> Option<usize> {
        let now = now_ms / TICK_MS;
        if self.filed == 0 {
            self.tick = self.tick.max(now);
            return None;
        }
        loop {
            let slot = self.heads[(self.tick % BUCKETS as u64) as usize];
            if slot != NONE {
                self.cancel(slot as usize);
                return Some(slot as usize);
            }
            if self.tick >= now {
                return None;
            }
            self.tick += 1;
        }
    }

    /// Whether [`Wheel::expire`] may have more to take out now.
    pub fn has_due(&self, now_ms: u64) -> bool {
        let is_behind = self.tick < now_ms / TICK_MS;
        !self.is_empty() && (is_behind || self.heads[(self.tick % BUCKETS as u64) as usize] != NONE)
    }

    /// Milliseconds until the next tick ends: how long a reactor with nothing else to do may sleep.
    pub fn sleep_ms(&self, now_ms: u64) -> u64 {
        (TICK_MS - now_ms % TICK_MS).max(1)
    }

    fn link(&mut self, slot: usize) -> &mut Neighbours {
        while self.links.len() <= slot / BLOCK {
            self.links.push(vec![UNFILED; BLOCK].into());
        }
        &mut self.links[slot / BLOCK][slot % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn expired(wheel: &mut Wheel, now_ms: u64) -> Vec<usize> {
        let mut slots: Vec<usize> = std::iter::from_fn(|| wheel.expire(now_ms)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn deadlines_are_never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::default();
        wheel.schedule(3, 1000);
        assert!(expired(&mut wheel, 999).is_empty());
        assert_eq!(expired(&mut wheel, 1000 + TICK_MS), [3]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn what_was_not_taken_out_yet_is_known() {
        let mut wheel = Wheel::default();
        assert!(!wheel.has_due(5000));
        wheel.schedule(1, 500);
        wheel.schedule(2, 500);
        assert!(!wheel.has_due(TICK_MS - 1));
        for left in [true, false] {
            assert!(wheel.expire(700).is_some());
            assert_eq!(wheel.has_due(700), left);
        }
    }

    #[test]
    fn moving_and_cancelling_leave_no_trace() {
        let mut wheel = Wheel::default();
        for slot in 0..10 {
            wheel.schedule(slot, 500);
        }
        wheel.schedule(4, 5000);
        wheel.cancel(7);
        wheel.cancel(7);
        assert_eq!(expired(&mut wheel, 700), [0, 1, 2, 3, 5, 6, 8, 9]);
        assert_eq!(expired(&mut wheel, 6000), [4]);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_deadline_beyond_the_round_comes_back_early_enough_to_be_filed_anew() {
        let mut wheel = Wheel::default();
        let far = 3 * BUCKETS as u64 * TICK_MS;
        wheel.schedule(1, far);
        let mut now = 0;
        let mut looked = 0;
        while now < far {
            now += TICK_MS;
            if wheel.expire(now).is_some() {
                looked += 1;
                wheel.schedule(1, far);
            }
        }
        assert!(looked <= 4, "{looked}");
        assert_eq!(expired(&mut wheel, far + TICK_MS), [1]);
    }

    #[test]
    fn a_long_idle_wheel_catches_up_at_once() {
        let mut wheel = Wheel::default();
        assert_eq!(wheel.expire(1_000_000_000), None);
        wheel.schedule(5, 1_000_000_001);
        assert_eq!(expired(&mut wheel, 1_000_000_000 + 2 * TICK_MS), [5]);
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_list(operations in proptest::collection::vec((0usize..20, 0u64..20_000, 0u64..300), 1..300)) {
            let (mut wheel, mut model, mut now) = (Wheel::default(), HashMap::new(), 0);
            for (slot, delay, step) in operations {
                if delay % 7 == 0 {
                    wheel.cancel(slot);
                    model.remove(&slot);
                } else {
                    wheel.schedule(slot, now + delay);
                    model.insert(slot, now + delay);
                }
                prop_assert_eq!(wheel.len(), model.len());
                now += step;
                for slot in expired(&mut wheel, now) {
                    let deadline = model.remove(&slot);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "early: {:?} at {}", deadline, now);
                }
                let late = model.values().filter(|deadline| **deadline + 2 * TICK_MS <= now).count();
                prop_assert_eq!(late, 0);
            }
        }
    }
}
