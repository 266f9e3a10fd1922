//! What is counted twice, for the phone number that is named and for whoever names it: codes that are tried, and codes that are sent.
//!
//! Any thread. The lock is held for a few map operations, never across an await.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    domain::attempts::{Attempts, Try},
    metrics::ATTEMPTS_EVICTED_TOTAL,
};

/// Both counts.
#[derive(Debug)]
pub struct AttemptCounts(Mutex<Both>);

/// How many there may be, within which time.
#[derive(Debug, Clone, Copy)]
pub struct AttemptBounds {
    pub per_number_max: u32,
    /// 0 for no bound.
    pub per_origin_max: u32,
    pub window_s: u32,
    /// Numbers, and origins, that are counted at the same time.
    pub tracked_max: u32,
}

/// Where codes are tried, or asked for, from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Somebody at this address, who is nobody yet.
    Address(IpAddr),
    /// A user who is signed in, wherever she is.
    User(u64),
}

/// What there were too many for, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    OfNumber(Duration),
    OfOrigin(Duration),
}

#[derive(Debug)]
struct Both {
    numbers: Attempts<String>,
    /// Where origins have a bound.
    origins: Option<Attempts<Origin>>,
}

impl AttemptCounts {
    /// Nothing counted yet.
    pub fn new(bounds: AttemptBounds) -> Self {
        let AttemptBounds { per_number_max, per_origin_max, window_s, tracked_max } = bounds;
        let (window_ms, keys_max) = (i64::from(window_s) * 1_000, tracked_max as usize);
        let numbers = Attempts::new(per_number_max, window_ms, keys_max);
        let origins = (per_origin_max > 0).then(|| Attempts::new(per_origin_max, window_ms, keys_max));
        Self(Mutex::new(Both { numbers, origins }))
    }

    /// Counts one before it is done.
    pub fn begin(&self, phone_number: &str, origin: Option<Origin>, now_ms: i64) -> Result<(), TooMany> {
        let evicted = self.both().begin(phone_number, origin, now_ms)?;
        if evicted > 0 {
            metrics::counter!(ATTEMPTS_EVICTED_TOTAL).increment(evicted as u64);
        }
        Ok(())
    }

    /// A right code: the number's count begins anew, and others at the origin have the try.
    pub fn succeed(&self, phone_number: &str, origin: Option<Origin>) {
        let mut both = self.both();
        both.numbers.forget(&phone_number.to_owned());
        both.give_back_origin(origin);
    }

    /// No code of the number was looked at; whoever asked has one try less all the same.
    pub fn give_back_number(&self, phone_number: &str) {
        self.both().numbers.give_back(&phone_number.to_owned());
    }

    /// It was none after all.
    pub fn give_back(&self, phone_number: &str, origin: Option<Origin>) {
        let mut both = self.both();
        both.numbers.give_back(&phone_number.to_owned());
        both.give_back_origin(origin);
    }

    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Both {
    /// How many counts had to be forgotten for it.
    fn begin(&mut self, phone_number: &str, origin: Option<Origin>, now_ms: i64) -> Result<usize, TooMany> {
        let mut evicted_in_all = 0;
        if let (Some(origins), Some(origin)) = (&mut self.origins, origin) {
            match origins.begin(&origin, now_ms) {
                Try::Allowed { evicted } => evicted_in_all += evicted,
                Try::TooMany => return Err(TooMany::OfOrigin(origins.ends_in(&origin, now_ms))),
            }
        }
        let number = phone_number.to_owned();
        match self.numbers.begin(&number, now_ms) {
            Try::Allowed { evicted } => Ok(evicted_in_all + evicted),
            Try::TooMany => {
                self.give_back_origin(origin);
                Err(TooMany::OfNumber(self.numbers.ends_in(&number, now_ms)))
            }
        }
    }

    fn give_back_origin(&mut self, origin: Option<Origin>) {
        if let (Some(origins), Some(origin)) = (&mut self.origins, origin) {
            origins.give_back(&origin);
        }
    }
}
