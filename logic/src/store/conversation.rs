//! What is kept of a conversation for one user: how far it was read, and what the user set of it. The rows change when the user does
//! something, never because a message comes; how much is unread is counted when it is asked for.

use std::collections::HashMap;

use gim_config::sql::{self, Database, Pool};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    dialect::{self, Sql},
    error::StoreError,
    inbox::read_message,
    statement::{AnyQuery, MultiRow},
    unread,
};
use crate::domain::{conversation::Peer, message::Message};

const POSITIONS: MultiRow = MultiRow {
    head: "SELECT peer_id, seq, message_id, is_marked_unread FROM read_position WHERE peer_id IN (",
    row: "?",
    tail: ") AND user_id = ? AND is_group = ?",
};
/// How far others have read what they and a user wrote to each other, as far as the user may know.
const POSITIONS_OF_PEERS: MultiRow = MultiRow {
    head: "SELECT user_id, peer_seq, peer_message_id FROM read_position WHERE user_id IN (",
    row: "?",
    tail: ") AND is_group = 0 AND peer_id = ?",
};
const SETTINGS: MultiRow = MultiRow {
    head: "SELECT peer_id, pinned_at_ms, is_muted, hidden_before_seq, cleared_seq FROM conversation_setting WHERE peer_id IN (",
    row: "?",
    tail: ") AND user_id = ? AND is_group = ?",
};
const PINNED: &str = "SELECT is_group, peer_id FROM conversation_setting WHERE user_id = ? AND pinned_at_ms > 0 \
                      ORDER BY pinned_at_ms DESC, peer_id DESC LIMIT ?";
/// Of a content that is too long for a list the beginning, for its line; its length tells. Those bytes are
/// `typed_content::BEGINNING_BYTES_MAX`.
const MESSAGES: MultiRow = MultiRow {
    head: "SELECT 0, id, command, CASE WHEN LENGTH(content) <= 20480 THEN content ELSE SUBSTR(content, 1, 20480) END, sender_id, \
           created_at_ms, status, group_id, LENGTH(content) FROM message WHERE id IN (",
    row: "?",
    tail: ")",
};
const LONGEST_CONTENT: i64 = 1024;
const CHANGE_SETTING: &str = "UPDATE conversation_setting SET pinned_at_ms = COALESCE(?, pinned_at_ms), \
                              is_muted = COALESCE(?, is_muted), hidden_before_seq = COALESCE(?, hidden_before_seq), \
                              cleared_seq = COALESCE(?, cleared_seq) WHERE user_id = ? AND is_group = ? AND peer_id = ?";
/// What a user pinned (`is_group, peer_id`), and whether it can be shown: a group that the user is in, and a user with whom
/// something was written that is kept.
const PINS: &str = "SELECT s.is_group, s.peer_id, CASE WHEN (s.is_group = 0 AND EXISTS (SELECT 1 FROM direct_inbox d \
     WHERE d.user_id = s.user_id AND d.peer_id = s.peer_id)) OR (s.is_group = 1 AND EXISTS (SELECT 1 FROM group_member m \
     WHERE m.group_id = s.peer_id AND m.user_id = s.user_id)) THEN 1 ELSE 0 END \
     FROM conversation_setting s WHERE s.user_id = ? AND s.pinned_at_ms > 0";
const UNPIN: &str =
    "UPDATE conversation_setting SET pinned_at_ms = 0 WHERE user_id = ? AND is_group = ? AND peer_id = ?";
const CHANGE_MARK: &str =
    "UPDATE read_position SET is_marked_unread = ? WHERE user_id = ? AND is_group = ? AND peer_id = ?";

/// What is kept of a conversation, for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// How far the user has read, and the message there.
    pub read: (u64, u64),
    /// With another user: how far that one has read, as a seq of this user's inbox, and the message there.
    pub peer_read: (u64, u64),
    /// Whether the user marked it.
    pub is_marked_unread: bool,
    /// When it was pinned; 0 where it is not.
    pub pinned_at_ms: i64,
    /// Whether it is muted.
    pub is_muted: bool,
    /// Hidden as long as no message has this number or a greater one.
    pub hidden_before_seq: u64,
    /// Deleted up to here.
    pub cleared_seq: u64,
}

/// What a user changes of a conversation. None leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// As in [`State`], like the others.
    pub pinned_at_ms: Option<i64>,
    /// Whether to mute it.
    pub is_muted: Option<bool>,
    /// Whether to mark it.
    pub is_marked_unread: Option<bool>,
    /// Before which number to hide it.
    pub hidden_before_seq: Option<u64>,
    /// Up to where to delete it.
    pub cleared_seq: Option<u64>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ChangeOutcome {
    /// It is durable.
    Changed,
    /// Nothing was: as much as may be is pinned already.
    TooManyPinned,
}

/// A message as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The message, with the beginning of its content.
    pub message: Message,
    /// Whether that is too long for a list.
    pub is_long: bool,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Conversations {
    reader: Pool,
    writer: Pool,
    sql: &'static Sql,
}

impl Conversations {
    pub(super) fn new(database: &Database) -> Self {
        let (reader, writer) = (database.reader.clone(), database.writer.clone());
        Self { reader, writer, sql: dialect::sql(database.dialect) }
    }

    /// What is kept of these conversations. Where nothing is, there is nothing in the answer.
    pub async fn states(&self, user_id: u64, peers: &[Peer]) -> Result<HashMap<Peer, State>, StoreError> {
        let [of_users, of_groups] = [false, true]
            .map(|is_group| padded(peers.iter().filter(|peer| peer.is_group() == is_group).map(|peer| peer.id())));
        let work = async |connection: &mut AnyConnection| {
            let mut states: HashMap<Peer, State> = HashMap::new();
            for (ids, is_group) in [(&of_users, false), (&of_groups, true)] {
                let peer_of = if is_group { Peer::Group } else { Peer::User };
                for row in rows(connection, &POSITIONS, ids, (user_id, Some(is_group))).await? {
                    let state = states.entry(peer_of(from_sql(row.try_get(0)?))).or_default();
                    state.read = (from_sql(row.try_get(1)?), from_sql(row.try_get(2)?));
                    state.is_marked_unread = row.try_get::<i64, _>(3)? != 0;
                }
                for row in rows(connection, &SETTINGS, ids, (user_id, Some(is_group))).await? {
                    let state = states.entry(peer_of(from_sql(row.try_get(0)?))).or_default();
                    state.pinned_at_ms = row.try_get(1)?;
                    state.is_muted = row.try_get::<i64, _>(2)? != 0;
                    (state.hidden_before_seq, state.cleared_seq) =
                        (from_sql(row.try_get(3)?), from_sql(row.try_get(4)?));
                }
            }
            for row in rows(connection, &POSITIONS_OF_PEERS, &of_users, (user_id, None)).await? {
                let state = states.entry(Peer::User(from_sql(row.try_get(0)?))).or_default();
                state.peer_read = (from_sql(row.try_get(1)?), from_sql(row.try_get(2)?));
            }
            Ok::<_, sqlx::Error>(states)
        };
        Ok(self.reader.run(work).await?)
    }

    /// The conversations that a user pinned, the one that was pinned last first.
    pub async fn pinned(&self, user_id: u64, limit: u32) -> Result<Vec<Peer>, StoreError> {
        let rows = sqlx::query(PINNED).bind(to_sql(user_id)).bind(i64::from(limit)).fetch_all(&self.reader).await?;
        Ok(rows.iter().map(read_peer).collect::<Result<_, sqlx::Error>>()?)
    }

    /// How much is unread in conversations, each as (with whom, read up to where), up to [`crate::domain::conversation::UNREAD_MAX`].
    pub async fn unread(&self, user_id: u64, after: &[(Peer, u64)]) -> Result<HashMap<Peer, u32>, StoreError> {
        unread::count(&self.reader, self.sql, user_id, after).await
    }

    /// Messages by their ids, as lists show them; of those that are kept no longer, none.
    pub async fn shown(&self, message_ids: &[u64]) -> Result<HashMap<u64, Shown>, StoreError> {
        let ids = padded(message_ids.iter().copied());
        let bind = |query: AnyQuery, id: &u64| query.bind(to_sql(*id));
        let rows = self.reader.run(async |connection| MESSAGES.fetch(connection, &ids, bind).await).await?;
        let read = |row: &AnyRow| {
            let (_, message) = read_message(row)?;
            let is_long = row.try_get::<i64, _>(8)? > LONGEST_CONTENT;
            Ok((message.id, Shown { message, is_long }))
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Changes what a user set of a conversation: all of it or nothing, and nothing where it would be one more pinned than `pinned_max`.
    pub async fn change(
        &self,
        user_id: u64,
        peer: Peer,
        change: Change,
        pinned_max: u32,
    ) -> Result<ChangeOutcome, StoreError> {
        let key =
            |query: AnyQuery| query.bind(to_sql(user_id)).bind(i64::from(peer.is_group())).bind(to_sql(peer.id()));
        let work = async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            let Change { pinned_at_ms, is_muted, is_marked_unread, hidden_before_seq, cleared_seq } = change;
            if pinned_at_ms.is_some_and(|at_ms| at_ms > 0)
                && !self.has_place_for_pin(&mut transaction, user_id, peer, pinned_max).await?
            {
                transaction.rollback().await?;
                return Ok(ChangeOutcome::TooManyPinned);
            }
            if (pinned_at_ms, is_muted, hidden_before_seq, cleared_seq) != (None, None, None, None) {
                key(sqlx::query(self.sql.add_conversation_setting)).execute(&mut *transaction).await?;
                let query = sqlx::query(CHANGE_SETTING).bind(pinned_at_ms).bind(is_muted.map(i64::from));
                let query = query.bind(hidden_before_seq.map(to_sql)).bind(cleared_seq.map(to_sql));
                key(query).execute(&mut *transaction).await?;
            }
            if let Some(is_marked) = is_marked_unread {
                key(sqlx::query(self.sql.add_read_position)).execute(&mut *transaction).await?;
                key(sqlx::query(CHANGE_MARK).bind(i64::from(is_marked))).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(ChangeOutcome::Changed)
        };
        Ok(self.writer.run(work).await?)
    }

    /// Whether a conversation can be pinned besides what is pinned and can be shown.
    async fn has_place_for_pin(
        &self,
        connection: &mut AnyConnection,
        user_id: u64,
        peer: Peer,
        pinned_max: u32,
    ) -> Result<bool, sqlx::Error> {
        // Other pins of the user wait here until this one is done. The row of a peer that nobody is stands for the user: the rows of
        // what is pinned hold up nobody who pins something else, and none of them may be there yet.
        let user = sqlx::query(self.sql.add_conversation_setting).bind(to_sql(user_id)).bind(0_i64).bind(0_i64);
        user.execute(&mut *connection).await?;
        let rows = sqlx::query(PINS).bind(to_sql(user_id)).fetch_all(&mut *connection).await?;
        let mut pinned = Vec::new();
        for row in &rows {
            let other = read_peer(row)?;
            if row.try_get::<i64, _>(2)? == 1 {
                pinned.push(other);
                continue;
            }
            // Of what can be shown no longer, the pin is given back.
            let query = sqlx::query(UNPIN).bind(to_sql(user_id)).bind(i64::from(other.is_group()));
            query.bind(to_sql(other.id())).execute(&mut *connection).await?;
        }
        Ok(pinned.contains(&peer) || pinned.len() < pinned_max as usize)
    }
}

/// Of a statement whose tail is of a user, and of users or groups where that is asked for.
async fn rows(
    connection: &mut AnyConnection,
    statement: &MultiRow,
    ids: &[u64],
    (user_id, is_group): (u64, Option<bool>),
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let bind = |query: AnyQuery, id: &u64| query.bind(to_sql(*id));
    let bind_tail = |query: AnyQuery| {
        let query = query.bind(to_sql(user_id));
        is_group.into_iter().fold(query, |query, is_group| query.bind(i64::from(is_group)))
    };
    statement.fetch_then(connection, ids, bind, bind_tail).await
}

fn read_peer(row: &AnyRow) -> Result<Peer, sqlx::Error> {
    let peer_id = from_sql(row.try_get(1)?);
    Ok(if row.try_get::<i64, _>(0)? == 0 { Peer::User(peer_id) } else { Peer::Group(peer_id) })
}

/// As many ids as a power of two, by repeating the last one: statements of few lengths are prepared once.
fn padded(ids: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut ids: Vec<u64> = ids.collect();
    if let Some(&last) = ids.last() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{super::plans::assert_by_index, *};

    #[tokio::test]
    async fn what_is_read_and_set_is_found_by_index_alone() {
        let asked = [PINNED, PINS, CHANGE_MARK, CHANGE_SETTING, UNPIN].map(str::to_owned);
        let of_many = [POSITIONS, POSITIONS_OF_PEERS, SETTINGS, MESSAGES].map(|statement| statement.sql(4).0);
        assert_by_index(&[&asked[..], &of_many].concat(), &[]).await;
    }
}
