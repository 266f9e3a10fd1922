//! Codes that were sent to phone numbers, and are good until they expire. A number may have several: who asks for a new one for somebody
//! else's number does not spoil the one that is on its way.

use super::{Store, StoreError, dialect};

impl Store {
    /// Notes a code by its hash, and forgets all that have expired.
    pub async fn put_code(
        &self,
        phone_number: &str,
        hash: [u8; 32],
        now_ms: i64,
        expires_at_ms: i64,
    ) -> Result<(), StoreError> {
        let writer = &self.database.writer;
        sqlx::query("DELETE FROM sign_in_code WHERE expires_at_ms <= ?").bind(now_ms).execute(writer).await?;
        sqlx::query("REPLACE INTO sign_in_code (phone_number, hash, expires_at_ms) VALUES (?, ?, ?)")
            .bind(phone_number)
            .bind(hash.as_slice())
            .bind(expires_at_ms)
            .execute(writer)
            .await?;
        Ok(())
    }

    /// Whether this is a code of the number that is good now. Then all codes of the number end at `repeats_until_ms` at the latest.
    pub async fn use_code(
        &self,
        phone_number: &str,
        hash: [u8; 32],
        now_ms: i64,
        repeats_until_ms: i64,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM sign_in_code WHERE phone_number = ? AND hash = ? AND expires_at_ms > ?";
        let query = sqlx::query_as(sql).bind(phone_number).bind(hash.as_slice()).bind(now_ms);
        // Not by the readers: a code that was noted a moment ago has to be seen, also on a server whose replicas lag.
        let (good,): (i64,) = query.fetch_one(&self.database.writer).await?;
        if good == 0 {
            return Ok(false);
        }
        let sql = dialect::end_codes(self.database.dialect);
        sqlx::query(sql).bind(repeats_until_ms).bind(phone_number).execute(&self.database.writer).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    on_both! {
        a_code_is_good_for_its_number_until_it_expires,
        a_code_that_was_used_is_good_for_a_repeated_call_and_then_no_more,
        expired_codes_are_forgotten,
    }

    async fn a_code_is_good_for_its_number_until_it_expires(store: Store) {
        store.put_code("1", [1; 32], 0, 100).await.unwrap();
        store.put_code("1", [2; 32], 50, 150).await.unwrap();
        assert!(!store.use_code("2", [1; 32], 60, 200).await.unwrap());
        assert!(!store.use_code("1", [3; 32], 60, 200).await.unwrap());
        assert!(!store.use_code("1", [1; 32], 100, 200).await.unwrap());
        assert!(store.use_code("1", [2; 32], 149, 200).await.unwrap());
        assert!(!store.use_code("1", [2; 32], 150, 200).await.unwrap(), "no use makes it last longer");
    }

    async fn a_code_that_was_used_is_good_for_a_repeated_call_and_then_no_more(store: Store) {
        store.put_code("1", [1; 32], 0, 1_000).await.unwrap();
        store.put_code("1", [2; 32], 0, 1_000).await.unwrap();
        assert!(store.use_code("1", [1; 32], 10, 70).await.unwrap());
        assert!(store.use_code("1", [1; 32], 69, 129).await.unwrap());
        assert!(!store.use_code("1", [1; 32], 70, 130).await.unwrap());
        assert!(!store.use_code("1", [2; 32], 70, 130).await.unwrap(), "nor are the others of the number");
    }

    async fn expired_codes_are_forgotten(store: Store) {
        store.put_code("1", [1; 32], 0, 100).await.unwrap();
        store.put_code("2", [1; 32], 100, 200).await.unwrap();
        let sql = "SELECT COUNT(*) FROM sign_in_code";
        let (rows,): (i64,) = sqlx::query_as(sql).fetch_one(&store.database.writer).await.unwrap();
        assert_eq!(rows, 1);
    }
}
