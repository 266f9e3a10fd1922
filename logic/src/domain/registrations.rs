//! How many devices were registered from an address, or by a user: nobody must fill the disk with them.
//!
//! Counts begin anew with each window, so they are bounded by what is registered in one. Time is passed in.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// For so long those of an address are counted.
pub const ADDRESS_WINDOW_MS: i64 = 10_000;
/// For so long those of a user are counted.
pub const USER_WINDOW_MS: i64 = 3_600_000;

/// What a device says of itself without weighing more than one: it takes room on the disk.
const TEXT_BYTES: usize = 512;

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

    /// Counts one, as many times as it has [`TEXT_BYTES`], that is within what the address, or user, may have.
    ///
    /// # Errors
    /// How long until there is room for it.
    pub fn begin(&mut self, who: K, text_bytes: usize, now_ms: i64) -> Result<(), Duration> {
        let weight = u32::try_from(text_bytes / TEXT_BYTES).unwrap_or(u32::MAX).max(1);
        if !(self.began_at_ms..self.began_at_ms + self.window_ms).contains(&now_ms) {
            self.began_at_ms = now_ms;
            self.counts = HashMap::new();
        }
        let count = self.counts.entry(who).or_default();
        // Whatever it weighs, one may always be the first.
        let has_room = *count == 0 || count.saturating_add(weight) <= self.each_max;
        *count = count.saturating_add(weight);
        if has_room {
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
        assert_eq!([0, 2, 3].map(|now_ms| registrations.begin(one, 0, now_ms)), [Ok(()), Ok(()), left(997)]);
        assert_eq!(registrations.begin(other, 0, 3), Ok(()));
        assert_eq!(registrations.begin(one, 0, 999), left(1));
        assert_eq!(registrations.begin(one, 0, 1_000), Ok(()));
        assert_eq!(registrations.counts.len(), 1, "what is over is forgotten");
    }
    #[test]
    fn long_texts_weigh_more_and_never_stop_the_first() {
        let mut registrations = Registrations::new(40, 1_000);
        assert_eq!(registrations.begin("one", 20 * 1_024, 0), Ok(()));
        assert_eq!(registrations.begin("one", 300, 0), Err(Duration::from_millis(1_000)));
        assert_eq!(registrations.begin("other", 100 * 1_024, 0), Ok(()));
        for _ in 0..40 {
            assert_eq!(registrations.begin("third", 600, 0), Ok(()));
        }
    }
}
