//! Which logic nodes of this database are up and share one Redis, as each of them says by itself. Times are those of the database, as
//! nodes on different Redis servers have no other clock in common.

use std::time::Duration;

use gim_config::sql::{Database, Pool};
use sqlx::Row as _;

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
};

/// A logic node of this database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicNode {
    /// Its `node_number`.
    pub number: u16,
    /// Its `node`.
    pub name: String,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct LogicNodes {
    writer: Pool,
    sql: &'static Sql,
}

impl LogicNodes {
    /// Of this database.
    pub fn new(database: &Database) -> Self {
        Self { writer: database.writer.clone(), sql: dialect::sql(database.dialect) }
    }

    /// A node says that it is up.
    pub async fn say(&self, node: &LogicNode) -> Result<(), StoreError> {
        let query = sqlx::query(self.sql.say_logic_node).bind(i64::from(node.number)).bind(&node.name);
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// It ends.
    pub async fn forget(&self, number: u16) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM logic_node WHERE number = ?").bind(i64::from(number));
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// The others that said so within a time, by their numbers. A clock that was set back makes no old ones new.
    pub async fn others(&self, number: u16, within: Duration) -> Result<Vec<LogicNode>, StoreError> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let query = sqlx::query(self.sql.other_logic_nodes).bind(i64::from(number));
        let query = query.bind(to_sql(within_ms)).bind(to_sql(within_ms));
        let rows = query.fetch_all(&self.writer).await?;
        let node = |row: &sqlx::any::AnyRow| {
            let number = u16::try_from(from_sql(row.try_get(0)?)).unwrap_or(u16::MAX);
            Ok(LogicNode { number, name: row.try_get(1)? })
        };
        Ok(rows.iter().map(node).collect::<Result<_, sqlx::Error>>()?)
    }
}
