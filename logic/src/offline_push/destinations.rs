//! Where calls go, and which of these places take something now: a service, or of Web Push the service of one browser's maker.
//!
//! Pure, with the time passed in. Always holds: a place that failed several times in a row is left alone for a while, longer and longer, and
//! then has one call at a time until one works; another place is not concerned.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// A place where calls go; an empty one where a sender has one alone.
pub(super) type Destination = Arc<str>;

/// So many failures in a row are that of the place, and so many about single devices.
const FAILURES_MAX: u32 = 4;
const DEVICE_FAILURES_MAX: u32 = 32;

/// From one attempt to the next.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest that a service may say.
const PAUSE_SAID_MAX: Duration = Duration::from_secs(300);

/// Places that are remembered though they do not work.
const PLACES_MAX: usize = 1_024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Destinations {
    calls_max: usize,
    places: HashMap<Destination, State>,
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    failures: u32,
    device_failures: u32,
    until: Option<Instant>,
}

impl Destinations {
    /// How soon a place is looked at again that has all the calls that it may.
    pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

    /// With so many calls under way to each place.
    pub(super) fn new(calls_max: usize) -> Self {
        Self { calls_max, places: HashMap::new() }
    }

    pub(super) fn has_place(&self, place: &Destination, now: Instant) -> bool {
        let Some(state) = self.places.get(place) else { return true };
        let calls_max = if state.until.is_some() { 1 } else { self.calls_max };
        state.calls < calls_max && state.until.is_none_or(|until| until <= now)
    }

    /// Takes a place for a call, to be given back when that ends.
    pub(super) fn take_place(&mut self, place: &Destination, now: Instant) -> bool {
        let has_place = self.has_place(place, now);
        if has_place {
            self.places.entry(place.clone()).or_default().calls += 1;
        }
        has_place
    }

    pub(super) fn give_back(&mut self, place: &Destination) {
        let Some(state) = self.places.get_mut(place) else { return };
        state.calls = state.calls.saturating_sub(1);
        let is_fine = state.until.is_none() && state.failures == 0 && state.device_failures == 0;
        if state.calls == 0 && (is_fine || self.places.len() > PLACES_MAX) {
            self.places.remove(place);
        }
    }

    /// A call worked.
    pub(super) fn worked(&mut self, place: &Destination) {
        if let Some(state) = self.places.get_mut(place) {
            *state = State { calls: state.calls, ..State::default() };
        }
    }

    /// A call failed by the fault of the place, which may have said how long to leave it alone.
    pub(super) fn failed(&mut self, place: &Destination, said: Option<Duration>, now: Instant) {
        let state = self.places.entry(place.clone()).or_default();
        state.failures += 1;
        if state.failures >= FAILURES_MAX {
            state.until = Some(now + pause(state.failures - FAILURES_MAX, said));
        }
    }

    /// A call failed by what is about its device, or is said to be.
    pub(super) fn failed_for_device(&mut self, place: &Destination, said: Option<Duration>, now: Instant) {
        let state = self.places.entry(place.clone()).or_default();
        state.device_failures += 1;
        if state.device_failures >= DEVICE_FAILURES_MAX {
            state.device_failures = 0;
            state.until = Some(now + pause(0, said));
        }
    }
}

/// Twice as long after each failure, and somewhere between the half of it and all, so that nodes do not come together; no shorter than what
/// was said.
pub(super) fn pause(failures: u32, said: Option<Duration>) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.5..=1.0)).max(said.unwrap_or_default().min(PAUSE_SAID_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_fails_in_a_row_is_left_alone_and_tried_by_one_call() {
        let (mut all, now) = (Destinations::new(2), Instant::now());
        let (dead, other): (Destination, Destination) = ("dead".into(), "other".into());
        for _ in 1..FAILURES_MAX {
            all.failed(&dead, None, now);
        }
        assert!(all.has_place(&dead, now), "a few failures are nobody's fault");
        all.failed(&dead, Some(Duration::from_secs(30)), now);
        assert!(!all.has_place(&dead, now + Duration::from_secs(29)) && all.has_place(&other, now));
        let later = now + Duration::from_secs(61);
        assert!(all.take_place(&dead, later) && !all.has_place(&dead, later));
        all.worked(&dead);
        all.give_back(&dead);
        assert!(all.take_place(&dead, later) && all.take_place(&dead, later) && !all.take_place(&dead, later));
    }

    #[test]
    fn what_is_about_single_devices_stops_nobody_else() {
        let (mut all, now) = (Destinations::new(2), Instant::now());
        let place: Destination = "".into();
        for _ in 1..DEVICE_FAILURES_MAX {
            all.failed_for_device(&place, Some(Duration::from_secs(60)), now);
            assert!(all.has_place(&place, now));
        }
        all.failed_for_device(&place, None, now);
        assert!(!all.has_place(&place, now), "nobody at all is taken");
        assert!(pause(0, None) >= PAUSE_FIRST / 2 && pause(30, None) <= PAUSE_MAX);
        assert_eq!(pause(0, Some(Duration::from_secs(9_999))), PAUSE_SAID_MAX);
        assert!(pause(0, Some(Duration::ZERO)) >= PAUSE_FIRST / 2, "at once is too soon");
    }
}
