//! How many devices were registered from an address, or by a user: nobody must fill the disk with them.
//!
//! Counts begin anew with each window, so they are bounded by what is registered in one. Time is passed in.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// For so long those of an address are counted.
pub const ADDRESS_WINDOW_MS: i64 = 10_000;
/// For so long those of a user are counted.
pub const USER_WINDOW_MS: i64 = 3_600_000;

/// The counts of this process.
#[derive(Debug)]
pub struct Registrations<K> {
    each_max: u32,
    window_ms: i64,
    began_at_ms: i64,
    counts: HashMap<K, u32>,
}

impl<K: Eq + Hash> Registrations<K> {
    /// None so far; each address, or user, may have so many in a window.
    pub fn new(each_max: u32, window_ms: i64) -> Self {
        Self { each_max, window_ms, began_at_ms: 0, counts: HashMap::new() }
    }

    /// Counts one that is within what the address, or user, may have.
    ///
    /// # Errors
    /// How long until there is room for it.
    pub fn begin(&mut self, who: K, now_ms: i64) -> Result<(), Duration> {
        if !(self.began_at_ms..self.began_at_ms + self.window_ms).contains(&now_ms) {
            self.began_at_ms = now_ms;
            self.counts = HashMap::new();
        }
        let count = self.counts.entry(who).or_default();
        *count = count.saturating_add(1);
        if *count <= self.each_max {
            return Ok(());
        }
        let wait_ms = self.began_at_ms + self.window_ms - now_ms;
        Err(Duration::from_millis(wait_ms.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_registrations_in_a_window_whatever_others_do() {
        let [one, other] = ["127.0.0.1", "127.0.0.2"];
        let mut registrations = Registrations::new(2, 1_000);
        let left = |millis| Err(Duration::from_millis(millis));
        assert_eq!([0, 2, 3].map(|now_ms| registrations.begin(one, now_ms)), [Ok(()), Ok(()), left(997)]);
        assert_eq!(registrations.begin(other, 3), Ok(()));
        assert_eq!(registrations.begin(one, 999), left(1));
        assert_eq!(registrations.begin(one, 1_000), Ok(()));
        assert_eq!(registrations.counts.len(), 1, "what is over is forgotten");
    }
}
