//! A second way for what the inbox writer committed, beside the fan-out: for whoever looks at messages after they were stored.
//!
//! Always holds: it is bounded, and holds nobody up; what does not fit is counted and left out. While it is shut it costs nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use metrics::counter;
use tokio::sync::mpsc;

use crate::{domain::message::Delivery, metrics as names};

/// The end that the fan-out puts into.
#[derive(Debug)]
pub struct StoredTap {
    sender: mpsc::Sender<Vec<Delivery>>,
    valve: TapValve,
}

/// Whether anything is wanted. Clones are one.
#[derive(Debug, Clone)]
pub struct TapValve(Arc<AtomicBool>);

impl TapValve {
    /// Opens or shuts it.
    pub fn set(&self, is_open: bool) {
        self.0.store(is_open, Relaxed);
    }
}

impl StoredTap {
    /// An open one with room for so many batches of the writer, what comes out of it, and what opens and shuts it.
    pub fn new(batches_max: usize) -> (Self, mpsc::Receiver<Vec<Delivery>>, TapValve) {
        let (sender, receiver) = mpsc::channel(batches_max);
        let valve = TapValve(Arc::new(AtomicBool::new(true)));
        (Self { sender, valve: valve.clone() }, receiver, valve)
    }

    /// Takes what was stored.
    pub(super) fn put(&self, deliveries: Vec<Delivery>) {
        if !self.valve.0.load(Relaxed) {
            return;
        }
        let count = deliveries.len() as u64;
        if self.sender.try_send(deliveries).is_err() {
            counter!(names::OFFLINE_PUSHES_DROPPED, "bound" => "messages").increment(count);
        }
    }
}
