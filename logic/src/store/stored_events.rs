//! What happened, as it is found in what is stored anyway, in the order of the ids of messages: messages, recalls, and how far users
//! have read. Nothing is written for it; a position that moved on is found where it is by then.
//!
//! Always holds: a page leaves nothing out between where it begins and where it ends, as long as nothing below its bound is committed any
//! more ([`crate::walk`]). What the database may be committing at this moment it waits for. It is read in transactions, which a proxy that
//! sends reads to replicas leaves with the server that is written to: a replica that lags has gaps.

use gim_config::sql::{Database, Pool};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _, any::AnyRow};

use super::{
    columns::{decode_receivers, from_sql, receivers_of, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    inbox::read_message,
    walks::DELETED_UP_TO,
};
use crate::domain::{
    conversation::Peer,
    group::Kind,
    stored_event::{EventPage, Recall, StoredEvent, StoredRead, WalkPart},
};

/// What stands in a range of ids, and how long it is.
const MESSAGE_HEADS: &str = "SELECT m.id, LENGTH(m.content) + COALESCE(LENGTH(m.receivers), LENGTH(l.user_ids), 0) FROM message m \
                             LEFT JOIN group_receivers l ON l.group_id = m.group_id AND l.version = m.receivers_version \
                             WHERE m.id >= ? AND m.id <= ? ORDER BY m.id LIMIT ?";
const RECALL_HEADS: &str = "SELECT id, 0 FROM message_recall WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?";
const READ_HEADS: &str =
    "SELECT moved_id, 0 FROM read_position WHERE moved_id >= ? AND moved_id <= ? ORDER BY moved_id LIMIT ?";

const MESSAGES: &str = "SELECT 0, m.id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id, \
                        COALESCE(m.receivers, l.user_ids), g.kind FROM message m \
                        LEFT JOIN group_receivers l ON l.group_id = m.group_id AND l.version = m.receivers_version LEFT JOIN chat_group g ON g.id = m.group_id AND m.group_id > 0 \
                        WHERE m.id >= ? AND m.id <= ? ORDER BY m.id";
const RECALLS: &str = "SELECT r.id, r.message_id, COALESCE(m.sender_id, 0), COALESCE(m.group_id, 0), m.receivers \
                       FROM message_recall r LEFT JOIN message m ON m.id = r.message_id \
                       WHERE r.id >= ? AND r.id <= ? ORDER BY r.id";
const READS: &str = "SELECT moved_id, user_id, is_group, peer_id, seq, message_id FROM read_position \
                     WHERE moved_id >= ? AND moved_id <= ? ORDER BY moved_id";

/// The repository.
#[derive(Debug, Clone)]
pub struct StoredEvents {
    reader: Pool,
    sql: &'static Sql,
}

impl StoredEvents {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), sql: dialect::sql(database.dialect) }
    }

    /// What happened in a part of all ids, from its beginning on, up to as much as it says.
    pub async fn page(&self, part: WalkPart) -> Result<EventPage, StoreError> {
        Ok(self.page_and_deleted(part).await?.0)
    }

    /// The same, and up to where retention may have deleted when that was read.
    pub async fn page_and_deleted(&self, part: WalkPart) -> Result<(EventPage, u64), StoreError> {
        let read = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let page = self.read_page(&mut transaction, part).await?;
            // Only now: what it takes away, it has told before.
            let deleted: Option<i64> = sqlx::query_scalar(DELETED_UP_TO).fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((page, deleted.map_or(0, from_sql)))
        };
        Ok(self.reader.run(read).await?)
    }

    /// Whether anything happened in it.
    pub async fn has_any(&self, part: WalkPart) -> Result<bool, StoreError> {
        let part = WalkPart { events_max: 1, ..part };
        let read = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let mut has_any = false;
            for statement in [MESSAGE_HEADS, RECALL_HEADS, READ_HEADS] {
                has_any = has_any || !self.heads(&mut transaction, statement, part).await?.is_empty();
            }
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(has_any)
        };
        Ok(self.reader.run(read).await?)
    }

    async fn read_page(&self, connection: &mut AnyConnection, part: WalkPart) -> Result<EventPage, sqlx::Error> {
        let messages = self.heads(connection, MESSAGE_HEADS, part).await?;
        let recalls = self.heads(connection, RECALL_HEADS, part).await?;
        let reads = self.heads(connection, READ_HEADS, part).await?;
        let up_to = part.end_of([&messages, &recalls, &reads]);
        let mut events = Vec::new();
        let has_any = |heads: &[(u64, usize)]| heads.first().is_some_and(|(id, _)| *id <= up_to);
        if has_any(&messages) {
            let rows = bodies(connection, MESSAGES, part.after_id, up_to).await?;
            events.extend(rows.iter().map(message).collect::<Result<Vec<_>, _>>()?);
        }
        if has_any(&recalls) {
            let rows = bodies(connection, RECALLS, part.after_id, up_to).await?;
            events.extend(rows.iter().map(recall).collect::<Result<Vec<_>, _>>()?);
        }
        if has_any(&reads) {
            let rows = bodies(connection, READS, part.after_id, up_to).await?;
            events.extend(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?);
        }
        events.sort_by_key(StoredEvent::id);
        Ok(EventPage { events, up_to })
    }

    async fn heads(
        &self,
        connection: &mut AnyConnection,
        statement: &str,
        part: WalkPart,
    ) -> Result<Vec<(u64, usize)>, sqlx::Error> {
        let statement = AssertSqlSafe(format!("{statement}{}", self.sql.waits_for_commits));
        let query =
            sqlx::query(statement).bind(to_sql(part.after_id + 1)).bind(to_sql(part.before_id.saturating_sub(1)));
        let rows = query.bind(i64::from(part.events_max)).fetch_all(connection).await?;
        let head = |row: &AnyRow| {
            let bytes: i64 = row.try_get(1)?;
            Ok::<_, sqlx::Error>((from_sql(row.try_get(0)?), usize::try_from(bytes).unwrap_or(0)))
        };
        rows.iter().map(head).collect()
    }
}

async fn bodies(
    connection: &mut AnyConnection,
    statement: &'static str,
    after_id: u64,
    up_to: u64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    sqlx::query(statement).bind(to_sql(after_id + 1)).bind(to_sql(up_to)).fetch_all(connection).await
}

fn message(row: &AnyRow) -> Result<StoredEvent, sqlx::Error> {
    let (_, message) = read_message(row)?;
    let receivers: Option<Vec<u8>> = row.try_get(8)?;
    let group_kind = row.try_get::<Option<i64>, _>(9)?.map(|kind| if kind == 0 { Kind::Normal } else { Kind::Large });
    let receivers = receivers.map(|encoded| receivers_of(&message, &encoded));
    Ok(StoredEvent::Message { message, receivers, group_kind })
}

fn recall(row: &AnyRow) -> Result<StoredEvent, sqlx::Error> {
    let receivers: Option<Vec<u8>> = row.try_get(4)?;
    Ok(StoredEvent::Recall(Recall {
        id: from_sql(row.try_get(0)?),
        message_id: from_sql(row.try_get(1)?),
        sender_id: from_sql(row.try_get(2)?),
        group_id: from_sql(row.try_get(3)?),
        receivers: receivers.as_deref().map(decode_receivers).unwrap_or_default(),
    }))
}

fn read(row: &AnyRow) -> Result<StoredEvent, sqlx::Error> {
    let peer_id = from_sql(row.try_get(3)?);
    let is_group = row.try_get::<i64, _>(2)? != 0;
    Ok(StoredEvent::Read(StoredRead {
        id: from_sql(row.try_get(0)?),
        user_id: from_sql(row.try_get(1)?),
        peer: if is_group { Peer::Group(peer_id) } else { Peer::User(peer_id) },
        seq: from_sql(row.try_get(4)?),
        message_id: from_sql(row.try_get(5)?),
    }))
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{
        super::plans::{assert_by_index, assert_by_index_in},
        *,
    };

    #[tokio::test]
    async fn what_happened_is_found_by_index_alone() {
        assert_by_index(&[MESSAGE_HEADS, READ_HEADS, MESSAGES, READS], &[]).await;
        // MariaDB has no plan for a table that is empty.
        assert_by_index_in(&[Dialect::Sqlite], &[RECALL_HEADS, RECALLS], &[]).await;
    }
}
