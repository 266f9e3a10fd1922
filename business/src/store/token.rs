//! Tokens: one per device of a user, found by primary key.

use sqlx::AnyConnection;

use super::{Store, StoreError, key};
use crate::domain::token::StoredToken;

impl Store {
    /// The token of a user's device. One read by primary key: every sign-in of a connection waits for it.
    pub async fn token(&self, user_id: u64, device_id: u64) -> Result<Option<StoredToken>, StoreError> {
        let row: Option<(Vec<u8>, i64, i64)> =
            sqlx::query_as("SELECT hash, created_at_ms, expires_at_ms FROM token WHERE user_id = ? AND device_id = ?")
                .bind(key(user_id))
                .bind(key(device_id))
                .fetch_optional(&self.database.reader)
                .await?;
        Ok(row.map(|(hash, created_at_ms, expires_at_ms)| StoredToken { hash, created_at_ms, expires_at_ms }))
    }

    /// Whether somebody with another phone number has a token for this device that is still good.
    pub async fn is_device_of_other(
        &self,
        device_id: u64,
        phone_number: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT token.user_id FROM token JOIN user ON user.user_id = token.user_id \
                   WHERE token.device_id = ? AND token.expires_at_ms > ? AND user.phone_number <> ? LIMIT 1";
        let row: Option<(i64,)> = sqlx::query_as(sql)
            .bind(key(device_id))
            .bind(now_ms)
            .bind(phone_number)
            .fetch_optional(&self.database.reader)
            .await?;
        Ok(row.is_some())
    }
}

/// Replaces the token of the device and forgets those of the user's other devices that expired.
pub async fn replace(
    connection: &mut AnyConnection,
    user_id: u64,
    device_id: u64,
    token: &StoredToken,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM token WHERE user_id = ? AND expires_at_ms <= ?")
        .bind(key(user_id))
        .bind(token.created_at_ms)
        .execute(&mut *connection)
        .await?;
    sqlx::query("REPLACE INTO token (user_id, device_id, hash, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(key(user_id))
        .bind(key(device_id))
        .bind(token.hash.as_slice())
        .bind(token.created_at_ms)
        .bind(token.expires_at_ms)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{domain::token::NewToken, store::tests::temporary};

    #[tokio::test]
    async fn a_sign_in_replaces_the_token_of_its_device_only() {
        let (_folder, store) = temporary().await;
        let [first, other, second] = [0, 1, 2].map(|now_ms| NewToken::make(now_ms, 1_000).stored);
        let user_id = store.sign_in("1", 1, &first).await.unwrap().user_id;
        store.sign_in("1", 2, &other).await.unwrap();
        store.sign_in("1", 1, &second).await.unwrap();
        assert_eq!(store.token(user_id, 1).await.unwrap(), Some(second));
        assert_eq!(store.token(user_id, 2).await.unwrap(), Some(other));
        assert_eq!(store.token(user_id, 3).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_sign_in_forgets_expired_tokens_of_the_user() {
        let (_folder, store) = temporary().await;
        let user_id = store.sign_in("1", 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id;
        let other_id = store.sign_in("2", 1, &NewToken::make(0, 1_000).stored).await.unwrap().user_id;
        store.sign_in("1", 2, &NewToken::make(1_000, 1_000).stored).await.unwrap();
        assert_eq!(store.token(user_id, 1).await.unwrap(), None);
        assert!(store.token(user_id, 2).await.unwrap().is_some());
        assert!(store.token(other_id, 1).await.unwrap().is_some());
    }
}
