//! Revoked tokens: per user and device, the moment before which tokens were issued that are worthless now.

use gim_config::sql::{Database, Pool};

use super::{StoreError, dialect, to_sql};

/// In place of a device: all of them.
pub const ALL_DEVICES: u64 = 0;

/// Rows that one step of a purge deletes.
pub const PURGE_STEP_ROWS: u32 = 1_000;

/// The repository.
#[derive(Debug, Clone)]
pub struct Revocations {
    writer: Pool,
    sql: &'static dialect::Sql,
}

impl Revocations {
    pub(super) fn new(database: &Database) -> Self {
        Self { writer: database.writer.clone(), sql: dialect::sql(database.dialect) }
    }

    /// Revokes what was issued to a device (or to [`ALL_DEVICES`]) before a moment. An earlier moment than one that is
    /// stored changes nothing.
    pub async fn raise(&self, user_id: u64, device_id: u64, not_before_ms: i64) -> Result<(), StoreError> {
        let query = sqlx::query(self.sql.raise_revocation).bind(to_sql(user_id)).bind(to_sql(device_id));
        query.bind(not_before_ms).execute(&self.writer).await?;
        Ok(())
    }

    /// Forgets some revocations that no token can outlive; how many.
    pub async fn purge_step(&self, before_ms: i64) -> Result<u64, StoreError> {
        let query = sqlx::query(self.sql.purge_revocations).bind(before_ms).bind(i64::from(PURGE_STEP_ROWS));
        Ok(query.execute(&self.writer).await?.rows_affected())
    }
}
