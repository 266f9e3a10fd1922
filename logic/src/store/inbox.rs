//! Inboxes, as they are read: newest seqs, pages, acks. Writing them is the [`super::writer`]'s.

use std::collections::HashMap;

use gim_config::sql::{Database, Pool};
use gim_proto::check::ID_MAX;
use sqlx::{AnyConnection, Connection as _, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, receivers_of, small, to_sql},
    error::StoreError,
    statement::{AnyQuery, MultiRow},
};
use crate::domain::message::Message;

/// Whose row in the table of inboxes is the floor: from where inboxes begin that have no row yet.
pub(super) const NOBODY: u64 = 0;

/// Reads counters, and the floor.
pub(super) const NEWEST_SEQS: MultiRow =
    MultiRow { head: "SELECT user_id, seq FROM inbox WHERE user_id IN (0,", row: "?", tail: ")" };
/// Of a user who has none, the floor.
const NEWEST_SEQ: &str = "SELECT seq FROM inbox WHERE user_id IN (0, ?) ORDER BY user_id DESC LIMIT 1";

/// A statement that reads messages, as the columns of [`read_message`], in an order of their seqs, up to so many bytes: `heads` are
/// the `seq`, `message_id` and `bytes` of its rows. The bound, its last parameter, is for what the messages before one say together;
/// of one that is beyond it nothing but its place is read.
macro_rules! up_to_bytes {
    ($order:literal, $heads:literal) => {
        concat!(
            "SELECT p.seq, p.message_id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id \
             FROM (SELECT h.seq, h.message_id, SUM(h.bytes) OVER (ORDER BY h.seq ",
            $order,
            ") - h.bytes AS bytes_before FROM (",
            $heads,
            " LIMIT ?) h) p LEFT JOIN message m ON m.id = p.message_id AND p.bytes_before < ? ORDER BY p.seq ",
            $order
        )
    };
}
pub(super) use up_to_bytes;

const PAGE: &str = up_to_bytes!(
    "ASC",
    "SELECT place.seq, place.message_id, COALESCE(LENGTH(b.content), 0) AS bytes \
     FROM (SELECT * FROM (SELECT seq, message_id FROM direct_inbox WHERE user_id = ? AND seq > ? ORDER BY seq LIMIT ?) direct \
     UNION ALL SELECT * FROM (SELECT seq, message_id FROM other_inbox WHERE user_id = ? AND seq > ? ORDER BY seq LIMIT ?) other \
     ORDER BY seq LIMIT ?) place LEFT JOIN message b ON b.id = place.message_id ORDER BY place.seq"
);
const HISTORY_BACK: &str = up_to_bytes!(
    "DESC",
    "SELECT dm.seq, dm.message_id, LENGTH(b.content) AS bytes \
     FROM direct_inbox dm JOIN message b ON b.id = dm.message_id \
     WHERE dm.user_id = ? AND dm.peer_id = ? AND dm.seq > ? AND dm.seq < ? ORDER BY dm.seq DESC"
);
const HISTORY_FORTH: &str = up_to_bytes!(
    "ASC",
    "SELECT dm.seq, dm.message_id, LENGTH(b.content) AS bytes \
     FROM direct_inbox dm JOIN message b ON b.id = dm.message_id \
     WHERE dm.user_id = ? AND dm.peer_id = ? AND dm.seq > ? AND dm.seq < ? ORDER BY dm.seq"
);
const MESSAGE: &str = "SELECT 0, m.id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, m.group_id, \
                       COALESCE(m.receivers, l.user_ids) FROM message m LEFT JOIN group_receivers l \
                       ON l.group_id = m.group_id AND l.version = m.receivers_version WHERE m.id = ?";

/// Everything that is numbered by the ids of messages.
const NEWEST_ID: &str = "SELECT MAX(id) FROM (\
                         SELECT MAX(id) AS id FROM message UNION ALL SELECT MAX(id) FROM message_recall \
                         UNION ALL SELECT MAX(moved_id) FROM read_position \
                         UNION ALL SELECT MAX(cursor_id) FROM message_walk UNION ALL SELECT MAX(floor_id) FROM id_floor) newest";

/// A stored message and who got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Whose inboxes hold it: nobody's where it is in the timeline of a large group alone. None where nobody can recall it.
    pub receivers: Option<Vec<u64>>,
}

/// A part of a conversation, and from which end of it it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPart {
    /// What comes after this number.
    pub after_seq: u64,
    /// And before this one.
    pub before_seq: u64,
    /// Whether from the newest one back; else from the oldest one on.
    pub is_backwards: bool,
}

impl HistoryPart {
    /// What comes before a number, from there back.
    pub fn before(before_seq: u64) -> Self {
        Self { after_seq: 0, before_seq, is_backwards: true }
    }

    /// What comes after a number, from there on.
    pub fn after(after_seq: u64) -> Self {
        Self { after_seq, before_seq: ID_MAX, is_backwards: false }
    }

    /// As much of it as comes after a number.
    #[must_use]
    pub fn beyond(self, seq: u64) -> Self {
        Self { after_seq: self.after_seq.max(seq), ..self }
    }
}

/// How much is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Messages.
    pub messages: u32,
    /// Bytes that they say. One message may be longer; those that come after so many only tell that they are there.
    pub bytes: usize,
}

impl Limit {
    /// So many, however much they say.
    pub fn messages(messages: u32) -> Self {
        Self { messages, bytes: usize::MAX }
    }

    pub(super) fn bytes(self) -> i64 {
        i64::try_from(self.bytes.max(1)).unwrap_or(i64::MAX)
    }
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Inboxes {
    reader: Pool,
}

impl Inboxes {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone() }
    }

    /// The newest seq of each user; of one who never got a message, the floor. In the order asked for.
    pub async fn newest_seqs(&self, user_ids: &[u64]) -> Result<Vec<u64>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let rows = self.reader.run(async |connection| NEWEST_SEQS.fetch(connection, user_ids, bind).await).await?;
        let mut seqs = HashMap::with_capacity(rows.len());
        for row in rows {
            seqs.insert(from_sql(row.try_get(0)?), from_sql(row.try_get(1)?));
        }
        Ok(user_ids.iter().map(|&user_id| newest_of(&seqs, user_id)).collect())
    }

    /// The newest seq of one user; of one who never got a message, the floor.
    pub async fn newest_seq(&self, user_id: u64) -> Result<u64, StoreError> {
        let query = sqlx::query_scalar(NEWEST_SEQ).bind(to_sql(user_id));
        let seq: Option<i64> = query.fetch_optional(&self.reader).await?;
        Ok(seq.map_or(0, from_sql))
    }

    /// The largest ack of a user's devices; 0 where there is none.
    pub async fn largest_ack(&self, user_id: u64) -> Result<u64, StoreError> {
        let sql = "SELECT seq FROM device_ack WHERE user_id = ? ORDER BY seq DESC LIMIT 1";
        let seq: Option<i64> = sqlx::query_scalar(sql).bind(to_sql(user_id)).fetch_optional(&self.reader).await?;
        Ok(seq.map_or(0, from_sql))
    }

    /// At most `limit` messages after `seq`, ascending, each with its seq.
    pub async fn page(&self, user_id: u64, seq: u64, limit: Limit) -> Result<Vec<(u64, Message)>, StoreError> {
        let messages = i64::from(limit.messages);
        let of_table = |query: AnyQuery| query.bind(to_sql(user_id)).bind(to_sql(seq)).bind(messages);
        let query = of_table(of_table(sqlx::query(PAGE))).bind(messages).bind(messages);
        let rows = query.bind(limit.bytes()).fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_message).collect::<Result<_, sqlx::Error>>()?)
    }

    /// At most `limit` messages of a part of what a user and a peer sent each other, each with its seq in the user's inbox.
    pub async fn history(
        &self,
        user_id: u64,
        peer_id: u64,
        part: HistoryPart,
        limit: Limit,
    ) -> Result<Vec<(u64, Message)>, StoreError> {
        let statement = if part.is_backwards { HISTORY_BACK } else { HISTORY_FORTH };
        let query = sqlx::query(statement).bind(to_sql(user_id)).bind(to_sql(peer_id));
        let query = query.bind(to_sql(part.after_seq)).bind(to_sql(part.before_seq));
        let rows = query.bind(i64::from(limit.messages)).bind(limit.bytes()).fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_message).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The message with this id, if it is stored, and who got it.
    pub async fn find(&self, message_id: u64) -> Result<Option<StoredMessage>, StoreError> {
        let row = sqlx::query(MESSAGE).bind(to_sql(message_id)).fetch_optional(&self.reader).await?;
        let Some(row) = row else { return Ok(None) };
        let (_, message) = read_message(&row)?;
        let receivers: Option<Vec<u8>> = row.try_get(8)?;
        let receivers = receivers.map(|encoded| receivers_of(&message, &encoded));
        Ok(Some(StoredMessage { message, receivers }))
    }

    /// The greatest id among those of messages that is stored anywhere, or that a walk over them has passed; 0 for none.
    pub async fn newest_message_id(&self) -> Result<u64, sqlx::Error> {
        // In a transaction, which a proxy leaves with the server that is written to: a replica may not have it yet.
        let look = async |connection: &mut AnyConnection| {
            let mut transaction = connection.begin().await?;
            let id: Option<i64> = sqlx::query_scalar(NEWEST_ID).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(id.map_or(0, from_sql))
        };
        self.reader.run(look).await
    }
}

/// The newest seq of a user among those that [`NEWEST_SEQS`] read: an inbox that has no row yet begins after the floor.
pub(super) fn newest_of(seqs: &HashMap<u64, u64>, user_id: u64) -> u64 {
    seqs.get(&user_id).or_else(|| seqs.get(&NOBODY)).copied().unwrap_or(0)
}

/// A message from the columns `seq, id, command, content, sender_id, created_at_ms, status, group_id`, of which all but the
/// first two may be missing: retention took the message away.
pub(super) fn read_message(row: &AnyRow) -> Result<(u64, Message), sqlx::Error> {
    let id = from_sql(row.try_get(1)?);
    if row.try_get::<Option<i64>, _>(2)?.is_none() {
        return Ok((from_sql(row.try_get(0)?), Message::expired(id)));
    }
    let message = Message {
        id,
        command: small(row, 2)?,
        content: row.try_get::<Vec<u8>, _>(3)?.into(),
        sender_id: from_sql(row.try_get(4)?),
        created_at_ms: row.try_get(5)?,
        status: small(row, 6)?,
        group_id: from_sql(row.try_get(7)?),
    };
    Ok((from_sql(row.try_get(0)?), message))
}

#[cfg(test)]
mod tests {
    use super::{
        super::plans::{assert_by, assert_by_index, with_values},
        *,
    };

    #[tokio::test]
    async fn pages_and_histories_are_read_by_index_alone() {
        assert_by_index(
            &[PAGE, HISTORY_BACK, HISTORY_FORTH, NEWEST_SEQ, MESSAGE],
            &["h", "p", "place", "direct", "other"],
        )
        .await;
    }

    #[tokio::test]
    async fn pages_and_histories_are_read_by_the_indexes_that_are_there_for_them() {
        let history: &[(&str, &str)] = &[("dm", "direct_inbox_by_peer"), ("b", "PRIMARY")];
        assert_by(&[
            (PAGE.to_owned(), &[("direct_inbox", "PRIMARY"), ("other_inbox", "PRIMARY"), ("b", "PRIMARY")]),
            (with_values(HISTORY_BACK, &[7, 7, 0, 9_000]), history),
            (with_values(HISTORY_FORTH, &[7, 7, 0, 9_000]), history),
            (MESSAGE.to_owned(), &[("m", "PRIMARY")]),
        ])
        .await;
    }
}
