//! What a receiver has of the numbered messages of one sender. Plain data.

use std::collections::HashSet;

/// How a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// After all that came before.
    Next,
    /// After a newer one.
    Late,
    /// Not for the first time.
    Again,
}

/// What a member has of a sender.
#[derive(Debug, Default)]
pub struct Got {
    newest: u64,
    /// Lower numbers that did not come yet.
    missing: HashSet<u64>,
}

impl Got {
    /// Takes the message with this number, the first of which is 1.
    pub fn take(&mut self, number: u64) -> Arrival {
        if number > self.newest {
            self.missing.extend(self.newest + 1..number);
            self.newest = number;
            Arrival::Next
        } else if self.missing.remove(&number) {
            Arrival::Late
        } else {
            Arrival::Again
        }
    }
}
