//! The inbox writer: group commit.
//!
//! Requests put their work into one bounded queue and await the commit; a few Tokio tasks (one on SQLite) take whatever has
//! gathered, by turns between users, each for a transaction of its own. The longer a commit takes, the more of them share the
//! next one; while one transaction waits for the disk, another one writes for other users. Always holds: work that the same user
//! asked for is committed in the order in which it was submitted ([`super::queue`]), messages get their ids when they are taken for a
//! transaction, in its order, and hold the floor of ids until it is known what became of it; a request is answered only after its commit, and
//! what was committed goes to the fan-out in the order of the seqs of every user ([`super::turns`]).

use std::{
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;
use gim_config::{
    outage::Outage,
    request_shares::RequestShares,
    slow,
    sql::{self, Database, Dialect, HeldConnection, Pool},
    traces,
};
use metrics::{counter, gauge, histogram};
use sqlx::AnyConnection;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, timeout},
};
use tracing::Span;

use super::{
    dialect::{self, Sql},
    error::StoreError,
    held_groups::BatchLimits,
    id_floor::{IdFloor, Permit},
    opening::{self, Opening},
    queue::{Job, Queue},
    transaction::{self, KeyLookup, Written},
    turns::{Turn, Turns},
    work::{Ack, AckOutcome, DeviceSave, GroupAck, GroupOutcome, GroupWork, Post, ReadMark, Request, Work},
};
use crate::{
    domain::{
        byte_budget::{ByteBudget, stored_bytes},
        message::{Delivery, Sent},
    },
    metrics as names,
    settings::InboxSettings,
};

/// How often a batch is tried where its transaction meets that of another node.
const TRIES_MAX: u32 = 5;

/// How often it is looked for how long the oldest requests wait.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// A task without anything to write for so long gives its connection back.
const REST_AFTER: Duration = Duration::from_millis(500);

/// Repeated sends come in crowds, after a network or a node was away. After one, so many batches look all keys up; without
/// any, a lookup would cost a transaction on MySQL a seventh of its time.
const LOOKUPS_AFTER_REPEAT: u32 = 64;

/// A message to so many receivers costs its sender's share another request.
const RECEIVERS_PER_REQUEST: u64 = 64;

/// So many bytes that a user says of a device cost another request.
const TEXT_BYTES_PER_REQUEST: u64 = 1_024;

/// Where requests are submitted. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: Arc<Queue>,
    budget: Arc<Mutex<ByteBudget>>,
}

/// How messages are numbered, and what is stored with them for whoever walks over them later.
#[derive(Debug, Clone)]
pub struct Numbering {
    /// Ids, and how far they are settled.
    pub floor: IdFloor,
    /// Whether of each message it is stored whom it is for, also where nobody can recall it.
    pub keeps_receivers: bool,
    /// For how long the database may be at a transaction that nobody waits for any more.
    pub unresolved: Duration,
}

/// A request that was taken on; resolves after its commit.
#[derive(Debug)]
pub struct PendingCommit<T>(oneshot::Receiver<Result<T, StoreError>>);

impl Writer {
    /// Starts the tasks. Committed messages go to `deliveries`; what they cost is charged to the `shares` of their senders. The handle
    /// ends after [`Writer::close`], when all is written.
    pub fn start(
        database: &Database,
        settings: &InboxSettings,
        shares: Arc<RequestShares>,
        numbering: Numbering,
        deliveries: mpsc::Sender<Vec<Delivery>>,
    ) -> (Self, JoinHandle<()>) {
        let queue = Arc::new(Queue::new(settings.clone()));
        let budget = Arc::new(Mutex::new(ByteBudget::new(settings.user_bytes_per_hour_max)));
        let task = WriterTask {
            queue: queue.clone(),
            budget: budget.clone(),
            shares,
            numbering,
            turns: Arc::default(),
            limits: BatchLimits { rows: settings.batch_rows_max, user_rows: settings.batch_user_rows_max },
            pool: database.writer.clone(),
            sql: dialect::sql(database.dialect),
            lookups: Arc::default(),
            deliveries,
            outage: Arc::new(Outage::of("the database of inboxes")),
        };
        let count = match database.dialect {
            Dialect::Sqlite => 1,
            // They keep their connections, and others have to write as well.
            Dialect::Mysql => settings.transactions_max.min(database.writers.saturating_sub(1)).max(1),
        };
        let mut tasks: JoinSet<()> = (0..count).map(|_| task.clone().run()).collect();
        drop(task);
        let watch = tokio::spawn(watch(queue.clone()));
        let ended = async move {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the inbox writer failed");
                }
            }
            watch.abort();
        };
        (Self { queue, budget }, tokio::spawn(ended))
    }

    /// Takes a message for inboxes on; its seq is that of the first receiver. As all of these, it refuses where too much
    /// waits, and never waits itself: for each sender, the order of calls is the order of commits.
    pub fn submit_post(&self, post: Post) -> Result<PendingCommit<Sent>, StoreError> {
        self.submit(post, Work::Post)
    }

    /// Takes on what is to be done with a group. The seq of a message to a large group is that of the group.
    pub fn submit_group(&self, work: GroupWork) -> Result<PendingCommit<GroupOutcome>, StoreError> {
        self.submit(Box::new(work), Work::Group)
    }

    /// Takes a recall on: `post` is what is left of the message, for those whose inboxes hold it (nobody where it is in the
    /// timeline of a large group alone). Nothing is done where it is recalled already, or gone.
    pub fn submit_recall(&self, post: Post) -> Result<PendingCommit<()>, StoreError> {
        self.submit(post, Work::Recall)
    }

    /// Takes on how far a device has read.
    pub fn submit_ack(&self, ack: Ack) -> Result<PendingCommit<AckOutcome>, StoreError> {
        self.submit(ack, Work::Ack)
    }

    /// Takes on how far a user has read in large groups.
    pub fn submit_group_acks(&self, acks: Vec<GroupAck>) -> Result<PendingCommit<()>, StoreError> {
        self.submit(acks, Work::GroupAcks)
    }

    /// Takes on how far a user has read in a conversation.
    pub fn submit_read(&self, mark: ReadMark) -> Result<PendingCommit<()>, StoreError> {
        self.submit(mark, Work::Read)
    }

    /// Takes on what is to be noted of a device.
    pub fn submit_device(&self, save: DeviceSave) -> Result<PendingCommit<()>, StoreError> {
        self.submit(Box::new(save), Work::Device)
    }

    fn submit<W, T>(&self, wants: W, work: fn(Request<W, T>) -> Work) -> Result<PendingCommit<T>, StoreError> {
        let (reply, pending) = oneshot::channel();
        let work = work(Request { wants, id: 0, reply });
        if let Some(user_id) = work.budgeted_user()
            && let Some(wait) = lock(&self.budget).wait_of(user_id, Instant::now())
        {
            counter!(names::BUDGET_SPENT).increment(1);
            return Err(StoreError::BudgetSpent { wait_s: wait.as_secs() + 1 });
        }
        let since = tokio::time::Instant::now();
        self.queue.push(Job { work, span: Span::current(), since, floor: None })?;
        Ok(PendingCommit(pending))
    }

    /// Refuses further requests; what was taken on is still written.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl<T> PendingCommit<T> {
    /// Waits for the commit.
    pub async fn committed(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::PutOff("the inbox writer ended")))
    }
}

/// One of the tasks.
#[derive(Clone)]
struct WriterTask {
    queue: Arc<Queue>,
    budget: Arc<Mutex<ByteBudget>>,
    shares: Arc<RequestShares>,
    numbering: Numbering,
    turns: Arc<Turns>,
    limits: BatchLimits,
    pool: Pool,
    sql: &'static Sql,
    /// Batches that are still to look all keys up.
    lookups: Arc<AtomicU32>,
    deliveries: mpsc::Sender<Vec<Delivery>>,
    outage: Arc<Outage>,
}

impl WriterTask {
    // path 6/9: decide, number, store
    async fn run(self) {
        let mut connection = self.pool.held();
        loop {
            let mut next = pin!(self.queue.take());
            let batch = match timeout(REST_AFTER, &mut next).await {
                Ok(batch) => batch,
                Err(_) => {
                    connection.rest();
                    next.await
                }
            };
            let Some(batch) = batch else { return };
            let (mut jobs, held) = batch.into_parts();
            self.number(&mut jobs);
            let left = self.write(&mut connection, jobs).await;
            self.queue.release(&held, left);
        }
    }

    /// What concerns the same user or group has ids in the order in which it is done: nothing else about them is under way here.
    fn number(&self, jobs: &mut [Job]) {
        let floor = Arc::new(self.numbering.floor.hold());
        for job in jobs.iter_mut().filter(|job| job.floor.is_none()) {
            job.work.number(self.numbering.floor.ids());
            job.floor = Some(floor.clone());
        }
    }

    /// Keeps the floor below transactions of which it is not known what became: the database may commit them yet.
    fn keep_floor(&self, jobs: &[Job]) {
        let floors: Vec<_> = jobs.iter().filter_map(|job| job.floor.clone()).collect();
        let unresolved = self.numbering.unresolved;
        tokio::spawn(async move {
            tokio::time::sleep(unresolved).await;
            drop(floors);
        });
    }

    /// Writes a batch and answers its jobs; returns those that did not fit. Where one of them spoils the transaction, each
    /// gets one of its own.
    async fn write(&self, connection: &mut HeldConnection, jobs: Vec<Job>) -> Vec<Job> {
        match self.commit_among_others(connection, &jobs).await {
            Ok(committed) => {
                self.outage.answered(Instant::now());
                self.hand_over(jobs, committed).await
            }
            Err(error) => {
                counter!(names::INBOX_COMMIT_FAILED).increment(1);
                match StoreError::from(error) {
                    StoreError::Failed(_) if jobs.len() > 1 => self.write_singly(connection, jobs).await,
                    StoreError::Failed(problem) => refuse(jobs, || StoreError::Failed(problem.clone())),
                    error => {
                        self.outage.failed(&error, Instant::now());
                        self.keep_floor(&jobs);
                        refuse(jobs, || StoreError::PutOff("the database is away"));
                    }
                }
                Vec::new()
            }
        }
    }

    async fn write_singly(&self, connection: &mut HeldConnection, jobs: Vec<Job>) {
        for job in jobs {
            match self.commit_among_others(connection, std::slice::from_ref(&job)).await {
                Ok(committed) => drop(self.hand_over(vec![job], committed).await),
                Err(error) => {
                    self.keep_floor(std::slice::from_ref(&job));
                    job.refuse(error.into());
                }
            }
        }
    }

    /// Answers what was committed, and sends it to the fan-out when it is its turn; returns the jobs that were left.
    async fn hand_over(&self, jobs: Vec<Job>, committed: Committed) -> Vec<Job> {
        let Written { mut outcomes, deliveries, .. } = committed.written;
        self.queue.note_group_rows(deliveries.iter().filter_map(group_rows));
        self.charge(&jobs, &deliveries);
        let left = jobs.into_iter().filter_map(|job| job.answer(&mut outcomes)).map(Job::unnumbered).collect();
        if !deliveries.is_empty() {
            committed.turn.come().await;
            if self.deliveries.send(deliveries).await.is_err() {
                tracing::error!("the fan-out ended: committed messages reach devices by sync only");
            }
        }
        left
    }

    /// Counts what was stored for whom: for the sender of a message, for who changed a group, and for who described a device.
    fn charge(&self, jobs: &[Job], deliveries: &[Delivery]) {
        let notices: HashMap<u64, u64> = jobs.iter().flat_map(|job| job.work.paid_notices()).collect();
        let now = Instant::now();
        let mut budget = lock(&self.budget);
        for (user_id, bytes) in jobs.iter().filter_map(|job| job.work.paid_texts()) {
            budget.add(user_id, stored_bytes(bytes, 0), now);
            self.shares.charge(user_id, bytes as u64 / TEXT_BYTES_PER_REQUEST, now);
        }
        for Delivery { message, receivers, .. } in deliveries {
            let payer = notices.get(&message.id).copied().unwrap_or(message.sender_id);
            if payer != 0 {
                budget.add(payer, stored_bytes(message.content.len(), receivers.len()), now);
                self.shares.charge(payer, receivers.len() as u64 / RECEIVERS_PER_REQUEST, now);
            }
        }
    }

    /// Commits, and tries again where a transaction of another node was in the way, or a key was there already: nothing is left
    /// of the one that failed.
    async fn commit_among_others(
        &self,
        connection: &mut HeldConnection,
        jobs: &[Job],
    ) -> Result<Committed, sqlx::Error> {
        let is_due = self.lookups.fetch_update(Relaxed, Relaxed, |due| due.checked_sub(1)).is_ok();
        let mut lookup = if is_due { KeyLookup::All } else { KeyLookup::Groups };
        for _ in 1..TRIES_MAX {
            match self.commit(connection, jobs, lookup).await {
                Err(error) if met_another(&error) => {
                    counter!(names::INBOX_COMMIT_RETRIED).increment(1);
                    tracing::debug!(%error, requests = jobs.len(), "a transaction met another one and is tried again");
                    lookup = KeyLookup::All;
                }
                Ok(committed) => {
                    if committed.written.has_repeats {
                        self.lookups.store(LOOKUPS_AFTER_REPEAT, Relaxed);
                    }
                    return Ok(committed);
                }
                error => return error,
            }
        }
        self.commit(connection, jobs, lookup).await
    }

    async fn commit(
        &self,
        connection: &mut HeldConnection,
        jobs: &[Job],
        lookup: KeyLookup,
    ) -> Result<Committed, sqlx::Error> {
        let started = Instant::now();
        let works: Vec<&Work> = jobs.iter().map(|job| &job.work).collect();
        let permit = || {
            let holds = jobs.iter().filter_map(|job| job.floor.as_deref());
            self.numbering.floor.permit(holds, Instant::now()).ok_or_else(too_late)
        };
        // Before anything is begun and locked in vain.
        permit()?;
        let mut span = traces::batch("transaction", works.iter().map(|work| work.trace()));
        span.note("gim.requests", works.len() as i64);
        let work = async |connection: &mut AnyConnection| self.transact(connection, &works, lookup, &permit).await;
        let committed = connection.run(work).await.inspect_err(|error| span.fail(|| error.to_string()))?;
        drop(span);

        let rows: usize = committed.written.deliveries.iter().map(|delivery| delivery.receivers.len()).sum();
        counter!(names::INBOX_ROWS).increment(rows as u64);
        slow::tell("transaction", "", started.elapsed());
        histogram!(names::INBOX_COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        Ok(committed)
    }

    async fn transact(
        &self,
        connection: &mut AnyConnection,
        works: &[&Work],
        lookup: KeyLookup,
        permit: &(impl Fn() -> Result<Permit, sqlx::Error> + Sync),
    ) -> Result<Committed, sqlx::Error> {
        if !self.sql.sends_text {
            let mut transaction = sql::begin(connection).await?;
            let committed = self.decide_and_store(&mut transaction, works, (lookup, permit), Opening::done()).await?;
            transaction.commit().await?;
            return Ok(committed);
        }
        let done = self.decide_and_store(connection, works, (lookup, permit), Opening::with_first_text()).await;
        if done.as_ref().is_err_and(met_another) {
            opening::roll_back(connection).await?;
        }
        done
    }

    async fn decide_and_store(
        &self,
        connection: &mut AnyConnection,
        works: &[&Work],
        (lookup, permit): (KeyLookup, &(impl Fn() -> Result<Permit, sqlx::Error> + Sync)),
        mut opening: Opening,
    ) -> Result<Committed, sqlx::Error> {
        let prepared = transaction::prepare(connection, self.sql, works, (self.limits, lookup), &mut opening).await?;
        // All counters are held from here on.
        let turn = self.turns.take();
        // The commit comes with what is stored.
        let permit = permit()?;
        let stored = prepared.store(connection, self.sql, (self.numbering.keeps_receivers, permit)).await;
        let is_fenced_off = |error: &sqlx::Error| permit.fence.is_some() && sql::is_out_of_range(error);
        let written = stored.map_err(|error| if is_fenced_off(&error) { too_late() } else { error })?;
        Ok(Committed { written, turn })
    }
}

/// Shows what stands still: a commit that hangs is counted nowhere else before it ends. Ends when it is aborted.
async fn watch(queue: Arc<Queue>) {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (waiting, under_way) = queue.ages(tokio::time::Instant::now());
        gauge!(names::INBOX_QUEUE_OLDEST_SECONDS).set(waiting.as_secs_f64());
        gauge!(names::INBOX_COMMIT_OLDEST_SECONDS).set(under_way.as_secs_f64());
    }
}

/// The group that a user's message was for, and how many inboxes got it.
fn group_rows(delivery: &Delivery) -> Option<(u64, usize)> {
    let group = delivery.group.as_ref()?;
    Some((group.group_id, delivery.receivers.len()))
}

/// What a transaction did, and when it may say so.
struct Committed {
    written: Written,
    turn: Turn,
}

/// Other nodes count on this one's floor, and could not hear of it, or went on without it.
fn too_late() -> sqlx::Error {
    counter!(names::INBOX_COMMITS_TOO_LATE).increment(1);
    let problem = "the other nodes have not been told for too long what this one has under way";
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, problem))
}

/// Whether a transaction gave way to that of another node, or found a key stored that it had not looked for, or in vain: the
/// next try looks, sees the key, and answers as for any repeated send.
fn met_another(error: &sqlx::Error) -> bool {
    sql::gave_way(error) || error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

fn lock(budget: &Mutex<ByteBudget>) -> MutexGuard<'_, ByteBudget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse(jobs: Vec<Job>, error: impl Fn() -> StoreError) {
    jobs.into_iter().for_each(|job| job.refuse(error()));
}
