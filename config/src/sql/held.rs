//! A connection that one task keeps between its works, so that not each of them borrows it and gives it back, which asks the server
//! each time whether it is still there.
//!
//! Owned by that task. Always holds: what holds for works of a [`Pool`] holds for these; a connection that was opened before the pool
//! found its connections useless, that rested for long, or whose work broke off, is not used again; none is kept while others wait for
//! one or could not have one, nor for ever. Of a SQLite, whose writer has one connection for all, nothing is kept.

use std::time::{Duration, Instant};

use sqlx::AnyConnection;

use super::{
    Dialect,
    pool::{Failure, IDLE_UNTRIED, Lent, Pool},
};

/// So long it is kept: a pool closes its connections when they are old, which it sees when they come back.
const KEPT_MAX: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub struct HeldConnection {
    pool: Pool,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    lent: Lent,
    lent_at: Instant,
    used_at: Instant,
}

impl Pool {
    /// A connection of it, which is borrowed at the first work.
    pub fn held(&self) -> HeldConnection {
        HeldConnection { pool: self.clone(), kept: None }
    }
}

impl HeldConnection {
    /// Does work as [`Pool::run`] does.
    pub async fn run<T, E: Failure>(
        &mut self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.pool.dialect() == Dialect::Sqlite {
            return self.pool.run(work).await;
        }
        self.pool.check_storage()?;
        let is_fresh =
            |kept: &Kept| kept.used_at.elapsed() <= IDLE_UNTRIED && !self.pool.is_useless_since(kept.lent_at);
        let (mut lent, lent_at) = match self.kept.take() {
            Some(kept) if is_fresh(&kept) => (kept.lent, kept.lent_at),
            rested => {
                drop(rested);
                (self.pool.lend().await?, Instant::now())
            }
        };
        // Should this be given up in the middle, the connection is in a transaction.
        lent.is_spent = true;
        let result = self.pool.run_on(&mut lent, work).await;
        if lent.is_usable() && !self.pool.is_wanted() && lent_at.elapsed() < KEPT_MAX {
            self.kept = Some(Kept { lent, lent_at, used_at: Instant::now() });
        }
        result
    }

    /// Gives the connection back, as there is nothing to do for a while.
    pub fn rest(&mut self) {
        self.kept = None;
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Executor as _, migrate::Migrator};

    use super::*;
    use crate::{
        sql::{Database, DatabaseSettings},
        testing,
    };

    async fn writer_of(writers_max: u32) -> (Pool, tempfile::TempDir) {
        let settings = DatabaseSettings { url: testing::mysql_database(), writers_max, ..DatabaseSettings::default() };
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&settings, folder.path(), "", &[(Dialect::Mysql, Migrator::DEFAULT)]).await;
        (database.unwrap().writer, folder)
    }

    async fn id_of(held: &mut HeldConnection) -> i64 {
        held.run(async |connection| {
            sqlx::query_scalar("SELECT CAST(CONNECTION_ID() AS SIGNED)").fetch_one(connection).await
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_kept_connection_is_one_until_its_work_breaks_off() {
        let (pool, _folder) = writer_of(4).await;
        let mut held = pool.held();
        let first = id_of(&mut held).await;
        assert_eq!(id_of(&mut held).await, first);
        let (begin, is_begun) = tokio::sync::oneshot::channel();
        let begun = held.run(async |connection| {
            connection.execute("BEGIN").await?;
            begin.send(()).unwrap();
            std::future::pending::<Result<(), sqlx::Error>>().await
        });
        tokio::select! {
            ended = begun => panic!("{ended:?}"),
            given_up = is_begun => given_up.unwrap(),
        }
        assert_ne!(id_of(&mut held).await, first, "its transaction may be open");
        held.rest();
        let given_back = async {
            while pool.free_places() < 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), given_back).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_the_only_connection_gives_it_back_each_time() {
        let (pool, _folder) = writer_of(1).await;
        let mut held = pool.held();
        for _ in 0..3 {
            id_of(&mut held).await;
            pool.execute("SELECT 1").await.unwrap();
        }
    }
}
