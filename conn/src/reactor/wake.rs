//! Waking a reactor from another thread with at most one system call per turn.
//!
//! A producer puts its command into the command queue first and arms the flag second; only who finds it disarmed makes the call. The
//! reactor disarms first and drains second. Both use `swap` with AcqRel: a plain store on either side can lose a wake-up, as
//! `tests/wake.rs` shows with loom.

use std::io;

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one reactor. Shared by the reactor and all who fill its command queue.
#[derive(Debug)]
pub struct WakeFlag {
    armed: Armed,
    waker: mio::Waker,
}

/// Whether the reactor has been called already and has not looked yet.
#[derive(Debug)]
pub struct Armed(AtomicBool);

impl WakeFlag {
    /// A flag that makes `poll` return.
    pub fn new(waker: mio::Waker) -> Self {
        Self { armed: Armed::default(), waker }
    }

    /// To be called after something was put into the command queue.
    pub fn wake(&self) -> io::Result<()> {
        if self.armed.arm() { self.waker.wake() } else { Ok(()) }
    }

    /// To be called by the reactor before it drains its command queue.
    pub fn disarm(&self) {
        self.armed.disarm();
    }
}

impl Armed {
    /// True where the caller is the one who has to call the reactor.
    pub fn arm(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// The reactor is about to look.
    pub fn disarm(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}

impl Default for Armed {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}
