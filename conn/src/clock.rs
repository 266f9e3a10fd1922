//! The clock of a reactor, read once per turn; and the unit in which deadlines are kept: ticks, of which 32 bits last for
//! seventeen years. Everything else is passed the time, in milliseconds since the reactor began.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Length of a tick of the timer wheel. Deadlines are met up to one tick late, never early.
pub const TICK_MS: u64 = 128;

/// See the module's documentation.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_unix_ms: i64,
    now_ms: u64,
}

/// The tick that a time lies in.
pub fn tick(now_ms: u64) -> u32 {
    (now_ms / TICK_MS) as u32
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: Instant::now(),
            started_unix_ms: since_epoch.map_or(0, |age| age.as_millis() as i64),
            now_ms: 0,
        }
    }

    /// Looks how late it is.
    pub fn read(&mut self) {
        self.now_ms = self.started.elapsed().as_millis() as u64;
    }

    /// When the turn began.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// A time of this clock as Unix time.
    pub fn unix_ms(&self, at_ms: u64) -> i64 {
        self.started_unix_ms + at_ms as i64
    }

    /// Lets time pass.
    #[cfg(test)]
    pub fn pass(&mut self, time: std::time::Duration) {
        self.started = self.started.checked_sub(time).expect("this machine runs for longer");
    }
}
