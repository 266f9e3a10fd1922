//! Reads and writes of files: on those of the [`Threads`] that may wait, so many at a time, and some of them on the thread that asks.
//!
//! Always holds: a place is given back when the work ends, also where nobody waits for it any more.

use std::{io, sync::Arc};

use tokio::sync::Semaphore;

use super::threads::{self, Threads};

/// The places. Clones share them.
#[derive(Debug, Clone)]
pub struct Disk {
    places: Arc<Semaphore>,
    /// Of threads that do not wait otherwise.
    here: Arc<Semaphore>,
    threads: Threads,
}

impl Disk {
    /// So many at a time.
    pub fn new(tasks_max: usize, threads: Threads) -> Self {
        let here = Arc::new(Semaphore::new(threads::waiting_max()));
        Self { places: Arc::new(Semaphore::new(tasks_max)), here, threads }
    }

    /// Does `work`, when it is its turn.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let task = self.threads.spawn_blocking(move || {
            let _place = place;
            work()
        });
        task.await.map_err(io::Error::other)?
    }

    /// Does `work` that seldom waits, such as a write into the memory of the system: at once on this thread, unless too many of these wait
    /// already. To have another thread do it, and to come back, takes as long as the work.
    pub async fn run_here<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Ok(_place) = self.here.try_acquire() else { return self.run(work).await };
        work()
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_is_done_here_unless_as_many_wait_as_may() {
        let (threads, _running) = threads::start().unwrap();
        let disk = Disk::new(1, threads.clone());
        let here = || Ok(thread::current().id());
        assert_eq!(disk.run_here(here).now_or_never().unwrap().unwrap(), thread::current().id());
        let held = disk.here.try_acquire_many(threads::waiting_max() as u32).unwrap();
        let other = tokio::time::timeout(Duration::from_secs(20), disk.run_here(here)).await.unwrap().unwrap();
        assert_ne!(other, thread::current().id());
        drop(held);
        assert_eq!(disk.run_here(here).await.unwrap(), thread::current().id());
    }
}
