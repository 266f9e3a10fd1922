//! What a client remembers between two runs, behind a trait that anything may implement.

#[cfg(feature = "sqlite")]
mod sqlite;

use std::{error::Error, future::Future, pin::Pin};

#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
use crate::{
    core::{Cursors, PendingSend, Remembered},
    message::Message,
};

/// Why a store failed, as it says itself.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// What a method of a store does, once it is awaited.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Every method may fail: the client goes on without storing then, acknowledges nothing more, and says so by an error about
/// [`About::Storage`](crate::About::Storage). What it could not store comes again in the next run.
pub trait Store: Send {
    /// What the last run left.
    fn load(&mut self) -> StoreFuture<'_, Remembered>;

    /// Keeps the messages and the cursors, both or neither, and returns those of the messages that it did not have. Messages that are in no
    /// inbox and in no timeline (of rooms, for instance) are new each time, and are not kept.
    fn apply<'a>(&'a mut self, messages: Vec<Message>, cursors: &'a Cursors) -> StoreFuture<'a, Vec<Message>>;

    /// Keeps what was not answered yet.
    fn remember_send<'a>(&'a mut self, send: &'a PendingSend) -> StoreFuture<'a, ()>;

    /// It was answered.
    fn forget_send<'a>(&'a mut self, client_msg_id: &'a str) -> StoreFuture<'a, ()>;
}

/// A store that remembers nothing, so that each run of the app begins anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn load(&mut self) -> StoreFuture<'_, Remembered> {
        Box::pin(async { Ok(Remembered::default()) })
    }

    fn apply<'a>(&'a mut self, messages: Vec<Message>, _cursors: &'a Cursors) -> StoreFuture<'a, Vec<Message>> {
        Box::pin(async { Ok(messages) })
    }

    fn remember_send<'a>(&'a mut self, _send: &'a PendingSend) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn forget_send<'a>(&'a mut self, _client_msg_id: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
