//! Devices, as they are read. Writing them is the [`super::writer`]'s.

use std::collections::HashMap;

use gim_config::sql::{Database, Pool};
use sqlx::Row as _;

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};

const TYPES: MultiRow = MultiRow { head: "SELECT id, type FROM device WHERE id IN (", row: "?", tail: ")" };

/// The repository.
#[derive(Debug, Clone)]
pub struct Devices {
    reader: Pool,
}

impl Devices {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.sign_in_reader.clone() }
    }

    /// The type of each device; 0 for one that is not known here. In the order asked for.
    pub async fn types(&self, device_ids: &[u64]) -> Result<Vec<i32>, StoreError> {
        let bind = |query: AnyQuery, device_id: &u64| query.bind(to_sql(*device_id));
        let mut types: HashMap<u64, i32> = HashMap::new();
        for row in self.reader.run(async |connection| TYPES.fetch(connection, device_ids, bind).await).await? {
            types.insert(from_sql(row.try_get(0)?), i32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0));
        }
        Ok(device_ids.iter().map(|device_id| types.get(device_id).copied().unwrap_or(0)).collect())
    }
}
