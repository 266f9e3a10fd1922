//! What another server kept of users, taken over into these tables while no business runs. A row that is there stays as it is, so
//! that everything may be taken over again.

use std::collections::HashMap;

use gim_config::sql::{self, InsertNew};
use sqlx::{Any, AnyConnection, AssertSqlSafe, any::AnyArguments, query::Query};

use super::{Store, StoreError, id, key};
use crate::domain::{friend::FriendStatus, token::NewToken, user::for_search};

/// Users that one statement looks for.
const READ_MAX: usize = 256;

/// A user of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImportedUser {
    pub user_id: u64,
    pub phone_number: String,
    pub nickname: String,
    pub sex: i32,
    pub avatar_url: String,
    pub extra: String,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// A token that another server gave a device of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImportedToken {
    pub user_id: u64,
    pub device_id: u64,
    pub text: String,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

/// How a user sees another one: who asked to be a friend, or is one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImportedFriend {
    pub user_id: u64,
    pub friend_id: u64,
    pub is_agreed: bool,
    pub remarks: String,
    pub extra: String,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

type AnyQuery = Query<'static, Any, AnyArguments>;

const USERS: InsertNew = InsertNew {
    into: "user (user_id, phone_number, nickname, search_name, sex, avatar_url, extra, created_at_ms, updated_at_ms)",
    row: "(?,?,?,?,?,?,?,?,?)",
};
const TOKENS: InsertNew =
    InsertNew { into: "token (user_id, device_id, hash, created_at_ms, expires_at_ms)", row: "(?,?,?,?,?)" };
const FRIENDS: InsertNew = InsertNew {
    into: "friend (user_id, friend_id, status, remarks, extra, description, created_at_ms, updated_at_ms)",
    row: "(?,?,?,?,?,'',?,?)",
};
const TOLD: InsertNew = InsertNew { into: "told (user_id, friend_id, what, told_at_ms)", row: "(?,?,?,?)" };

/// How many users there are.
pub const USED: &str = "SELECT COUNT(*) FROM user";

impl Store {
    /// Whether there is no user yet.
    pub async fn is_unused(&self) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar(USED).fetch_one(&self.database.reader).await?;
        Ok(count == 0)
    }

    /// Takes users over; how many were new.
    pub async fn import_users(&self, users: &[ImportedUser]) -> Result<u64, StoreError> {
        self.import(&USERS, users, bind_user).await
    }

    /// The phone numbers of those of these users who are there.
    pub async fn phone_numbers(&self, user_ids: &[u64]) -> Result<HashMap<u64, String>, StoreError> {
        let mut found = HashMap::with_capacity(user_ids.len());
        for user_ids in user_ids.chunks(READ_MAX) {
            let places = vec!["?"; user_ids.len()].join(",");
            let sql = format!("SELECT user_id, phone_number FROM user WHERE user_id IN ({places})");
            let query = sqlx::query_as(AssertSqlSafe(sql));
            let query = user_ids.iter().fold(query, |query, &user_id| query.bind(key(user_id)));
            let rows: Vec<(i64, String)> = query.fetch_all(&self.database.reader).await?;
            found.extend(rows.into_iter().map(|(user_key, phone_number)| (id(user_key), phone_number)));
        }
        Ok(found)
    }

    /// Takes tokens over; how many were new.
    pub async fn import_tokens(&self, tokens: &[ImportedToken]) -> Result<u64, StoreError> {
        self.import(&TOKENS, tokens, bind_token).await
    }

    /// Takes friendships and requests to be friends over, of which everybody knows; how many were new.
    pub async fn import_friends(&self, friends: &[ImportedFriend]) -> Result<u64, StoreError> {
        let inserted = self.import(&FRIENDS, friends, bind_friend).await?;
        self.import(&TOLD, friends, bind_told).await?;
        Ok(inserted)
    }

    async fn import<T>(
        &self,
        insert: &'static InsertNew,
        rows: &[T],
        bind: fn(AnyQuery, &T) -> AnyQuery,
    ) -> Result<u64, StoreError>
    where
        T: Sync,
    {
        let dialect = self.database.dialect;
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let inserted = insert.run(&mut transaction, dialect, rows, bind).await?;
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(inserted)
            }
        };
        Ok(self.database.writer.transact(work).await?)
    }
}

fn bind_user(query: AnyQuery, user: &ImportedUser) -> AnyQuery {
    let ImportedUser { user_id, phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms } =
        user.clone();
    let search_name = for_search(&nickname);
    query
        .bind(key(user_id))
        .bind(phone_number)
        .bind(nickname)
        .bind(search_name)
        .bind(i64::from(sex))
        .bind(avatar_url)
        .bind(extra)
        .bind(created_at_ms)
        .bind(updated_at_ms)
}

fn bind_token(query: AnyQuery, token: &ImportedToken) -> AnyQuery {
    let ImportedToken { user_id, device_id, text, created_at_ms, expires_at_ms } = token.clone();
    let stored = NewToken::of(text, created_at_ms, expires_at_ms).stored;
    query.bind(key(user_id)).bind(key(device_id)).bind(stored.hash).bind(created_at_ms).bind(expires_at_ms)
}

fn bind_friend(query: AnyQuery, friend: &ImportedFriend) -> AnyQuery {
    query
        .bind(key(friend.user_id))
        .bind(key(friend.friend_id))
        .bind(status(friend) as i64)
        .bind(friend.remarks.clone())
        .bind(friend.extra.clone())
        .bind(friend.created_at_ms)
        .bind(friend.updated_at_ms)
}

/// The numbers of what is told are those of the status.
fn bind_told(query: AnyQuery, friend: &ImportedFriend) -> AnyQuery {
    query.bind(key(friend.user_id)).bind(key(friend.friend_id)).bind(status(friend) as i64).bind(friend.updated_at_ms)
}

fn status(friend: &ImportedFriend) -> FriendStatus {
    if friend.is_agreed { FriendStatus::Friends } else { FriendStatus::Requested }
}
