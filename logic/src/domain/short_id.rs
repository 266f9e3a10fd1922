//! Ids of devices and groups: ordered by time and made without asking anybody, as message ids are, but below 2^53, so that a
//! number of JavaScript holds each of them.
//!
//! ```text
//!  52                       21 20        11 10          0
//! ┌───────────────────────────┬────────────┬─────────────┐
//! │ seconds since 2024 (32)   │ node (10)  │ counter (11)│
//! └───────────────────────────┴────────────┴─────────────┘
//! ```
//! Always holds: an id is greater than every earlier one of its generator; one that makes more than 2048 in a second runs ahead of
//! the clock. Any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{clock, message_id};

const COUNTER_BITS: u32 = 11;
const NODE_BITS: u32 = 10;

/// Makes the ids of one node.
#[derive(Debug)]
pub struct ShortIds {
    node_number: u64,
    /// Seconds and counter of the newest id, side by side, so that a counter that overflows carries into the time.
    last: AtomicU64,
}

impl ShortIds {
    /// A generator that begins after this second, in which a process that ended just before may have made ids of its own, and after
    /// that of the newest message, which the database remembers (0 for none): a clock that was set back repeats no id.
    pub fn new(node_number: u16, newest_message_id: u64, now_ms: i64) -> Self {
        let newest_s = seconds_at(message_id::time_ms(newest_message_id).max(now_ms));
        Self { node_number: node_number.into(), last: AtomicU64::new((newest_s + 1) << COUNTER_BITS) }
    }

    /// The next id.
    pub fn next_id(&self) -> u64 {
        self.next_at(clock::now_ms())
    }

    fn next_at(&self, now_ms: i64) -> u64 {
        let now = seconds_at(now_ms) << COUNTER_BITS;
        let advance = |last: u64| now.max(last + 1);
        let update = |last| Some(advance(last));
        let (Ok(last) | Err(last)) = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
        let next = advance(last);
        let counter = next & ((1 << COUNTER_BITS) - 1);
        (next >> COUNTER_BITS) << (NODE_BITS + COUNTER_BITS) | self.node_number << COUNTER_BITS | counter
    }
}

fn seconds_at(time_ms: i64) -> u64 {
    u64::try_from((time_ms - message_id::EPOCH_MS) / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message_id::EPOCH_MS;

    /// What a number of JavaScript holds exactly.
    const SAFE_MAX: u64 = (1 << 53) - 1;

    #[test]
    fn an_id_shows_its_second_node_and_counter() {
        let ids = ShortIds::new(5, 0, 0);
        let now_ms = EPOCH_MS + 1_000_999;
        assert_eq!(ids.next_at(now_ms), 1_000 << 21 | 5 << 11);
        assert_eq!(ids.next_at(now_ms), 1_000 << 21 | 5 << 11 | 1);
        assert_eq!(ids.next_at(now_ms + 1), 1_001 << 21 | 5 << 11);
    }

    #[test]
    fn ids_grow_when_the_clock_steps_back_and_when_a_second_is_full() {
        let ids = ShortIds::new(1_023, 0, 0);
        let mut last = ids.next_at(EPOCH_MS + 9_000);
        for step in 0..10_000 {
            let next = ids.next_at(EPOCH_MS + 9_000 - step);
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_restart_with_an_earlier_clock_repeats_no_id() {
        let second_ms = EPOCH_MS + 50_000;
        let before = ShortIds::new(7, 0, 0).next_at(second_ms);
        assert!(ShortIds::new(7, message_id::least_at(second_ms), 0).next_at(second_ms - 5_000) > before);
    }

    #[test]
    fn a_restart_within_a_second_repeats_no_id() {
        let second_ms = EPOCH_MS + 50_000;
        let before = ShortIds::new(7, 0, second_ms - 3_000);
        let last = (0..100).map(|_| before.next_at(second_ms)).max();
        assert!(Some(ShortIds::new(7, 0, second_ms + 1).next_at(second_ms + 1)) > last);
    }

    #[test]
    fn a_number_of_javascript_holds_each_id_until_2160() {
        assert!(ShortIds::new(1_023, 0, 0).next_at(EPOCH_MS + ((1 << 32) - 1) * 1_000) <= SAFE_MAX);
        assert!(ShortIds::new(0, 0, 0).next_at(0) > 0);
    }
}
