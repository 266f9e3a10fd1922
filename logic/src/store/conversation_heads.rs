//! Which conversations a user has, and the newest message of each: found by index among what messages left anyway, as no message writes
//! anything for it.
//!
//! Groups are found by the user's memberships. Other users are found in one of two ways, each with a bound: by walking the inbox back from
//! its newest message, which finds those who wrote lately; or by going from one to the next in the index of what two users wrote to each
//! other, which finds all where they are not too many.

use std::{cmp::Reverse, collections::HashSet};

use gim_config::sql::{Database, Pool};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, small, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    statement::AnyQuery,
};
use crate::domain::{
    conversation::{Cursor, DirectHeads, Head, Peer},
    group::Kind,
    message_id,
};

/// Places of the inbox that are looked at first, at once after that, and in all.
const WALK_FIRST: u32 = 128;
const WALK_STEP: u32 = 1_024;
const WALK_MAX: usize = 4_096;

/// Other users whom a user is looked up with one after the other. A database takes about a thousand steps of such a search.
const SCAN_MAX: u32 = 900;

/// Other users who are asked for in one statement.
const HEADS_PER_STATEMENT: usize = 64;

/// Groups of one user that a list knows.
const GROUPS_MAX: u32 = 5_000;

/// What the user and others said to each other, back from a place. Nothing says with whom where the message is kept no longer.
const WALK: &str = "SELECT d.seq, d.message_id, CASE WHEN m.id IS NULL THEN 0 ELSE d.peer_id END \
                    FROM direct_inbox d LEFT JOIN message m ON m.id = d.message_id \
                    WHERE d.user_id = ? AND d.seq < ? ORDER BY d.seq DESC LIMIT ?";
const HEAD: &str = "SELECT peer_id, seq, message_id FROM direct_inbox \
                    WHERE user_id = ? AND peer_id = ? ORDER BY seq DESC LIMIT 1";
/// Each step is one look into the index. The last column tells how many there were.
const SCAN: &str = "WITH RECURSIVE peers (id, number) AS ( \
                    SELECT (SELECT peer_id FROM direct_inbox WHERE user_id = ? ORDER BY peer_id LIMIT 1), 1 \
                    UNION ALL SELECT (SELECT d.peer_id FROM direct_inbox d \
                    WHERE d.user_id = ? AND d.peer_id > peers.id ORDER BY d.peer_id LIMIT 1), peers.number + 1 \
                    FROM peers WHERE peers.id IS NOT NULL AND peers.number < ?) \
                    SELECT id, number FROM ( \
                    SELECT peers.id AS id, MAX(peers.number) OVER () AS number, (SELECT d.seq FROM direct_inbox d \
                    WHERE d.user_id = ? AND d.peer_id = peers.id ORDER BY d.seq DESC LIMIT 1) AS seq \
                    FROM peers WHERE peers.id IS NOT NULL) head WHERE seq < ? ORDER BY seq DESC LIMIT ?";
const GROUPS: &str = "SELECT g.id, g.kind, m.joined_at_ms, \
                      (SELECT gm.seq FROM group_message gm WHERE gm.group_id = g.id AND gm.seq > m.joined_after_seq \
                      AND gm.is_recall = 0 ORDER BY gm.seq DESC LIMIT 1), \
                      (SELECT gm.message_id FROM group_message gm WHERE gm.group_id = g.id AND gm.seq > m.joined_after_seq \
                      AND gm.is_recall = 0 ORDER BY gm.seq DESC LIMIT 1) \
                      FROM group_member m JOIN chat_group g ON g.id = m.group_id \
                      WHERE m.user_id = ? AND m.group_id >= ? ORDER BY m.group_id LIMIT ?";

/// The repository.
#[derive(Debug, Clone)]
pub struct ConversationHeads {
    reader: Pool,
    sql: &'static Sql,
}

/// A place of an inbox, as a walk finds it.
struct InboxPlace {
    seq: u64,
    message_id: u64,
    /// With whom, where that can be told.
    peer_id: Option<u64>,
}

impl InboxPlace {
    fn head(&self) -> Option<Head> {
        let Self { seq, message_id, .. } = *self;
        self.peer_id.map(|peer_id| Head { peer: Peer::User(peer_id), seq, message_id, is_large: false })
    }
}

impl ConversationHeads {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), sql: dialect::sql(database.dialect) }
    }

    /// The groups of a user.
    pub async fn groups(&self, user_id: u64) -> Result<Vec<Head>, StoreError> {
        self.groups_from(user_id, 0, GROUPS_MAX).await
    }

    /// One of the groups of a user, if it is one.
    pub async fn group(&self, user_id: u64, group_id: u64) -> Result<Option<Head>, StoreError> {
        let found = self.groups_from(user_id, group_id, 1).await?;
        Ok(found.into_iter().find(|head| head.peer.id() == group_id))
    }

    async fn groups_from(&self, user_id: u64, first_id: u64, limit: u32) -> Result<Vec<Head>, StoreError> {
        let query = sqlx::query(GROUPS).bind(to_sql(user_id)).bind(to_sql(first_id)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_group).collect::<Result<_, sqlx::Error>>()?)
    }

    /// About `wanted` other users (or all that there are), the one with whom the user has the newest message before a seq first.
    pub async fn users(&self, user_id: u64, before_seq: u64, wanted: u32) -> Result<DirectHeads, StoreError> {
        let mut walked = self.walk(user_id, before_seq, WALK_FIRST).await?;
        let is_over = walked.len() < WALK_FIRST as usize;
        // Nobody is looked up in vain where all are new to the list, as they are at its beginning.
        let mut count = places_of(&walked, wanted as usize);
        let mut found = self.users_at(user_id, before_seq, &walked[..count]).await?;
        if found.heads.len() < wanted as usize && count < walked.len() {
            count = walked.len();
            found = self.users_at(user_id, before_seq, &walked).await?;
        }
        if is_over && count == walked.len() {
            found.down_to = None;
        }
        if found.down_to.is_none() || found.heads.len() >= wanted as usize {
            return Ok(found);
        }
        if let Some(all) = self.scan(user_id, before_seq, wanted).await? {
            return Ok(all);
        }
        while walked.len() < WALK_MAX {
            let Some(last) = walked.last() else { break };
            let more = self.walk(user_id, last.seq, WALK_STEP).await?;
            let is_over = more.len() < WALK_STEP as usize;
            walked.extend(more);
            let mut found = self.users_at(user_id, before_seq, &walked).await?;
            if is_over {
                found.down_to = None;
            }
            if is_over || found.heads.len() >= wanted as usize || walked.len() >= WALK_MAX {
                return Ok(found);
            }
        }
        Ok(DirectHeads::default())
    }

    /// The newest messages that a user has with others, in no particular order.
    pub async fn users_named(&self, user_id: u64, peer_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::new();
        for peer_ids in peer_ids.chunks(HEADS_PER_STATEMENT) {
            let count = peer_ids.len().next_power_of_two();
            let query = sqlx::query(AssertSqlSafe(self.sql.union_of_limited(HEAD, count)));
            // The last one as often as it takes: statements of few lengths are prepared once.
            let padded = peer_ids.iter().chain(std::iter::repeat(&peer_ids[peer_ids.len() - 1])).take(count);
            let bind = |query: AnyQuery, peer_id: &u64| query.bind(to_sql(user_id)).bind(to_sql(*peer_id));
            let rows = padded.fold(query, bind).fetch_all(&self.reader).await?;
            heads.extend(rows.iter().map(read_user).collect::<Result<Vec<_>, sqlx::Error>>()?);
        }
        heads.sort_unstable_by_key(|head| head.peer);
        heads.dedup();
        Ok(heads)
    }

    async fn walk(&self, user_id: u64, before_seq: u64, limit: u32) -> Result<Vec<InboxPlace>, StoreError> {
        let query = sqlx::query(WALK).bind(to_sql(user_id)).bind(to_sql(before_seq)).bind(i64::from(limit));
        let rows = query.fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_place).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Those whose newest message is among places that were walked, from `before_seq` on, down to the last of these.
    async fn users_at(&self, user_id: u64, before_seq: u64, walked: &[InboxPlace]) -> Result<DirectHeads, StoreError> {
        let mut met = HashSet::new();
        let is_first = |place: &&InboxPlace| place.peer_id.is_some_and(|peer_id| met.insert(peer_id));
        let first = walked.iter().filter(is_first);
        // From the newest message of all, the first one with somebody is the newest one with somebody.
        let mut heads: Vec<Head> = if before_seq == Cursor::START.before_seq {
            first.filter_map(InboxPlace::head).collect()
        } else {
            let peer_ids: Vec<u64> = first.filter_map(|place| place.peer_id).collect();
            self.users_named(user_id, &peer_ids).await?
        };
        let down_to = walked.last().map(|place| (place.seq, place.message_id));
        let least = down_to.map_or(0, |(seq, _)| seq);
        heads.retain(|head| (least..before_seq).contains(&head.seq));
        heads.sort_unstable_by_key(|head| Reverse(head.seq));
        Ok(DirectHeads { heads, down_to })
    }

    /// All other users, if they are not too many.
    async fn scan(&self, user_id: u64, before_seq: u64, wanted: u32) -> Result<Option<DirectHeads>, StoreError> {
        let own = to_sql(user_id);
        let query = sqlx::query(SCAN).bind(own).bind(own).bind(i64::from(SCAN_MAX)).bind(own);
        let rows = query.bind(to_sql(before_seq)).bind(i64::from(wanted)).fetch_all(&self.reader).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        if first.try_get::<i64, _>(1)? >= i64::from(SCAN_MAX) {
            return Ok(None);
        }
        let peer_id = |row: &AnyRow| Ok(from_sql(row.try_get(0)?));
        let peer_ids: Vec<u64> = rows.iter().map(peer_id).collect::<Result<_, sqlx::Error>>()?;
        let mut heads = self.users_named(user_id, &peer_ids).await?;
        // One may have got a newer message meanwhile.
        heads.retain(|head| head.seq < before_seq);
        heads.sort_unstable_by_key(|head| Reverse(head.seq));
        let is_over = peer_ids.len() < wanted as usize;
        let down_to = heads.last().map(|head| (head.seq, head.message_id)).filter(|_| !is_over);
        Ok(Some(DirectHeads { heads, down_to }))
    }
}

/// How many places there are, from the first one on, with `wanted` other users and no more.
fn places_of(walked: &[InboxPlace], wanted: usize) -> usize {
    let mut met = HashSet::new();
    let is_one_more = |place: &InboxPlace| place.peer_id.is_some_and(|id| met.insert(id) && met.len() > wanted);
    walked.iter().position(is_one_more).unwrap_or(walked.len())
}

fn read_user(row: &AnyRow) -> Result<Head, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    Ok(Head { peer: Peer::User(number(0)?), seq: number(1)?, message_id: number(2)?, is_large: false })
}

fn read_group(row: &AnyRow) -> Result<Head, sqlx::Error> {
    let joined_at_ms: i64 = row.try_get(2)?;
    let newest: (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
    Ok(Head {
        peer: Peer::Group(from_sql(row.try_get(0)?)),
        seq: newest.0.map_or(0, from_sql),
        message_id: newest.1.map_or_else(|| message_id::least_at(joined_at_ms), from_sql),
        is_large: small(row, 1)? == Kind::Large.to_wire(),
    })
}

fn read_place(row: &AnyRow) -> Result<InboxPlace, sqlx::Error> {
    let number = |index: usize| Ok::<u64, sqlx::Error>(from_sql(row.try_get(index)?));
    let peer_id = number(2)?;
    Ok(InboxPlace { seq: number(0)?, message_id: number(1)?, peer_id: (peer_id != 0).then_some(peer_id) })
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{
        super::plans::{assert_by, assert_by_in, assert_by_index},
        *,
    };

    #[tokio::test]
    async fn lists_are_found_by_index_alone() {
        assert_by_index(&[WALK, HEAD, SCAN, GROUPS], &["peers", "head"]).await;
    }

    #[tokio::test]
    async fn one_conversation_is_found_whatever_others_wrote() {
        assert_by(&[
            (HEAD, &[("direct_inbox", "direct_inbox_by_peer")]),
            (WALK, &[("d", "PRIMARY"), ("m", "PRIMARY")]),
        ])
        .await;
        assert_by_in(&[Dialect::Sqlite], &[(SCAN, &[("d", "direct_inbox_by_peer")])]).await;
    }

    #[test]
    fn no_more_places_are_looked_at_than_it_takes_to_meet_enough_others() {
        let place = |peer_id| InboxPlace { seq: 1, message_id: 1, peer_id };
        let walked = [Some(8), None, Some(8), Some(9), None, Some(8), Some(10), Some(11)].map(place);
        let counts = [1, 2, 3, 4, 5].map(|wanted| places_of(&walked, wanted));
        assert_eq!(counts, [3, 6, 7, 8, 8]);
    }
}
