//! The reactors, as the bridge of one app sees them: what they hand over, a command queue each, and a way to wake it.
//!
//! Used by tasks of the bridge, on Tokio. Always holds: commands of one task reach a reactor in their order, and none is dropped while the
//! reactor runs.

use std::{sync::Arc, time::Duration};

use ::metrics::{Counter, counter};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::Notify;

use crate::{
    metrics as names,
    reactor::{command_queue::Command, uplink::UpBatch, wake::WakeFlag},
};

/// How long to wait before a full command queue is tried again. The reactor empties it turn by turn, which takes less.
const FULL_RETRY: Duration = Duration::from_millis(1);

/// What reactors hand over for one app.
#[derive(Debug)]
pub struct UpEnd {
    /// Their batches.
    pub batches: Receiver<UpBatch>,
    /// Notified when there are some.
    pub notify: Arc<Notify>,
}

/// One reactor.
#[derive(Debug)]
pub struct ReactorHandle {
    commands: Sender<Command>,
    wake: Arc<WakeFlag>,
}

/// All reactors of this process, as far as they concern one app. Clones share them.
#[derive(Debug, Clone)]
pub struct Reactors {
    handles: Arc<[ReactorHandle]>,
    full: Counter,
}

impl ReactorHandle {
    /// A reactor with this command queue.
    pub fn new(commands: Sender<Command>, wake: Arc<WakeFlag>) -> Self {
        Self { commands, wake }
    }

    /// Hands a command over, waiting while the command queue is full: that holds up the stream the command came from, and so, in the
    /// end, logic. A reactor that has ended takes nothing more.
    async fn send(&self, mut command: Command, full: &Counter) {
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(returned)) => {
                    command = returned;
                    full.increment(1);
                    tokio::time::sleep(FULL_RETRY).await;
                }
            }
        }
        if let Err(error) = self.wake.wake() {
            tracing::error!(%error, "a reactor could not be woken");
        }
    }
}

impl Reactors {
    /// The app's ends of all reactors, by their index.
    pub fn new(app_id: u32, handles: Vec<ReactorHandle>) -> Self {
        Self { handles: handles.into(), full: counter!(names::COMMAND_QUEUE_FULL, "app" => app_id.to_string()) }
    }

    /// Ends that no reactor has the others of, but for the command queues.
    #[cfg(test)]
    pub(super) fn without_threads(count: usize) -> (Self, Vec<Receiver<Command>>) {
        let poll = mio::Poll::new().unwrap();
        let wake = Arc::new(WakeFlag::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap()));
        let (queues, takers): (Vec<_>, Vec<_>) = (0..count).map(|_| crossbeam_channel::bounded(100)).unzip();
        let handles = queues.into_iter().map(|commands| ReactorHandle::new(commands, wake.clone()));
        (Self::new(0, handles.collect()), takers)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Hands a command to one reactor. An index that came over the wire and means none is passed over.
    pub async fn send(&self, reactor: usize, command: Command) {
        if let Some(handle) = self.handles.get(reactor) {
            handle.send(command, &self.full).await;
        }
    }

    /// Hands a command to every reactor.
    pub async fn send_all(&self, mut make: impl FnMut() -> Command) {
        for handle in self.handles.iter() {
            handle.send(make(), &self.full).await;
        }
    }
}
