//! Devices, as they are read. Writing them is the [`super::writer`]'s.
//!
//! A device has a row for each user who signed in on it. What was told about it meanwhile stands under [`NOBODY`], until
//! somebody signs in on it and takes it over.

use std::collections::HashMap;

use gim_config::sql::{Database, Pool};
use gim_proto::logic::Device;
use sqlx::Row as _;

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    statement::AnyQuery,
};
use crate::domain::caller::Caller;

/// In place of a user: whoever signs in next.
pub const NOBODY: u64 = 0;

/// The repository.
#[derive(Debug, Clone)]
pub struct Devices {
    reader: Pool,
    sql: &'static Sql,
}

impl Devices {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.sign_in_reader.clone(), sql: dialect::sql(database.dialect) }
    }

    /// The type of each caller's device; 0 for one that is not known here. In the order asked for.
    pub async fn types(&self, callers: &[Caller]) -> Result<Vec<i32>, StoreError> {
        let keys: Vec<Caller> = callers.iter().flat_map(|caller| keys(*caller)).collect();
        let bind = |query: AnyQuery, key: &Caller| query.bind(to_sql(key.user_id)).bind(to_sql(key.device_id));
        let mut types = HashMap::new();
        let rows = self.reader.run(async |connection| self.sql.device_types.fetch(connection, &keys, bind).await);
        for row in rows.await? {
            let key = Caller { user_id: from_sql(row.try_get(3)?), device_id: from_sql(row.try_get(1)?) };
            types.insert(key, row.try_get::<i64, _>(2)?);
        }
        Ok(callers.iter().map(|caller| type_of(&types, *caller)).collect())
    }
}

/// All columns of a device's row, and when it was made and changed, Unix milliseconds.
pub(super) fn bind(
    query: AnyQuery,
    owner: u64,
    device: &Device,
    (created_at_ms, updated_at_ms): (i64, i64),
) -> AnyQuery {
    let device = device.clone();
    query
        .bind(to_sql(owner))
        .bind(to_sql(device.id))
        .bind(i64::from(device.r#type))
        .bind(device.brand)
        .bind(device.model)
        .bind(device.system_version)
        .bind(device.sdk_version)
        .bind(device.branch_push_id)
        .bind(created_at_ms)
        .bind(updated_at_ms)
}

/// Under which keys a device may stand that somebody signs in on; the first one that is there holds.
pub(super) fn keys(caller: Caller) -> [Caller; 2] {
    [Caller { user_id: NOBODY, ..caller }, caller]
}

/// The type of a device, of those that were found; 0 for one that was not.
pub(super) fn type_of(types: &HashMap<Caller, i64>, caller: Caller) -> i32 {
    let found = keys(caller).iter().find_map(|key| types.get(key)).copied();
    found.and_then(|device_type| i32::try_from(device_type).ok()).unwrap_or(0)
}
