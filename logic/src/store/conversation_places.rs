//! Where the messages of a conversation stand, found by index from a number, a message or a time, and how many they are.
//!
//! The numbers of a conversation rise with the ids of its messages, but for messages that were sent at the same moment. So the place of
//! a message is found in steps that halve what is left, and then among its neighbours. Always holds: what is looked at grows with the
//! logarithm of the conversation, and no more.

use gim_config::sql::{Database, Pool};
use sqlx::{Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
    statement::AnyQuery,
};
use crate::domain::conversation::Peer;

/// The statements for what two users write to each other, and for the timeline of a group: `rows` are its places.
macro_rules! statements {
    ($rows:literal) => {
        Statements {
            at: concat!("SELECT p.seq, p.message_id FROM ", $rows, " AND p.seq <= ? ORDER BY p.seq DESC LIMIT 1"),
            seek: concat!(
                "WITH RECURSIVE step (low, high, number) AS ( \
                 SELECT CAST(0 AS SIGNED), COALESCE((SELECT p.seq FROM ",
                $rows,
                " ORDER BY p.seq DESC LIMIT 1), 0), 0 UNION ALL \
                 SELECT CASE WHEN COALESCE((SELECT p.message_id FROM ",
                $rows,
                " AND p.seq <= step.low + ((step.high - step.low + 1) >> 1) ORDER BY p.seq DESC LIMIT 1), 0) <= ? \
                 THEN step.low + ((step.high - step.low + 1) >> 1) ELSE step.low END, \
                 CASE WHEN COALESCE((SELECT p.message_id FROM ",
                $rows,
                " AND p.seq <= step.low + ((step.high - step.low + 1) >> 1) ORDER BY p.seq DESC LIMIT 1), 0) <= ? \
                 THEN step.high ELSE step.low + ((step.high - step.low + 1) >> 1) - 1 END, step.number + 1 \
                 FROM step WHERE step.low < step.high AND step.number < 64) \
                 SELECT low FROM step ORDER BY number DESC LIMIT 1"
            ),
            extent: concat!(
                "SELECT (SELECT COUNT(*) FROM (SELECT p.seq FROM ",
                $rows,
                " AND p.seq > ? AND EXISTS (SELECT 1 FROM message m WHERE m.id = p.message_id) \
                 ORDER BY p.seq LIMIT 10000) counted), (SELECT p.seq FROM ",
                $rows,
                " AND p.seq > ? AND EXISTS (SELECT 1 FROM message m WHERE m.id = p.message_id) \
                 ORDER BY p.seq LIMIT 1), (SELECT p.seq FROM ",
                $rows,
                " AND p.seq > ? AND EXISTS (SELECT 1 FROM message m WHERE m.id = p.message_id) \
                 ORDER BY p.seq DESC LIMIT 1)"
            ),
            near: concat!(
                "SELECT seq FROM (SELECT * FROM (SELECT p.seq AS seq, p.message_id AS message_id FROM ",
                $rows,
                " AND p.seq <= ? ORDER BY p.seq DESC LIMIT 64) before_it UNION ALL \
                 SELECT * FROM (SELECT p.seq AS seq, p.message_id AS message_id FROM ",
                $rows,
                " AND p.seq > ? ORDER BY p.seq LIMIT 64) after_it) near_it WHERE message_id = ?"
            ),
        }
    };
}

struct Statements {
    /// The place at a number, or the last one before it.
    at: &'static str,
    /// The greatest number at which, or before which, there is a message with an id that is not greater.
    seek: &'static str,
    /// How many messages are kept after a number, up to 10,000, and the numbers of the first and the last one.
    extent: &'static str,
    /// The number of a message that is among the neighbours of a place.
    near: &'static str,
}

static DIRECT: Statements = statements!("direct_inbox p WHERE p.user_id = ? AND p.peer_id = ?");
static IN_GROUP: Statements = statements!("group_message p WHERE p.group_id = ? AND p.is_recall = 0");

/// The repository. Whose inbox a place is in matters for what users write to each other, and not in groups.
#[derive(Debug, Clone)]
pub struct ConversationPlaces {
    reader: Pool,
}

impl ConversationPlaces {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone() }
    }

    /// The last place up to a number, as that and the message there.
    pub async fn at(&self, user_id: u64, peer: Peer, seq: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let query = bind_key(sqlx::query(statements(peer).at), user_id, peer).bind(to_sql(seq));
        let row = query.fetch_optional(&self.reader).await?;
        let read = |row: AnyRow| Ok::<_, sqlx::Error>((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)));
        Ok(row.map(read).transpose()?)
    }

    /// Up to which number messages have ids that are not greater than this one; 0 where none has.
    pub async fn seek(&self, user_id: u64, peer: Peer, message_id: u64) -> Result<u64, StoreError> {
        let query = bind_key(sqlx::query(statements(peer).seek), user_id, peer);
        let query = bind_key(query, user_id, peer).bind(to_sql(message_id));
        let query = bind_key(query, user_id, peer).bind(to_sql(message_id));
        let row = query.fetch_one(&self.reader).await?;
        Ok(from_sql(row.try_get(0)?))
    }

    /// What there is after a number: how much, the first and the last number.
    pub async fn extent(&self, user_id: u64, peer: Peer, after_seq: u64) -> Result<(u32, u64, u64), StoreError> {
        let query = sqlx::query(statements(peer).extent);
        let query = (0..3).fold(query, |query, _| bind_key(query, user_id, peer).bind(to_sql(after_seq)));
        let row = query.fetch_one(&self.reader).await?;
        let seq = |index: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(index)?.map_or(0, from_sql));
        Ok((u32::try_from(seq(0)?).unwrap_or(u32::MAX), seq(1)?, seq(2)?))
    }

    /// The number of a message, if it is one of the conversation.
    pub async fn find(&self, user_id: u64, peer: Peer, message_id: u64) -> Result<Option<u64>, StoreError> {
        let seq = to_sql(self.seek(user_id, peer, message_id).await?);
        let query = bind_key(sqlx::query(statements(peer).near), user_id, peer).bind(seq);
        let query = bind_key(query, user_id, peer).bind(seq).bind(to_sql(message_id));
        let row = query.fetch_optional(&self.reader).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(from_sql))
    }
}

fn statements(peer: Peer) -> &'static Statements {
    if peer.is_group() { &IN_GROUP } else { &DIRECT }
}

fn bind_key(query: AnyQuery, user_id: u64, peer: Peer) -> AnyQuery {
    match peer {
        Peer::User(peer_id) => query.bind(to_sql(user_id)).bind(to_sql(peer_id)),
        Peer::Group(group_id) => query.bind(to_sql(group_id)),
    }
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{
        super::plans::{assert_by_in, assert_by_index, with_values},
        *,
    };

    #[tokio::test]
    async fn places_are_found_by_index_alone() {
        let all = [&DIRECT, &IN_GROUP].map(|&Statements { at, seek, extent, near }| [at, seek, extent, near]);
        assert_by_index(&all.concat(), &["step", "counted", "near_it", "before_it", "after_it"]).await;
    }

    #[tokio::test]
    async fn places_are_found_whatever_others_wrote() {
        let Statements { at, seek, extent, near } = DIRECT;
        let by: &[(&str, &str)] = &[("p", "direct_inbox_by_peer")];
        assert_by_in(&[Dialect::Sqlite], &[at, seek, extent, near].map(|statement| (statement, by))).await;
        assert_by_in(&[Dialect::Mysql], &[(with_values(at, &[7, 7, 9_000]), by)]).await;
    }
}
