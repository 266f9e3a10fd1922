//! What waits for the inbox writer, and what its transactions are busy with.
//!
//! Whoever waits is taken by turns between those who pay ([`super::fair_queue`]), counted in rows, and has a share of the queue and of each
//! transaction. Always holds: of two requests that somebody pays for, the one that was submitted first is taken first; what
//! concerns a user or group that a batch is busy with waits for that batch, and is not overtaken by what concerns the same ones and
//! whose turn comes later. Few requests wait for more, as long as their transaction would cost more than it is worth ([`super::transaction_interval`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::{HashMap, HashSet, HashSetExt as _};
use metrics::{counter, gauge};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::Span;

use super::{
    error::StoreError,
    fair_queue::{Cost, FairQueue, Waiting},
    id_floor::FloorHold,
    transaction_interval::TransactionInterval,
    work::{LockKey, Outcomes, Payer, Work},
};
use crate::{metrics as names, settings::InboxSettings};

/// Requests that are looked at for one batch: those that have to wait for another batch are passed over.
const LOOKED_AT_MAX: usize = 16_384;

/// How long few requests wait for more while another batch is under way: that may wait for the locks of another node.
const PATIENCE: Duration = Duration::from_millis(20);

/// What those at one address have of the share of all strangers.
const ADDRESS_PART: usize = 4;

/// Groups whose rows are remembered. What is not known is guessed, and found out when it is done.
const GROUPS_KNOWN_MAX: usize = 65_536;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Job {
    pub work: Work,
    /// The request's, so that a line of the log leads from the packet to the database.
    pub span: Span,
    /// When it came.
    pub since: Instant,
    /// From the moment on at which its messages have ids.
    pub floor: Option<Arc<FloorHold>>,
}

impl Job {
    /// Tells the caller what became of it, if he is still there; gives it back where there is no outcome: it did not fit.
    pub(super) fn answer(self, outcomes: &mut Outcomes) -> Option<Self> {
        let Self { work, span, since, floor } = self;
        let left = span.in_scope(|| work.answer(outcomes))?;
        Some(Self { work: left, span, since, floor })
    }

    /// Has it numbered anew when it is taken again: others may overtake it until then, and nobody has to wait for what it was to get.
    pub(super) fn unnumbered(mut self) -> Self {
        self.work.unnumber();
        Self { floor: None, ..self }
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
    held: BatchHold,
}

/// What a batch keeps from others.
#[derive(Debug)]
pub(super) struct BatchHold {
    batch: u64,
    lock_keys: Vec<LockKey>,
}

/// The queue. Bounded in jobs and in bytes, for each who pays and in all.
#[derive(Debug)]
pub(super) struct Queue {
    settings: InboxSettings,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: FairQueue<Job>,
    /// The batches under way by their numbers, and since when they are: the first one is the oldest.
    under_way: BTreeMap<u64, Instant>,
    interval: TransactionInterval,
    /// What the batches under way lock.
    locked: HashSet<LockKey>,
    /// How many batches there were.
    batches: u64,
    /// Inbox rows of a message to a group, as the last one had.
    group_rows: HashMap<u64, usize>,
    /// Whether a task was woken for what came since the last look at all that waits.
    is_announced: bool,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(settings: InboxSettings) -> Self {
        let interval = TransactionInterval::new(Duration::from_millis(settings.transaction_interval_ms_max));
        let state = Mutex::new(State { interval, ..State::default() });
        Self { settings, state, changed: Notify::new() }
    }

    /// Takes a job on, or refuses it where too much waits: of whoever pays for it, or of all.
    pub(super) fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        let waiting = Waiting { payer: job.work.payer(), cost: state.cost_of(&job.work), what: job };
        self.admit(&state, &waiting)?;
        // What waits for a batch that is under way is looked at when that is done, and by nobody before.
        let would_wake = !state.is_announced || self.is_worth_a_batch(&state, waiting.cost, Instant::now());
        let is_news = would_wake && !state.must_wait(&waiting.what);
        state.is_announced |= is_news;
        state.waiting.push_back(waiting);
        drop(state);
        if is_news {
            self.changed.notify_one();
        }
        Ok(())
    }

    fn admit(&self, state: &State, waiting: &Waiting<Job>) -> Result<(), StoreError> {
        if state.is_closed {
            return Err(StoreError::PutOff("the service is stopping"));
        }
        let queue = &state.waiting;
        let is_full = queue.len() >= self.settings.queue_jobs_max
            || (queue.total().bytes + waiting.cost.bytes > self.settings.queue_bytes_max && !queue.is_empty());
        if is_full {
            counter!(names::INBOX_QUEUE_FULL).increment(1);
            return Err(StoreError::PutOff("the queue of the inbox writer is full"));
        }
        if self.is_beyond_a_share(queue, waiting) {
            counter!(names::INBOX_SHARE_FULL).increment(1);
            return Err(StoreError::TooMany("much of the same user waits for the inbox writer"));
        }
        Ok(())
    }

    /// All strangers have the share of one user, and those at one address a part of it. Who has nothing waiting is not refused for
    /// the size of one request.
    fn is_beyond_a_share(&self, queue: &FairQueue<Job>, waiting: &Waiting<Job>) -> bool {
        let InboxSettings { queue_user_rows_max: rows_max, queue_user_bytes_max: bytes_max, .. } = self.settings;
        let is_over = |waits: Cost, part: usize| {
            waits.rows > 0
                && (waits.rows + waiting.cost.rows > rows_max / part
                    || waits.bytes + waiting.cost.bytes > bytes_max / part)
        };
        let own = queue.cost_of(waiting.payer).unwrap_or_default();
        match waiting.payer {
            Payer::User(_) => is_over(own, 1),
            Payer::Stranger(_) => is_over(queue.strangers(), 1) || is_over(own, ADDRESS_PART),
            Payer::Service(_) => false,
        }
    }

    /// Refuses further jobs; what was taken on is still handed out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// The next batch: at least one job, and no more rows than the settings allow. Beside another batch that is under way, or
    /// soon after one, it is not a small one: each costs a transaction. `None` once closed and empty.
    pub(super) async fn take(&self) -> Option<Batch> {
        let mut patient_until: Option<Instant> = None;
        loop {
            let until = {
                let mut state = self.lock();
                let now = Instant::now();
                let is_impatient = patient_until.is_some_and(|until| now >= until);
                if self.is_worth_a_batch(&state, Cost::default(), now) || is_impatient {
                    let batch = state.take(&self.settings, now);
                    if !batch.jobs.is_empty() {
                        if !state.waiting.is_empty() {
                            self.changed.notify_one();
                        }
                        return Some(batch);
                    }
                    // Those that wait are waiting for a batch that is under way; others may come meanwhile.
                    patient_until = (!state.waiting.is_empty()).then(|| now + PATIENCE);
                } else if !state.waiting.is_empty() && patient_until.is_none() {
                    patient_until = Some(now + PATIENCE);
                }
                if state.is_closed && state.waiting.is_empty() {
                    self.changed.notify_one();
                    return None;
                }
                let interval_until = state.interval.due_at(state.waiting.len()).filter(|_| state.under_way.is_empty());
                patient_until.map(|until| interval_until.unwrap_or(until).min(until))
            };
            match until {
                None => self.changed.notified().await,
                Some(until) => drop(timeout_at(until, self.changed.notified()).await),
            }
        }
    }

    fn is_worth_a_batch(&self, state: &State, more: Cost, now: Instant) -> bool {
        let rows = state.waiting.total().rows + more.rows;
        let waiting = state.waiting.len() + usize::from(more.rows > 0);
        let is_due = || state.under_way.is_empty() && state.interval.due_at(waiting).is_none_or(|due_at| now >= due_at);
        rows >= self.settings.transaction_rows_min || state.is_closed || is_due()
    }

    /// A batch is done: what it locked may be written to again. Jobs that did not fit are first in their flows again.
    pub(super) fn release(&self, held: &BatchHold, left: Vec<Job>) {
        let mut state = self.lock();
        for key in &held.lock_keys {
            state.locked.remove(key);
        }
        for job in left.into_iter().rev() {
            let waiting = Waiting { payer: job.work.payer(), cost: state.cost_of(&job.work), what: job };
            state.waiting.push_front(waiting);
        }
        if let Some(begun_at) = state.under_way.remove(&held.batch) {
            let waiting = state.waiting.len();
            state.interval.end(begun_at.elapsed(), waiting);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Notes how many inbox rows messages to groups had.
    pub(super) fn note_group_rows(&self, rows: impl Iterator<Item = (u64, usize)>) {
        let mut state = None;
        for (group_id, rows) in rows {
            let known = &mut state.get_or_insert_with(|| self.lock()).group_rows;
            if known.len() >= GROUPS_KNOWN_MAX {
                known.clear();
            }
            known.insert(group_id, rows);
        }
    }

    /// For how long the oldest request has been waiting, and the oldest batch under way; zero where there is none.
    pub(super) fn ages(&self, now: Instant) -> (Duration, Duration) {
        let state = self.lock();
        let oldest = [state.waiting.firsts().map(|job| job.since).min(), state.under_way.values().next().copied()];
        drop(state);
        let [waiting, under_way] =
            oldest.map(|since| since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)));
        (waiting, under_way)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// The jobs, and what has to be released after them.
    pub(super) fn into_parts(self) -> (Vec<Job>, BatchHold) {
        (self.jobs, self.held)
    }
}

impl State {
    fn cost_of(&self, work: &Work) -> Cost {
        let known = work.group_sent_to().and_then(|group_id| self.group_rows.get(&group_id).copied());
        Cost { rows: known.unwrap_or_else(|| work.rows()).max(1), bytes: work.bytes() }
    }

    fn must_wait(&self, job: &Job) -> bool {
        if self.locked.is_empty() {
            return false;
        }
        let mut lock_keys = Vec::new();
        job.work.add_lock_keys(&mut lock_keys);
        lock_keys.iter().any(|key| self.locked.contains(key))
    }

    fn take(&mut self, settings: &InboxSettings, now: Instant) -> Batch {
        self.is_announced = false;
        self.batches += 1;
        let (mut jobs, mut lock_keys, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut waited_for: HashSet<LockKey> = HashSet::new();
        let (mut units, mut own) = (0, Vec::new());
        for _ in 0..LOOKED_AT_MAX {
            let Some(turn) = self.waiting.next_turn() else { break };
            let Some((first, taken)) = self.waiting.first(turn, self.batches) else { continue };
            let needed = first.cost.units();
            let has_share = !matches!(turn.payer, Payer::Service(_));
            if has_share && taken > 0 && taken + needed > settings.batch_user_rows_max {
                passed_over.push(turn);
                continue;
            }
            first.what.work.add_lock_keys(&mut own);
            let must_wait = own.iter().any(|key| self.locked.contains(key) || waited_for.contains(key));
            if must_wait {
                waited_for.extend(own.drain(..));
                passed_over.push(turn);
                continue;
            }
            if units + needed > settings.batch_rows_max && !jobs.is_empty() {
                passed_over.push(turn);
                break;
            }
            units += needed;
            lock_keys.append(&mut own);
            jobs.extend(self.waiting.take(turn, self.batches).map(|waiting| waiting.what));
        }
        passed_over.into_iter().for_each(|turn| self.waiting.put_back(turn));
        self.locked.extend(lock_keys.iter().copied());
        if !jobs.is_empty() {
            self.under_way.insert(self.batches, now);
            self.interval.begin(jobs.len(), now);
        }
        gauge!(names::INBOX_QUEUE_JOBS).set(self.waiting.len() as f64);
        Batch { jobs, held: BatchHold { batch: self.batches, lock_keys } }
    }
}

#[cfg(test)]
mod tests;
