//! How far the message ids of each logic node are settled, as the nodes tell each other through the database
//! ([`super::id_floor`]). Small rows, one for each node, written by its own node several times a second while somebody walks.

use gim_config::sql::{Database, Pool};
use sqlx::Row as _;

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
};
use crate::domain::settled_ids::ToldFloor;

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

    /// Tells the floor of a node.
    pub async fn tell(&self, node_number: u16, floor_id: u64, is_strict: bool) -> Result<(), sqlx::Error> {
        let query = sqlx::query(self.sql.tell_floor).bind(i64::from(node_number)).bind(to_sql(floor_id));
        query.bind(i64::from(is_strict)).execute(&self.writer).await?;
        Ok(())
    }

    /// What all nodes told, and the sum of the beats of all walks: it changes as long as somebody walks.
    pub async fn all(&self) -> Result<(Vec<ToldFloor>, u64), StoreError> {
        let query = sqlx::query("SELECT node_number, floor_id, is_strict, beat FROM id_floor");
        let rows = query.fetch_all(&self.reader).await?;
        let read = |row: &sqlx::any::AnyRow| {
            Ok::<_, sqlx::Error>(ToldFloor {
                node_number: row.try_get(0)?,
                floor_id: from_sql(row.try_get(1)?),
                is_strict: row.try_get::<i64, _>(2)? != 0,
                beat: row.try_get(3)?,
            })
        };
        let floors = rows.iter().map(read).collect::<Result<_, _>>()?;
        let beats = sqlx::query_scalar("SELECT CAST(COALESCE(SUM(beat), 0) AS SIGNED) FROM message_walk");
        Ok((floors, from_sql(beats.fetch_one(&self.reader).await?)))
    }

    /// Takes a node out that told nothing more since.
    pub async fn forget(&self, told: &ToldFloor) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM id_floor WHERE node_number = ? AND beat = ?");
        query.bind(told.node_number).bind(told.beat).execute(&self.writer).await?;
        Ok(())
    }

    /// Takes a node out that has nothing under way, and makes no ids any more.
    pub async fn leave(&self, node_number: u16) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM id_floor WHERE node_number = ?");
        query.bind(i64::from(node_number)).execute(&self.writer).await?;
        Ok(())
    }
}
