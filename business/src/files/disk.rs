//! Reads and writes of files: on the threads of Tokio that may wait, so many at a time.
//!
//! Always holds: a place is given back when the work ends, also where nobody waits for it any more.

use std::{io, sync::Arc};

use tokio::sync::Semaphore;

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Semaphore>);

impl Disk {
    /// So many at a time.
    pub fn new(tasks_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(tasks_max)))
    }

    /// Does `work`, when it is its turn.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let place = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let task = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        task.await.map_err(io::Error::other)?
    }
}
