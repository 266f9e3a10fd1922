//! Stores and tells the app, one step after the other, in a task of its own: so an event never comes before the messages that were delivered
//! before it, and a store or an app that is slow holds up nobody but itself.

use tokio::sync::mpsc;

use crate::{
    changes::{conversation_change_of, read_mark_of},
    core::{About, Cursors, Event, PendingSend},
    message::Message,
    storage::{Store, StoreError},
};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    Deliver { messages: Vec<Message>, cursors: Cursors },
    Remember(PendingSend),
    Forget(String),
    Tell(Event),
}

pub(crate) struct Teller {
    pub(crate) store: Box<dyn Store>,
    /// Were storing to go on after it failed, there would be a hole: so everything from then on comes again in the next run.
    pub(crate) is_storing: bool,
    pub(crate) events: mpsc::Sender<Event>,
}

/// The app listens no more.
struct Gone;

impl Teller {
    /// Until the app listens no more, or the client is gone. `done` hears of each step, and how far everything is stored with it. What was
    /// sent before the app left is remembered all the same, for the next run.
    pub(crate) async fn run(mut self, mut steps: mpsc::Receiver<Step>, done: mpsc::Sender<Option<Cursors>>) {
        loop {
            let step = tokio::select! {
                step = steps.recv() => step,
                () = self.events.closed() => break,
            };
            let Some(step) = step else { return };
            let Ok(stored) = self.perform(step).await else { break };
            if done.send(stored).await.is_err() {
                break;
            }
        }
        drop(done);
        while let Some(step) = steps.recv().await {
            // Whose answer was not told is sent again, and told then.
            if let (Step::Remember(_), true) = (&step, self.is_storing) {
                // An error has nobody to be told to.
                drop(self.perform(step).await);
            }
        }
    }

    async fn perform(&mut self, step: Step) -> Result<Option<Cursors>, Gone> {
        match step {
            Step::Tell(event) => self.tell(event).await.map(|()| None),
            Step::Deliver { messages, cursors } => self.deliver(messages, cursors).await,
            Step::Remember(send) => {
                if self.is_storing
                    && let Err(error) = self.store.remember_send(&send).await
                {
                    self.store_failed(&error).await?;
                }
                Ok(None)
            }
            Step::Forget(client_msg_id) => {
                if self.is_storing
                    && let Err(error) = self.store.forget_send(&client_msg_id).await
                {
                    self.store_failed(&error).await?;
                }
                Ok(None)
            }
        }
    }

    async fn deliver(&mut self, messages: Vec<Message>, cursors: Cursors) -> Result<Option<Cursors>, Gone> {
        let added = if self.is_storing {
            match self.store.apply(messages.clone(), &cursors).await {
                Ok(added) => added,
                Err(error) => {
                    self.store_failed(&error).await?;
                    messages
                }
            }
        } else {
            messages
        };
        for message in added {
            let event = if let Some(change) = conversation_change_of(&message) {
                Event::Conversation(change)
            } else if let Some(mark) = read_mark_of(&message) {
                Event::Read(mark)
            } else {
                Event::Message(message)
            };
            self.tell(event).await?;
        }
        Ok(self.is_storing.then_some(cursors))
    }

    async fn store_failed(&mut self, error: &StoreError) -> Result<(), Gone> {
        self.is_storing = false;
        self.tell(Event::Error { about: About::Storage, message: error.to_string() }).await
    }

    async fn tell(&mut self, event: Event) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }
}
