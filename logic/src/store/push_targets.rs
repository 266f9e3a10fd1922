//! Who can be woken about a message, and who need not be: devices with a push id, what is muted, how far devices have acknowledged.
//!
//! Statements over many users at once, read after a message was stored and never for its sake.

use std::collections::{HashMap, HashSet};

use gim_config::sql::{Database, Pool};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, small, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};
use crate::domain::{conversation::Peer, push_device::PushDevice};

/// Of each user those devices that were heard of last.
const OF_USERS: MultiRow = MultiRow {
    head: "SELECT user_id, id, type, branch_push_id FROM (SELECT user_id, id, type, branch_push_id, \
           ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY updated_at_ms DESC, id DESC) AS place \
           FROM device WHERE user_id IN (",
    row: "?",
    tail: ") AND branch_push_id <> '') placed WHERE place <= 32",
};
/// The newest device of each member comes first, then the second one of each.
const OF_GROUP: &str = "SELECT user_id, id, type, branch_push_id FROM (SELECT d.user_id, d.id, d.type, d.branch_push_id, \
                        ROW_NUMBER() OVER (PARTITION BY d.user_id ORDER BY d.updated_at_ms DESC, d.id DESC) AS place \
                        FROM group_member m JOIN device d ON d.user_id = m.user_id \
                        WHERE m.group_id = ? AND d.branch_push_id <> '') placed \
                        WHERE place <= 32 ORDER BY place, user_id LIMIT ?";
const OF_MEMBERS: MultiRow = MultiRow {
    head: "SELECT user_id, id, type, branch_push_id FROM (SELECT d.user_id, d.id, d.type, d.branch_push_id, \
           ROW_NUMBER() OVER (PARTITION BY d.user_id ORDER BY d.updated_at_ms DESC, d.id DESC) AS place \
           FROM group_member m JOIN device d ON d.user_id = m.user_id WHERE m.user_id IN (",
    row: "?",
    tail: ") AND m.group_id = ? AND d.branch_push_id <> '') placed WHERE place <= 32",
};
/// How far any device of a user has acknowledged.
const USER_ACKS: MultiRow = MultiRow {
    head: "SELECT user_id, 0, MAX(seq) FROM device_ack WHERE user_id IN (",
    row: "?",
    tail: ") GROUP BY user_id",
};
/// The first places of an inbox, or of a timeline, behind a seq: whose, which seq, and the message there with its status.
const UNACKNOWLEDGED: [&str; 2] = [
    "SELECT um.user_id, um.seq, m.id, m.status FROM other_inbox um JOIN message m ON m.id = um.message_id \
     WHERE um.user_id = ? AND um.seq > ? ORDER BY um.seq LIMIT 16",
    "SELECT dm.user_id, dm.seq, m.id, m.status FROM direct_inbox dm JOIN message m ON m.id = dm.message_id \
     WHERE dm.user_id = ? AND dm.seq > ? ORDER BY dm.seq LIMIT 16",
];
const UNACKNOWLEDGED_IN_GROUP: [&str; 1] =
    ["SELECT gm.group_id, gm.seq, m.id, m.status FROM group_message gm JOIN message m ON m.id = gm.message_id \
     WHERE gm.group_id = ? AND gm.seq > ? ORDER BY gm.seq LIMIT 16"];
const PLACES_MAX: usize = 16;

/// Places that one statement looks behind.
const ASKED_MAX: usize = 32;

/// Messages that are there, and were not recalled.
const STANDING: MultiRow =
    MultiRow { head: "SELECT id FROM message WHERE id IN (", row: "?", tail: ") AND status = 0" };
const GROUPS: MultiRow =
    MultiRow { head: "SELECT id, name, member_count FROM chat_group WHERE id IN (", row: "?", tail: ")" };
/// Nothing where the device has another one by now, or said the same one since.
const FORGET: &str = "UPDATE device SET branch_push_id = '' \
                      WHERE user_id = ? AND id = ? AND branch_push_id = ? AND updated_at_ms <= ?";

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

    /// Up to where devices, each as (user, device), have acknowledged their inboxes: the id of the first message that they have not,
    /// `u64::MAX` where there is none. Nothing of those that acknowledged none. Device 0 stands for all of a user's.
    pub async fn unacknowledged(&self, devices: &[(u64, u64)]) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        let (users, devices): (Vec<_>, Vec<_>) = devices.iter().copied().partition(|(_, device_id)| *device_id == 0);
        let mut acks = self.seqs(&self.sql.find_acks, &devices).await?;
        let bind = |query: AnyQuery, (user_id, _): &(u64, u64)| query.bind(to_sql(*user_id));
        let rows = self.reader.run(async |connection| USER_ACKS.fetch(connection, &users, bind).await).await?;
        acks.extend(rows.iter().map(read_seq).collect::<Result<Vec<_>, sqlx::Error>>()?);
        let asked: HashSet<(u64, u64)> = acks.iter().map(|((user_id, _), seq)| (*user_id, *seq)).collect();
        let first = self.first_behind(&UNACKNOWLEDGED, asked).await?;
        Ok(acks.into_iter().map(|(device, seq)| (device, first[&(device.0, seq)])).collect())
    }

    /// The same of the timelines of large groups, for devices as (user, group, device).
    pub async fn unacknowledged_in_groups(
        &self,
        devices: &[(u64, u64, u64)],
    ) -> Result<HashMap<(u64, u64, u64), u64>, StoreError> {
        let bind = |query: AnyQuery, (user_id, group_id, device_id): &(u64, u64, u64)| {
            query.bind(to_sql(*user_id)).bind(to_sql(*group_id)).bind(to_sql(*device_id))
        };
        let statement = &self.sql.find_group_acks;
        let rows = self.reader.run(async |connection| statement.fetch(connection, devices, bind).await).await?;
        let acks: Vec<_> = rows.iter().map(read_group_ack).collect::<Result<_, sqlx::Error>>()?;
        let asked: HashSet<(u64, u64)> = acks.iter().map(|((_, group_id, _), seq)| (*group_id, *seq)).collect();
        let first = self.first_behind(&UNACKNOWLEDGED_IN_GROUP, asked).await?;
        Ok(acks.into_iter().map(|(device, seq)| (device, first[&(device.1, seq)])).collect())
    }

    /// Of messages, those that are there and were not recalled.
    pub async fn standing(&self, message_ids: &[u64]) -> Result<HashSet<u64>, StoreError> {
        let bind = |query: AnyQuery, message_id: &u64| query.bind(to_sql(*message_id));
        let rows = self.reader.run(async |connection| STANDING.fetch(connection, message_ids, bind).await).await?;
        Ok(rows.iter().map(|row| Ok(from_sql(row.try_get(0)?))).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The least id of a message behind each seq. Seqs and ids rise together but for a moment, in which several nodes store.
    async fn first_behind(
        &self,
        selects: &[&str],
        asked: HashSet<(u64, u64)>,
    ) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        let asked: Vec<(u64, u64)> = asked.into_iter().collect();
        let mut first = HashMap::new();
        for some in asked.chunks(ASKED_MAX) {
            let mut places: HashMap<u64, Vec<Behind>> = HashMap::new();
            for select in selects {
                let statement = AssertSqlSafe(self.sql.union_of_limited(select, some.len()));
                let bind = |query: AnyQuery, (owner, seq): &(u64, u64)| query.bind(to_sql(*owner)).bind(to_sql(*seq));
                let query = some.iter().fold(sqlx::query(statement), bind);
                for row in query.fetch_all(&self.reader).await? {
                    let place = Behind::read(&row)?;
                    places.entry(place.owner).or_default().push(place);
                }
            }
            first.extend(some.iter().map(|asked| (*asked, first_of(places.get(&asked.0), asked.1))));
        }
        Ok(first)
    }

    async fn seqs(&self, statement: &MultiRow, asked: &[(u64, u64)]) -> Result<HashMap<(u64, u64), u64>, StoreError> {
        let bind = |query: AnyQuery, (one, other): &(u64, u64)| query.bind(to_sql(*one)).bind(to_sql(*other));
        let rows = self.reader.run(async |connection| statement.fetch(connection, asked, bind).await).await?;
        Ok(rows.iter().map(read_seq).collect::<Result<_, sqlx::Error>>()?)
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

    /// Nobody is reached under this push id any more, since a time. Returns whether the device still had it, and said nothing since then.
    pub async fn forget(&self, device: &PushDevice, since_ms: i64) -> Result<bool, StoreError> {
        let query = sqlx::query(FORGET).bind(to_sql(device.user_id)).bind(to_sql(device.device_id));
        Ok(query.bind(device.push_id.clone()).bind(since_ms).execute(&self.writer).await?.rows_affected() > 0)
    }
}

/// A place behind a seq.
#[derive(Debug, Clone, Copy)]
struct Behind {
    owner: u64,
    seq: u64,
    message_id: u64,
    is_recalled: bool,
}

impl Behind {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
        let is_recalled = row.try_get::<i64, _>(3)? != 0;
        Ok(Self { owner: number(0)?, seq: number(1)?, message_id: number(2)?, is_recalled })
    }
}

/// What is recalled does not count: its second place names an old message. Where nothing else is among so many, nobody knows.
fn first_of(places: Option<&Vec<Behind>>, seq: u64) -> u64 {
    let behind: Vec<Behind> = places.into_iter().flatten().filter(|place| place.seq > seq).copied().collect();
    let standing = behind.iter().filter(|place| !place.is_recalled).map(|place| place.message_id).min();
    standing.unwrap_or(if behind.len() < PLACES_MAX { u64::MAX } else { 0 })
}

fn read_seq(row: &AnyRow) -> Result<((u64, u64), u64), sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(((number(0)?, number(1)?), number(2)?))
}

fn read_group_ack(row: &AnyRow) -> Result<((u64, u64, u64), u64), sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(((number(0)?, number(1)?, number(2)?), number(3)?))
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
        let of_many = [GROUPS, STANDING, USER_ACKS].map(|statement| statement.sql(4).0);
        assert_by_index(&[&[FORGET.to_owned()], &of_many[..]].concat(), &[]).await;
        let placed = [OF_USERS.sql(4).0, OF_MEMBERS.sql(4).0, OF_GROUP.to_owned()];
        assert_by_index(&placed, &["placed", "SUBQUERY"]).await;
        for dialect in [Dialect::Sqlite, Dialect::Mysql] {
            let sql = dialect::sql(dialect);
            let statements = [sql.find_acks, sql.find_group_acks, sql.find_muted].map(|one| numbered(&one.sql(4).0));
            assert_by_index_in(&[dialect], &statements, &["4-ROW VALUES CLAUSE"]).await;
            let behind = [UNACKNOWLEDGED[0], UNACKNOWLEDGED[1], UNACKNOWLEDGED_IN_GROUP[0]];
            assert_by_index_in(&[dialect], &behind.map(|one| sql.union_of_limited(one, 2)), &["part"]).await;
        }
    }
}
