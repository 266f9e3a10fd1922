//! Connections to a database, none of which anybody waits for longer than a limit.
//!
//! A database that hangs takes statements and answers none. Always holds: what runs here ends within the limit; a connection
//! that did not answer in time is closed and not used again, so that requests go on as soon as the database does. Nor is one
//! of SQLite on which something failed: a full disk ends a transaction there without sqlx knowing, which would take the next
//! ones for parts of it and commit none of them.

use std::{io, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _, future::BoxFuture, stream};
use sqlx::{
    Any, AnyConnection, AnyPool, Connection as _, Either, Execute, Executor, SqlStr, Transaction,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    pool::PoolConnection,
};
use tokio::{runtime::Handle, time::timeout};

use super::Dialect;

/// A pool of connections. Clones share it. Single statements take it for an executor.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: AnyPool,
    timeout: Duration,
    closes_failed: bool,
}

impl Pool {
    /// `timeout` is for each single statement, and for each work of [`Pool::run`] as a whole.
    pub(super) fn new(connections: AnyPool, dialect: Dialect, timeout: Duration) -> Self {
        Self { connections, timeout, closes_failed: dialect == Dialect::Sqlite }
    }

    /// Does work that takes one connection and several statements.
    pub async fn run<T, E: From<sqlx::Error>>(
        &self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = Some(self.connections.acquire().await?);
        let mut lent = Lent { connection, timeout: self.timeout, is_spent: false };
        let Some(connection) = lent.connection.as_deref_mut() else { return Err(sqlx::Error::PoolClosed.into()) };
        match timeout(self.timeout, work(connection)).await {
            Ok(result) => {
                lent.is_spent = result.is_err() && self.closes_failed;
                result
            }
            Err(_) => {
                // Without a goodbye, which would wait too.
                drop(lent.connection.take().map(PoolConnection::detach));
                Err(no_answer(self.timeout).into())
            }
        }
    }

    /// Waits for what is under way, which may take as long as the limit, and closes all connections.
    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
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

/// A connection that goes back to its pool, or is closed where it does not answer within the limit.
struct Lent {
    connection: Option<PoolConnection<Any>>,
    timeout: Duration,
    is_spent: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) {
            if self.is_spent {
                connection.close_on_drop();
            } else {
                runtime.spawn(timeout(self.timeout, connection.return_to_pool()));
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
