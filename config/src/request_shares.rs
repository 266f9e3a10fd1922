//! What each user may ask of a service: so many requests per second in the long run, over all connections and calls.
//!
//! Any task; the time is passed in. Always holds: nobody's share depends on what others ask for. Who asks for more is
//! refused, at once while that happens seldom, and else after [`REFUSAL_DELAY`]: who asks again at each refusal would else cost the
//! others as much as if he were served.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gim_proto::ResultCode;
use tonic::Status;

use crate::rations::Rations;

/// What a request takes. What comes to more is charged for when it is known.
pub const REQUEST: u64 = 4;

/// What an acknowledgement takes, which a client may send for each message that it gets.
pub const ACK: u64 = 1;

/// Refusals of a user that are told at once: so many, and as many more in each second.
const PROMPT_REFUSALS: u64 = 50;

/// How long other refusals are kept back. Who waits for an answer before he asks again asks that much less often.
pub const REFUSAL_DELAY: Duration = Duration::from_secs(1);

/// The shares of all users.
#[derive(Debug)]
pub struct RequestShares {
    is_bounded: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    requests: Rations,
    prompt_refusals: Rations,
}

/// A request that is beyond the share of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondShare {
    /// How long to wait before he is told.
    pub delay: Duration,
    /// How long until his share has room for the same request.
    pub wait: Duration,
}

impl BeyondShare {
    /// What remains of [`BeyondShare::wait`] when he is told, which happens now.
    pub async fn told(self) -> Duration {
        tokio::time::sleep(self.delay).await;
        self.wait.saturating_sub(self.delay)
    }

    /// The refusal of a call, when it is time to tell it.
    pub async fn refusal(self) -> Status {
        let wait = self.told().await;
        ResultCode::TooManyRequests.status_after(ResultCode::TooManyRequests.text(), wait)
    }
}

impl RequestShares {
    /// `per_s` requests in each second (0 for no bound), of which `burst` may be saved up.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let prompt_refusals = Rations::new(PROMPT_REFUSALS, Duration::from_secs(1));
        let taken = Mutex::new(Taken { requests: rations(per_s, burst), prompt_refusals });
        Self { is_bounded: AtomicBool::new(per_s > 0), taken }
    }

    /// Other shares from now on, of which nobody has taken anything.
    pub fn set(&self, per_s: u32, burst: u32) {
        self.lock().requests = rations(per_s, burst);
        self.is_bounded.store(per_s > 0, Ordering::Relaxed);
    }

    /// Takes what a request costs ([`REQUEST`] or [`ACK`]) from the share of its user.
    ///
    /// # Errors
    /// There is nothing left of it.
    pub fn take(&self, user_id: u64, cost: u64, now: Instant) -> Result<(), BeyondShare> {
        if !self.is_bounded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut taken = self.lock();
        if taken.requests.has_left(user_id, now) {
            taken.requests.take(user_id, cost, now);
            return Ok(());
        }
        let is_prompt = taken.prompt_refusals.has_left(user_id, now);
        taken.prompt_refusals.take(user_id, u64::from(is_prompt), now);
        let wait = taken.requests.wait_for(user_id, cost, now);
        Err(BeyondShare { delay: if is_prompt { Duration::ZERO } else { REFUSAL_DELAY }, wait })
    }

    /// A request of a user came to so many more, in work or in bytes.
    pub fn charge(&self, user_id: u64, requests: u64, now: Instant) {
        if self.is_bounded.load(Ordering::Relaxed) && requests > 0 {
            self.lock().requests.take(user_id, requests * REQUEST, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rations(per_s: u32, burst: u32) -> Rations {
    let burst = u64::from(burst.max(per_s).max(1));
    let refill = Duration::from_secs_f64(burst as f64 / f64::from(per_s.max(1)));
    Rations::new(burst * REQUEST, refill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_may_become_others_while_they_are_taken() {
        let (shares, now) = (RequestShares::new(1, 1), Instant::now());
        let done = || (0..1_000).filter(|_| shares.take(7, REQUEST, now).is_ok()).count();
        assert_eq!(done(), 1);
        shares.set(10, 100);
        assert_eq!(done(), 100);
        shares.set(0, 0);
        assert_eq!(done(), 1_000);
    }

    #[test]
    fn a_user_has_his_share_whatever_others_ask_for() {
        let (shares, start) = (RequestShares::new(10, 100), Instant::now());
        let done = |user_id, now| (0..1_000).filter(|_| shares.take(user_id, REQUEST, now).is_ok()).count();
        assert_eq!([done(7, start), done(8, start)], [100, 100]);
        assert_eq!(done(7, start + Duration::from_secs(2)), 20);
    }

    #[test]
    fn acks_take_a_quarter_and_large_answers_more() {
        let (shares, start) = (RequestShares::new(10, 100), Instant::now());
        assert_eq!((0..1_000).filter(|_| shares.take(7, ACK, start).is_ok()).count(), 400);
        shares.charge(8, 95, start);
        assert_eq!((0..1_000).filter(|_| shares.take(8, REQUEST, start).is_ok()).count(), 5);
    }

    #[test]
    fn refusals_come_at_once_while_they_are_few() {
        let (shares, start) = (RequestShares::new(1, 1), Instant::now());
        shares.take(7, REQUEST, start).unwrap();
        let delays =
            |now| -> Vec<Duration> { (0..60).map(|_| shares.take(7, REQUEST, now).unwrap_err().delay).collect() };
        let told = delays(start);
        assert!(told[..50].iter().all(Duration::is_zero) && told[50..].iter().all(|delay| *delay == REFUSAL_DELAY));
        shares.charge(7, 1_000, start);
        assert_eq!(delays(start + Duration::from_secs(1)), told, "as many are prompt in the next second");
    }

    #[test]
    fn who_waits_as_long_as_he_is_told_is_served() {
        let (shares, start) = (RequestShares::new(10, 100), Instant::now());
        shares.charge(7, 150, start);
        let wait = shares.take(7, REQUEST, start).unwrap_err().wait;
        assert_eq!(wait, Duration::from_millis(5_100));
        assert!(shares.take(7, REQUEST, start + wait / 2).is_err());
        shares.take(7, REQUEST, start + wait).unwrap();
    }

    #[test]
    fn without_a_bound_nobody_is_refused() {
        let (shares, now) = (RequestShares::new(0, 0), Instant::now());
        shares.charge(7, 1_000_000, now);
        assert_eq!(shares.take(7, REQUEST, now), Ok(()));
    }
}
