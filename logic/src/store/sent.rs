//! Keys of sends, by which a repeated one is recognised: forgotten after the retention time, in small steps.

use gim_config::sql::{Database, Pool};

use super::{
    dialect::{self, Sql},
    error::StoreError,
};

/// Keys that one step deletes: short enough that the inbox writer hardly waits for it.
pub const PURGE_STEP_ROWS: u32 = 500;

/// The repository.
#[derive(Debug, Clone)]
pub struct SentKeys {
    writer: Pool,
    sql: &'static Sql,
}

impl SentKeys {
    pub(super) fn new(database: &Database) -> Self {
        Self { writer: database.writer.clone(), sql: dialect::sql(database.dialect) }
    }

    /// Deletes one step of keys older than `before_ms`; returns how many.
    pub async fn purge_step(&self, before_ms: i64) -> Result<u64, StoreError> {
        let query = sqlx::query(self.sql.purge_sent).bind(before_ms).bind(i64::from(PURGE_STEP_ROWS));
        Ok(query.execute(&self.writer).await?.rows_affected())
    }
}
