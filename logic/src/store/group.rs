//! Groups, as they are read: what they are, who is in them, and their timelines. Writing them is the [`super::writer`]'s.

use gim_config::sql::{Database, Pool};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, small, to_sql},
    error::StoreError,
    inbox::{HistoryPart, Limit, read_message, up_to_bytes},
    statement::{AnyQuery, MultiRow},
};
use crate::domain::{
    group::{Group, Kind, Member, Profile},
    message::Message,
};

const GROUP: &str = "SELECT id, kind, name, avatar_url, introduction, extra, member_count, admin_count, version, seq, \
                     large_after_seq FROM chat_group WHERE id = ?";
const GROUPS_OF: &str = "SELECT g.id, g.kind, g.name, g.avatar_url, g.introduction, g.extra, g.member_count, \
                         g.admin_count, g.version, g.seq, g.large_after_seq \
                         FROM group_member m JOIN chat_group g ON g.id = m.group_id \
                         WHERE m.user_id = ? AND m.group_id > ? ORDER BY m.group_id LIMIT ?";
const MEMBER: &str =
    "SELECT user_id, type, status, nickname, extra FROM group_member WHERE group_id = ? AND user_id = ?";
const MEMBERS: &str = "SELECT user_id, type, status, nickname, extra FROM group_member \
                       WHERE group_id = ? AND user_id > ? ORDER BY user_id LIMIT ?";
const TOLD_MEMBERS: &str = "SELECT m.user_id FROM chat_group g JOIN group_member m ON m.group_id = g.id \
                            WHERE g.id = ? AND g.kind = 0 ORDER BY m.user_id LIMIT ?";
const LARGE_OF: MultiRow = MultiRow {
    head: "SELECT m.user_id, m.group_id FROM group_member m JOIN chat_group g ON g.id = m.group_id \
           WHERE g.kind = 1 AND m.user_id IN (",
    row: "?",
    tail: ")",
};
const TIMELINES_NAMED: MultiRow = MultiRow {
    head: "SELECT g.id, g.seq, g.large_after_seq, m.joined_after_seq, COALESCE(c.seq, 0) \
           FROM group_member m JOIN chat_group g ON g.id = m.group_id \
           LEFT JOIN group_cursor c ON c.user_id = m.user_id AND c.group_id = m.group_id \
           WHERE m.group_id IN (",
    row: "?",
    tail: ") AND m.user_id = ? AND g.kind = 1",
};
const TIMELINES_WITH_NEWS: &str = "SELECT g.id, g.seq, g.large_after_seq, m.joined_after_seq, COALESCE(c.seq, 0) \
                                   FROM group_member m JOIN chat_group g ON g.id = m.group_id \
                                   LEFT JOIN group_cursor c ON c.user_id = m.user_id AND c.group_id = m.group_id \
                                   WHERE m.user_id = ? AND m.group_id > ? AND g.kind = 1 AND g.seq > g.large_after_seq \
                                   AND g.seq > m.joined_after_seq AND (g.seq > COALESCE(c.seq, 0) OR ? = 1) \
                                   ORDER BY m.group_id LIMIT ?";
const CROWDED: MultiRow = MultiRow {
    head: "SELECT user_id FROM group_member WHERE user_id IN (",
    row: "?",
    tail: ") GROUP BY user_id HAVING COUNT(*) >= ? LIMIT 1",
};
const NEWEST_SEQS: MultiRow = MultiRow { head: "SELECT id, seq FROM chat_group WHERE id IN (", row: "?", tail: ")" };
/// Of many timelines in one statement; each of them is a part of `heads` in [`up_to_bytes`].
const PAGES_HEAD: &str = "SELECT p.seq, p.message_id, m.command, m.content, m.sender_id, m.created_at_ms, m.status, \
                          m.group_id, p.timeline_id, CASE WHEN p.bytes_before < ? THEN 1 ELSE 0 END \
                          FROM (SELECT h.timeline_id, h.seq, h.message_id, \
                          SUM(h.bytes) OVER (ORDER BY h.timeline_id, h.seq) - h.bytes AS bytes_before FROM (";
const PAGES_PART: &str = "SELECT * FROM (SELECT gm.group_id AS timeline_id, gm.seq, gm.message_id, \
                          COALESCE(LENGTH(b.content), 0) AS bytes \
                          FROM group_message gm LEFT JOIN message b ON b.id = gm.message_id \
                          WHERE gm.group_id = ? AND gm.seq > ? ORDER BY gm.seq LIMIT ?) part";
const PAGES_TAIL: &str = ") h) p LEFT JOIN message m ON m.id = p.message_id AND p.bytes_before < ? \
                          ORDER BY p.timeline_id, p.seq";
const HISTORY_BACK: &str = up_to_bytes!(
    "DESC",
    "SELECT gm.seq, gm.message_id, LENGTH(b.content) AS bytes \
     FROM group_message gm JOIN message b ON b.id = gm.message_id \
     WHERE gm.group_id = ? AND gm.seq > ? AND gm.seq < ? AND gm.is_recall = 0 ORDER BY gm.seq DESC"
);
const HISTORY_FORTH: &str = up_to_bytes!(
    "ASC",
    "SELECT gm.seq, gm.message_id, LENGTH(b.content) AS bytes \
     FROM group_message gm JOIN message b ON b.id = gm.message_id \
     WHERE gm.group_id = ? AND gm.seq > ? AND gm.seq < ? AND gm.is_recall = 0 ORDER BY gm.seq"
);
const JOINED_AFTER: &str = "SELECT joined_after_seq FROM group_member WHERE group_id = ? AND user_id = ?";

/// The repository.
#[derive(Debug, Clone)]
pub struct Groups {
    reader: Pool,
}

/// A large group, as one of its members may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// Which group.
    pub group_id: u64,
    /// Its newest message.
    pub newest_seq: u64,
    /// What the member may read, and has not in his inbox, comes after this.
    pub after_seq: u64,
    /// How far he has read.
    pub cursor: u64,
}

/// A message in a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineMessage {
    /// Of which group.
    pub group_id: u64,
    /// Its place.
    pub seq: u64,
    /// What it says; none beyond the bytes that were to be read.
    pub message: Option<Message>,
}

impl Groups {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone() }
    }

    /// A group, if there is one with this id.
    pub async fn get(&self, group_id: u64) -> Result<Option<Group>, StoreError> {
        let query = sqlx::query(GROUP).bind(to_sql(group_id));
        let row = self.reader.run(async |connection| query.fetch_optional(connection).await).await?;
        Ok(row.as_ref().map(read_group).transpose()?)
    }

    /// A member of a group, if the user is one.
    pub async fn member(&self, group_id: u64, user_id: u64) -> Result<Option<Member>, StoreError> {
        Ok(self.reader.run(async |connection| find_member(connection, group_id, user_id).await).await?)
    }

    /// At most `limit` members with greater ids than `after_user_id`, ascending.
    pub async fn members(&self, group_id: u64, after_user_id: u64, limit: u32) -> Result<Vec<Member>, StoreError> {
        let query = sqlx::query(MEMBERS).bind(to_sql(group_id)).bind(to_sql(after_user_id)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_member).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The members whose inboxes are told of what becomes of a group: at most `count_max`, and nobody of a large one.
    pub async fn told_members(&self, group_id: u64, count_max: usize) -> Result<Vec<u64>, StoreError> {
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
        let query = sqlx::query_scalar::<_, i64>(TOLD_MEMBERS).bind(to_sql(group_id)).bind(count_max);
        Ok(query.fetch_all(&self.reader).await?.into_iter().map(from_sql).collect())
    }

    /// At most `limit` groups of a user with greater ids than `after_group_id`, ascending.
    pub async fn groups_of(&self, user_id: u64, after_group_id: u64, limit: u32) -> Result<Vec<Group>, StoreError> {
        let query = sqlx::query(GROUPS_OF).bind(to_sql(user_id)).bind(to_sql(after_group_id)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_group).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The large groups of users: `(user id, group id)`s in no particular order.
    pub async fn large_of(&self, user_ids: &[u64]) -> Result<Vec<(u64, u64)>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let rows = self.reader.run(async |connection| LARGE_OF.fetch(connection, user_ids, bind).await).await?;
        let read = |row: &AnyRow| Ok((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// One of these users who is in `groups_max` groups already, if there is one.
    pub async fn crowded(&self, user_ids: &[u64], groups_max: u32) -> Result<Option<u64>, StoreError> {
        let bind = |query: AnyQuery, user_id: &u64| query.bind(to_sql(*user_id));
        let bind_max = |query: AnyQuery| query.bind(i64::from(groups_max));
        let fetch =
            async |connection: &mut AnyConnection| CROWDED.fetch_then(connection, user_ids, bind, bind_max).await;
        let rows = self.reader.run(fetch).await?;
        let user_id = rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok(user_id.map(from_sql))
    }

    /// Those of these groups that are large ones of a user, in no particular order.
    pub async fn timelines(&self, user_id: u64, group_ids: &[u64]) -> Result<Vec<Timeline>, StoreError> {
        let rows = async |connection: &mut AnyConnection| {
            let bind = |query: AnyQuery, group_id: &u64| query.bind(to_sql(*group_id));
            TIMELINES_NAMED.fetch_then(connection, group_ids, bind, |query| query.bind(to_sql(user_id))).await
        };
        Ok(self.reader.run(rows).await?.iter().map(read_timeline).collect::<Result<_, sqlx::Error>>()?)
    }

    /// At most `limit` large groups of a user with greater ids than `after_group_id`, ascending, that have something after his cursor
    /// (or, `from_start`, that he may read).
    pub async fn timelines_with_news(
        &self,
        user_id: u64,
        after_group_id: u64,
        from_start: bool,
        limit: u32,
    ) -> Result<Vec<Timeline>, StoreError> {
        let query = sqlx::query(TIMELINES_WITH_NEWS).bind(to_sql(user_id)).bind(to_sql(after_group_id));
        let rows = query.bind(i64::from(from_start)).bind(i64::from(limit)).fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_timeline).collect::<Result<_, sqlx::Error>>()?)
    }

    /// The newest seqs of groups: `(group id, seq)`s in no particular order.
    pub async fn newest_seqs(&self, group_ids: &[u64]) -> Result<Vec<(u64, u64)>, StoreError> {
        let bind = |query: AnyQuery, group_id: &u64| query.bind(to_sql(*group_id));
        let rows = self.reader.run(async |connection| NEWEST_SEQS.fetch(connection, group_ids, bind).await).await?;
        let read = |row: &AnyRow| Ok((from_sql(row.try_get(0)?), from_sql(row.try_get(1)?)));
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// After which message of the timeline a user joined a group; none for one who is not in it.
    pub async fn joined_after(&self, group_id: u64, user_id: u64) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query_scalar(JOINED_AFTER).bind(to_sql(group_id)).bind(to_sql(user_id));
        let seq: Option<i64> = query.fetch_optional(&self.reader).await?;
        Ok(seq.map(from_sql))
    }

    /// At most `limit` messages of a part of a timeline, each with its seq; each of them once, whether recalled or not.
    pub async fn history(
        &self,
        group_id: u64,
        part: HistoryPart,
        limit: Limit,
    ) -> Result<Vec<(u64, Message)>, StoreError> {
        let statement = if part.is_backwards { HISTORY_BACK } else { HISTORY_FORTH };
        let query = sqlx::query(statement).bind(to_sql(group_id));
        let query = query.bind(to_sql(part.after_seq)).bind(to_sql(part.before_seq));
        let rows = query.bind(i64::from(limit.messages)).bind(limit.bytes()).fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_message).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Of timelines, each as (group id, seq), at most so many messages after that seq, ascending; all of them together, in the order of
    /// the group ids, up to the bytes of `limit`. One statement for all: few at a time.
    pub async fn pages(&self, after: &[(u64, u64)], limit: Limit) -> Result<Vec<TimelineMessage>, StoreError> {
        let parts = vec![PAGES_PART; after.len()].join(" UNION ALL ");
        let query = sqlx::query(AssertSqlSafe([PAGES_HEAD, &parts, PAGES_TAIL].concat())).bind(limit.bytes());
        let bind = |query: AnyQuery, &(group_id, seq): &(u64, u64)| {
            query.bind(to_sql(group_id)).bind(to_sql(seq)).bind(i64::from(limit.messages))
        };
        let rows = after.iter().fold(query, bind).bind(limit.bytes()).fetch_all(&self.reader).await?;
        let read = |row: &AnyRow| {
            let (seq, message) = read_message(row)?;
            let is_read = row.try_get::<i64, _>(9)? == 1;
            Ok(TimelineMessage { group_id: from_sql(row.try_get(8)?), seq, message: is_read.then_some(message) })
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }
}

/// A member of a group, if the user is one.
pub(super) async fn find_member(
    connection: &mut AnyConnection,
    group_id: u64,
    user_id: u64,
) -> Result<Option<Member>, sqlx::Error> {
    let query = sqlx::query(MEMBER).bind(to_sql(group_id)).bind(to_sql(user_id));
    query.fetch_optional(connection).await?.as_ref().map(read_member).transpose()
}

/// A group from the columns of the statements that read whole groups.
pub(super) fn read_group(row: &AnyRow) -> Result<Group, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(Group {
        id: number(0)?,
        kind: if small(row, 1)? == Kind::Large.to_wire() { Kind::Large } else { Kind::Normal },
        profile: Profile {
            name: row.try_get(2)?,
            avatar_url: row.try_get(3)?,
            introduction: row.try_get(4)?,
            extra: row.try_get(5)?,
        },
        member_count: number(6)?,
        admin_count: number(7)?,
        version: number(8)?,
        seq: number(9)?,
        large_after_seq: number(10)?,
    })
}

fn read_member(row: &AnyRow) -> Result<Member, sqlx::Error> {
    let wire = gim_proto::logic::MemberType::MtAdmin as i32;
    Ok(Member {
        user_id: from_sql(row.try_get(0)?),
        is_admin: small(row, 1)? == wire,
        status: small(row, 2)?,
        nickname: row.try_get(3)?,
        extra: row.try_get(4)?,
    })
}

fn read_timeline(row: &AnyRow) -> Result<Timeline, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(Timeline {
        group_id: number(0)?,
        newest_seq: number(1)?,
        after_seq: number(2)?.max(number(3)?),
        cursor: number(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::plans::assert_by_index, *};

    #[tokio::test]
    async fn history_is_read_by_index_alone() {
        assert_by_index(&[HISTORY_BACK, HISTORY_FORTH, MEMBER, JOINED_AFTER], &["h", "p"]).await;
    }
}
