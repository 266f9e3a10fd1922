//! What is counted of Redis: round trips, how they ended, how long they took, and connections. Any task.

use std::time::Duration;

use gim_config::slow;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::metrics as names;

/// See the module's documentation.
pub(super) struct RedisMetrics {
    done: Counter,
    failed: Counter,
    seconds: Histogram,
    /// Under way, or waiting for a place.
    pub(super) pending: Gauge,
    /// Opened, the first one as well as those after an interruption.
    pub(super) connections: Counter,
}

impl Default for RedisMetrics {
    fn default() -> Self {
        let calls = |result: &'static str| counter!(names::REDIS_CALLS, "result" => result);
        Self {
            done: calls("ok"),
            failed: calls("failed"),
            seconds: histogram!(names::REDIS_CALL_SECONDS),
            pending: gauge!(names::REDIS_CALLS_PENDING),
            connections: counter!(names::REDIS_CONNECTIONS),
        }
    }
}

impl RedisMetrics {
    /// Counts a round trip that ended.
    pub(super) fn note(&self, is_done: bool, took: Duration) {
        if is_done { &self.done } else { &self.failed }.increment(1);
        slow::tell("Redis", "", took);
        self.seconds.record(took.as_secs_f64());
    }
}
