//! What users were told about others, so that nobody is told the same again and again: a request to be friends at most once
//! in a while, however often it is made, renewed or taken back, and an agreement once.

use sqlx::AnyConnection;

use super::{Store, StoreError, dialect, key};

/// Something that `friend_id` is told about `user_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub user_id: u64,
    pub friend_id: u64,
    pub what: What,
}

/// What somebody is told. The numbers are stored and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum What {
    /// The user asks to be a friend.
    Request = 1,
    /// The user agreed to be one.
    Agreement = 2,
}

impl Store {
    /// It was not told after all: the next try may tell it.
    pub async fn untell(&self, told: Told) -> Result<(), StoreError> {
        let delete = "DELETE FROM told WHERE user_id = ? AND friend_id = ? AND what = ?";
        let query = sqlx::query(delete).bind(key(told.user_id)).bind(key(told.friend_id)).bind(told.what as i64);
        query.execute(&self.database.writer).await?;
        Ok(())
    }

    /// Notes that something is told, unless it was after `since_ms`; whether it is to be told now.
    pub(super) async fn tell(
        &self,
        connection: &mut AnyConnection,
        told: Told,
        since_ms: i64,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let update =
            "UPDATE told SET told_at_ms = ? WHERE user_id = ? AND friend_id = ? AND what = ? AND told_at_ms <= ?";
        let updated = sqlx::query(update)
            .bind(now_ms)
            .bind(key(told.user_id))
            .bind(key(told.friend_id))
            .bind(told.what as i64)
            .bind(since_ms)
            .execute(&mut *connection)
            .await?;
        if updated.rows_affected() > 0 {
            return Ok(true);
        }
        let inserted = sqlx::query(dialect::insert_told(self.database.dialect))
            .bind(key(told.user_id))
            .bind(key(told.friend_id))
            .bind(told.what as i64)
            .bind(now_ms)
            .execute(connection)
            .await?;
        Ok(inserted.rows_affected() > 0)
    }
}

/// Of how many users others were told after `since_ms` that this one asks to be their friend. What is older is forgotten.
pub(super) async fn requests_since(
    connection: &mut AnyConnection,
    user_id: u64,
    since_ms: i64,
) -> Result<i64, StoreError> {
    let what = What::Request as i64;
    sqlx::query("DELETE FROM told WHERE user_id = ? AND what = ? AND told_at_ms <= ?")
        .bind(key(user_id))
        .bind(what)
        .bind(since_ms)
        .execute(&mut *connection)
        .await?;
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM told WHERE user_id = ? AND what = ?")
        .bind(key(user_id))
        .bind(what)
        .fetch_one(connection)
        .await?;
    Ok(count)
}

/// Two users are friends no longer: what they agreed to is worth telling again, should they agree anew.
pub(super) async fn forget_agreements(
    connection: &mut AnyConnection,
    user_id: u64,
    friend_id: u64,
) -> Result<(), StoreError> {
    for (user_id, friend_id) in [(user_id, friend_id), (friend_id, user_id)] {
        sqlx::query("DELETE FROM told WHERE user_id = ? AND friend_id = ? AND what = ?")
            .bind(key(user_id))
            .bind(key(friend_id))
            .bind(What::Agreement as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
