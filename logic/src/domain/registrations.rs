//! How many devices were registered from an address: whoever needs no token must not fill the disk.
//!
//! Counts begin anew with each window, so they are bounded by what is registered in one. Time is passed in.

use std::{collections::HashMap, hash::Hash};

/// For so long registrations are counted.
pub const WINDOW_MS: i64 = 10_000;

/// The counts of this process.
#[derive(Debug)]
pub struct Registrations<A> {
    per_address_max: u32,
    began_at_ms: i64,
    counts: HashMap<A, u32>,
}

impl<A: Eq + Hash> Registrations<A> {
    /// None so far; each address may have so many in a window.
    pub fn new(per_address_max: u32) -> Self {
        Self { per_address_max, began_at_ms: 0, counts: HashMap::new() }
    }

    /// Counts one; whether it is within what the address may have.
    pub fn begin(&mut self, address: A, now_ms: i64) -> bool {
        if !(self.began_at_ms..self.began_at_ms + WINDOW_MS).contains(&now_ms) {
            self.began_at_ms = now_ms;
            self.counts = HashMap::new();
        }
        let count = self.counts.entry(address).or_default();
        *count = count.saturating_add(1);
        *count <= self.per_address_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_registrations_in_a_window_whatever_others_do() {
        let [one, other] = ["127.0.0.1", "127.0.0.2"];
        let mut registrations = Registrations::new(2);
        assert_eq!([1, 2, 3].map(|now_ms| registrations.begin(one, now_ms)), [true, true, false]);
        assert!(registrations.begin(other, 3));
        assert!(!registrations.begin(one, WINDOW_MS - 1));
        assert!(registrations.begin(one, WINDOW_MS + 1));
        assert_eq!(registrations.counts.len(), 1, "what is over is forgotten");
    }
}
