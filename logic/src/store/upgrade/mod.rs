//! Rows of earlier versions, put where this version has them: what takes more than SQL, or longer than one statement should.
//!
//! Runs at the start of a service, before it serves anybody, while no other logic node runs. Always holds: before the first row is put
//! elsewhere all tables of before have another name, so that whatever an older node still asks for fails as a whole ([`older_tables`]);
//! a step is one transaction over a bounded number of rows, and what it put elsewhere is gone from where it was, so that whoever was
//! killed goes on where he was; a table of before is dropped when it is empty, and where it is missing there is nothing to do.

mod older_tables;
mod steps;

use std::time::{Duration, Instant};

use gim_config::sql::{self, Database};

pub use self::older_tables::LEFT;
use self::{
    older_tables::{OlderTable, TABLES},
    steps::{Key, Step},
};
use super::{columns::from_sql, error::StoreError};

/// Rows of the first step, and of the smallest.
const STEP_ROWS_MIN: u32 = 1_000;

/// Rows of the largest step: what it holds in memory, and what it locks, is bounded.
const STEP_ROWS_MAX: u32 = 20_000;

/// A step that was over sooner is followed by one of twice as many rows, as many rows together change each page of an index once.
const STEP_FAST: Duration = Duration::from_millis(500);

/// One that took longer is followed by one of half as many: each has to end well within `database.statement_timeout_ms`.
const STEP_SLOW: Duration = Duration::from_secs(2);

/// How often it is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// The upgrade of one database.
#[derive(Debug)]
pub struct Upgrade<'a> {
    database: &'a Database,
}

impl<'a> Upgrade<'a> {
    /// Of this one, whose tables are there.
    pub fn of(database: &'a Database) -> Self {
        Self { database }
    }

    /// Whether there is anything to do at all. Waits where the database is away.
    pub async fn has_older_tables(&self) -> Result<bool, StoreError> {
        Ok(sql::persevere(async || older_tables::are_there(self.database).await).await?)
    }

    /// Whether there are rows to put elsewhere, or tables with rows that older nodes know by their names. Waits where the database is
    /// away.
    pub async fn is_due(&self) -> Result<bool, StoreError> {
        Ok(sql::persevere(async || older_tables::have_rows(self.database).await).await?)
    }

    /// Rows that are still to be put elsewhere; none where it was done. All are counted, which may take long. Waits where the database is
    /// away.
    pub async fn left(&self) -> Result<Option<u64>, StoreError> {
        Ok(sql::persevere(async || self.left_in_all().await).await?)
    }

    /// Does all that is left. Waits where the database is away, and goes on.
    pub async fn run(&self) -> Result<(), StoreError> {
        Ok(sql::persevere(async || self.move_all().await).await?)
    }

    /// Keeps older nodes out: the first thing that is done.
    pub async fn fence(&self) -> Result<(), StoreError> {
        Ok(sql::persevere(async || older_tables::fence(self.database).await).await?)
    }

    async fn left_in_all(&self) -> Result<Option<u64>, sqlx::Error> {
        let mut left = None;
        for count in LEFT {
            match sqlx::query_scalar(count).fetch_one(&self.database.reader).await {
                Err(error) if sql::is_without_table(&error) => {}
                rows => left = Some(left.unwrap_or(0) + from_sql(rows?)),
            }
        }
        Ok(left)
    }

    async fn move_all(&self) -> Result<(), sqlx::Error> {
        older_tables::fence(self.database).await?;
        for table in TABLES {
            if older_tables::is_there(self.database, table.name()).await? {
                self.move_table(table).await?;
            }
        }
        Ok(())
    }

    async fn move_table(&self, table: OlderTable) -> Result<(), sqlx::Error> {
        let (mut moved, began, mut told) = (0, Instant::now(), Instant::now());
        let (mut after, mut rows): (Option<Key>, _) = (None, STEP_ROWS_MIN);
        loop {
            let step_began = Instant::now();
            let step = Step { dialect: self.database.dialect, table, rows };
            let Some((last, count)) = step.run(&self.database.writer, after.as_ref()).await? else { break };
            (after, moved) = (Some(last), moved + count);
            rows = next_rows(rows, step_began.elapsed());
            if told.elapsed() >= TELL_INTERVAL {
                told = Instant::now();
                tracing::info!(?table, moved, "rows of an earlier version are put where this one has them");
            }
        }
        older_tables::drop(self.database, table.name()).await?;
        // Of a new database there is nothing to tell.
        if moved > 0 {
            let took_ms = began.elapsed().as_millis();
            tracing::info!(?table, moved, took_ms, "rows of an earlier version are where this one has them");
        }
        Ok(())
    }
}

fn next_rows(rows: u32, took: Duration) -> u32 {
    let next = match took {
        _ if took < STEP_FAST => rows * 2,
        _ if took > STEP_SLOW => rows / 2,
        _ => rows,
    };
    next.clamp(STEP_ROWS_MIN, STEP_ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_are_fast_and_stay_bounded() {
        let (fast, slow) = (Duration::from_millis(1), Duration::from_secs(3));
        assert_eq!(next_rows(STEP_ROWS_MIN, fast), 2 * STEP_ROWS_MIN);
        assert_eq!(next_rows(STEP_ROWS_MAX, fast), STEP_ROWS_MAX);
        assert_eq!(next_rows(8_000, Duration::from_secs(1)), 8_000);
        assert_eq!(next_rows(8_000, slow), 4_000);
        assert_eq!(next_rows(STEP_ROWS_MIN, slow), STEP_ROWS_MIN);
    }
}
