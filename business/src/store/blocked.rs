//! Who blocked whom: one row per direction.

use gim_config::sql;
use sqlx::AnyConnection;

use super::{Store, StoreError, after, dialect, key, user::UserRow};
use crate::domain::{friend::BlockOutcome, user::User};

impl Store {
    /// Notes that `user_id` does not want to hear of another one. `blocked_max` bounds the list. Repeating it changes
    /// nothing.
    pub async fn block(
        &self,
        user_id: u64,
        blocked_id: u64,
        blocked_max: u32,
        now_ms: i64,
    ) -> Result<BlockOutcome, StoreError> {
        let work = || {
            async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let inserted = sqlx::query(dialect::insert_blocked(self.database.dialect))
                    .bind(key(user_id))
                    .bind(key(blocked_id))
                    .bind(now_ms)
                    .execute(&mut *transaction)
                    .await?;
                if inserted.rows_affected() > 0 {
                    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM blocked WHERE user_id = ?")
                        .bind(key(user_id))
                        .fetch_one(&mut *transaction)
                        .await?;
                    if count > i64::from(blocked_max) {
                        transaction.rollback().await?;
                        return Ok(BlockOutcome::ListFull);
                    }
                }
                transaction.commit().await?;
                Ok(BlockOutcome::Blocked)
            }
        };
        self.database.writer.transact(work).await
    }

    /// Ends a block, if there is one.
    pub async fn unblock(&self, user_id: u64, blocked_id: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM blocked WHERE user_id = ? AND blocked_id = ?")
            .bind(key(user_id))
            .bind(key(blocked_id))
            .execute(&self.database.writer)
            .await?;
        Ok(())
    }

    /// Whom a user blocked whose ids are greater than this one, by ascending id, `count_max` at most.
    pub async fn blocked(&self, user_id: u64, after_id: u64, count_max: u32) -> Result<Vec<User>, StoreError> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "SELECT user.user_id, user.phone_number, user.nickname, user.sex, user.avatar_url, user.extra, \
             user.created_at_ms, user.updated_at_ms FROM blocked JOIN user ON user.user_id = blocked.blocked_id \
             WHERE blocked.user_id = ? AND blocked.blocked_id > ? ORDER BY blocked.blocked_id LIMIT ?",
        )
        .bind(key(user_id))
        .bind(after(after_id))
        .bind(i64::from(count_max))
        .fetch_all(&self.database.reader)
        .await?;
        Ok(rows.into_iter().map(User::from).collect())
    }
}

/// Whether `user_id` blocked another one, as this connection sees it.
pub(super) async fn has_blocked(
    connection: &mut AnyConnection,
    user_id: u64,
    other_id: u64,
) -> Result<bool, StoreError> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT user_id FROM blocked WHERE user_id = ? AND blocked_id = ?")
        .bind(key(user_id))
        .bind(key(other_id))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}
