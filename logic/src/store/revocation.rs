//! Revoked tokens: per user and device, the moment before which tokens were issued that are worthless now.

use std::collections::HashMap;

use gim_config::sql::{Database, Pool};

use sqlx::{Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    dialect,
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};

const REVOKED_AT: MultiRow = MultiRow {
    head: "SELECT user_id, device_id, revoked_at_ms FROM token_revocation WHERE user_id IN (",
    row: "?",
    tail: ")",
};

/// Whoever signed out is not woken there any more: somebody else may have the device by now.
const FORGET_PUSH_ID: &str = "UPDATE device SET branch_push_id = '' WHERE user_id = ? AND (id = ? OR ? = 0)";

/// In place of a device: all of them.
pub const ALL_DEVICES: u64 = 0;

/// Rows that one step of a purge deletes.
pub const PURGE_STEP_ROWS: u32 = 1_000;

/// The repository.
#[derive(Debug, Clone)]
pub struct Revocations {
    reader: Pool,
    writer: Pool,
    sql: &'static dialect::Sql,
}

impl Revocations {
    pub(super) fn new(database: &Database) -> Self {
        let (reader, writer) = (database.reader.clone(), database.writer.clone());
        Self { reader, writer, sql: dialect::sql(database.dialect) }
    }

    /// Revokes what was issued to a device (or to [`ALL_DEVICES`]) before a moment. An earlier moment than one that is
    /// stored changes no token; who was let in before `now_ms` has to go in any case, and their push ids with them.
    pub async fn raise(&self, user_id: u64, device_id: u64, not_before_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        let query = sqlx::query(self.sql.raise_revocation).bind(to_sql(user_id)).bind(to_sql(device_id));
        query.bind(not_before_ms).bind(now_ms).execute(&self.writer).await?;
        let query = sqlx::query(FORGET_PUSH_ID).bind(to_sql(user_id)).bind(to_sql(device_id)).bind(to_sql(device_id));
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// When something of these users was last revoked, by user and device (or [`ALL_DEVICES`]).
    pub async fn revoked_at(&self, user_ids: &[u64]) -> Result<HashMap<(u64, u64), i64>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let rows = self.reader.run(async |connection| REVOKED_AT.fetch(connection, user_ids, bind).await).await?;
        let read = |row: &AnyRow| Ok(((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)), row.try_get(2)?));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Forgets some revocations that no token can outlive; how many.
    pub async fn purge_step(&self, before_ms: i64) -> Result<u64, StoreError> {
        let query = sqlx::query(self.sql.purge_revocations).bind(before_ms).bind(i64::from(PURGE_STEP_ROWS));
        Ok(query.execute(&self.writer).await?.rows_affected())
    }
}
