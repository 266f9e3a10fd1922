//! Connections to a database, none of which anybody waits for longer than a limit.
//!
//! A database that hangs takes statements and answers none. Always holds: what runs here ends within the limit; a connection
//! that did not answer in time is closed and not used again, so that requests go on as soon as the database does. Nor is one
//! on which something failed: it may lead to a server that another one has replaced, or, of SQLite, be in a transaction that a
//! full disk ended without sqlx knowing. Once a server says that it takes no writes any more, or does not answer, no
//! connection that was opened before is used again. Where the server gives no further connection, those that are there do. No
//! write is told to have succeeded that a restart would not find ([`super::storage`]).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _, future::BoxFuture, stream};
use sqlx::{
    Any, AnyConnection, AnyPool, Connection as _, Either, Execute, Executor, SqlStr, Transaction,
    any::{AnyPoolOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    migrate::{MigrateError, Migrator},
    pool::PoolConnection,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    DatabaseSettings, Dialect,
    away::Away,
    errors::{self, Meaning},
    pool_metrics::{CountedPlace, PoolMetrics},
    session::{self, Access},
    storage::Storage,
};

/// A connection that was idle for longer is tried before it is used: a database that restarted meanwhile closed it.
pub(super) const IDLE_UNTRIED: Duration = Duration::from_secs(1);

/// A connection that does not answer in this time when it is tried leads nowhere.
const TRIAL_MAX: Duration = Duration::from_secs(1);

/// After the server refused a further connection, so long until one is asked for again in its place.
const REFUSED_PAUSE: Duration = Duration::from_millis(300);

/// How often a transaction is tried that gives way to others.
const TRIES_MAX: u32 = 8;

/// An error of work that a pool runs.
pub trait Failure: From<sqlx::Error> {
    /// What the database said, if it is still known: it decides what becomes of the connection.
    fn cause(&self) -> Option<&sqlx::Error>;
}

impl Failure for sqlx::Error {
    fn cause(&self) -> Option<&sqlx::Error> {
        Some(self)
    }
}

/// When connections of before became useless. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    began: Instant,
    at_us: Arc<AtomicU64>,
}

impl Default for Renewal {
    fn default() -> Self {
        Self { began: Instant::now(), at_us: Arc::default() }
    }
}

impl Renewal {
    fn renew(&self) {
        self.at_us.fetch_max(self.now_us(), Relaxed);
    }

    fn is_before(&self, age: Duration) -> bool {
        let opened_us = self.now_us().saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        self.at_us.load(Relaxed) > opened_us
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A pool of connections. Clones share it. Single statements take it for an executor.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: AnyPool,
    /// As many as there may be connections, but for those that the server just refused.
    places: Arc<Semaphore>,
    metrics: PoolMetrics,
    /// Who waits for one.
    waiting: Arc<AtomicUsize>,
    renewal: Renewal,
    acquire_timeout: Duration,
    timeout: Duration,
    dialect: Dialect,
    access: Access,
    storage: Storage,
    away: Away,
}

impl Pool {
    /// Opens the first of `count` connections.
    pub(super) async fn open(
        url: &str,
        settings: &DatabaseSettings,
        kind: (Dialect, Access, u32),
        renewal: Renewal,
        shared: (Storage, Away),
    ) -> Result<Self, sqlx::Error> {
        let pool = Self::unopened(url, settings, kind, renewal, shared)?;
        pool.connections.acquire().await?.return_to_pool().await;
        Ok(pool)
    }

    /// The same, with no connection before somebody asks for one.
    pub(super) fn unopened(
        url: &str,
        settings: &DatabaseSettings,
        (dialect, access, count): (Dialect, Access, u32),
        renewal: Renewal,
        (storage, away): (Storage, Away),
    ) -> Result<Self, sqlx::Error> {
        let acquire_timeout = Duration::from_millis(settings.acquire_timeout_ms);
        let options = AnyPoolOptions::new()
            .max_connections(count)
            .acquire_timeout(acquire_timeout)
            .test_before_acquire(false)
            .after_connect({
                let settings = settings.clone();
                move |connection, _| {
                    let settings = settings.clone();
                    Box::pin(async move { session::prepare(connection, &settings, dialect, access).await })
                }
            });
        let options = match dialect {
            Dialect::Sqlite => options,
            Dialect::Mysql => {
                let renewal = renewal.clone();
                options.before_acquire(move |connection, usage| {
                    let is_useless = renewal.is_before(usage.age);
                    let renewal = renewal.clone();
                    Box::pin(async move {
                        Ok(!is_useless && (usage.idle_for <= IDLE_UNTRIED || answers(connection, &renewal).await))
                    })
                })
            }
        };
        Ok(Self {
            connections: options.connect_lazy(url)?,
            places: Arc::new(Semaphore::new(count as usize)),
            metrics: PoolMetrics::new(access.label(), count as usize),
            waiting: Arc::default(),
            renewal,
            acquire_timeout,
            timeout: Duration::from_millis(settings.statement_timeout_ms),
            dialect,
            access,
            storage,
            away,
        })
    }

    /// The same connections as two pools, of which the second one has places of its own: a quarter of them, or one of two. Of a single
    /// connection there are no two parts.
    pub(super) fn split(self, count: u32) -> (Self, Self) {
        if count < 2 {
            return (self.clone(), self);
        }
        let own = (count / 4).max(1);
        let part = |count: u32, name: &'static str| Self {
            places: Arc::new(Semaphore::new(count as usize)),
            metrics: PoolMetrics::new(name, count as usize),
            ..self.clone()
        };
        (part(count - own, self.access.label()), part(own, "sign_in"))
    }

    /// How much may be under way at the same time.
    pub(super) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Does work that takes one connection and several statements. `timeout` is for the work as a whole.
    pub async fn run<T, E: Failure>(&self, work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>) -> Result<T, E> {
        self.check_storage()?;
        let mut lent = self.lend().await?;
        self.run_on(&mut lent, work).await
    }

    /// Whether what is written now would be found again.
    pub(super) fn check_storage(&self) -> Result<(), sqlx::Error> {
        if self.access == Access::Write { self.storage.check() } else { Ok(()) }
    }

    /// Does work that stores nothing of anybody: that it succeeds does not say that writes do.
    pub(super) async fn run_aside<T>(
        &self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        self.check_storage()?;
        let mut lent = self.lend().await?;
        self.attempt(&mut lent, work).await.unwrap_or_else(|| Err(no_answer(self.timeout)))
    }

    /// Does it on a connection that was lent.
    pub(super) async fn run_on<T, E: Failure>(
        &self,
        lent: &mut Lent,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.attempt(lent, work).await {
            Some(result) => self.noted(result),
            None => Err(no_answer(self.timeout).into()),
        }
    }

    /// What came of it, within the limit.
    async fn attempt<T, E: Failure>(
        &self,
        lent: &mut Lent,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let Some(connection) = lent.connection.as_deref_mut() else { return Some(Err(sqlx::Error::PoolClosed.into())) };
        match timeout(self.timeout, work(connection)).await {
            Ok(result) => {
                lent.is_spent = result.as_ref().err().is_some_and(|error| self.is_spent_by(error.cause()));
                Some(result)
            }
            Err(_) => {
                self.renewal.renew();
                // Without a goodbye, which would wait too.
                drop(lent.connection.take().map(PoolConnection::detach));
                None
            }
        }
    }

    /// A result of work, unless it was written into nowhere.
    fn noted<T, E: Failure>(&self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) if self.access == Access::Write => {
                self.storage.check_written()?;
                self.storage.note_success();
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(cause) = error.cause() {
                    self.storage.note_failure(cause, self.access);
                }
            }
        }
        result
    }

    /// Does the work of a transaction as [`Pool::run`] does, and again where it gave way to another one, as nothing of it is left then.
    /// (Work that is made anew each time: of an `AsyncFnMut` the compiler cannot tell that its futures are `Send`.)
    pub async fn transact<T, E: Failure, W>(&self, make: impl Fn() -> W) -> Result<T, E>
    where
        W: AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    {
        for _ in 1..TRIES_MAX {
            let done = self.run(make()).await;
            let cause = done.as_ref().err().and_then(Failure::cause);
            if !cause.is_some_and(errors::gave_way) {
                return done;
            }
        }
        self.run(make()).await
    }

    /// Brings the tables of a SQLite up to date, which takes as long as it takes.
    pub(super) async fn migrate(&self, migrator: &Migrator) -> Result<(), MigrateError> {
        migrator.run(&self.connections).await
    }

    /// Waits for what is under way, which may take as long as the limit, and closes all connections.
    pub(super) async fn close(&self) {
        self.connections.close().await;
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether somebody waits for a connection, or the next one who comes would have to.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0 || self.free_places() == 0
    }

    /// Whether connections that were lent at a time were found to be useless since.
    pub(super) fn is_useless_since(&self, lent_at: Instant) -> bool {
        self.renewal.is_before(lent_at.elapsed())
    }

    /// Borrows a connection.
    pub(super) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        let _waiting = (self.metrics.wait(), Waiting::one(&self.waiting));
        let lent = timeout(self.acquire_timeout, self.lend_in_time()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        lent.map_err(|error| self.away.explained(error))
    }

    async fn lend_in_time(&self) -> Result<Lent, sqlx::Error> {
        loop {
            let permit = self.places.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let place = self.metrics.place(permit);
            match self.connections.acquire().await {
                Ok(connection) => {
                    return Ok(Lent {
                        connection: Some(connection),
                        place: Some(place),
                        timeout: self.timeout,
                        is_spent: false,
                    });
                }
                // The server refuses a further one: those that are there do.
                Err(sqlx::Error::Database(error)) if self.connections.size() > 0 => {
                    tracing::debug!(%error, "no further connection to the database");
                    tokio::spawn(async move {
                        sleep(REFUSED_PAUSE).await;
                        drop(place);
                    });
                }
                Err(error) => return Err(cannot_connect(error)),
            }
        }
    }

    fn is_spent_by(&self, error: Option<&sqlx::Error>) -> bool {
        if error.and_then(errors::meaning) == Some(Meaning::Elsewhere) {
            self.renewal.renew();
        }
        match self.dialect {
            Dialect::Sqlite => true,
            Dialect::Mysql => !error.is_some_and(errors::keeps_connection),
        }
    }
}

async fn answers(connection: &mut AnyConnection, renewal: &Renewal) -> bool {
    match timeout(TRIAL_MAX, connection.ping()).await {
        Ok(answer) => answer.is_ok(),
        Err(_) => {
            renewal.renew();
            false
        }
    }
}

/// A connection to a SQLite that nobody uses. As long as it is open, the log beside the file is not removed and made anew, whichever
/// others are closed.
pub(super) async fn keep_open(url: &str) -> Result<AnyPool, sqlx::Error> {
    let options = AnyPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let kept = options.connect(url).await?;
    kept.execute("SELECT COUNT(*) FROM sqlite_master").await?;
    Ok(kept)
}

/// Begins a transaction that writes, now or later.
///
/// SQLite waits for another writer (`database.lock_timeout_ms`) only where nothing was read before: a transaction that reads
/// first would fail at its first write. So it takes the lock of the writer when it begins.
pub async fn begin(connection: &mut AnyConnection) -> Result<Transaction<'_, Any>, sqlx::Error> {
    match connection.backend_name() {
        "SQLite" => connection.begin_with("BEGIN IMMEDIATE").await,
        _ => connection.begin().await,
    }
}

/// What is said of a database that hangs.
pub(super) fn no_answer(timeout: Duration) -> sqlx::Error {
    let problem = format!("no answer from the database within {} ms", timeout.as_millis());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, problem))
}

/// Whatever is said while connecting is no fault of the request, and may be over at the next one.
fn cannot_connect(error: sqlx::Error) -> sqlx::Error {
    if errors::is_transient(&error) {
        return error;
    }
    sqlx::Error::Io(io::Error::other(format!("cannot connect: {error}")))
}

/// Somebody who waits, until this is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn one(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Relaxed);
        Self(all.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A connection that goes back to its pool, or is closed where it does not answer within the limit.
#[derive(Debug)]
pub(super) struct Lent {
    connection: Option<PoolConnection<Any>>,
    place: Option<CountedPlace>,
    timeout: Duration,
    /// Whether it is to be closed instead.
    pub(super) is_spent: bool,
}

impl Lent {
    /// Whether more can be done with it.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.is_some() && !self.is_spent
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) {
            if self.is_spent {
                connection.close_on_drop();
            } else {
                let (place, limit) = (self.place.take(), self.timeout);
                runtime.spawn(async move {
                    if timeout(limit, connection.return_to_pool()).await.is_err() {
                        tracing::debug!("a connection to the database did not answer and is closed");
                    }
                    drop(place);
                });
            }
        }
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> stream::BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let steps = self.run(async |connection| connection.fetch_many(query).try_collect::<Vec<_>>().await);
        steps.map_ok(|steps| stream::iter(steps.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.run(async |connection| connection.fetch_optional(query).await).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        self.run(async |connection| connection.prepare_with(sql, parameters).await).boxed()
    }
}
