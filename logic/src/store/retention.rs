//! Retention: what is older than it is kept for goes, a few rows at a time, oldest first.
//!
//! Always holds: an inbox, and the timeline of a group, loses its oldest rows only and never its newest one, so that what is
//! left has no gap and still says how far it got. A device that is behind what is left syncs from there: the `prev_seq` of the
//! first message shows it. A row whose message is gone (it is the newest, or stands behind a younger one) is synced as an
//! expired message without content. Of the lists of a group's receivers the newest stays, and those that a message may name. Runs on its own task, in short transactions beside the inbox writer's.

use std::time::Duration;

use gim_config::sql::{self, Database, Pool};
use sqlx::{AnyConnection, Row as _};

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
    statement::AnyQuery,
};
use crate::domain::message_id;

/// Inboxes or groups that are looked at between two pauses.
const OWNERS_PER_STEP: i64 = 200;

/// Something that holds messages in the order of their seqs.
struct Holder {
    /// Those after an id, with their newest seqs and what their oldest rows name, in either table.
    owners: &'static str,
    /// The oldest rows before a seq, of each of its tables so many.
    oldest: &'static str,
    /// Deletes rows up to a seq, from each of its tables.
    delete: &'static [&'static str],
    /// Deletes what rows up to a seq left behind.
    delete_after: &'static [&'static str],
}

const INBOXES: Holder = Holder {
    owners: "SELECT i.user_id, i.seq, (SELECT um.message_id FROM other_inbox um \
             WHERE um.user_id = i.user_id ORDER BY um.seq LIMIT 1), (SELECT d.message_id FROM direct_inbox d \
             WHERE d.user_id = i.user_id ORDER BY d.seq LIMIT 1) \
             FROM inbox i WHERE i.user_id > ? ORDER BY i.user_id LIMIT ?",
    oldest: "SELECT * FROM (SELECT seq, message_id FROM other_inbox WHERE user_id = ? AND seq < ? ORDER BY seq LIMIT ?) other \
             UNION ALL SELECT * FROM (SELECT seq, message_id FROM direct_inbox WHERE user_id = ? AND seq < ? ORDER BY seq LIMIT ?) \
             direct ORDER BY seq",
    delete: &[
        "DELETE FROM other_inbox WHERE user_id = ? AND seq <= ?",
        "DELETE FROM direct_inbox WHERE user_id = ? AND seq <= ?",
    ],
    // An ack below what is left says no more than none: both are synced from the oldest message that is left.
    delete_after: &["DELETE FROM device_ack WHERE user_id = ? AND seq < ?"],
};

const GROUPS: Holder = Holder {
    owners: "SELECT g.id, g.seq, (SELECT gm.message_id FROM group_message gm \
             WHERE gm.group_id = g.id ORDER BY gm.seq LIMIT 1), NULL \
             FROM chat_group g WHERE g.id > ? ORDER BY g.id LIMIT ?",
    oldest: "SELECT seq, message_id FROM group_message WHERE group_id = ? AND seq < ? ORDER BY seq LIMIT ?",
    delete: &["DELETE FROM group_message WHERE group_id = ? AND seq <= ?"],
    delete_after: &[],
};

const MESSAGES: [&str; 2] =
    ["SELECT id FROM message WHERE id < ? ORDER BY id LIMIT ?", "DELETE FROM message WHERE id <= ?"];
const RECALLS: [&str; 2] =
    ["SELECT id FROM message_recall WHERE id < ? ORDER BY id LIMIT ?", "DELETE FROM message_recall WHERE id <= ?"];

/// Groups after an id, with the first message of their second oldest list of receivers: up to there the oldest one is in use.
const LISTED: &str = "SELECT g.id, (SELECT l.first_message_id FROM group_receivers l \
                      WHERE l.group_id = g.id ORDER BY l.version LIMIT 1 OFFSET 1) \
                      FROM chat_group g WHERE g.id > ? ORDER BY g.id LIMIT ?";
const OLDEST_LISTS: &str =
    "SELECT version, first_message_id FROM group_receivers WHERE group_id = ? ORDER BY version LIMIT ?";
const DELETE_LISTS: &str = "DELETE FROM group_receivers WHERE group_id = ? AND version < ?";

/// Ids of messages from several nodes follow each other as their clocks do, and after what waited: they are no further apart.
const IDS_APART_MAX_MS: i64 = 86_400_000;

/// How gently to go about it.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Rows in one transaction.
    pub rows: u32,
    /// Between two of them.
    pub pause: Duration,
}

/// What a sweep deleted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Rows of inboxes and timelines.
    pub rows: u64,
    /// Messages.
    pub messages: u64,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Retention {
    reader: Pool,
    writer: Pool,
}

impl Retention {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), writer: database.writer.clone() }
    }

    /// Deletes what is older than `before_id`: ids of messages are ordered by time.
    pub async fn sweep(&self, before_id: u64, steps: Steps) -> Result<Swept, StoreError> {
        let rows = self.sweep_holders(&INBOXES, before_id, steps).await?
            + self.sweep_holders(&GROUPS, before_id, steps).await?;
        let messages = self.sweep_messages(before_id, steps).await?;
        self.sweep_lists(before_id, steps).await?;
        Ok(Swept { rows, messages })
    }

    async fn sweep_holders(&self, holder: &Holder, before_id: u64, steps: Steps) -> Result<u64, StoreError> {
        let (mut last_owner, mut deleted) = (0_i64, 0);
        loop {
            let query = sqlx::query(holder.owners).bind(last_owner).bind(OWNERS_PER_STEP);
            let owners = query.fetch_all(&self.reader).await?;
            let Some(last) = owners.last() else { return Ok(deleted) };
            last_owner = last.try_get(0)?;
            for owner in &owners {
                let (id, newest_seq): (i64, i64) = (owner.try_get(0)?, owner.try_get(1)?);
                let oldest: [Option<i64>; 2] = [owner.try_get(2)?, owner.try_get(3)?];
                if oldest.into_iter().flatten().any(|message_id| from_sql(message_id) < before_id) {
                    deleted += self.trim(holder, id, newest_seq, before_id, steps).await?;
                }
            }
            tokio::time::sleep(steps.pause).await;
        }
    }

    /// Takes the oldest rows of one inbox or timeline away.
    async fn trim(
        &self,
        holder: &Holder,
        owner_id: i64,
        newest_seq: i64,
        before_id: u64,
        steps: Steps,
    ) -> Result<u64, StoreError> {
        let (mut deleted, mut up_to) = (0, 0_i64);
        loop {
            let of_table =
                |query: AnyQuery, _: &&str| query.bind(owner_id).bind(newest_seq).bind(i64::from(steps.rows));
            let query = holder.delete.iter().fold(sqlx::query(holder.oldest), of_table);
            let rows = query.fetch_all(&self.reader).await?;
            let mut old = 0;
            for row in rows.iter().take(steps.rows as usize) {
                if from_sql(row.try_get(1)?) >= before_id {
                    break;
                }
                up_to = row.try_get(0)?;
                old += 1;
            }
            if old > 0 {
                self.delete(holder.delete, owner_id, up_to).await?;
                deleted += old;
                tokio::time::sleep(steps.pause).await;
            }
            if old < u64::from(steps.rows) {
                break;
            }
        }
        if deleted > 0 {
            self.delete(holder.delete_after, owner_id, up_to).await?;
        }
        Ok(deleted)
    }

    /// By all of these statements, or by none.
    async fn delete(&self, statements: &[&'static str], owner_id: i64, up_to: i64) -> Result<(), StoreError> {
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            for &sql in statements {
                sqlx::query(sql).bind(owner_id).bind(up_to).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        Ok(self.writer.run(work).await?)
    }

    async fn sweep_messages(&self, before_id: u64, steps: Steps) -> Result<u64, StoreError> {
        self.sweep_table(&RECALLS, before_id, steps).await?;
        self.sweep_table(&MESSAGES, before_id, steps).await
    }

    /// A list is for the messages up to the first one of the list after it.
    async fn sweep_lists(&self, before_id: u64, steps: Steps) -> Result<(), StoreError> {
        let before_id = message_id::least_at(message_id::time_ms(before_id) - IDS_APART_MAX_MS);
        let mut last_id = 0_i64;
        loop {
            let groups = sqlx::query(LISTED).bind(last_id).bind(OWNERS_PER_STEP).fetch_all(&self.reader).await?;
            let Some(last) = groups.last() else { return Ok(()) };
            last_id = last.try_get(0)?;
            for group in &groups {
                if group.try_get::<Option<i64>, _>(1)?.is_some_and(|second| from_sql(second) < before_id) {
                    self.trim_lists(group.try_get(0)?, before_id, steps).await?;
                }
            }
            tokio::time::sleep(steps.pause).await;
        }
    }

    /// Takes the oldest lists of one group away, so many at a time.
    async fn trim_lists(&self, group_id: i64, before_id: u64, steps: Steps) -> Result<(), StoreError> {
        loop {
            let lists = sqlx::query(OLDEST_LISTS).bind(group_id).bind(i64::from(steps.rows) + 1);
            let lists = lists.fetch_all(&self.reader).await?;
            let (mut in_use, mut old) = (None, 0);
            for list in lists.iter().skip(1) {
                if from_sql(list.try_get(1)?) >= before_id {
                    break;
                }
                (in_use, old) = (Some(list.try_get::<i64, _>(0)?), old + 1);
            }
            let Some(version) = in_use else { return Ok(()) };
            sqlx::query(DELETE_LISTS).bind(group_id).bind(version).execute(&self.writer).await?;
            if old < steps.rows {
                return Ok(());
            }
            tokio::time::sleep(steps.pause).await;
        }
    }

    async fn sweep_table(
        &self,
        [oldest, delete]: &[&'static str; 2],
        before_id: u64,
        steps: Steps,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let query = sqlx::query_scalar(*oldest).bind(to_sql(before_id)).bind(i64::from(steps.rows));
            let ids: Vec<i64> = query.fetch_all(&self.reader).await?;
            let Some(&last) = ids.last() else { return Ok(deleted) };
            let query = sqlx::query(*delete).bind(last);
            deleted += query.execute(&self.writer).await?.rows_affected();
            tokio::time::sleep(steps.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::plans::{assert_by, assert_by_index},
        *,
    };

    #[tokio::test]
    async fn what_is_old_is_found_and_deleted_by_index_alone() {
        let of_holders = [INBOXES, GROUPS].into_iter().flat_map(|holder| {
            [holder.owners, holder.oldest].into_iter().chain(holder.delete.iter().chain(holder.delete_after).copied())
        });
        let of_tables = [MESSAGES, RECALLS].into_iter().flatten().chain([LISTED, OLDEST_LISTS, DELETE_LISTS]);
        let statements: Vec<&str> = of_holders.chain(of_tables).collect();
        assert_by_index(&statements, &["other", "direct"]).await;
    }

    #[tokio::test]
    async fn what_is_old_is_found_by_primary_keys() {
        assert_by(&[
            (INBOXES.owners, &[("i", "PRIMARY"), ("um", "PRIMARY"), ("d", "PRIMARY")]),
            (INBOXES.oldest, &[("other_inbox", "PRIMARY"), ("direct_inbox", "PRIMARY")]),
            (GROUPS.owners, &[("g", "PRIMARY"), ("gm", "PRIMARY")]),
            (MESSAGES[0], &[("message", "PRIMARY")]),
            (LISTED, &[("g", "PRIMARY"), ("l", "PRIMARY")]),
            (OLDEST_LISTS, &[("group_receivers", "PRIMARY")]),
            (DELETE_LISTS, &[("group_receivers", "PRIMARY")]),
        ])
        .await;
    }
}
