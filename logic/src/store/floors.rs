//! How far the message ids of each logic node are settled, as the nodes tell each other through the database
//! ([`super::id_floor`]). Small rows, one for each node, written by its own node several times a second while somebody walks.

use gim_config::sql::{self, Database, Pool};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    opening::FENCE,
};
use crate::domain::settled_ids::{FloorRow, ToldFloor};

/// The repository.
#[derive(Debug, Clone)]
pub struct Floors {
    reader: Pool,
    writer: Pool,
    sql: &'static Sql,
}

impl Floors {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), writer: database.writer.clone(), sql: dialect::sql(database.dialect) }
    }

    /// Takes a node in, whose former process is believed no longer. Nobody goes on before it has told where its ids begin. Says whether the
    /// row can be a fence.
    pub async fn join(&self, row: FloorRow) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(self.sql.join_floors).bind(row.node_number).bind(to_sql(row.epoch));
        query.execute(&self.writer).await?;
        self.is_fence(row).await
    }

    /// Takes a node in again that was taken out; fails where another process has its place.
    pub async fn join_again(&self, row: FloorRow) -> Result<bool, sqlx::Error> {
        let query =
            sqlx::query("INSERT INTO id_floor (node_number, floor_id, is_strict, beat, epoch) VALUES (?, 0, 1, 1, ?)");
        query.bind(row.node_number).bind(to_sql(row.epoch)).execute(&self.writer).await?;
        self.is_fence(row).await
    }

    async fn is_fence(&self, row: FloorRow) -> Result<bool, sqlx::Error> {
        if !self.sql.sends_text {
            return Ok(false);
        }
        let fence = format!("{}{}{}", FENCE.head, FENCE.row, FENCE.tail);
        let query = sqlx::query(AssertSqlSafe(fence)).bind(row.node_number).bind(to_sql(row.epoch));
        match query.execute(&self.writer).await {
            Ok(_) => Ok(true),
            Err(error) if sql::is_transient(&error) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "this database has no shared locks: walks rely on the clocks of logic nodes");
                Ok(false)
            }
        }
    }

    /// Tells the floor of a node; false where its row is gone.
    pub async fn tell(&self, row: FloorRow, floor_id: u64, is_strict: bool) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(
            "UPDATE id_floor SET floor_id = ?, is_strict = ?, beat = beat + 1 WHERE node_number = ? AND epoch = ?",
        );
        let query = query.bind(to_sql(floor_id)).bind(i64::from(is_strict));
        let told = query.bind(row.node_number).bind(to_sql(row.epoch)).execute(&self.writer).await?;
        Ok(told.rows_affected() > 0)
    }

    /// In a transaction, which a proxy leaves with the server that is written to: what all nodes told, and the sum of the beats of all walks: it changes as long as somebody walks.
    pub async fn all(&self) -> Result<(Vec<ToldFloor>, u64), StoreError> {
        let look = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let query = sqlx::query("SELECT node_number, epoch, floor_id, is_strict, beat FROM id_floor");
            let rows = query.fetch_all(&mut *transaction).await?;
            let beats = sqlx::query_scalar("SELECT CAST(COALESCE(SUM(beat), 0) AS SIGNED) FROM message_walk");
            let beats: i64 = beats.fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((rows, beats))
        };
        let (rows, beats) = self.reader.run(look).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok::<_, sqlx::Error>(ToldFloor {
                row: FloorRow { node_number: row.try_get(0)?, epoch: from_sql(row.try_get(1)?) },
                floor_id: from_sql(row.try_get(2)?),
                is_strict: row.try_get::<i64, _>(3)? != 0,
                beat: row.try_get(4)?,
            })
        };
        let floors = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok((floors, from_sql(beats)))
    }

    /// What may have been passed by now.
    pub async fn passed(&self) -> Result<u64, StoreError> {
        let passed = sqlx::query_scalar(
            "SELECT COALESCE(MAX(id), 0) FROM (SELECT MAX(floor_id) AS id FROM id_floor \
             UNION ALL SELECT MAX(cursor_id) FROM message_walk) passed",
        );
        Ok(from_sql(passed.fetch_one(&self.writer).await?))
    }

    /// Takes a node out that told nothing more since: waits for what it commits at this moment, and nothing comes after.
    pub async fn forget(&self, told: &ToldFloor) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM id_floor WHERE node_number = ? AND epoch = ? AND beat = ?");
        let query = query.bind(told.row.node_number).bind(to_sql(told.row.epoch)).bind(told.beat);
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Takes a node out that has nothing under way, and makes no ids any more.
    pub async fn leave(&self, row: FloorRow) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM id_floor WHERE node_number = ? AND epoch = ?");
        query.bind(row.node_number).bind(to_sql(row.epoch)).execute(&self.writer).await?;
        Ok(())
    }
}
