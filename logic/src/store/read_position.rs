//! How far users have read, as it is looked up before more is noted, and who has read in a group. Writing it is the
//! [`super::writer`]'s.

use gim_config::sql::{Database, Pool};
use sqlx::{Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
};
use crate::domain::conversation::Peer;

/// Members who are counted; so many stand for more than one less.
pub const READERS_COUNTED_MAX: u32 = 1_000;

const POSITION: &str = "SELECT seq, message_id, peer_seq, peer_message_id, is_marked_unread FROM read_position \
                        WHERE user_id = ? AND is_group = ? AND peer_id = ?";
const CLEARED: &str = "SELECT cleared_seq FROM conversation_setting WHERE user_id = ? AND is_group = ? AND peer_id = ?";
const MEMBERSHIP: &str = "SELECT g.seq, g.member_count, m.joined_after_seq FROM group_member m \
                          JOIN chat_group g ON g.id = m.group_id WHERE m.group_id = ? AND m.user_id = ?";
/// Those in the index first; who of them left the group, or came into it later, is told apart after that.
const READERS: &str = "SELECT r.user_id, r.seq, CASE WHEN m.joined_after_seq < ? THEN 1 ELSE 0 END FROM ( \
                       SELECT user_id, seq FROM read_position WHERE is_group = 1 AND peer_id = ? \
                       AND seq >= ? AND (seq > ? OR user_id > ?) ORDER BY seq, user_id LIMIT ?) r \
                       LEFT JOIN group_member m ON m.group_id = ? AND m.user_id = r.user_id ORDER BY r.seq, r.user_id";
const COUNT: &str = "SELECT COUNT(*) FROM (SELECT r.user_id FROM read_position r \
                     JOIN group_member m ON m.group_id = r.peer_id AND m.user_id = r.user_id AND m.joined_after_seq < ? \
                     WHERE r.is_group = 1 AND r.peer_id = ? AND r.seq >= ? LIMIT ?) counted";

/// How far a user has read a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadPosition {
    /// Up to here: a seq of the inbox, or of the timeline.
    pub seq: u64,
    /// The message there.
    pub message_id: u64,
    /// What the other user may know of it, as a seq of that one's inbox; 0 in groups.
    pub peer_seq: u64,
    /// The message there.
    pub peer_message_id: u64,
    /// Whether the user marked it as unread.
    pub is_marked_unread: bool,
}

impl ReadPosition {
    /// The further one of two, each part of it for itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let (seq, message_id) = (self.seq, self.message_id).max((other.seq, other.message_id));
        let told = (self.peer_seq, self.peer_message_id).max((other.peer_seq, other.peer_message_id));
        let (peer_seq, peer_message_id) = told;
        Self { seq, message_id, peer_seq, peer_message_id, is_marked_unread: false }
    }
}

/// A group, as one of its members reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadableGroup {
    /// Its newest message.
    pub newest_seq: u64,
    /// How many members it has.
    pub member_count: u64,
    /// After which message the user joined.
    pub joined_after_seq: u64,
}

/// Who has read in a group, from a place on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReaderPage {
    /// Members, each with how far.
    pub readers: Vec<(u64, u64)>,
    /// Where the next page begins, if there may be one: after this number, and there after this user.
    pub next: Option<(u64, u64)>,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct ReadPositions {
    reader: Pool,
}

impl ReadPositions {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone() }
    }

    /// How far a user has read.
    pub async fn get(&self, user_id: u64, peer: Peer) -> Result<ReadPosition, StoreError> {
        let query = sqlx::query(POSITION).bind(to_sql(user_id)).bind(i64::from(peer.is_group()));
        let row = query.bind(to_sql(peer.id())).fetch_optional(&self.reader).await?;
        Ok(row.as_ref().map(read_position).transpose()?.unwrap_or_default())
    }

    /// Up to where a user deleted a conversation; 0 where she did not.
    pub async fn cleared_seq(&self, user_id: u64, peer: Peer) -> Result<u64, StoreError> {
        let query = sqlx::query_scalar(CLEARED).bind(to_sql(user_id)).bind(i64::from(peer.is_group()));
        let seq: Option<i64> = query.bind(to_sql(peer.id())).fetch_optional(&self.reader).await?;
        Ok(seq.map_or(0, from_sql))
    }

    /// A group, if the user is in it.
    pub async fn group(&self, user_id: u64, group_id: u64) -> Result<Option<ReadableGroup>, StoreError> {
        let query = sqlx::query(MEMBERSHIP).bind(to_sql(group_id)).bind(to_sql(user_id));
        let row = query.fetch_optional(&self.reader).await?;
        Ok(row.as_ref().map(read_group).transpose()?)
    }

    /// About `limit` members who have read a group up to a message, those who are least beyond it first: from a place on, as
    /// [`ReaderPage::next`] says it.
    pub async fn readers(
        &self,
        group_id: u64,
        seq: u64,
        after: (u64, u64),
        limit: u32,
    ) -> Result<ReaderPage, StoreError> {
        let (from_seq, after_user_id) = if after.0 >= seq { after } else { (seq, 0) };
        let query = sqlx::query(READERS).bind(to_sql(seq)).bind(to_sql(group_id)).bind(to_sql(from_seq));
        let query = query.bind(to_sql(from_seq)).bind(to_sql(after_user_id)).bind(i64::from(limit));
        let rows = query.bind(to_sql(group_id)).fetch_all(&self.reader).await?;
        let mut page = ReaderPage::default();
        for row in &rows {
            let reader = (from_sql(row.try_get(0)?), from_sql(row.try_get(1)?));
            page.next = Some((reader.1, reader.0));
            if row.try_get::<i64, _>(2)? == 1 {
                page.readers.push(reader);
            }
        }
        page.next = page.next.filter(|_| rows.len() >= limit as usize);
        Ok(page)
    }

    /// How many members have read a group up to a message, up to [`READERS_COUNTED_MAX`].
    pub async fn count_readers(&self, group_id: u64, seq: u64) -> Result<u32, StoreError> {
        let query = sqlx::query_scalar(COUNT).bind(to_sql(seq)).bind(to_sql(group_id)).bind(to_sql(seq));
        let count: i64 = query.bind(i64::from(READERS_COUNTED_MAX)).fetch_one(&self.reader).await?;
        Ok(u32::try_from(count).unwrap_or(READERS_COUNTED_MAX))
    }
}

fn read_position(row: &AnyRow) -> Result<ReadPosition, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(ReadPosition {
        seq: number(0)?,
        message_id: number(1)?,
        peer_seq: number(2)?,
        peer_message_id: number(3)?,
        is_marked_unread: number(4)? != 0,
    })
}

fn read_group(row: &AnyRow) -> Result<ReadableGroup, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(ReadableGroup { newest_seq: number(0)?, member_count: number(1)?, joined_after_seq: number(2)? })
}

#[cfg(test)]
mod tests {
    use super::{super::plans::assert_by_index, *};

    #[tokio::test]
    async fn positions_and_readers_are_found_by_index_alone() {
        assert_by_index(&[POSITION, CLEARED, MEMBERSHIP, READERS, COUNT], &["r", "counted"]).await;
    }
}
