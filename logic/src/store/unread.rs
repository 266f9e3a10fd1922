//! How much is unread in conversations: counted among the newest places of each when somebody asks, never when a message comes.
//!
//! Several statements, of which two run at once, each on a connection of its own: most of the time goes into looking up messages.
//! Always holds: a statement looks at a bounded number of places, however much is unread.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gim_config::sql::Pool;
use gim_proto::check::ID_MAX;
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    columns::{from_sql, to_sql},
    dialect::{Sql, UnreadBy},
    error::StoreError,
    statement::AnyQuery,
};
use crate::domain::conversation::{self, Peer};

/// Conversations of one statement.
const CONVERSATIONS_MAX: usize = 32;

/// Statements that run at once for one user.
const STATEMENTS_MAX: usize = 2;

/// The newest places of one that was `asked` about. There is no index of what counts, and nobody who changes a group's name again and
/// again shall make lists slow.
const WITH_USER: &str = "SELECT dm.peer_id, dm.seq, dm.message_id, 0 AS is_recall FROM direct_inbox dm \
     WHERE dm.user_id = ? AND dm.peer_id = asked.peer_id AND dm.seq > asked.after_seq ORDER BY dm.seq DESC LIMIT 200";
const IN_GROUP: &str = "SELECT own.group_id AS peer_id, gm.seq, gm.message_id, gm.is_recall \
     FROM group_member own JOIN group_message gm ON gm.group_id = own.group_id \
     WHERE own.user_id = ? AND own.group_id = asked.peer_id AND gm.seq > own.joined_after_seq AND gm.seq > asked.after_seq \
     ORDER BY gm.seq DESC LIMIT 200";
/// Those of the places that count, as [`conversation::unread`] reads them. Numbers from 100 to 199 are the server's own.
const MARKS: &str = "GROUP_CONCAT(CASE WHEN m.sender_id = ? THEN 2 ELSE 1 END ORDER BY place.seq DESC)";
const OF_PLACES: &str = "place JOIN message m ON m.id = place.message_id WHERE place.is_recall = 0 \
     AND (m.sender_id = ? OR (m.status = 0 AND m.command NOT BETWEEN 100 AND 199))";

/// How much is unread in conversations, each as (with whom, read up to where), up to [`conversation::UNREAD_MAX`].
pub(super) async fn count(
    reader: &Pool,
    sql: &Sql,
    user_id: u64,
    after: &[(Peer, u64)],
) -> Result<HashMap<Peer, u32>, StoreError> {
    let (of_groups, of_users): (Vec<_>, Vec<_>) = after.iter().copied().partition(|(peer, _)| peer.is_group());
    let counts: Vec<_> = [&of_users, &of_groups]
        .into_iter()
        .flat_map(|all| parts(all))
        .map(|part| count_some(reader, sql, user_id, part))
        .collect();
    stream::iter(counts).buffer_unordered(STATEMENTS_MAX).try_concat().await
}

/// Parts of about the same length, as they may run at once.
fn parts(after: &[(Peer, u64)]) -> impl Iterator<Item = &[(Peer, u64)]> {
    let count = after.len().div_ceil(CONVERSATIONS_MAX).max(1);
    after.chunks(after.len().div_ceil(count).max(1))
}

/// The same for a few, either users or groups.
async fn count_some(
    reader: &Pool,
    sql: &Sql,
    user_id: u64,
    after: &[(Peer, u64)],
) -> Result<HashMap<Peer, u32>, StoreError> {
    let is_group = after.iter().any(|(peer, _)| peer.is_group());
    // Statements of few lengths are prepared once; with nobody there is nothing.
    let count = after.len().next_power_of_two();
    let asked = after.iter().map(|(peer, seq)| (peer.id(), *seq)).chain(std::iter::repeat((0, ID_MAX))).take(count);
    let own = to_sql(user_id);
    let query = sqlx::query(AssertSqlSafe(statement(sql, is_group, count)));
    let query = match sql.unread_by {
        UnreadBy::Subqueries => {
            let bind = |query: AnyQuery, (id, seq)| query.bind(to_sql(id)).bind(to_sql(seq));
            asked.fold(query, bind).bind(own).bind(own).bind(own)
        }
        UnreadBy::Union => {
            let bind = |query: AnyQuery, (id, seq)| query.bind(own).bind(to_sql(id)).bind(to_sql(seq));
            asked.fold(query.bind(own), bind).bind(own)
        }
    };
    let mut unread = HashMap::new();
    for row in query.fetch_all(reader).await? {
        let peer_id = from_sql(row.try_get(0)?);
        let marks: Option<String> = row.try_get(1)?;
        let peer = if is_group { Peer::Group(peer_id) } else { Peer::User(peer_id) };
        unread.extend(marks.map(|marks| (peer, conversation::unread(&marks))));
    }
    Ok(unread)
}

/// The statement for so many.
fn statement(sql: &Sql, is_group: bool, count: usize) -> String {
    let places = if is_group { IN_GROUP } else { WITH_USER };
    match sql.unread_by {
        UnreadBy::Subqueries => {
            let asked = vec!["(?,?)"; count].join(",");
            format!(
                "WITH asked (peer_id, after_seq) AS (VALUES {asked}) \
                 SELECT asked.peer_id, (SELECT {MARKS} FROM ({places}) {OF_PLACES}) FROM asked"
            )
        }
        UnreadBy::Union => {
            let places = places.replace("asked.peer_id", "?").replace("asked.after_seq", "?");
            let places = sql.union_of_limited(&places, count);
            format!("SELECT place.peer_id, {MARKS} FROM ({places}) {OF_PLACES} GROUP BY place.peer_id")
        }
    }
}

#[cfg(test)]
mod tests {
    use gim_config::sql::Dialect;

    use super::{
        super::{
            dialect,
            plans::{assert_by_in, assert_by_index_in},
        },
        *,
    };

    #[tokio::test]
    async fn what_is_unread_is_found_by_index_alone() {
        for dialect in [Dialect::Sqlite, Dialect::Mysql] {
            let statements = [false, true].map(|is_group| statement(dialect::sql(dialect), is_group, 2));
            assert_by_index_in(&[dialect], &statements, &["asked", "place"]).await;
            assert_by_in(&[dialect], &[(&statements[0], &[("dm", "direct_inbox_by_peer")])]).await;
        }
    }
}
