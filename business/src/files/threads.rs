//! The threads on which files come and go: a runtime of Tokio of their own, to which the system gives less of the processors than to what
//! people wait for, such as messages and sign-ins.
//!
//! Any thread. Always holds: connections to the database are made and watched by the threads of everybody else, as everybody uses them.

use std::{
    future::poll_fn,
    io,
    num::NonZeroUsize,
    pin::pin,
    task::{Context, Poll},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// Threads that never wait for the disk, however many others do.
const THREADS_FREE: usize = 2;

/// What `nice` would be told: where processors are short, a tenth of what others have.
const NICENESS: i32 = 10;

/// See the module's documentation. Clones mean the same threads.
#[derive(Debug, Clone)]
pub struct Threads {
    own: Handle,
    others: Handle,
    waiting_max: usize,
}

/// Ends the threads when it is dropped.
#[derive(Debug)]
pub struct RunningThreads(Option<Runtime>);

impl Threads {
    /// Starts them; called on a thread of everybody else.
    pub fn start() -> io::Result<(Self, RunningThreads)> {
        let give_way = || {
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::warn!(%error, "a thread for files has the priority of all others");
            }
        };
        let waiting_max = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(waiting_max + THREADS_FREE)
            .thread_name("files")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        let threads = Self { own: runtime.handle().clone(), others: Handle::current(), waiting_max };
        Ok((threads, RunningThreads(Some(runtime))))
    }

    /// Begins a task that asks the database.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let threads = self.clone();
        self.own.spawn(async move { threads.for_others(task).await })
    }

    /// How many of those that serve connections may wait for the disk at the same time.
    pub fn waiting_max(&self) -> usize {
        self.waiting_max
    }

    /// Begins what may wait.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.own.spawn_blocking(work)
    }

    /// What it opens and begins belongs to the threads of everybody else, wherever it runs.
    pub async fn for_others<F: Future>(&self, work: F) -> F::Output {
        within(&self.others, work).await
    }

    /// What it opens and begins belongs to these threads, wherever it runs.
    pub async fn for_own<F: Future>(&self, work: F) -> F::Output {
        within(&self.own, work).await
    }
}

impl Drop for RunningThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn within<F: Future>(runtime: &Handle, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context: &mut Context<'_>| -> Poll<F::Output> {
        let _entered = runtime.enter();
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    async fn runs_with() -> (i32, tokio::runtime::Id) {
        (niceness(), Handle::current().id())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn these_threads_have_less_of_the_processors_and_open_nothing_for_others() {
        let (threads, _running) = Threads::start().unwrap();
        let (before, others) = runs_with().await;
        assert_eq!(threads.spawn(runs_with()).await.unwrap(), (before + NICENESS, others));
        let own = threads.clone();
        let (own_niceness, own_id) = threads.spawn(async move { own.for_own(runs_with()).await }).await.unwrap();
        assert_eq!((own_niceness, own_id != others), (before + NICENESS, true));
        assert_eq!(threads.spawn_blocking(niceness).await.unwrap(), before + NICENESS);
        assert_eq!(niceness(), before);
    }
}
