//! What waits for the inbox writer, and what its transactions are busy with.
//!
//! Always holds: of two requests that concern the same user or group, the one that was submitted first is taken first, and
//! the other one not before that is done, unless both are in the same batch. Requests that have nothing in common may
//! overtake each other.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::{HashSet, HashSetExt as _};
use metrics::{counter, gauge};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::Span;

use super::{
    error::StoreError,
    work::{LockKey, Outcomes, Work},
};
use crate::{metrics as names, settings::InboxSettings};

/// Requests that are looked at for one batch: those that have to wait for another batch are passed over.
const LOOKED_AT_MAX: usize = 16_384;

/// How long few requests wait for more while another batch is under way: that may wait for the locks of another node.
const PATIENCE: Duration = Duration::from_millis(20);

/// A request that waits.
#[derive(Debug)]
pub(super) struct Job {
    pub work: Work,
    pub rows: usize,
    pub bytes: usize,
    /// The request's, so that a line of the log leads from the packet to the database.
    pub span: Span,
}

impl Job {
    /// Tells the caller what became of it, if he is still there; gives it back where there is no outcome: it did not fit.
    pub(super) fn answer(self, outcomes: &mut Outcomes) -> Option<Self> {
        let Self { work, rows, bytes, span } = self;
        let left = span.in_scope(|| work.answer(outcomes))?;
        Some(Self { work: left, rows, bytes, span })
    }

    /// Tells the caller that nothing was done.
    pub(super) fn refuse(self, error: StoreError) {
        let Self { work, span, .. } = self;
        span.in_scope(|| work.refuse(error));
    }
}

/// Jobs of one transaction, and what they lock: nobody else writes there until [`Queue::release`].
#[derive(Debug)]
pub(super) struct Batch {
    pub jobs: Vec<Job>,
    lock_keys: Vec<LockKey>,
}

/// The queue. Bounded in jobs and in bytes.
#[derive(Debug)]
pub(super) struct Queue {
    settings: InboxSettings,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    rows: usize,
    bytes: usize,
    under_way: usize,
    /// What the batches under way lock.
    locked: HashSet<LockKey>,
    /// Whether a task was woken for what came since the last look at all that waits.
    is_announced: bool,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(settings: InboxSettings) -> Self {
        Self { settings, state: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a job on, or refuses it where too much waits.
    pub(super) fn push(&self, job: Job) -> Result<(), StoreError> {
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
        state.rows += job.rows;
        state.bytes += job.bytes;
        // What waits for a batch that is under way is looked at when that is done, and by nobody before.
        let would_wake = !state.is_announced || self.is_worth_a_batch(&state);
        let is_news = would_wake && !state.must_wait(&job);
        state.is_announced |= is_news;
        state.jobs.push_back(job);
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Refuses further jobs; what was taken on is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// The next batch: at least one job, and no more rows than the settings allow. Beside another batch that is under way it
    /// is not a small one: each costs a transaction. `None` once closed and empty.
    pub(super) async fn take(&self) -> Option<Batch> {
        let mut patient_until = None;
        loop {
            {
                let mut state = self.lock();
                let is_patient = patient_until.is_none_or(|until| Instant::now() < until);
                if self.is_worth_a_batch(&state) || !is_patient {
                    let batch = state.take(self.settings.batch_rows_max);
                    if !batch.jobs.is_empty() {
                        if !state.jobs.is_empty() {
                            self.changed.notify_one();
                        }
                        return Some(batch);
                    }
                    // Those that wait are waiting for a batch that is under way; others may come meanwhile.
                    patient_until = (!state.jobs.is_empty()).then(|| Instant::now() + PATIENCE);
                } else if !state.jobs.is_empty() && patient_until.is_none() {
                    patient_until = Some(Instant::now() + PATIENCE);
                }
                if state.is_closed && state.jobs.is_empty() {
                    self.changed.notify_one();
                    return None;
                }
            }
            match patient_until {
                None => self.changed.notified().await,
                Some(until) => drop(timeout_at(until, self.changed.notified()).await),
            }
        }
    }

    fn is_worth_a_batch(&self, state: &State) -> bool {
        state.under_way == 0 || state.rows >= self.settings.transaction_rows_min || state.is_closed
    }

    /// A batch is done: what it locked may be written to again.
    pub(super) fn release(&self, lock_keys: &[LockKey]) {
        let mut state = self.lock();
        for key in lock_keys {
            state.locked.remove(key);
        }
        state.under_way -= 1;
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// The jobs, and what has to be released after them.
    pub(super) fn into_parts(self) -> (Vec<Job>, Vec<LockKey>) {
        (self.jobs, self.lock_keys)
    }
}

impl State {
    fn must_wait(&self, job: &Job) -> bool {
        if self.locked.is_empty() {
            return false;
        }
        let mut lock_keys = Vec::new();
        job.work.add_lock_keys(&mut lock_keys);
        lock_keys.iter().any(|key| self.locked.contains(key))
    }

    fn take(&mut self, rows_max: usize) -> Batch {
        self.is_announced = false;
        let (mut jobs, mut lock_keys) = (Vec::new(), Vec::new());
        let mut passed_over: Vec<Job> = Vec::new();
        let mut waited_for: HashSet<LockKey> = HashSet::new();
        let (mut rows, mut own) = (0, Vec::new());
        for _ in 0..LOOKED_AT_MAX {
            let Some(job) = self.jobs.pop_front() else { break };
            job.work.add_lock_keys(&mut own);
            let must_wait = own.iter().any(|key| self.locked.contains(key) || waited_for.contains(key));
            if must_wait {
                waited_for.extend(own.drain(..));
                passed_over.push(job);
                continue;
            }
            rows += job.rows;
            if rows > rows_max && !jobs.is_empty() {
                self.jobs.push_front(job);
                break;
            }
            lock_keys.append(&mut own);
            self.rows -= job.rows;
            self.bytes -= job.bytes;
            jobs.push(job);
        }
        passed_over.into_iter().rev().for_each(|job| self.jobs.push_front(job));
        self.locked.extend(lock_keys.iter().copied());
        self.under_way += usize::from(!jobs.is_empty());
        gauge!(names::INBOX_QUEUE_JOBS).set(self.jobs.len() as f64);
        Batch { jobs, lock_keys: mem::take(&mut lock_keys) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        task::{Context, Wake},
    };

    use tokio::{sync::oneshot, task::JoinSet, time::timeout};

    use super::*;
    use crate::store::work::{Ack, Request};

    /// Longer than anything takes that works.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn queue(batch_rows_max: usize) -> Queue {
        Queue::new(InboxSettings { batch_rows_max, transaction_rows_min: 1, ..InboxSettings::default() })
    }

    /// A job about a user; which one it is shows by its seq.
    fn push(queue: &Queue, user_id: u64, seq: u64) {
        let (reply, _) = oneshot::channel();
        let work = Work::Ack(Request { wants: Ack { user_id, device_id: 1, seq }, reply });
        queue.push(Job { work, rows: 1, bytes: 0, span: Span::none() }).unwrap();
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        let seq = |job: &Job| match &job.work {
            Work::Ack(request) => request.wants.seq,
            _ => 0,
        };
        batch.jobs.iter().map(seq).collect()
    }

    #[tokio::test]
    async fn what_concerns_a_user_keeps_its_order_and_the_rest_overtakes() {
        let queue = queue(2);
        for (user_id, seq) in [(7, 1), (8, 2), (7, 3), (9, 4), (7, 5), (9, 6)] {
            push(&queue, user_id, seq);
        }
        let first = queue.take().await.unwrap();
        assert_eq!(seqs(&first), [1, 2]);
        let second = queue.take().await.unwrap();
        assert_eq!(seqs(&second), [4, 6], "those of 7 wait for the first batch");
        assert!(queue.lock().take(2).jobs.is_empty());
        queue.release(&first.into_parts().1);
        assert_eq!(seqs(&queue.take().await.unwrap()), [3, 5]);
    }

    #[tokio::test]
    async fn few_requests_wait_for_more_beside_a_batch_but_not_for_long() {
        let queue = Queue::new(InboxSettings { transaction_rows_min: 3, ..InboxSettings::default() });
        push(&queue, 1, 1);
        let first = queue.take().await.unwrap();
        push(&queue, 2, 2);
        let before = Instant::now();
        assert_eq!(seqs(&queue.take().await.unwrap()), [2]);
        assert!(before.elapsed() >= PATIENCE, "it waited");

        for user_id in 3..6 {
            assert!(!queue.is_worth_a_batch(&queue.lock()));
            push(&queue, user_id, user_id);
        }
        assert!(queue.is_worth_a_batch(&queue.lock()), "enough are taken at once");
        assert_eq!(seqs(&queue.take().await.unwrap()), [3, 4, 5]);

        push(&queue, 1, 6);
        let (held, ()) = tokio::join!(queue.take(), async { queue.release(&first.into_parts().1) });
        assert_eq!(seqs(&held.unwrap()), [6], "who waits for a batch comes after it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_request_is_forgotten_whichever_of_several_tasks_hears_of_it() {
        const USERS: u64 = 8;
        const REQUESTS: u64 = 4_000;
        let settings = InboxSettings { transaction_rows_min: 16, batch_rows_max: 32, ..InboxSettings::default() };
        let queue = Arc::new(Queue::new(settings));
        let mut tasks = JoinSet::new();
        for _ in 0..3 {
            let queue = queue.clone();
            tasks.spawn(async move {
                let mut taken = Vec::new();
                while let Some(batch) = queue.take().await {
                    taken.extend(seqs(&batch));
                    tokio::task::yield_now().await;
                    queue.release(&batch.into_parts().1);
                }
                taken
            });
        }
        for seq in 0..REQUESTS {
            push(&queue, seq % USERS, seq);
            // Now and then all that is there is taken, and everybody waits.
            if seq % 100 == 0 {
                let emptied = async {
                    while !queue.lock().jobs.is_empty() {
                        tokio::task::yield_now().await;
                    }
                };
                timeout(DEADLINE, emptied).await.expect("the last one is taken too");
            }
        }
        queue.close();
        let mut taken = timeout(DEADLINE, tasks.join_all()).await.expect("all tasks end").concat();
        taken.sort_unstable();
        assert_eq!(taken, (0..REQUESTS).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_waits_for_a_batch_wakes_nobody_and_what_does_not_wakes_one() {
        let queue = Queue::new(InboxSettings { transaction_rows_min: 50, ..InboxSettings::default() });
        push(&queue, 7, 1);
        let first = queue.take().await.unwrap();
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut take = pin!(queue.take());
        let mut is_ready = || take.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        assert!(!is_ready());
        (2..100).for_each(|seq| push(&queue, 7, seq));
        assert_eq!(wakes.0.load(Relaxed), 0);
        push(&queue, 8, 100);
        assert_eq!(wakes.0.load(Relaxed), 1);
        assert!(is_ready());
        queue.release(&first.into_parts().1);
        assert_eq!(seqs(&queue.take().await.unwrap()), (2..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_few_requests_that_wait_for_nothing_are_not_held_up_by_those_that_do() {
        let queue = Queue::new(InboxSettings { transaction_rows_min: 50, ..InboxSettings::default() });
        push(&queue, 7, 1);
        let _under_way = queue.take().await.unwrap();
        let (batch, ()) = tokio::join!(queue.take(), async {
            push(&queue, 7, 2);
            push(&queue, 8, 3);
        });
        assert_eq!(seqs(&batch.unwrap()), [3]);
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test]
    async fn a_closed_queue_hands_out_what_it_took_on() {
        let queue = queue(10);
        push(&queue, 7, 1);
        let first = queue.take().await.unwrap();
        push(&queue, 7, 2);
        queue.close();
        queue.release(&first.into_parts().1);
        assert_eq!(seqs(&queue.take().await.unwrap()), [2]);
        assert!(queue.take().await.is_none());
    }
}
