//! What another server kept, taken over into the tables of this one while no logic node runs.
//!
//! Always holds: a row that is there stays as it is, so that everything may be taken over again; what is taken over together is
//! one transaction, with the place up to which it got.

use std::collections::{HashMap, HashSet};

use gim_config::sql::{self, Database, InsertNew};
use gim_proto::logic::{Device, MemberType};
use sqlx::{AnyConnection, Row as _};

use super::{
    columns::{from_sql, to_sql},
    device, dialect,
    error::StoreError,
    inbox::{NEWEST_SEQS, NOBODY},
    statement::{AnyQuery, MultiRow},
};
use crate::domain::{
    group::{Group, Member},
    message::Message,
};

/// When the first import into this database began, Unix seconds.
const BEGUN: &str = "begun";

/// In the place of that: a logic node was started since.
const OVER: i64 = -1;

/// How much there is that an import would meet.
pub const USED: &str = "SELECT (SELECT COUNT(*) FROM inbox WHERE user_id <> 0) + (SELECT COUNT(*) FROM chat_group) \
                        + (SELECT COUNT(*) FROM device)";

/// When the first import began, Unix seconds, as long as another one may follow.
pub const BEGUN_AND_NOT_OVER: &str = "SELECT place FROM import_place WHERE step = 'begun' AND place >= 0";

const DEVICES: InsertNew = InsertNew {
    into: "device (user_id, id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, \
           updated_at_ms)",
    row: "(?,?,?,?,?,?,?,?,?,?)",
};
const GROUPS: InsertNew = InsertNew {
    into: "chat_group (id, kind, name, avatar_url, introduction, extra, member_count, admin_count, version, seq, \
           large_after_seq, created_at_ms, updated_at_ms)",
    row: "(?,?,?,?,?,?,?,?,?,?,?,?,?)",
};
const KNOWN_GROUPS: MultiRow = MultiRow { head: "SELECT id FROM chat_group WHERE id IN (", row: "?", tail: ")" };
const MEMBERS: InsertNew = InsertNew {
    into: "group_member (group_id, user_id, type, status, nickname, extra, joined_after_seq, joined_at_ms)",
    row: "(?,?,?,?,?,?,?,?)",
};
const MESSAGES: InsertNew = InsertNew {
    into: "message (id, command, content, sender_id, created_at_ms, status, group_id)",
    row: "(?,?,?,?,?,?,?)",
};
const OTHER_PLACES: InsertNew = InsertNew { into: "other_inbox (user_id, seq, message_id)", row: "(?,?,?)" };
const DIRECT_ROWS: InsertNew = InsertNew { into: "direct_inbox (user_id, seq, peer_id, message_id)", row: "(?,?,?,?)" };

/// When something was made and changed, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Times {
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// A device of a user; of nobody (0) where nobody signed in on it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImportedDevice {
    pub user_id: u64,
    pub device: Device,
    pub times: Times,
}

/// A group with its members, each with when he joined, Unix milliseconds. Its timeline begins with what comes next.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImportedGroup {
    pub group: Group,
    pub members: Vec<(Member, i64)>,
    pub times: Times,
}

/// A place in an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxRow {
    /// Whose.
    pub user_id: u64,
    /// Which place.
    pub seq: u64,
    /// What stands there; an id without a message is synced as an expired one.
    pub message_id: u64,
    /// With whom it was spoken; 0 where it is no part of a conversation.
    pub peer_id: u64,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Imports {
    database: Database,
}

impl Imports {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// When the first import began, Unix seconds; none where none did.
    pub async fn begun(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.read_place(BEGUN).await?.filter(|&begun_s| begun_s != OVER))
    }

    /// Nothing more is taken over: a logic node gives seqs to what comes next.
    pub async fn end(&self) -> Result<(), StoreError> {
        let work = || {
            async move |connection: &mut AnyConnection| {
                let end = sqlx::query("UPDATE import_place SET place = ? WHERE step = ?").bind(OVER).bind(BEGUN);
                end.execute(connection).await.map(drop)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }

    /// Notes that an import begins.
    pub async fn begin(&self, now_s: i64) -> Result<(), StoreError> {
        let work = || async move |connection: &mut AnyConnection| put_place(connection, BEGUN, now_s).await;
        Ok(self.database.writer.transact(work).await?)
    }

    /// Whether nobody has used this database yet.
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar(USED).fetch_one(&self.database.reader).await?;
        Ok(count == 0)
    }

    /// Up to which number a step got; 0 where it did not begin.
    pub async fn place_of(&self, step: &str) -> Result<u64, StoreError> {
        Ok(self.read_place(step).await?.map_or(0, from_sql))
    }

    async fn read_place(&self, step: &str) -> Result<Option<i64>, sqlx::Error> {
        let query = sqlx::query_scalar("SELECT place FROM import_place WHERE step = ?").bind(step.to_owned());
        query.fetch_optional(&self.database.reader).await
    }

    /// Takes devices over.
    pub async fn devices(&self, devices: &[ImportedDevice]) -> Result<u64, StoreError> {
        let dialect = self.database.dialect;
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let inserted = DEVICES.run(&mut transaction, dialect, devices, bind_device).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(inserted)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }

    /// Takes groups over, with their members. Of one that is there already, who is in it stays as it is.
    pub async fn groups(&self, groups: &[ImportedGroup]) -> Result<u64, StoreError> {
        let dialect = self.database.dialect;
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let bind_id = |query: AnyQuery, group: &ImportedGroup| query.bind(to_sql(group.group.id));
                let known = KNOWN_GROUPS.fetch(&mut transaction, groups, bind_id).await?;
                let known: HashSet<i64> = known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
                let new = groups.iter().filter(|group| !known.contains(&to_sql(group.group.id)));
                let members = new.flat_map(|group| group.members.iter().map(|member| (group.group.id, member)));
                let members: Vec<_> = members.collect();
                let inserted = GROUPS.run(&mut transaction, dialect, groups, bind_group).await?;
                MEMBERS.run(&mut transaction, dialect, &members, bind_member).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(inserted)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }

    /// Takes messages over, and notes that `step` got up to `place`.
    pub async fn messages(&self, messages: &[Message], step: &str, place: u64) -> Result<u64, StoreError> {
        let dialect = self.database.dialect;
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let inserted = MESSAGES.run(&mut transaction, dialect, messages, bind_message).await?;
                put_place(&mut transaction, step, to_sql(place)).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(inserted)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }

    /// Takes places in inboxes over, of each user in the order of their seqs and right behind what is there.
    pub async fn inbox_rows(&self, rows: &[InboxRow]) -> Result<u64, StoreError> {
        let dialect = self.database.dialect;
        let raise = dialect::sql(dialect).raise_inboxes;
        let newest: Vec<(u64, u64)> =
            rows.iter().map(|row| (row.user_id, row.seq)).collect::<HashMap<_, _>>().into_iter().collect();
        let (direct, others): (Vec<InboxRow>, Vec<InboxRow>) = rows.iter().partition(|row| row.peer_id != 0);
        let (newest, direct, others) = (&newest[..], &direct[..], &others[..]);
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let inserted = OTHER_PLACES.run(&mut transaction, dialect, others, bind_inbox_row).await?
                    + DIRECT_ROWS.run(&mut transaction, dialect, direct, bind_direct_row).await?;
                let bind =
                    |query: AnyQuery, &(user_id, seq): &(u64, u64)| query.bind(to_sql(user_id)).bind(to_sql(seq));
                raise.execute(&mut transaction, newest, bind).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(inserted)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }

    /// The newest seq of each user who has an inbox.
    pub async fn newest_seqs(&self, user_ids: &[u64]) -> Result<HashMap<u64, u64>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let work = async |connection: &mut AnyConnection| NEWEST_SEQS.fetch(connection, user_ids, bind).await;
        let rows = self.database.reader.run(work).await?;
        let mut seqs = HashMap::with_capacity(rows.len());
        for row in rows {
            seqs.insert(from_sql(row.try_get(0)?), from_sql(row.try_get(1)?));
        }
        seqs.remove(&NOBODY);
        Ok(seqs)
    }

    /// Takes over how far devices have read (`user_id, device_id, seq` each).
    pub async fn acks(&self, acks: &[(u64, u64, u64)]) -> Result<(), StoreError> {
        let raise: MultiRow = dialect::sql(self.database.dialect).raise_acks;
        let work = || {
            async move |connection: &mut AnyConnection| {
                let bind = |query: AnyQuery, &(user_id, device_id, seq): &(u64, u64, u64)| {
                    query.bind(to_sql(user_id)).bind(to_sql(device_id)).bind(to_sql(seq))
                };
                let mut transaction = sql::begin(connection).await?;
                raise.execute(&mut transaction, acks, bind).await?;
                transaction.commit().await
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }
}

async fn put_place(connection: &mut AnyConnection, step: &str, place: i64) -> Result<(), sqlx::Error> {
    // Both databases know REPLACE.
    let query = sqlx::query("REPLACE INTO import_place (step, place) VALUES (?, ?)").bind(step.to_owned()).bind(place);
    query.execute(connection).await.map(drop)
}

fn bind_device(query: AnyQuery, row: &ImportedDevice) -> AnyQuery {
    device::bind(query, row.user_id, &row.device, (row.times.created_at_ms, row.times.updated_at_ms))
}

fn bind_group(query: AnyQuery, row: &ImportedGroup) -> AnyQuery {
    let Group { id, kind, profile, member_count, admin_count, version, seq, large_after_seq } = row.group.clone();
    query
        .bind(to_sql(id))
        .bind(i64::from(kind.to_wire()))
        .bind(profile.name)
        .bind(profile.avatar_url)
        .bind(profile.introduction)
        .bind(profile.extra)
        .bind(to_sql(member_count))
        .bind(to_sql(admin_count))
        .bind(to_sql(version))
        .bind(to_sql(seq))
        .bind(to_sql(large_after_seq))
        .bind(row.times.created_at_ms)
        .bind(row.times.updated_at_ms)
}

fn bind_member(query: AnyQuery, (group_id, (member, joined_at_ms)): &(u64, &(Member, i64))) -> AnyQuery {
    let member_type = if member.is_admin { MemberType::MtAdmin } else { MemberType::MtMember };
    query
        .bind(to_sql(*group_id))
        .bind(to_sql(member.user_id))
        .bind(i64::from(member_type as i32))
        .bind(i64::from(member.status))
        .bind(member.nickname.clone())
        .bind(member.extra.clone())
        .bind(0_i64)
        .bind(*joined_at_ms)
}

fn bind_message(query: AnyQuery, message: &Message) -> AnyQuery {
    query
        .bind(to_sql(message.id))
        .bind(i64::from(message.command))
        .bind(message.content.to_vec())
        .bind(to_sql(message.sender_id))
        .bind(message.created_at_ms)
        .bind(i64::from(message.status))
        .bind(to_sql(message.group_id))
}

fn bind_inbox_row(query: AnyQuery, row: &InboxRow) -> AnyQuery {
    query.bind(to_sql(row.user_id)).bind(to_sql(row.seq)).bind(to_sql(row.message_id))
}

fn bind_direct_row(query: AnyQuery, row: &InboxRow) -> AnyQuery {
    query.bind(to_sql(row.user_id)).bind(to_sql(row.seq)).bind(to_sql(row.peer_id)).bind(to_sql(row.message_id))
}
