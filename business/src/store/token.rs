//! Tokens: one per device of a user, found by primary key.

use std::collections::HashMap;

use gim_config::sql::Database;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{Store, StoreError, dialect, id, key};
use crate::domain::token::StoredToken;

/// Tokens that one statement reads.
pub(super) const READ_MAX: usize = 256;

/// Users on one device who are told apart.
const OTHERS_MAX: i64 = 2;

/// In place of a device: all of them.
pub const ALL_DEVICES: u64 = 0;

impl Store {
    /// The token of a user's device. Every sign-in of a connection waits for it, so calls that come together share a read.
    pub async fn token(&self, user_id: u64, device_id: u64) -> Result<Option<StoredToken>, StoreError> {
        let answer = self.tokens.ask((user_id, device_id)).await;
        answer.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// Forgets the token of a user's device, or of [`ALL_DEVICES`]. Repeating it changes nothing.
    pub async fn revoke(&self, user_id: u64, device_id: u64) -> Result<(), StoreError> {
        let query = if device_id == ALL_DEVICES {
            sqlx::query("DELETE FROM token WHERE user_id = ?").bind(key(user_id))
        } else {
            let sql = "DELETE FROM token WHERE user_id = ? AND device_id = ?";
            sqlx::query(sql).bind(key(user_id)).bind(key(device_id))
        };
        query.execute(&self.database.writer).await?;
        Ok(())
    }

    /// Users with another phone number who have a token for this device that is still good: [`OTHERS_MAX`] of them.
    pub async fn others_on_device(
        &self,
        device_id: u64,
        phone_number: &str,
        now_ms: i64,
    ) -> Result<Vec<u64>, StoreError> {
        let sql = "SELECT token.user_id FROM token JOIN user ON user.user_id = token.user_id \
                   WHERE token.device_id = ? AND token.expires_at_ms > ? AND user.phone_number <> ? LIMIT ?";
        let rows: Vec<(i64,)> = sqlx::query_as(sql)
            .bind(key(device_id))
            .bind(now_ms)
            .bind(phone_number)
            .bind(OTHERS_MAX)
            .fetch_all(&self.database.sign_in_reader)
            .await?;
        Ok(rows.into_iter().map(|(user_key,)| id(user_key)).collect())
    }
}

/// The tokens of users' devices (at most [`READ_MAX`]), in the order asked for.
pub(super) async fn read(database: Database, devices: Vec<(u64, u64)>) -> Result<Vec<Option<StoredToken>>, StoreError> {
    // The last one is repeated up to a power of two: few statements, each prepared once.
    let count = devices.len().next_power_of_two();
    let last = devices.last().copied().into_iter().cycle();
    let mut query = sqlx::query_as(AssertSqlSafe(dialect::select_tokens(database.dialect, count)));
    for (user_id, device_id) in devices.iter().copied().chain(last).take(count) {
        query = query.bind(key(user_id)).bind(key(device_id));
    }
    let rows: Vec<(i64, i64, Vec<u8>, i64, i64)> = query.fetch_all(&database.sign_in_reader).await?;
    let found: HashMap<(u64, u64), StoredToken> = rows
        .into_iter()
        .map(|(user_key, device_key, hash, created_at_ms, expires_at_ms)| {
            ((id(user_key), id(device_key)), StoredToken { hash, created_at_ms, expires_at_ms })
        })
        .collect();
    Ok(devices.iter().map(|device| found.get(device).cloned()).collect())
}

/// Replaces the token of the device and forgets those of the user's other devices that expired. Whether the device had one that
/// was still good.
pub async fn replace(
    connection: &mut AnyConnection,
    user_id: u64,
    device_id: u64,
    token: &StoredToken,
) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM token WHERE user_id = ? AND expires_at_ms <= ?")
        .bind(key(user_id))
        .bind(token.created_at_ms)
        .execute(&mut *connection)
        .await?;
    let replaced: Option<(i64,)> =
        sqlx::query_as("SELECT created_at_ms FROM token WHERE user_id = ? AND device_id = ?")
            .bind(key(user_id))
            .bind(key(device_id))
            .fetch_optional(&mut *connection)
            .await?;
    sqlx::query("REPLACE INTO token (user_id, device_id, hash, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(key(user_id))
        .bind(key(device_id))
        .bind(token.hash.as_slice())
        .bind(token.created_at_ms)
        .bind(token.expires_at_ms)
        .execute(connection)
        .await?;
    Ok(replaced.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::token::NewToken, store::testing::user};

    on_both! {
        a_sign_in_replaces_the_token_of_its_device_only,
        tokens_that_are_asked_for_together_are_told_apart,
        a_revoked_token_is_gone_alone_or_with_all_of_the_user,
        a_sign_in_forgets_expired_tokens_of_the_user,
        others_on_a_device_are_those_whose_tokens_are_good,
    }

    async fn others_on_a_device_are_those_whose_tokens_are_good(store: Store) {
        let mut user_ids = Vec::new();
        for (phone_number, ttl_ms) in [("1", 1_000), ("2", 1_000), ("3", 500)] {
            user_ids.push(store.admit(phone_number, 7, &NewToken::make(0, ttl_ms).stored).await.unwrap().user_id);
        }
        let others = async |phone_number: &str, now_ms: i64| {
            let mut others = store.others_on_device(7, phone_number, now_ms).await.unwrap();
            others.sort_unstable();
            others
        };
        assert_eq!(others("1", 500).await, [user_ids[1]]);
        assert_eq!(others("3", 500).await, user_ids[..2]);
        assert!(others("3", 1_000).await.is_empty());
        assert!(store.others_on_device(8, "1", 0).await.unwrap().is_empty());
    }

    async fn a_sign_in_replaces_the_token_of_its_device_only(store: Store) {
        let [first, other, second] = [0, 1, 2].map(|now_ms| NewToken::make(now_ms, 1_000).stored);
        let user_id = store.admit("1", 1, &first).await.unwrap().user_id;
        assert!(!store.admit("1", 2, &other).await.unwrap().has_replaced);
        assert!(store.admit("1", 1, &second).await.unwrap().has_replaced);
        assert_eq!(store.token(user_id, 1).await.unwrap(), Some(second));
        assert_eq!(store.token(user_id, 2).await.unwrap(), Some(other));
        assert_eq!(store.token(user_id, 3).await.unwrap(), None);
    }

    async fn tokens_that_are_asked_for_together_are_told_apart(store: Store) {
        let tokens = [0, 1, 2].map(|now_ms| NewToken::make(now_ms, 1_000).stored);
        let mut devices = Vec::new();
        for (device_id, token) in (1..).zip(&tokens) {
            devices.push((store.admit(&device_id.to_string(), device_id, token).await.unwrap().user_id, device_id));
        }
        let asked = [devices[2], devices[0], (999, 1), devices[0], devices[1]];
        let found = read(store.database.clone(), asked.to_vec()).await.unwrap();
        let [first, second, third] = tokens.map(Some);
        assert_eq!(found, [third, first.clone(), None, first, second]);
    }

    async fn a_revoked_token_is_gone_alone_or_with_all_of_the_user(store: Store) {
        let token = NewToken::make(0, 1_000).stored;
        let [user_id, other_id] = [user(&store, "1").await, user(&store, "2").await];
        store.admit("1", 2, &token).await.unwrap();
        store.admit("1", 3, &token).await.unwrap();
        store.revoke(user_id, 2).await.unwrap();
        store.revoke(user_id, 2).await.unwrap();
        assert_eq!(store.token(user_id, 2).await.unwrap(), None);
        assert!(store.token(user_id, 3).await.unwrap().is_some());
        store.revoke(user_id, ALL_DEVICES).await.unwrap();
        assert_eq!(store.token(user_id, 3).await.unwrap(), None);
        assert!(store.token(other_id, 1).await.unwrap().is_some());
    }

    async fn a_sign_in_forgets_expired_tokens_of_the_user(store: Store) {
        let user_id = store.admit("1", 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id;
        let other_id = store.admit("2", 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id;
        store.admit("1", 2, &NewToken::make(1_000, 1_000).stored).await.unwrap();
        assert_eq!(store.token(user_id, 1).await.unwrap(), None);
        assert!(store.token(user_id, 2).await.unwrap().is_some());
        assert!(store.token(other_id, 1).await.unwrap().is_some());
    }
}
