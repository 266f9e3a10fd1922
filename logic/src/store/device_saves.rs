//! Devices: the part of a transaction that notes what they tell about themselves.

use std::collections::VecDeque;

use sqlx::AnyConnection;

use super::{
    columns::to_sql,
    statement::{AnyQuery, MultiRow},
    work::{DeviceSave, Work},
};

const INSERT: MultiRow = MultiRow {
    head: "INSERT INTO device (type, brand, model, system_version, sdk_version, branch_push_id, updated_at_ms, id, \
           created_at_ms) VALUES ",
    row: "(?,?,?,?,?,?,?,?,?)",
    tail: "",
};
const UPDATE: &str = "UPDATE device SET type = ?, brand = ?, model = ?, system_version = ?, sdk_version = ?, \
                      branch_push_id = ?, updated_at_ms = ? WHERE id = ?";

/// Saves devices; of each, in the order of the works, whether it is new or was known.
pub(super) async fn save<'a>(
    connection: &mut AnyConnection,
    works: &[&'a Work],
) -> Result<VecDeque<bool>, sqlx::Error> {
    let asked = |work: &&'a Work| match work {
        Work::Device(request) => Some(&*request.wants),
        _ => None,
    };
    let (mut new, mut saved) = (Vec::new(), VecDeque::new());
    for save in works.iter().filter_map(asked) {
        let is_saved =
            save.is_new || bind(sqlx::query(UPDATE), save).execute(&mut *connection).await?.rows_affected() > 0;
        saved.push_back(is_saved);
        new.extend(save.is_new.then_some(save));
    }
    INSERT.execute(connection, &new, |query, save| bind(query, save).bind(save.now_ms)).await?;
    Ok(saved)
}

fn bind(query: AnyQuery, save: &DeviceSave) -> AnyQuery {
    let device = save.device.clone();
    query
        .bind(i64::from(device.r#type))
        .bind(device.brand)
        .bind(device.model)
        .bind(device.system_version)
        .bind(device.sdk_version)
        .bind(device.branch_push_id)
        .bind(save.now_ms)
        .bind(to_sql(device.id))
}
