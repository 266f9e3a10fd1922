//! Who left a group by their own wish: other users do not put him into it again. Part of the inbox writer's transactions.

use sqlx::{AnyConnection, Row as _};

use super::{
    columns::{from_sql, to_sql},
    statement::MultiRow,
};
use crate::domain::{clock, group::Member};

const INSERT: MultiRow =
    MultiRow { head: "INSERT INTO group_left (group_id, user_id, left_at_ms) VALUES ", row: "(?,?,?)", tail: "" };
const DELETE: MultiRow =
    MultiRow { head: "DELETE FROM group_left WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };
const AMONG: MultiRow =
    MultiRow { head: "SELECT user_id FROM group_left WHERE user_id IN (", row: "?", tail: ") AND group_id = ?" };

/// Notes that a member leaves. Nobody is noted twice: who comes back is forgotten.
pub(super) async fn note(connection: &mut AnyConnection, group_id: u64, user_id: u64) -> Result<(), sqlx::Error> {
    INSERT
        .execute(connection, &[user_id], |query, user_id| {
            query.bind(to_sql(group_id)).bind(to_sql(*user_id)).bind(clock::now_ms())
        })
        .await
}

/// Forgets that those who join had left.
pub(super) async fn forget(
    connection: &mut AnyConnection,
    group_id: u64,
    members: &[Member],
) -> Result<(), sqlx::Error> {
    DELETE
        .execute_then(
            connection,
            members,
            |query, member| query.bind(to_sql(member.user_id)),
            |query| query.bind(to_sql(group_id)),
        )
        .await
}

/// The first of these users who left a group by himself.
pub(super) async fn first_of(
    connection: &mut AnyConnection,
    group_id: u64,
    user_ids: &[u64],
) -> Result<Option<u64>, sqlx::Error> {
    let rows = AMONG
        .fetch_then(
            connection,
            user_ids,
            |query, user_id| query.bind(to_sql(*user_id)),
            |query| query.bind(to_sql(group_id)),
        )
        .await?;
    let left: Vec<u64> = rows.iter().map(|row| row.try_get(0).map(from_sql)).collect::<Result<_, _>>()?;
    Ok(left.into_iter().min())
}
