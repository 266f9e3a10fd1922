//! Friends: a row per direction. What always holds: a row with [`FriendStatus::Friends`] has its counterpart with the
//! same status, because both are written in one transaction.

use gim_config::sql;
use sqlx::{AnyConnection, FromRow, Row as _, any::AnyRow};

use super::{
    Store, StoreError, after, blocked, dialect, key,
    told::{self, Told, What},
    user::UserRow,
};
use crate::domain::friend::{AgreeOutcome, Friend, FriendStatus, OpenRequest, RequestOutcome};

/// A friend with her row of `user`.
#[derive(Debug)]
struct FriendRow {
    user: UserRow,
    friend_remarks: String,
    friend_extra: String,
}

/// A request with the asker's row of `user`.
#[derive(Debug)]
struct RequestRow {
    user: UserRow,
    request_description: String,
    asked_at_ms: i64,
}

/// Before everything: what was told once is not told again.
const NEVER_MS: i64 = i64::MIN;

/// Reads who asked a user (`friend_id, status`), and what follows.
macro_rules! open_requests {
    ($tail:literal) => {
        concat!(
            "SELECT user.user_id, user.phone_number, user.nickname, user.sex, user.avatar_url, user.extra, \
             user.created_at_ms, user.updated_at_ms, friend.description AS request_description, \
             friend.updated_at_ms AS asked_at_ms FROM friend JOIN user ON user.user_id = friend.user_id \
             WHERE friend.friend_id = ? AND friend.status = ? AND NOT EXISTS (SELECT 1 FROM blocked \
             WHERE blocked.user_id = friend.friend_id AND blocked.blocked_id = friend.user_id) ",
            $tail
        )
    };
}

/// What a request to be friends says.
#[derive(Debug, Clone, Copy)]
pub struct FriendRequest<'a> {
    pub user_id: u64,
    pub friend_id: u64,
    pub remarks: &'a str,
    pub description: &'a str,
}

impl Store {
    /// Stores a request to be friends, or renews it. `friends_max` bounds the asker's list, open requests included, and how many
    /// are told after `told_since_ms` that this user asks; who was is not told again.
    pub async fn request_friend(
        &self,
        request: FriendRequest<'_>,
        friends_max: u32,
        told_since_ms: i64,
        now_ms: i64,
    ) -> Result<RequestOutcome, StoreError> {
        let work = || {
            async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                if blocked::has_blocked(&mut transaction, request.friend_id, request.user_id).await? {
                    return Ok(RequestOutcome::Blocked);
                }
                if !renew(&mut transaction, request, now_ms).await? {
                    if self.insert(&mut transaction, request, FriendStatus::Requested, now_ms).await? {
                        if count(&mut transaction, request.user_id).await? > i64::from(friends_max) {
                            return Ok(RequestOutcome::ListFull);
                        }
                    // There is a row that is no request, or one that came meanwhile.
                    } else if !renew(&mut transaction, request, now_ms).await? {
                        return Ok(RequestOutcome::AlreadyFriends);
                    }
                }
                let FriendRequest { user_id, friend_id, .. } = request;
                let told = Told { user_id, friend_id, what: What::Request };
                let is_news = self.tell(&mut transaction, told, told_since_ms, now_ms).await?;
                if is_news
                    && told::requests_since(&mut transaction, user_id, told_since_ms).await? > i64::from(friends_max)
                {
                    return Ok(RequestOutcome::TooMany);
                }
                transaction.commit().await?;
                Ok(RequestOutcome::Stored { is_news })
            }
        };
        self.database.writer.transact(work).await
    }

    /// `user_id` agrees to the request of `friend_id`: from now on each is the other's friend. Repeating it changes
    /// nothing.
    pub async fn agree_friend(
        &self,
        user_id: u64,
        friend_id: u64,
        remarks: &str,
        friends_max: u32,
        now_ms: i64,
    ) -> Result<AgreeOutcome, StoreError> {
        let work = || {
            async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                if blocked::has_blocked(&mut transaction, friend_id, user_id).await? {
                    return Ok(AgreeOutcome::Blocked);
                }
                let told = Told { user_id, friend_id, what: What::Agreement };
                if !accept(&mut transaction, friend_id, user_id, None, now_ms).await? {
                    if !has_row(&mut transaction, friend_id, user_id, FriendStatus::Friends).await? {
                        return Ok(AgreeOutcome::NotRequested);
                    }
                    let is_news = self.tell(&mut transaction, told, NEVER_MS, now_ms).await?;
                    transaction.commit().await?;
                    return Ok(AgreeOutcome::Friends { is_news });
                }
                // Both may have asked: then the agreeing side has a row already.
                if !accept(&mut transaction, user_id, friend_id, Some(remarks), now_ms).await? {
                    let request = FriendRequest { user_id, friend_id, remarks, description: "" };
                    if self.insert(&mut transaction, request, FriendStatus::Friends, now_ms).await? {
                        if count(&mut transaction, user_id).await? > i64::from(friends_max) {
                            return Ok(AgreeOutcome::ListFull);
                        }
                    } else {
                        // One that came meanwhile; if it is none any more, they are friends.
                        accept(&mut transaction, user_id, friend_id, Some(remarks), now_ms).await?;
                    }
                }
                let is_news = self.tell(&mut transaction, told, now_ms, now_ms).await?;
                transaction.commit().await?;
                Ok(AgreeOutcome::Friends { is_news })
            }
        };
        self.database.writer.transact(work).await
    }

    /// Ends what is between two users, a friendship or a request of either; whether there was something.
    pub async fn remove_friend(&self, user_id: u64, friend_id: u64) -> Result<bool, StoreError> {
        let delete = "DELETE FROM friend WHERE (user_id = ? AND friend_id = ?) OR (user_id = ? AND friend_id = ?)";
        let work = || {
            async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let removed = sqlx::query(delete)
                    .bind(key(user_id))
                    .bind(key(friend_id))
                    .bind(key(friend_id))
                    .bind(key(user_id))
                    .execute(&mut *transaction)
                    .await?;
                told::forget_agreements(&mut transaction, user_id, friend_id).await?;
                transaction.commit().await?;
                Ok(removed.rows_affected() > 0)
            }
        };
        self.database.writer.transact(work).await
    }

    /// Who asked a user, is not blocked since, and waits for an answer, the newest first, `count_max` at most.
    pub async fn open_requests(&self, user_id: u64, count_max: u32) -> Result<Vec<OpenRequest>, StoreError> {
        let rows: Vec<RequestRow> =
            sqlx::query_as(open_requests!("ORDER BY friend.updated_at_ms DESC, friend.user_id LIMIT ?"))
                .bind(key(user_id))
                .bind(FriendStatus::Requested as i64)
                .bind(i64::from(count_max))
                .fetch_all(&self.database.reader)
                .await?;
        Ok(rows.into_iter().map(OpenRequest::from).collect())
    }

    /// Those whose ids are greater than this one, by ascending id, `count_max` at most.
    pub async fn open_requests_after(
        &self,
        user_id: u64,
        after_id: u64,
        count_max: u32,
    ) -> Result<Vec<OpenRequest>, StoreError> {
        let rows: Vec<RequestRow> =
            sqlx::query_as(open_requests!("AND friend.user_id > ? ORDER BY friend.user_id LIMIT ?"))
                .bind(key(user_id))
                .bind(FriendStatus::Requested as i64)
                .bind(after(after_id))
                .bind(i64::from(count_max))
                .fetch_all(&self.database.reader)
                .await?;
        Ok(rows.into_iter().map(OpenRequest::from).collect())
    }

    /// Replaces what `user_id` notes about a friend; whether the two are friends.
    pub async fn update_friend(
        &self,
        user_id: u64,
        friend_id: u64,
        remarks: &str,
        extra: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE friend SET remarks = ?, extra = ?, updated_at_ms = ? \
             WHERE user_id = ? AND friend_id = ? AND status = ?",
        )
        .bind(remarks)
        .bind(extra)
        .bind(now_ms)
        .bind(key(user_id))
        .bind(key(friend_id))
        .bind(FriendStatus::Friends as i64)
        .execute(&self.database.writer)
        .await?;
        Ok(updated.rows_affected() > 0)
    }

    /// The friends of a user whose ids are greater than this one, by ascending id, `count_max` at most.
    pub async fn friends(&self, user_id: u64, after_id: u64, count_max: u32) -> Result<Vec<Friend>, StoreError> {
        let rows: Vec<FriendRow> = sqlx::query_as(
            "SELECT user.user_id, user.phone_number, user.nickname, user.sex, user.avatar_url, user.extra, \
             user.created_at_ms, user.updated_at_ms, friend.remarks AS friend_remarks, friend.extra AS friend_extra \
             FROM friend JOIN user ON user.user_id = friend.friend_id \
             WHERE friend.user_id = ? AND friend.status = ? AND friend.friend_id > ? ORDER BY friend.friend_id LIMIT ?",
        )
        .bind(key(user_id))
        .bind(FriendStatus::Friends as i64)
        .bind(after(after_id))
        .bind(i64::from(count_max))
        .fetch_all(&self.database.reader)
        .await?;
        Ok(rows.into_iter().map(Friend::from).collect())
    }

    /// Adds a row unless there is one of whatever status; whether it was added.
    async fn insert(
        &self,
        connection: &mut AnyConnection,
        request: FriendRequest<'_>,
        status: FriendStatus,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let inserted = sqlx::query(dialect::insert_friend(self.database.dialect))
            .bind(key(request.user_id))
            .bind(key(request.friend_id))
            .bind(status as i64)
            .bind(request.remarks)
            .bind(request.description)
            .bind(now_ms)
            .bind(now_ms)
            .execute(connection)
            .await?;
        Ok(inserted.rows_affected() > 0)
    }
}

impl FromRow<'_, AnyRow> for FriendRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let user = UserRow::from_row(row)?;
        Ok(Self { user, friend_remarks: row.try_get("friend_remarks")?, friend_extra: row.try_get("friend_extra")? })
    }
}

impl FromRow<'_, AnyRow> for RequestRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            user: UserRow::from_row(row)?,
            request_description: row.try_get("request_description")?,
            asked_at_ms: row.try_get("asked_at_ms")?,
        })
    }
}

impl From<RequestRow> for OpenRequest {
    fn from(row: RequestRow) -> Self {
        Self { user: row.user.into(), description: row.request_description, asked_at_ms: row.asked_at_ms }
    }
}

impl From<FriendRow> for Friend {
    fn from(row: FriendRow) -> Self {
        Self { user: row.user.into(), remarks: row.friend_remarks, extra: row.friend_extra }
    }
}

/// Turns a request into a friendship, in one direction; whether there was a request. New remarks replace the old ones.
async fn accept(
    connection: &mut AnyConnection,
    user_id: u64,
    friend_id: u64,
    remarks: Option<&str>,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let updated = sqlx::query(
        "UPDATE friend SET status = ?, remarks = COALESCE(?, remarks), updated_at_ms = ? \
         WHERE user_id = ? AND friend_id = ? AND status = ?",
    )
    .bind(FriendStatus::Friends as i64)
    .bind(remarks)
    .bind(now_ms)
    .bind(key(user_id))
    .bind(key(friend_id))
    .bind(FriendStatus::Requested as i64)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// Says a request that is there anew; whether there was one.
async fn renew(connection: &mut AnyConnection, request: FriendRequest<'_>, now_ms: i64) -> Result<bool, StoreError> {
    let renewed = sqlx::query(
        "UPDATE friend SET remarks = ?, description = ?, updated_at_ms = ? \
         WHERE user_id = ? AND friend_id = ? AND status = ?",
    )
    .bind(request.remarks)
    .bind(request.description)
    .bind(now_ms)
    .bind(key(request.user_id))
    .bind(key(request.friend_id))
    .bind(FriendStatus::Requested as i64)
    .execute(connection)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

async fn has_row(
    connection: &mut AnyConnection,
    user_id: u64,
    friend_id: u64,
    status: FriendStatus,
) -> Result<bool, StoreError> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT user_id FROM friend WHERE user_id = ? AND friend_id = ? AND status = ?")
            .bind(key(user_id))
            .bind(key(friend_id))
            .bind(status as i64)
            .fetch_optional(connection)
            .await?;
    Ok(row.is_some())
}

async fn count(connection: &mut AnyConnection, user_id: u64) -> Result<i64, StoreError> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM friend WHERE user_id = ?")
        .bind(key(user_id))
        .fetch_one(connection)
        .await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::user;

    on_both! {
        whoever_asks_many_times_at_once_has_asked_once,
        a_request_makes_friends_only_once_the_other_side_agrees,
        a_request_is_news_once_in_a_while_and_an_agreement_once,
        who_was_blocked_meanwhile_cannot_agree,
        repeating_an_agreement_changes_nothing,
        when_both_asked_one_agreement_is_enough,
        a_full_list_refuses_and_leaves_nothing_behind,
        only_friends_have_remarks_to_set,
    }

    async fn ask(store: &Store, user_id: u64, friend_id: u64, remarks: &str) -> RequestOutcome {
        let request = FriendRequest { user_id, friend_id, remarks, description: "hello" };
        store.request_friend(request, 2, 0, 10).await.unwrap()
    }

    async fn agree(store: &Store, user_id: u64, friend_id: u64) -> AgreeOutcome {
        store.agree_friend(user_id, friend_id, "from agreeing", 2, 20).await.unwrap()
    }

    async fn are_friends(store: &Store, user_id: u64, friend_id: u64) -> bool {
        store.standing(user_id, friend_id).await.unwrap().are_friends
    }

    async fn remarks(store: &Store, user_id: u64) -> Vec<(u64, String)> {
        let friends = store.friends(user_id, 0, 10).await.unwrap();
        friends.into_iter().map(|friend| (friend.user.user_id, friend.remarks)).collect()
    }

    async fn a_request_makes_friends_only_once_the_other_side_agrees(store: Store) {
        let [a, b] = [user(&store, "a").await, user(&store, "b").await];
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::NotRequested);
        assert_eq!(ask(&store, a, b, "old").await, RequestOutcome::Stored { is_news: true });
        assert_eq!(ask(&store, a, b, "new").await, RequestOutcome::Stored { is_news: false });
        assert_eq!(agree(&store, a, b).await, AgreeOutcome::NotRequested);
        assert!(!are_friends(&store, a, b).await);
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::Friends { is_news: true });
        assert!(are_friends(&store, a, b).await && are_friends(&store, b, a).await);
        assert_eq!(remarks(&store, a).await, [(b, "new".to_owned())]);
        assert_eq!(remarks(&store, b).await, [(a, "from agreeing".to_owned())]);
    }

    async fn a_request_is_news_once_in_a_while_and_an_agreement_once(store: Store) {
        let [a, b, c] = [user(&store, "a").await, user(&store, "b").await, user(&store, "c").await];
        let ask = async |friend_id, told_since_ms, now_ms| {
            let request = FriendRequest { user_id: a, friend_id, remarks: "", description: "" };
            store.request_friend(request, 1, told_since_ms, now_ms).await.unwrap()
        };
        let stored = |is_news| RequestOutcome::Stored { is_news };
        assert_eq!(ask(b, 0, 100).await, stored(true));
        assert_eq!(ask(b, 99, 199).await, stored(false));
        assert!(store.remove_friend(a, b).await.unwrap());
        assert_eq!(ask(b, 99, 199).await, stored(false), "who took it back and asks again was heard already");
        assert!(store.remove_friend(a, b).await.unwrap());
        assert_eq!(ask(c, 99, 199).await, RequestOutcome::TooMany, "others were told as often as the list is long");
        assert_eq!(ask(c, 100, 200).await, stored(true));
        store.untell(Told { user_id: a, friend_id: c, what: What::Request }).await.unwrap();
        assert_eq!(ask(c, 100, 200).await, stored(true), "what could not be told is told at the next try");

        let agree = async || store.agree_friend(c, a, "", 9, 300).await.unwrap();
        let friends = |is_news| AgreeOutcome::Friends { is_news };
        assert_eq!([agree().await, agree().await], [friends(true), friends(false)]);
        store.untell(Told { user_id: c, friend_id: a, what: What::Agreement }).await.unwrap();
        assert_eq!([agree().await, agree().await], [friends(true), friends(false)]);
        assert!(store.remove_friend(a, c).await.unwrap());
        assert_eq!(ask(c, 100, 301).await, stored(false));
        assert_eq!(agree().await, friends(true), "they are friends anew");
    }

    async fn who_was_blocked_meanwhile_cannot_agree(store: Store) {
        let [a, b] = [user(&store, "a").await, user(&store, "b").await];
        ask(&store, a, b, "").await;
        store.block(a, b, 9, 11).await.unwrap();
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::Blocked);
        assert!(!are_friends(&store, a, b).await);
        store.unblock(a, b).await.unwrap();
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::Friends { is_news: true });
    }

    async fn repeating_an_agreement_changes_nothing(store: Store) {
        let [a, b] = [user(&store, "a").await, user(&store, "b").await];
        ask(&store, a, b, "").await;
        agree(&store, b, a).await;
        assert!(store.update_friend(b, a, "mine", "x", 30).await.unwrap());
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::Friends { is_news: false });
        assert_eq!(remarks(&store, b).await, [(a, "mine".to_owned())]);
        assert_eq!(ask(&store, a, b, "").await, RequestOutcome::AlreadyFriends);
    }

    async fn when_both_asked_one_agreement_is_enough(store: Store) {
        let [a, b] = [user(&store, "a").await, user(&store, "b").await];
        ask(&store, a, b, "from a").await;
        ask(&store, b, a, "from b").await;
        assert!(!are_friends(&store, a, b).await);
        assert_eq!(agree(&store, b, a).await, AgreeOutcome::Friends { is_news: true });
        assert_eq!(remarks(&store, a).await, [(b, "from a".to_owned())]);
        assert_eq!(remarks(&store, b).await, [(a, "from agreeing".to_owned())]);
    }

    async fn a_full_list_refuses_and_leaves_nothing_behind(store: Store) {
        let [a, b, c, d] =
            [user(&store, "a").await, user(&store, "b").await, user(&store, "c").await, user(&store, "d").await];
        ask(&store, a, b, "").await;
        ask(&store, a, c, "").await;
        assert_eq!(ask(&store, a, d, "").await, RequestOutcome::ListFull);
        assert_eq!(ask(&store, a, c, "renewed").await, RequestOutcome::Stored { is_news: false });
        ask(&store, d, a, "").await;
        assert_eq!(agree(&store, a, d).await, AgreeOutcome::ListFull);
        assert!(!are_friends(&store, d, a).await, "the other direction was rolled back");
    }

    async fn only_friends_have_remarks_to_set(store: Store) {
        let [a, b] = [user(&store, "a").await, user(&store, "b").await];
        ask(&store, a, b, "").await;
        assert!(!store.update_friend(a, b, "x", "y", 30).await.unwrap());
        assert!(!store.update_friend(b, a, "x", "y", 30).await.unwrap());
    }

    async fn whoever_asks_many_times_at_once_has_asked_once(store: Store) {
        let [asker, asked] = [user(&store, "1").await, user(&store, "2").await];
        for round in 0..10 {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let store = store.clone();
                tasks.spawn(async move {
                    let request = FriendRequest { user_id: asker, friend_id: asked, remarks: "r", description: "d" };
                    store.request_friend(request, 10, i64::from(round), i64::from(round) + 1).await.unwrap()
                });
            }
            let outcomes = tasks.join_all().await;
            assert!(outcomes.iter().all(|outcome| matches!(outcome, RequestOutcome::Stored { .. })), "{outcomes:?}");
            let news = |outcome: &&RequestOutcome| **outcome == RequestOutcome::Stored { is_news: true };
            assert_eq!(outcomes.iter().filter(news).count(), 1);
            assert_eq!(store.open_requests(asked, 10).await.unwrap().len(), 1);
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let store = store.clone();
                tasks.spawn(async move { store.agree_friend(asked, asker, "", 10, 2).await.unwrap() });
            }
            let outcomes = tasks.join_all().await;
            let news = |outcome: &&AgreeOutcome| **outcome == AgreeOutcome::Friends { is_news: true };
            assert_eq!(outcomes.iter().filter(news).count(), 1, "{outcomes:?}");
            assert!(store.remove_friend(asker, asked).await.unwrap());
        }
    }
}
