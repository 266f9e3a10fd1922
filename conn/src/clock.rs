//! The unit in which deadlines are kept: ticks, of which 32 bits last for seventeen years. Times are milliseconds since the
//! reactor began, and are passed in.

/// Length of a tick of the timer wheel. Deadlines are met up to one tick late, never early.
pub const TICK_MS: u64 = 128;

/// The tick that a time lies in.
pub fn tick(now_ms: u64) -> u32 {
    (now_ms / TICK_MS) as u32
}
