//! Devices: what each told about itself.

use std::collections::HashMap;

use gim_config::sql::{Database, Pool};
use gim_proto::logic::Device;
use sqlx::Row as _;

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};

const INSERT: &str = "INSERT INTO device (type, brand, model, system_version, sdk_version, branch_push_id, \
                      updated_at_ms, created_at_ms, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const UPDATE: &str = "UPDATE device SET type = ?, brand = ?, model = ?, system_version = ?, sdk_version = ?, \
                      branch_push_id = ?, updated_at_ms = ? WHERE id = ?";
const TYPES: MultiRow = MultiRow { head: "SELECT id, type FROM device WHERE id IN (", row: "?", tail: ")" };

/// The repository.
#[derive(Debug, Clone)]
pub struct Devices {
    reader: Pool,
    writer: Pool,
}

impl Devices {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), writer: database.writer.clone() }
    }

    /// Stores a device under its new id.
    pub async fn insert(&self, device: &Device, now_ms: i64) -> Result<(), StoreError> {
        let query = bind_description(sqlx::query(INSERT), device, now_ms).bind(now_ms).bind(to_sql(device.id));
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Overwrites what is known of a device; false where there is none with this id.
    pub async fn update(&self, device: &Device, now_ms: i64) -> Result<bool, StoreError> {
        let query = bind_description(sqlx::query(UPDATE), device, now_ms).bind(to_sql(device.id));
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
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

fn bind_description(query: AnyQuery, device: &Device, now_ms: i64) -> AnyQuery {
    query
        .bind(i64::from(device.r#type))
        .bind(device.brand.clone())
        .bind(device.model.clone())
        .bind(device.system_version.clone())
        .bind(device.sdk_version.clone())
        .bind(device.branch_push_id.clone())
        .bind(now_ms)
}
