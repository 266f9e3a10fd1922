//! Whether it is worth while to ask, for one call of the business and those who can do without its answer. Any task; the time is passed in.
//!
//! Always holds: only what this one call was answered counts. Others may be slow, or fail, without a user being let off a question
//! that would be answered.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// What fails for so long is no hiccup, and not worth waiting for at each call.
const SETTLED: Duration = Duration::from_secs(2);

/// From the last try or failure until it is tried again then.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// So long nothing may fail until it is over: a server that answers some calls is not back.
const QUIET: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// So that a call that is answered costs no lock.
    is_failing: AtomicBool,
    state: Mutex<Option<Failing>>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    failed: Instant,
    tried: Instant,
}

impl Breaker {
    /// The call failed.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.lock();
        state.get_or_insert(Failing { since: now, failed: now, tried: now }).failed = now;
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// The call was answered.
    pub(super) fn answered(&self, now: Instant) {
        if !self.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        if state.is_some_and(|failing| now.saturating_duration_since(failing.failed) >= QUIET) {
            *state = None;
            self.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// Whether those should ask who can do without an answer: where the call has failed for a while, one in a second at most, as each may
    /// wait for the whole of its timeout.
    pub(super) fn is_worth_a_try(&self, now: Instant) -> bool {
        if !self.is_failing.load(Ordering::Relaxed) {
            return true;
        }
        let mut state = self.lock();
        let Some(failing) = &mut *state else { return true };
        let is_settled = failing.failed.saturating_duration_since(failing.since) >= SETTLED;
        if is_settled && now.saturating_duration_since(failing.tried.max(failing.failed)) < TRY_INTERVAL {
            return false;
        }
        failing.tried = now;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_do_without_an_answer_tries_once_in_a_second_while_it_fails() {
        let (breaker, begun) = (Breaker::default(), Instant::now());
        let after_ms = |ms: u64| begun + Duration::from_millis(ms);
        assert!(breaker.is_worth_a_try(begun));
        breaker.failed(begun);
        assert!(breaker.is_worth_a_try(after_ms(100)) && breaker.is_worth_a_try(after_ms(200)), "it may be a hiccup");
        assert!(breaker.is_worth_a_try(after_ms(2_000)) && breaker.is_worth_a_try(after_ms(2_000)), "it failed once");
        breaker.failed(after_ms(2_000));
        let tries = (2_000..12_500).filter(|ms| breaker.is_worth_a_try(after_ms(*ms))).count();
        assert_eq!(tries, 10);
        breaker.answered(after_ms(13_000));
        assert!(breaker.is_worth_a_try(after_ms(13_000)) && breaker.is_worth_a_try(after_ms(13_000)));
    }

    #[test]
    fn a_try_that_takes_longer_than_a_second_is_not_followed_by_the_next_one() {
        let (breaker, begun) = (Breaker::default(), Instant::now());
        let after_ms = |ms: u64| begun + Duration::from_millis(ms);
        breaker.failed(begun);
        assert!(breaker.is_worth_a_try(after_ms(2_000)), "it is not sure yet that it hangs");
        breaker.failed(after_ms(5_000));
        breaker.answered(after_ms(5_001));
        assert!(!breaker.is_worth_a_try(after_ms(5_001)), "who waited for it goes on without it");
        assert!(breaker.is_worth_a_try(after_ms(6_000)));
    }
}
