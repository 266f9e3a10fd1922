//! The inbox writer: group commit.
//!
//! Requests put their work into one bounded queue and await the commit; one Tokio task takes whatever has gathered and
//! writes it in one transaction. The longer a commit takes, the more of them share the next one. Always holds: work is
//! committed in the order in which it was submitted, a request is answered only after its commit, and what was committed
//! goes to the fan-out in that same order, so the pushes of a user leave in the order of their seqs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gim_config::sql::{self, Database, Pool};
use metrics::{counter, gauge, histogram};
use sqlx::{AnyConnection, Connection as _};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use tracing::Span;

use super::{
    StoreError,
    batch::{self, Outcome, Work, Written},
    dialect::{self, Sql},
};
use crate::{domain::message::Delivery, metrics as names, settings::InboxSettings};

/// How often a batch is tried where its transaction meets that of another node.
const TRIES_MAX: u32 = 5;

/// Where work is submitted. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: Arc<Queue>,
}

/// Work that was taken on; resolves after its commit.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Outcome, StoreError>>);

impl Writer {
    /// Starts the task. Committed messages go to `deliveries`. The task ends after [`Writer::close`], when all is written.
    pub fn start(
        database: &Database,
        settings: &InboxSettings,
        deliveries: mpsc::Sender<Vec<Delivery>>,
    ) -> (Self, JoinHandle<()>) {
        let queue = Arc::new(Queue { settings: settings.clone(), state: Mutex::default(), filled: Notify::new() });
        let task = WriterTask {
            queue: queue.clone(),
            pool: database.writer.clone(),
            sql: dialect::sql(database.dialect),
            deliveries,
        };
        (Self { queue }, tokio::spawn(task.run()))
    }

    /// Takes work on, or refuses it where too much waits. Never waits itself: the order of calls is the order of commits.
    pub fn submit(&self, work: Work) -> Result<Pending, StoreError> {
        let (reply, pending) = oneshot::channel();
        self.queue.push(Job { bytes: work.bytes(), rows: work.rows(), work, reply, span: Span::current() })?;
        Ok(Pending(pending))
    }

    /// Refuses further work; what was taken on is still written.
    pub fn close(&self) {
        self.queue.lock().is_closed = true;
        self.queue.filled.notify_one();
    }
}

impl Pending {
    /// Waits for the commit.
    pub async fn committed(self) -> Result<Outcome, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::PutOff("the inbox writer ended")))
    }
}

#[derive(Debug)]
struct Job {
    work: Work,
    rows: usize,
    bytes: usize,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
    /// The request's, so that a line of the log leads from the packet to the database.
    span: Span,
}

impl Job {
    fn answer(self, result: Result<Outcome, StoreError>) {
        self.span.in_scope(|| match &result {
            Ok(outcome) => tracing::debug!(?outcome, "committed"),
            Err(error) => tracing::debug!(%error, "not committed"),
        });
        if self.reply.send(result).is_err() {
            self.span.in_scope(|| tracing::debug!("the caller left before the commit"));
        }
    }
}

#[derive(Debug)]
struct Queue {
    settings: InboxSettings,
    state: Mutex<QueueState>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(StoreError::PutOff("the service is stopping"));
        }
        let is_full = state.jobs.len() >= self.settings.queue_jobs_max
            || (state.bytes + job.bytes > self.settings.queue_bytes_max && !state.jobs.is_empty());
        if is_full {
            counter!(names::INBOX_QUEUE_FULL).increment(1);
            return Err(StoreError::PutOff("the queue of the inbox writer is full"));
        }
        state.bytes += job.bytes;
        state.jobs.push_back(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next batch: at least one job, and no more rows than the settings allow. `None` once closed and empty.
    async fn take(&self) -> Option<Vec<Job>> {
        loop {
            {
                let mut state = self.lock();
                if !state.jobs.is_empty() {
                    return Some(state.take(self.settings.batch_rows_max));
                }
                if state.is_closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn take(&mut self, rows_max: usize) -> Vec<Job> {
        let mut rows = 0;
        let fits = |job: &&Job| {
            rows += job.rows;
            rows <= rows_max
        };
        let count = self.jobs.iter().take_while(fits).count().max(1);
        let batch: Vec<Job> = self.jobs.drain(..count).collect();
        self.bytes -= batch.iter().map(|job| job.bytes).sum::<usize>();
        gauge!(names::INBOX_QUEUE_JOBS).set(self.jobs.len() as f64);
        batch
    }
}

struct WriterTask {
    queue: Arc<Queue>,
    pool: Pool,
    sql: &'static Sql,
    deliveries: mpsc::Sender<Vec<Delivery>>,
}

impl WriterTask {
    // path 6/9: decide, number, store
    async fn run(self) {
        while let Some(jobs) = self.queue.take().await {
            let deliveries = self.write(jobs).await;
            if !deliveries.is_empty() && self.deliveries.send(deliveries).await.is_err() {
                tracing::error!("the fan-out ended: committed messages reach devices by sync only");
                return;
            }
        }
    }

    /// Writes a batch and answers its jobs. Where one of them spoils the transaction, each gets one of its own.
    async fn write(&self, jobs: Vec<Job>) -> Vec<Delivery> {
        match self.commit_among_others(&jobs).await {
            Ok(written) => Self::answer(jobs, written),
            Err(error) => {
                counter!(names::INBOX_COMMIT_FAILED).increment(1);
                match StoreError::from(error) {
                    StoreError::Failed(_) if jobs.len() > 1 => self.write_singly(jobs).await,
                    StoreError::Failed(problem) => refuse(jobs, || StoreError::Failed(problem.clone())),
                    error => {
                        tracing::error!(%error, requests = jobs.len(), "a transaction failed; its requests are put off");
                        refuse(jobs, || StoreError::PutOff("the database is away"))
                    }
                }
            }
        }
    }

    async fn write_singly(&self, jobs: Vec<Job>) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for job in jobs {
            match self.commit_among_others(std::slice::from_ref(&job)).await {
                Ok(written) => deliveries.extend(Self::answer(vec![job], written)),
                Err(error) => job.answer(Err(error.into())),
            }
        }
        deliveries
    }

    /// Commits, and tries again where a transaction of another node was in the way: nothing is left of the one that failed.
    async fn commit_among_others(&self, jobs: &[Job]) -> Result<Written, sqlx::Error> {
        for _ in 1..TRIES_MAX {
            match self.commit(jobs).await {
                Err(error) if met_another(&error) => {
                    counter!(names::INBOX_COMMIT_RETRIED).increment(1);
                    tracing::debug!(%error, requests = jobs.len(), "a transaction met another one and is tried again");
                }
                result => return result,
            }
        }
        self.commit(jobs).await
    }

    async fn commit(&self, jobs: &[Job]) -> Result<Written, sqlx::Error> {
        let started = Instant::now();
        let works: Vec<&Work> = jobs.iter().map(|job| &job.work).collect();
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let written = batch::write(&mut transaction, self.sql, &works).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(written)
        };
        let written = self.pool.run(work).await?;

        let rows: usize = written.deliveries.iter().map(|delivery| delivery.receivers.len()).sum();
        counter!(names::INBOX_ROWS).increment(rows as u64);
        histogram!(names::INBOX_COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(written)
    }

    fn answer(jobs: Vec<Job>, written: Written) -> Vec<Delivery> {
        for (job, outcome) in jobs.into_iter().zip(written.outcomes) {
            job.answer(Ok(outcome));
        }
        written.deliveries
    }
}

/// Whether a transaction gave way to that of another node, or found that one storing a key which it had looked for in vain:
/// the next try sees the key, and answers as for any repeated send.
fn met_another(error: &sqlx::Error) -> bool {
    sql::gave_way(error) || error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

fn refuse(jobs: Vec<Job>, error: impl Fn() -> StoreError) -> Vec<Delivery> {
    for job in jobs {
        job.answer(Err(error()));
    }
    Vec::new()
}
