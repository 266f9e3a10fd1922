//! What users allow others, and how they stand to one who asks.

use std::collections::HashMap;

use gim_config::sql::Database;
use sqlx::{Any, AssertSqlSafe, QueryBuilder};

use super::{Store, StoreError, dialect, id, key};
use crate::domain::{
    contact::{AddedBy, Standing},
    friend::FriendStatus,
};

/// Users whose standing to another one a single statement reads.
pub(super) const READ_MAX: usize = 256;

impl Store {
    /// How a user stands to another one, rules of her own aside. Every message to a friend waits for it, so calls that come together
    /// share a read.
    pub async fn standing(&self, user_id: u64, other_id: u64) -> Result<Standing, StoreError> {
        let answer = self.standings.ask((user_id, other_id)).await;
        answer.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))
    }

    /// How each of these users stands to another one; nobody's is missing. One statement for each of the three things asked.
    pub async fn standings(&self, user_ids: &[u64], other_id: u64) -> Result<HashMap<u64, Standing>, StoreError> {
        let mut standings: HashMap<u64, Standing> =
            user_ids.iter().map(|&user_id| (user_id, Standing::default())).collect();
        for user_id in self.blockers(other_id, user_ids).await? {
            standings.entry(user_id).or_default().has_blocked = true;
        }
        let status = FriendStatus::Friends as i64;
        let friends =
            QueryBuilder::new(format!("SELECT user_id, user_id FROM friend WHERE status = {status} AND friend_id = "));
        for (user_id, _) in self.among(friends, key(other_id), user_ids).await? {
            standings.entry(user_id).or_default().are_friends = true;
        }
        // Who has no rule has no row, or 0.
        let rules = QueryBuilder::new("SELECT user_id, added_by FROM contact_rules WHERE added_by > ");
        for (user_id, number) in self.among(rules, 0, user_ids).await? {
            standings.entry(user_id).or_default().added_by = AddedBy::of_number(number);
        }
        Ok(standings)
    }

    /// Those of these users who blocked another one.
    pub async fn blockers(&self, blocked_id: u64, among: &[u64]) -> Result<Vec<u64>, StoreError> {
        let query = QueryBuilder::new("SELECT user_id, user_id FROM blocked WHERE blocked_id = ");
        let rows = self.among(query, key(blocked_id), among).await?;
        Ok(rows.into_iter().map(|(user_id, _)| user_id).collect())
    }

    /// Rows `(user_id, a number)` of these users, of a statement that lacks its last value and them.
    async fn among(
        &self,
        mut query: QueryBuilder<Any>,
        value: i64,
        user_ids: &[u64],
    ) -> Result<Vec<(u64, i64)>, StoreError> {
        query.push_bind(value).push(" AND user_id IN (");
        let mut ids = query.separated(", ");
        for &user_id in user_ids {
            ids.push_bind(key(user_id));
        }
        ids.push_unseparated(")");
        // The text differs with every count of ids: a cache of prepared statements would only fill with them.
        let query = query.build_query_as::<(i64, i64)>().persistent(false);
        let rows = query.fetch_all(&self.database.reader).await?;
        Ok(rows.into_iter().map(|(user_id, number)| (id(user_id), number)).collect())
    }

    /// Whom a user lets put her into groups; none where she leaves it to the settings.
    pub async fn added_by(&self, user_id: u64) -> Result<Option<AddedBy>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT added_by FROM contact_rules WHERE user_id = ?")
            .bind(key(user_id))
            .fetch_optional(&self.database.reader)
            .await?;
        Ok(row.and_then(|(number,)| AddedBy::of_number(number)))
    }

    /// Replaces that rule.
    pub async fn set_added_by(&self, user_id: u64, rule: Option<AddedBy>, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query(dialect::put_contact_rules(self.database.dialect))
            .bind(key(user_id))
            .bind(rule.map_or(0, |rule| rule as i64))
            .bind(now_ms)
            .execute(&self.database.writer)
            .await?;
        Ok(())
    }
}

/// How users stand to another one each (`user_id, other_id`, at most [`READ_MAX`] of them), in the order asked for.
pub(super) async fn read(database: Database, pairs: Vec<(u64, u64)>) -> Result<Vec<Standing>, StoreError> {
    // The last one is repeated up to a power of two: few statements, each prepared once.
    let count = pairs.len().next_power_of_two();
    let last = pairs.last().copied().into_iter().cycle();
    let all: Vec<(u64, u64)> = pairs.iter().copied().chain(last).take(count).collect();
    let mut query = sqlx::query_as(AssertSqlSafe(dialect::select_standings(database.dialect, count)));
    for (user_id, other_id) in all.iter().chain(&all) {
        query = query.bind(key(*user_id)).bind(key(*other_id));
    }
    let rows: Vec<(i64, i64, Option<i64>)> = query.fetch_all(&database.reader).await?;
    let mut standings: HashMap<(u64, u64), Standing> = HashMap::with_capacity(rows.len());
    for (user_key, other_key, status) in rows {
        let standing = standings.entry((id(user_key), id(other_key))).or_default();
        match status {
            Some(status) => standing.are_friends = status == FriendStatus::Friends as i64,
            None => standing.has_blocked = true,
        }
    }
    Ok(pairs.iter().map(|pair| standings.get(pair).copied().unwrap_or_default()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FriendRequest, testing::user};

    on_both! {
        each_of_many_users_stands_as_she_says,
        who_asks_at_once_with_many_gets_the_standing_asked_for,
        a_rule_is_replaced_and_taken_back,
    }

    async fn each_of_many_users_stands_as_she_says(store: Store) {
        let asker = user(&store, "asker").await;
        let [friend, blocking, strict, stranger] =
            [user(&store, "a").await, user(&store, "b").await, user(&store, "c").await, user(&store, "d").await];
        let request = FriendRequest { user_id: asker, friend_id: friend, remarks: "", description: "" };
        store.request_friend(request, 9, 0, 1).await.unwrap();
        store.agree_friend(friend, asker, "", 9, 2).await.unwrap();
        store.block(blocking, asker, 9, 3).await.unwrap();
        store.set_added_by(strict, Some(AddedBy::Friends), 4).await.unwrap();
        let standings = store.standings(&[friend, blocking, strict, stranger], asker).await.unwrap();
        let usual = Standing::default();
        assert_eq!(standings[&friend], Standing { are_friends: true, ..usual });
        assert_eq!(standings[&blocking], Standing { has_blocked: true, ..usual });
        assert_eq!(standings[&strict], Standing { added_by: Some(AddedBy::Friends), ..usual });
        assert_eq!((standings[&stranger], standings.len()), (usual, 4));
        let to_another = store.standings(&[friend, blocking], stranger).await.unwrap();
        assert!(to_another.values().all(|standing| *standing == usual));
    }

    async fn who_asks_at_once_with_many_gets_the_standing_asked_for(store: Store) {
        let asker = user(&store, "asker").await;
        let mut expected = Vec::new();
        for number in 0..20 {
            let user_id = user(&store, &format!("user {number}")).await;
            let (are_friends, has_blocked) = (number % 2 == 0, number % 3 == 0);
            if number % 4 != 3 {
                let request = FriendRequest { user_id: asker, friend_id: user_id, remarks: "", description: "" };
                store.request_friend(request, 99, 0, 1).await.unwrap();
            }
            if are_friends {
                store.agree_friend(user_id, asker, "", 99, 2).await.unwrap();
            }
            if has_blocked {
                store.block(user_id, asker, 99, 3).await.unwrap();
            }
            expected.push((user_id, Standing { are_friends, has_blocked, added_by: None }));
        }
        let asked = expected.iter().map(|&(user_id, standing)| {
            let store = store.clone();
            tokio::spawn(async move { (store.standing(user_id, asker).await.unwrap(), standing) })
        });
        for asked in asked.collect::<Vec<_>>() {
            let (found, expected) = asked.await.unwrap();
            assert_eq!(found, expected);
        }
        let of_friend = store.standing(asker, expected[0].0).await.unwrap();
        assert_eq!(of_friend, Standing { are_friends: true, ..Standing::default() }, "she blocked nobody");
    }

    async fn a_rule_is_replaced_and_taken_back(store: Store) {
        let user_id = user(&store, "a").await;
        for rule in [None, Some(AddedBy::Nobody), Some(AddedBy::Everybody), None] {
            store.set_added_by(user_id, rule, 1).await.unwrap();
            assert_eq!(store.added_by(user_id).await.unwrap(), rule);
        }
    }
}
