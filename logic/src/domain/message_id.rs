//! Message ids: ordered by time, unique across nodes, made without asking anybody.
//!
//! ```text
//!  62                                   22 21        12 11          0
//! ┌───────────────────────────────────────┬────────────┬─────────────┐
//! │ milliseconds since 2024-01-01 (41)    │ node (10)  │ counter (12)│
//! └───────────────────────────────────────┴────────────┴─────────────┘
//! ```
//! Always holds: an id is greater than every earlier one of its generator, also when the clock steps back or more than 4096
//! ids are made in one millisecond; the generator then runs ahead of the clock. No id is below a floor that was told before it was
//! made. Any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;

/// The largest node number that fits.
pub const NODE_NUMBER_MAX: u16 = (1 << NODE_BITS) - 1;

const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
/// The last millisecond that an id can say.
const TIME_MAX: u64 = (1 << 41) - 1;
/// 2024-01-01T00:00:00Z.
pub(super) const EPOCH_MS: i64 = 1_704_067_200_000;

/// When an id was made, Unix milliseconds (ahead of the clock where its generator was).
pub fn time_ms(id: u64) -> i64 {
    EPOCH_MS.saturating_add((id >> (NODE_BITS + COUNTER_BITS)).cast_signed())
}

/// The least id that can be made at a time, or later; of a time that no id can say, the nearest one that it can.
pub fn least_at(time_ms: i64) -> u64 {
    u64::try_from(time_ms.saturating_sub(EPOCH_MS)).unwrap_or(0).min(TIME_MAX) << (NODE_BITS + COUNTER_BITS)
}

/// The id of a message that another server made in a second and numbered: in the order of its numbers. None of them is that of a
/// place without a message.
pub fn of_numbered(created_at_s: i64, number: u64) -> u64 {
    least_at(created_at_s.saturating_mul(1_000)) + number % (PLACE_MS << (NODE_BITS + COUNTER_BITS))
}

/// What stands in an inbox for a message that is not there, and belongs into a second.
pub fn of_place_without_message(created_at_s: i64) -> u64 {
    least_at(created_at_s.saturating_mul(1_000)) + (PLACE_MS << (NODE_BITS + COUNTER_BITS))
}

/// Whether an id is one of [`of_place_without_message`].
pub fn is_of_place(id: u64) -> bool {
    (id >> (NODE_BITS + COUNTER_BITS)) % 1_000 == PLACE_MS && id & ((1 << (NODE_BITS + COUNTER_BITS)) - 1) == 0
}

/// Of a second that another server counted, the millisecond that no message is put into.
const PLACE_MS: u64 = 999;

/// Makes the ids of one node.
#[derive(Debug)]
pub struct MessageIds {
    node_number: u64,
    /// Milliseconds and counter of the newest id, side by side, so that a counter that overflows carries into the time.
    last: AtomicU64,
}

impl MessageIds {
    /// A generator whose ids are all greater than `newest_id`, which the database remembers (0 for none).
    pub fn new(node_number: u16, newest_id: u64) -> Self {
        let newest_ms = newest_id >> (NODE_BITS + COUNTER_BITS);
        Self { node_number: node_number.into(), last: AtomicU64::new((newest_ms + 1) << COUNTER_BITS) }
    }

    /// The next id.
    pub fn next_id(&self) -> u64 {
        self.next_at(clock::now_ms())
    }

    /// The next id and the time at which it is made, from one look at the clock: the time that the id says is never before it, so
    /// that a search by [`least_at`] finds every message that came then (two looks may lie in two milliseconds).
    pub fn next_with_time(&self) -> (u64, i64) {
        let now_ms = clock::now_ms();
        (self.next_at(now_ms), now_ms)
    }

    /// An id that none made from now on is below: that of this millisecond, or of the one that the generator is ahead at.
    pub fn floor(&self) -> u64 {
        self.floor_at(clock::now_ms())
    }

    /// An id that all made so far are below, and none made from now on: the generator goes on in another millisecond, also where the clock
    /// stands behind it.
    pub fn pass_all(&self) -> u64 {
        self.pass_all_at(clock::now_ms())
    }

    fn pass_all_at(&self, now_ms: i64) -> u64 {
        let now = since_epoch(now_ms) << COUNTER_BITS;
        let beyond = |last: u64| now.max((last >> COUNTER_BITS).saturating_add(1) << COUNTER_BITS);
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(beyond(last)));
        beyond(last.unwrap_or_default()) >> COUNTER_BITS << (NODE_BITS + COUNTER_BITS)
    }

    /// Makes no id below a floor of another generator from now on, so that what all of them made rises, whatever their clocks say.
    pub fn raise(&self, floor: u64) {
        self.last.fetch_max(floor >> (NODE_BITS + COUNTER_BITS) << COUNTER_BITS, Ordering::AcqRel);
    }

    fn floor_at(&self, now_ms: i64) -> u64 {
        let now = since_epoch(now_ms) << COUNTER_BITS;
        let last = self.last.fetch_max(now, Ordering::AcqRel).max(now);
        last >> COUNTER_BITS << (NODE_BITS + COUNTER_BITS)
    }

    fn next_at(&self, now_ms: i64) -> u64 {
        let now = since_epoch(now_ms) << COUNTER_BITS;
        let advance = |last: u64| now.max(last + 1);
        let mut last = self.last.load(Ordering::Acquire);
        while let Err(newer) = self.last.compare_exchange_weak(last, advance(last), Ordering::AcqRel, Ordering::Acquire)
        {
            last = newer;
        }
        let next = advance(last);
        let counter = next & ((1 << COUNTER_BITS) - 1);
        (next >> COUNTER_BITS) << (NODE_BITS + COUNTER_BITS) | self.node_number << COUNTER_BITS | counter
    }
}

fn since_epoch(now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(EPOCH_MS)).unwrap_or(0).min(TIME_MAX)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    const NOW_MS: i64 = EPOCH_MS + 1_000_000;

    #[test]
    fn an_id_shows_its_time_node_and_counter() {
        let ids = MessageIds::new(5, 0);
        assert_eq!(ids.next_at(NOW_MS), 1_000_000 << 22 | 5 << 12);
        assert_eq!(ids.next_at(NOW_MS), 1_000_000 << 22 | 5 << 12 | 1);
        let later = ids.next_at(NOW_MS + 1);
        assert_eq!(later, 1_000_001 << 22 | 5 << 12);
        assert_eq!((time_ms(later), least_at(NOW_MS + 1)), (NOW_MS + 1, later & !0x3f_ffff));
        assert_eq!(least_at(0), 0);
    }

    #[test]
    fn an_id_is_found_by_the_time_that_is_made_with_it() {
        let ids = MessageIds::new(1, 0);
        for _ in 0..100_000 {
            let (id, made_at_ms) = ids.next_with_time();
            assert!(id >= least_at(made_at_ms));
        }
    }

    #[test]
    fn ids_grow_when_the_clock_steps_back_and_when_a_millisecond_is_full() {
        let ids = MessageIds::new(1023, 0);
        let mut last = ids.next_at(NOW_MS);
        for step in 0..10_000 {
            let next = ids.next_at(NOW_MS - step);
            assert!(next > last);
            last = next;
        }
        assert!(ids.next_at(0) > last, "a clock before 2024 does no harm");
    }

    #[test]
    fn no_id_is_below_a_floor_that_was_told_or_that_another_node_told() {
        let (ids, ahead) = (MessageIds::new(1023, 0), MessageIds::new(0, 0));
        let before = ids.next_at(NOW_MS);
        let floor = ids.floor_at(NOW_MS + 10);
        assert!(before < floor && floor == least_at(NOW_MS + 10));
        assert!(ids.next_at(NOW_MS - 60_000) >= floor, "the clock stepped back");
        let of_other = ahead.floor_at(NOW_MS + 3_600_000);
        ids.raise(of_other);
        let next = ids.next_at(NOW_MS + 20);
        assert!(next >= of_other && ids.floor_at(NOW_MS + 20) == of_other, "{next}");
        ids.raise(floor);
        let newest = ids.next_at(NOW_MS + 30);
        assert!(newest > next, "a floor that is lower changes nothing");
        let passed = ids.pass_all_at(NOW_MS + 40);
        assert!(passed > newest && ids.next_at(NOW_MS + 50) > passed, "though the clock is behind");
        assert_eq!(ids.pass_all_at(NOW_MS + 7_200_000), least_at(NOW_MS + 7_200_000));
    }

    #[test]
    fn a_restart_with_an_earlier_clock_repeats_no_id() {
        let newest = MessageIds::new(7, 0).next_at(NOW_MS);
        assert!(MessageIds::new(7, newest).next_at(NOW_MS - 5_000) > newest);
    }

    #[test]
    fn ids_fit_a_signed_64_bit_column_until_2093() {
        assert!(MessageIds::new(1023, 0).next_at(EPOCH_MS + (1 << 41) - 1) <= gim_proto::check::ID_MAX);
    }

    #[test]
    fn numbers_of_another_server_keep_their_second_and_their_order() {
        let second = 1_764_547_200;
        let ids = [7, 8, 4_000_000_000].map(|number| of_numbered(second, number));
        assert!(ids.is_sorted() && ids.iter().all(|&id| time_ms(id) / 1_000 == second));
        let place = of_place_without_message(second);
        assert!(place > ids[2] && time_ms(place) / 1_000 == second && place < of_numbered(second + 1, 0));
        assert!(is_of_place(place) && !ids.into_iter().any(is_of_place));
        assert_eq!(time_ms(of_numbered(0, 7)), EPOCH_MS, "before 2024 there are no ids");
    }

    #[test]
    fn threads_never_get_the_same_id() {
        let ids = MessageIds::new(1, 0);
        let make = || (0..10_000).map(|_| ids.next_id()).collect::<Vec<_>>();
        let all: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
