//! A receiver that takes events as badly as one can: it fails now and then, half of these times after it took the events. What it knows
//! outlives it, as a database would. Any task.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::ledger::EventLedger;
use crate::webhook::Take;

/// What is left of a receiver that was killed.
#[derive(Debug)]
pub struct ReceiverBook {
    ledger: Mutex<EventLedger>,
    fails_each: u64,
    pub calls: AtomicU64,
    pub failed: AtomicU64,
}

impl ReceiverBook {
    /// Every so manieth call fails; 0 for none.
    pub fn new(ledger: EventLedger, fails_each: u64) -> Arc<Self> {
        Arc::new(Self { ledger: Mutex::new(ledger), fails_each, calls: AtomicU64::new(0), failed: AtomicU64::new(0) })
    }

    /// Looks at what was told.
    pub fn look<T>(&self, look: impl FnOnce(&EventLedger) -> T) -> T {
        look(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For whoever listens.
    pub fn taking(self: &Arc<Self>) -> Take {
        let book = self.clone();
        Arc::new(move |body| book.take(body))
    }

    /// Whether the call is answered with 2xx.
    fn take(&self, body: &[u8]) -> bool {
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let fails = self.fails_each > 0 && number.is_multiple_of(self.fails_each);
        if fails {
            self.failed.fetch_add(1, Relaxed);
        }
        if !fails || number.is_multiple_of(2) {
            self.ledger.lock().unwrap_or_else(PoisonError::into_inner).note(body);
        }
        !fails
    }
}
