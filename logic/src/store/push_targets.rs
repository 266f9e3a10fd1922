//! Who can be woken about a message, and who need not be: devices with a push id, what is muted, how far devices have acknowledged.
//!
//! Statements over many users at once, read after a message was stored and never for its sake.

use std::collections::{HashMap, HashSet};

use gim_config::sql::{Database, Pool};
use sqlx::{Row as _, any::AnyRow};

use super::{
    columns::{from_sql, small, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};
use crate::domain::{conversation::Peer, push_device::PushDevice};

const OF_USERS: MultiRow = MultiRow {
    head: "SELECT user_id, id, type, branch_push_id FROM device WHERE user_id IN (",
    row: "?",
    tail: ") AND branch_push_id <> ''",
};
const OF_GROUP: &str = "SELECT d.user_id, d.id, d.type, d.branch_push_id FROM group_member m \
                        JOIN device d ON d.user_id = m.user_id \
                        WHERE m.group_id = ? AND d.branch_push_id <> '' ORDER BY m.user_id, d.id LIMIT ?";
const OF_MEMBERS: MultiRow = MultiRow {
    head: "SELECT d.user_id, d.id, d.type, d.branch_push_id FROM group_member m \
           JOIN device d ON d.user_id = m.user_id WHERE m.user_id IN (",
    row: "?",
    tail: ") AND m.group_id = ? AND d.branch_push_id <> ''",
};
const GROUPS: MultiRow =
    MultiRow { head: "SELECT id, name, member_count FROM chat_group WHERE id IN (", row: "?", tail: ")" };
/// Nothing where the device has another one by now.
const FORGET: &str = "UPDATE device SET branch_push_id = '' WHERE user_id = ? AND id = ? AND branch_push_id = ?";

/// The repository.
#[derive(Debug, Clone)]
pub struct PushTargets {
    reader: Pool,
    writer: Pool,
    sql: &'static Sql,
}

/// What pushes have to know of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushGroup {
    /// Its name.
    pub name: String,
    /// How many are in it.
    pub member_count: u64,
}

impl PushTargets {
    pub(super) fn new(database: &Database) -> Self {
        let (reader, writer) = (database.reader.clone(), database.writer.clone());
        Self { reader, writer, sql: dialect::sql(database.dialect) }
    }

    /// The devices of users that have a push id.
    pub async fn of_users(&self, user_ids: &[u64]) -> Result<Vec<PushDevice>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let rows = self.reader.run(async |connection| OF_USERS.fetch(connection, user_ids, bind).await).await?;
        Ok(rows.iter().map(read_device).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The same of the members of a group, so many at most.
    pub async fn of_group(&self, group_id: u64, limit: u32) -> Result<Vec<PushDevice>, StoreError> {
        let query = sqlx::query(OF_GROUP).bind(to_sql(group_id)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_device).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The same of these users, as far as they are members.
    pub async fn of_members(&self, group_id: u64, user_ids: &[u64]) -> Result<Vec<PushDevice>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let bind_tail = |query: AnyQuery| query.bind(to_sql(group_id));
        let work =
            self.reader.run(async |connection| OF_MEMBERS.fetch_then(connection, user_ids, bind, bind_tail).await);
        Ok(work.await?.iter().map(read_device).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Of these conversations of users, those that are muted.
    pub async fn muted(&self, asked: &[(u64, Peer)]) -> Result<HashSet<(u64, Peer)>, StoreError> {
        let bind = |query: AnyQuery, (user_id, peer): &(u64, Peer)| {
            query.bind(to_sql(*user_id)).bind(i64::from(peer.is_group())).bind(to_sql(peer.id()))
        };
        let rows = self.reader.run(async |connection| self.sql.find_muted.fetch(connection, asked, bind).await).await?;
        let read = |row: &AnyRow| {
            let peer_id = from_sql(row.try_get(2)?);
            let peer = if row.try_get::<i64, _>(1)? == 0 { Peer::User(peer_id) } else { Peer::Group(peer_id) };
            Ok((from_sql(row.try_get(0)?), peer))
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// How far devices, each as (user, device), have acknowledged their inboxes.
    pub async fn acks(&self, devices: &[(u64, u64)]) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        self.seqs(&self.sql.find_acks, devices).await
    }

    /// How far users, each as (user, group), have acknowledged the timelines of large groups.
    pub async fn group_cursors(&self, members: &[(u64, u64)]) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        self.seqs(&self.sql.find_group_cursors, members).await
    }

    async fn seqs(&self, statement: &MultiRow, asked: &[(u64, u64)]) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        let bind = |query: AnyQuery, (one, other): &(u64, u64)| query.bind(to_sql(*one)).bind(to_sql(*other));
        let rows = self.reader.run(async |connection| statement.fetch(connection, asked, bind).await).await?;
        let number = |row: &AnyRow, index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
        let read = |row: &AnyRow| Ok(((number(row, 0)?, number(row, 1)?), number(row, 2)?));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// What pushes have to know of groups.
    pub async fn groups(&self, group_ids: &[u64]) -> Result<HashMap<u64, PushGroup>, StoreError> {
        let bind = |query: AnyQuery, group_id: &u64| query.bind(to_sql(*group_id));
        let rows = self.reader.run(async |connection| GROUPS.fetch(connection, group_ids, bind).await).await?;
        let read = |row: &AnyRow| {
            let group = PushGroup { name: row.try_get(1)?, member_count: from_sql(row.try_get(2)?) };
            Ok((from_sql(row.try_get(0)?), group))
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Nobody is reached under this push id any more. Returns whether the device still had it.
    pub async fn forget(&self, device: &PushDevice) -> Result<bool, StoreError> {
        let query = sqlx::query(FORGET).bind(to_sql(device.user_id)).bind(to_sql(device.device_id));
        Ok(query.bind(device.push_id.clone()).execute(&self.writer).await?.rows_affected() > 0)
    }
}

fn read_device(row: &AnyRow) -> Result<PushDevice, sqlx::Error> {
    Ok(PushDevice {
        user_id: from_sql(row.try_get(0)?),
        device_id: from_sql(row.try_get(1)?),
        device_type: small(row, 2)?,
        push_id: row.try_get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{
        super::plans::{assert_by_index, assert_by_index_in},
        *,
    };

    /// With another value at each place: of rows that are all alike MariaDB sees at once that there is none.
    fn numbered(statement: &str) -> String {
        let (parts, mut number) = (statement.split('?').collect::<Vec<_>>(), 0);
        let join = |sql: String, part: &&str| {
            number += 1;
            format!("{sql}{number}{part}")
        };
        parts.iter().skip(1).fold(parts[0].to_owned(), join)
    }

    #[tokio::test]
    async fn who_can_be_woken_is_found_by_index_alone() {
        let of_many = [OF_USERS, OF_MEMBERS, GROUPS].map(|statement| statement.sql(4).0);
        assert_by_index(&[&[OF_GROUP.to_owned(), FORGET.to_owned()], &of_many[..]].concat(), &[]).await;
        for dialect in [Dialect::Sqlite, Dialect::Mysql] {
            let sql = dialect::sql(dialect);
            let statements = [sql.find_acks, sql.find_group_cursors, sql.find_muted].map(|one| numbered(&one.sql(4).0));
            assert_by_index_in(&[dialect], &statements, &["4-ROW VALUES CLAUSE"]).await;
        }
    }
}
