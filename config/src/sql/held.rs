//! A connection that one task keeps between its works, so that not each of them borrows it and gives it back, which asks the server
//! each time whether it is still there.
//!
//! Owned by that task. Always holds: what holds for works of a [`Pool`] holds for these; a connection that was opened before the pool
//! found its connections useless, that rested for long, or whose work broke off, is not used again. Of a SQLite, whose writer has one
//! connection for all, nothing is kept.

use std::time::Instant;

use sqlx::AnyConnection;

use super::{
    Dialect,
    pool::{Failure, IDLE_UNTRIED, Lent, Pool},
};

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
        if lent.is_usable() {
            self.kept = Some(Kept { lent, lent_at, used_at: Instant::now() });
        }
        result
    }

    /// Gives the connection back, as there is nothing to do for a while.
    pub fn rest(&mut self) {
        self.kept = None;
    }
}
