//! What a user may take of something that costs others: so much at once, and so much per second after that. Plain data; the time is
//! passed in.
//!
//! Always holds: who is remembered has less left than all; nobody else is.

use std::time::{Duration, Instant};

use foldhash::HashMap;

/// Users from whose number on those who have all of it left again are looked for.
const FORGET_FROM: usize = 1024;

/// The rations of all users.
#[derive(Debug)]
pub struct Rations {
    burst: u64,
    per_s: f64,
    taken: HashMap<u64, Taken>,
    forget_from: usize,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    amount: f64,
    at: Instant,
}

impl Rations {
    /// Everybody may take `burst` at once, and gets it back within `refill`.
    pub fn new(burst: u64, refill: Duration) -> Self {
        let per_s = burst as f64 / refill.as_secs_f64().max(0.001);
        Self { burst, per_s, taken: HashMap::default(), forget_from: FORGET_FROM }
    }

    /// Whether a user has some of it left.
    pub fn has_left(&self, user_id: u64, now: Instant) -> bool {
        self.taken.get(&user_id).is_none_or(|taken| taken.by(now, self.per_s) < self.burst as f64)
    }

    /// How long until a user has so much left, of what anybody may have at once.
    pub fn wait_for(&self, user_id: u64, amount: u64, now: Instant) -> Duration {
        let taken = self.taken.get(&user_id).map_or(0.0, |taken| taken.by(now, self.per_s));
        let beyond = taken - self.burst.saturating_sub(amount) as f64;
        Duration::try_from_secs_f64((beyond / self.per_s).max(0.0)).unwrap_or(Duration::MAX)
    }

    /// A user took so much. The last taking may go beyond what was left; it is waited for.
    pub fn take(&mut self, user_id: u64, amount: u64, now: Instant) {
        if amount == 0 {
            return;
        }
        if self.taken.len() >= self.forget_from {
            let per_s = self.per_s;
            self.taken.retain(|_, taken| taken.by(now, per_s) > 0.0);
            self.forget_from = 2 * self.taken.len().max(FORGET_FROM / 2);
        }
        let per_s = self.per_s;
        let taken = self.taken.entry(user_id).or_insert(Taken { amount: 0.0, at: now });
        *taken = Taken { amount: taken.by(now, per_s) + amount as f64, at: now };
    }
}

impl Taken {
    /// What of it still counts.
    fn by(self, now: Instant, per_s: f64) -> f64 {
        (self.amount - now.saturating_duration_since(self.at).as_secs_f64() * per_s).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_takes_his_ration_and_gets_it_back_and_nobody_elses() {
        let (mut rations, start) = (Rations::new(100, Duration::from_secs(10)), Instant::now());
        rations.take(7, 99, start);
        assert!(rations.has_left(7, start));
        rations.take(7, 51, start);
        assert!(!rations.has_left(7, start) && rations.has_left(8, start));
        assert!(!rations.has_left(7, start + Duration::from_secs(5)));
        assert!(rations.has_left(7, start + Duration::from_secs(6)), "50 beyond it are waited for");
    }

    #[test]
    fn a_user_is_told_when_there_is_enough_again() {
        let (mut rations, start) = (Rations::new(100, Duration::from_secs(10)), Instant::now());
        assert_eq!(rations.wait_for(7, 100, start), Duration::ZERO);
        rations.take(7, 150, start);
        let wait = rations.wait_for(7, 4, start);
        assert_eq!(wait, Duration::from_millis(5_400), "50 that are beyond it, and 4");
        assert!(rations.has_left(7, start + wait));
        assert_eq!(
            rations.wait_for(7, 1_000, start + wait),
            Duration::from_millis(9_600),
            "there is never more than all"
        );
    }

    #[test]
    fn who_has_all_of_it_left_is_forgotten() {
        let (mut rations, start) = (Rations::new(100, Duration::from_secs(10)), Instant::now());
        for user_id in 0..10 * FORGET_FROM as u64 {
            rations.take(user_id, 1, start + Duration::from_secs(user_id));
        }
        assert!(rations.taken.len() <= FORGET_FROM);
    }
}
