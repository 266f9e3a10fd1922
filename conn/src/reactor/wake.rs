//! Waking a reactor from another thread with at most one system call per turn.
//!
//! A producer puts its command into the inbox first and arms the flag second; only who finds it disarmed makes the call. The
//! reactor disarms first and drains second. Both use `swap` with AcqRel: a plain store on either side can lose a wake-up.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// Wakes one reactor. Shared by the reactor and all who fill its inbox.
#[derive(Debug)]
pub struct WakeFlag {
    armed: AtomicBool,
    waker: mio::Waker,
}

impl WakeFlag {
    /// A flag that makes `poll` return.
    pub fn new(waker: mio::Waker) -> Self {
        Self { armed: AtomicBool::new(false), waker }
    }

    /// To be called after something was put into the inbox.
    pub fn wake(&self) -> io::Result<()> {
        if self.armed.swap(true, Ordering::AcqRel) { Ok(()) } else { self.waker.wake() }
    }

    /// To be called by the reactor before it drains its inbox.
    pub fn disarm(&self) {
        self.armed.swap(false, Ordering::AcqRel);
    }
}
