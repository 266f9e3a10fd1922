//! Devices: the part of a transaction that notes what they tell about themselves, and who signs in on them.

use sqlx::AnyConnection;

use super::{
    columns::to_sql,
    device::{self, NOBODY},
    dialect::Sql,
    statement::AnyQuery,
    work::{DeviceChange, DeviceSave, Work},
};

// Both databases know REPLACE. What the user's row said before is older than what nobody's row says.
const TAKE_OVER: &str = "REPLACE INTO device (user_id, id, type, brand, model, system_version, sdk_version, \
                         branch_push_id, created_at_ms, updated_at_ms) \
                         SELECT ?, id, type, brand, model, system_version, sdk_version, branch_push_id, \
                         created_at_ms, updated_at_ms FROM device WHERE user_id = ? AND id = ?";
const FORGET: &str = "DELETE FROM device WHERE user_id = ? AND id = ?";

/// Saves devices, in the order of the works. Returns how many.
pub(super) async fn save(connection: &mut AnyConnection, sql: &Sql, works: &[&Work]) -> Result<usize, sqlx::Error> {
    let saves: Vec<&DeviceSave> = works
        .iter()
        .filter_map(|work| match work {
            Work::Device(request) => Some(&*request.wants),
            _ => None,
        })
        .collect();
    for alike in saves.chunk_by(|one, other| one.change == other.change) {
        match alike.first().map(|save| save.change) {
            Some(DeviceChange::All) => sql.save_devices.execute(connection, alike, bind).await?,
            Some(DeviceChange::PushIdAndVersions) => sql.update_devices.execute(connection, alike, bind).await?,
            Some(DeviceChange::Owner) => take_over(connection, alike).await?,
            None => {}
        }
    }
    Ok(saves.len())
}

async fn take_over(connection: &mut AnyConnection, saves: &[&DeviceSave]) -> Result<(), sqlx::Error> {
    for save in saves {
        let (owner, nobody, id) = (to_sql(save.owner), to_sql(NOBODY), to_sql(save.device.id));
        sqlx::query(TAKE_OVER).bind(owner).bind(nobody).bind(id).execute(&mut *connection).await?;
        sqlx::query(FORGET).bind(nobody).bind(id).execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind(query: AnyQuery, save: &&DeviceSave) -> AnyQuery {
    device::bind(query, save.owner, &save.device, (save.now_ms, save.now_ms))
}
