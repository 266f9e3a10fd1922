//! Operations that took long, as the log tells of them: by one threshold for the process, and in so many lines of each at most, so that
//! one that strangers can slow down hides no other. Any thread.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::seldom::Seldom;

/// Between two lines of an operation: where everything is slow, a few of them say so.
const INTERVAL: Duration = Duration::from_millis(100);

/// 0 tells of none.
static THRESHOLD_MS: AtomicU64 = AtomicU64::new(0);

/// By operations, of which there are as many as the source names.
static LINES: Mutex<BTreeMap<&'static str, Seldom>> = Mutex::new(BTreeMap::new());

/// From now on the log tells of what takes so long or longer; 0 for nothing.
pub fn set_threshold(ms: u64) {
    THRESHOLD_MS.store(ms, Ordering::Relaxed);
}

/// Tells of an operation, if it took long. `request_id` is empty where it was for several requests.
pub fn tell(operation: &'static str, request_id: &str, took: Duration) {
    let threshold_ms = THRESHOLD_MS.load(Ordering::Relaxed);
    if threshold_ms == 0 || took < Duration::from_millis(threshold_ms) {
        return;
    }
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let due = lines.entry(operation).or_insert_with(|| Seldom::every(INTERVAL)).due(Instant::now());
    drop(lines);
    if let Some(left_out) = due {
        tracing::warn!(operation, request_id, took_ms = took.as_millis() as u64, left_out, "it took long");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn only_what_takes_long_is_told_of_each_operation() {
        let mut log = tempfile::tempfile().unwrap();
        let writer = std::sync::Arc::new(log.try_clone().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            tell("before", "r-0", Duration::from_secs(60));
            set_threshold(1_000);
            tell("short", "r-1", Duration::from_millis(999));
            tell("long", "r-2", Duration::from_millis(1_000));
            tell("another", "r-3", Duration::from_secs(2));
            set_threshold(0);
        });
        let mut said = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut said).unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(["WARN", "long", "r-2", "took_ms=1000"].iter().all(|part| said.contains(part)), "{said}");
        assert!(["another", "r-3", "took_ms=2000"].iter().all(|part| said.contains(part)), "{said}");
    }
}
