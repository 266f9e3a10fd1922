//! What happened, as it is found in what is stored anyway, in the order of the ids of messages: messages, recalls, and how far users
//! have read. Nothing is written for it; a position that moved on is found where it is by then.
//!
//! Always holds: a page leaves nothing out between where it begins and where it ends, as long as nothing below its bound is committed any
//! more ([`crate::walk`]). What the database may be committing at this moment it waits for. It is read in transactions, which a proxy that
//! sends reads to replicas leaves with the server that is written to: a replica that lags has gaps.

use futures_util::TryStreamExt as _;
use gim_config::sql::{Database, Dialect, Pool};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _, any::AnyRow};

use super::{
    columns::{decode_receivers, from_sql, receivers_of, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    inbox::read_message,
    others,
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
                        WHERE m.id >= ? AND m.id <= ? ORDER BY m.id LIMIT ?";
const RECALLS: &str = "SELECT r.id, r.message_id, COALESCE(m.sender_id, 0), COALESCE(m.group_id, 0), m.receivers \
                       FROM message_recall r LEFT JOIN message m ON m.id = r.message_id \
                       WHERE r.id >= ? AND r.id <= ? ORDER BY r.id";
const READS: &str = "SELECT moved_id, user_id, is_group, peer_id, seq, message_id FROM read_position \
                     WHERE moved_id >= ? AND moved_id <= ? ORDER BY moved_id";

/// The repository.
#[derive(Debug, Clone)]
pub struct StoredEvents {
    reader: Pool,
    dialect: Dialect,
    sql: &'static Sql,
}

impl StoredEvents {
    pub(super) fn new(database: &Database) -> Self {
        let dialect = database.dialect;
        Self { reader: database.reader.clone(), dialect, sql: dialect::sql(dialect) }
    }

    /// What happened in a part of all ids, from its beginning on, up to as much as it says.
    pub async fn page(&self, part: WalkPart) -> Result<EventPage, StoreError> {
        Ok(self.page_and_deleted(part).await?.0)
    }

    /// The same, and up to where retention may have deleted when that was read.
    pub async fn page_and_deleted(&self, part: WalkPart) -> Result<(EventPage, u64), StoreError> {
        let events = self.clone();
        match self.dialect {
            Dialect::Sqlite => events.page_of_sqlite(part).await,
            // It locks rows until it is done.
            Dialect::Mysql => others::ask(async move { events.page_of_server(part).await }).await,
        }
    }

    /// Without a transaction, which would keep the log of the database from beginning again for as long as it is open. What is settled does
    /// not change between two statements: it may be gone, recalled, or have moved on to where the walk finds it later.
    async fn page_of_sqlite(&self, part: WalkPart) -> Result<(EventPage, u64), StoreError> {
        let read = async |connection: &mut AnyConnection| {
            let messages = first_messages(connection, part).await?;
            let heads: Vec<_> = messages.iter().map(|(message, bytes)| (message.id(), *bytes)).collect();
            let (up_to, mut events) = self.read_rest(connection, part, &heads).await?;
            let messages = messages.into_iter().map(|(message, _)| message);
            events.extend(messages.take_while(|message| message.id() <= up_to));
            let page = page(part, up_to, events);
            Ok::<_, sqlx::Error>((page, deleted_up_to(connection).await?))
        };
        Ok(self.reader.run(read).await?)
    }

    async fn page_of_server(&self, part: WalkPart) -> Result<(EventPage, u64), StoreError> {
        let read = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let heads = self.heads(&mut transaction, MESSAGE_HEADS, part).await?;
            let (up_to, mut events) = self.read_rest(&mut transaction, part, &heads).await?;
            if has_any(&heads, up_to) {
                let query = sqlx::query(MESSAGES).bind(to_sql(part.after_id + 1)).bind(to_sql(up_to));
                let rows = query.bind(i64::from(part.events_max)).fetch_all(&mut *transaction).await?;
                let messages = rows.iter().map(|row| Ok(message(row)?.0));
                events.extend(messages.collect::<Result<Vec<_>, sqlx::Error>>()?);
            }
            let page = page(part, up_to, events);
            let deleted = deleted_up_to(&mut transaction).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((page, deleted))
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

    /// Up to where a page goes that begins with these messages, and what is in it beside messages.
    async fn read_rest(
        &self,
        connection: &mut AnyConnection,
        part: WalkPart,
        messages: &[(u64, usize)],
    ) -> Result<(u64, Vec<StoredEvent>), sqlx::Error> {
        let recalls = self.heads(connection, RECALL_HEADS, part).await?;
        let reads = self.heads(connection, READ_HEADS, part).await?;
        let up_to = part.end_of([messages, &recalls, &reads]);
        let mut events = Vec::new();
        if has_any(&recalls, up_to) {
            let rows = bodies(connection, RECALLS, part.after_id, up_to).await?;
            events.extend(rows.iter().map(recall).collect::<Result<Vec<_>, _>>()?);
        }
        if has_any(&reads, up_to) {
            let rows = bodies(connection, READS, part.after_id, up_to).await?;
            events.extend(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?);
        }
        Ok((up_to, events))
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

fn page(part: WalkPart, up_to: u64, mut events: Vec<StoredEvent>) -> EventPage {
    events.sort_by_key(StoredEvent::id);
    EventPage { events, up_to, has_more: up_to + 1 < part.before_id }
}

fn has_any(heads: &[(u64, usize)], up_to: u64) -> bool {
    heads.first().is_some_and(|(id, _)| *id <= up_to)
}

/// To be asked after the rest: what retention takes away, it has told before.
async fn deleted_up_to(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let deleted: Option<i64> = sqlx::query_scalar(DELETED_UP_TO).fetch_optional(connection).await?;
    Ok(deleted.map_or(0, from_sql))
}

/// Messages with how long they are, as many as a page may have and, where these say more than it may, no more than to know that.
async fn first_messages(
    connection: &mut AnyConnection,
    part: WalkPart,
) -> Result<Vec<(StoredEvent, usize)>, sqlx::Error> {
    let query = sqlx::query(MESSAGES).bind(to_sql(part.after_id + 1)).bind(to_sql(part.before_id.saturating_sub(1)));
    let mut rows = query.bind(i64::from(part.events_max)).fetch(connection);
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while (messages.len() < 2 || bytes <= part.bytes_max)
        && let Some(row) = rows.try_next().await?
    {
        let (message, more) = message(&row)?;
        bytes += more;
        messages.push((message, more));
    }
    Ok(messages)
}

async fn bodies(
    connection: &mut AnyConnection,
    statement: &'static str,
    after_id: u64,
    up_to: u64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    sqlx::query(statement).bind(to_sql(after_id + 1)).bind(to_sql(up_to)).fetch_all(connection).await
}

/// And how long it is.
fn message(row: &AnyRow) -> Result<(StoredEvent, usize), sqlx::Error> {
    let (_, message) = read_message(row)?;
    let receivers: Option<Vec<u8>> = row.try_get(8)?;
    let bytes = message.content.len() + receivers.as_ref().map_or(0, Vec::len);
    let group_kind = row.try_get::<Option<i64>, _>(9)?.map(|kind| if kind == 0 { Kind::Normal } else { Kind::Large });
    let receivers = receivers.map(|encoded| receivers_of(&message, &encoded));
    Ok((StoredEvent::Message { message, receivers, group_kind }, bytes))
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
