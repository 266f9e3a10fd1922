//! Threads for what may wait: a runtime of Tokio of their own, to which the system gives less of the processors than to what people wait for,
//! such as messages and sign-ins.
//!
//! Any thread. Always holds: what a task here opens and begins, such as connections to the database, belongs to the threads of everybody
//! else, as everybody uses it, unless it says otherwise ([`Threads::for_own`]). What others may have to wait for, such as a connection that
//! writes, is not to be kept by a task here for longer than it takes to ask for it ([`asked_of_others`]).

use std::{
    future::poll_fn,
    io,
    panic::resume_unwind,
    pin::pin,
    task::{Context, Poll},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{JoinHandle, JoinSet},
};

/// What `nice` would be told: where processors are short, a tenth of what others have.
const NICENESS: i32 = 10;

/// See the module's documentation. Clones mean the same threads.
#[derive(Debug, Clone)]
pub struct Threads {
    own: Handle,
    others: Handle,
}

/// Ends the threads when it is dropped.
#[derive(Debug)]
pub struct RunningThreads(Option<Runtime>);

impl Threads {
    /// Starts so many of this name; called on a thread of everybody else.
    ///
    /// # Errors
    /// Where the system has no more of them.
    pub fn start(name: &'static str, count: usize) -> io::Result<(Self, RunningThreads)> {
        let give_way = move || {
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::warn!(%error, name, "a thread has the priority of all others");
            }
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(name)
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        let threads = Self { own: runtime.handle().clone(), others: Handle::current() };
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

/// Has the threads do it to which belongs what the task here begins: of one that gives way, those of everybody else. As with any future, it
/// goes no further where nobody waits for it any more. Nothing where these threads end.
pub async fn asked_of_others<F>(work: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut asked = JoinSet::new();
    asked.spawn(work);
    match asked.join_next().await? {
        Ok(done) => Some(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => None,
        },
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
    use std::future::pending;

    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::*;

    /// Of the system; whoever runs these tests may give way as well.
    const NICENESS_MAX: i32 = 19;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    async fn runs_with() -> (i32, tokio::runtime::Id) {
        (niceness(), Handle::current().id())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn these_threads_have_less_of_the_processors_and_open_nothing_for_others() {
        let (threads, _running) = Threads::start("few", 2).unwrap();
        let (before, others) = runs_with().await;
        let given_way = (before + NICENESS).min(NICENESS_MAX);
        assert_eq!(threads.spawn(runs_with()).await.unwrap(), (given_way, others));
        let own = threads.clone();
        let (own_niceness, own_id) = threads.spawn(async move { own.for_own(runs_with()).await }).await.unwrap();
        assert_eq!((own_niceness, own_id != others), (given_way, true));
        assert_eq!(threads.spawn_blocking(niceness).await.unwrap(), given_way);
        assert_eq!(niceness(), before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_thread_that_gives_way_asks_of_others_is_done_by_them() {
        let (threads, _running) = Threads::start("few", 1).unwrap();
        let of_others = runs_with().await;
        assert_eq!(threads.spawn(asked_of_others(runs_with())).await.unwrap(), Some(of_others));
        let (began, has_begun) = oneshot::channel();
        let (held, mut dropped) = oneshot::channel::<()>();
        let endless = async move {
            let _held = held;
            let _ = began.send(());
            pending::<()>().await
        };
        let asking = threads.spawn(asked_of_others(endless));
        has_begun.await.unwrap();
        assert!(dropped.try_recv() == Err(TryRecvError::Empty) && !asking.is_finished());
        asking.abort();
        assert!(dropped.await.is_err(), "nobody waits for it any more");
    }
}
