//! The reactors, as the bridge sees them: an inbox each and a way to wake it.

use std::{sync::Arc, time::Duration};

use ::metrics::counter;
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

/// All reactors of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Reactors(Arc<[ReactorHandle]>);

impl ReactorHandle {
    /// A reactor with this inbox.
    pub fn new(inbox: Sender<Command>, wake: Arc<WakeFlag>) -> Self {
        Self { inbox, wake }
    }

    /// Hands a command over, waiting while the inbox is full: that holds up the stream the command came from, and so, in the
    /// end, logic. A reactor that has ended takes nothing more.
    async fn send(&self, mut command: Command) {
        loop {
            match self.inbox.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(returned)) => {
                    command = returned;
                    counter!(names::INBOX_FULL).increment(1);
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
    /// All reactors, by their index.
    pub fn new(handles: Vec<ReactorHandle>) -> Self {
        Self(handles.into())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Hands a command to one reactor. An index that came over the wire and means none is passed over.
    pub async fn send(&self, reactor: usize, command: Command) {
        if let Some(handle) = self.0.get(reactor) {
            handle.send(command).await;
        }
    }

    /// Hands a command to every reactor.
    pub async fn send_all(&self, mut make: impl FnMut() -> Command) {
        for handle in self.0.iter() {
            handle.send(make()).await;
        }
    }
}
