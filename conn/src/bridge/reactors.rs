//! The reactors, as the bridge of one product sees them: an inbox each and a way to wake it.

use std::{sync::Arc, time::Duration};

use ::metrics::{Counter, counter};
use crossbeam_channel::{Sender, TrySendError};

use crate::{
    metrics as names,
    reactor::{inbox::Command, wake::WakeFlag},
};

/// How long to wait before a full inbox is tried again. The reactor empties it turn by turn, which takes less.
const FULL_RETRY: Duration = Duration::from_millis(1);

/// One reactor.
#[derive(Debug)]
pub struct ReactorHandle {
    inbox: Sender<Command>,
    wake: Arc<WakeFlag>,
}

/// All reactors of this process, as far as they concern one product. Clones share them.
#[derive(Debug, Clone)]
pub struct Reactors {
    handles: Arc<[ReactorHandle]>,
    full: Counter,
}

impl ReactorHandle {
    /// A reactor with this inbox.
    pub fn new(inbox: Sender<Command>, wake: Arc<WakeFlag>) -> Self {
        Self { inbox, wake }
    }

    /// Hands a command over, waiting while the inbox is full: that holds up the stream the command came from, and so, in the
    /// end, logic. A reactor that has ended takes nothing more.
    async fn send(&self, mut command: Command, full: &Counter) {
        loop {
            match self.inbox.try_send(command) {
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
    /// The product's ends of all reactors, by their index.
    pub fn new(app_id: u32, handles: Vec<ReactorHandle>) -> Self {
        Self { handles: handles.into(), full: counter!(names::INBOX_FULL, "app" => app_id.to_string()) }
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
