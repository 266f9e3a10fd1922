//! What the devices and the test tell each other. Any thread.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long the slowest device may take to get to the next phase.
const DEADLINE: Duration = Duration::from_secs(120);

/// What everybody is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Devices send while everything goes wrong.
    #[default]
    Load,
    /// Everything is well again; what was not acknowledged yet is tried until it is.
    Quiet,
    /// Nobody sends any more: whoever syncs now has everything.
    CatchUp,
    /// They are gone.
    Leave,
}

#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    sent: usize,
    caught_up: usize,
    /// Devices, and what is not stored that reached them.
    live: HashSet<(u64, String)>,
}

impl Board {
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub fn begin(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    pub fn await_phase(&self, phase: Phase) {
        self.wait("the next phase", |state| state.phase >= phase);
    }

    /// A device has no send under way any more.
    pub fn everything_sent(&self) {
        self.lock().sent += 1;
        self.changed.notify_all();
    }

    pub fn await_everything_sent(&self, devices: usize) {
        self.wait("every send was acknowledged", |state| state.sent == devices);
    }

    /// A device has everything.
    pub fn caught_up(&self) {
        self.lock().caught_up += 1;
        self.changed.notify_all();
    }

    pub fn await_caught_up(&self, devices: usize) {
        self.wait("every device has synced", |state| state.caught_up == devices);
    }

    pub fn note_live(&self, device_id: u64, text: String) {
        self.lock().live.insert((device_id, text));
    }

    /// Those of the devices that no text with this beginning reached.
    pub fn unreached(&self, device_ids: &[u64], beginning: &str) -> Vec<u64> {
        let state = self.lock();
        let reached: HashSet<u64> = state
            .live
            .iter()
            .filter(|(_, text)| text.starts_with(beginning))
            .map(|(device_id, _)| *device_id)
            .collect();
        device_ids.iter().copied().filter(|device_id| !reached.contains(device_id)).collect()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), DEADLINE, |state| !is_so(state))
            .expect("nobody panics with it");
        assert!(
            !waited.timed_out(),
            "not within {DEADLINE:?}: {what}; {} sent, {} caught up",
            state.sent,
            state.caught_up
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
