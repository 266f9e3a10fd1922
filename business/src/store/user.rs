//! Users: found by id, by phone number, by what their nickname contains.
//!
//! Part of [`Store`], used by tasks of Tokio. Always holds: a phone number has one user, and a new user and their first token are made in
//! one transaction.

use std::sync::Arc;

use gim_config::sql::{self, Database, Dialect};
use sqlx::{AnyConnection, FromRow, QueryBuilder, Row as _, any::AnyRow};

use super::{Store, StoreError, dialect, id, key, token};
use crate::domain::{
    token::NewToken,
    user::{Profile, User, for_search},
};

/// Stands before `%`, `_` and itself in a LIKE pattern. No backslash: databases differ in how they read one in a
/// literal.
const LIKE_ESCAPE: char = '!';

/// Users among whom one statement of a search looks.
const SEARCHED_IN_A_STEP: u64 = 20_000;

/// Users whose names for searches are computed in one transaction.
const FILLED_IN_A_STEP: i64 = 500;

/// Who signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    pub user_id: u64,
    /// Whether this sign-in made the user.
    pub is_new: bool,
    /// Whether the device had a token that was still good.
    pub has_replaced: bool,
}

/// A row of `user`; also part of the rows of friends.
#[derive(Debug)]
pub(super) struct UserRow {
    user_id: i64,
    phone_number: String,
    nickname: String,
    sex: i64,
    avatar_url: String,
    extra: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

impl FromRow<'_, AnyRow> for UserRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            user_id: row.try_get("user_id")?,
            phone_number: row.try_get("phone_number")?,
            nickname: row.try_get("nickname")?,
            sex: row.try_get("sex")?,
            avatar_url: row.try_get("avatar_url")?,
            extra: row.try_get("extra")?,
            created_at_ms: row.try_get("created_at_ms")?,
            updated_at_ms: row.try_get("updated_at_ms")?,
        })
    }
}

/// A sign-in whose code was right.
#[derive(Clone)]
pub(super) struct SignIn {
    phone_number: String,
    device_id: u64,
    now_ms: i64,
    token: Arc<dyn Fn(u64) -> NewToken + Send + Sync>,
}

/// Who signed in, and the token's text; or why one alone failed.
pub(super) type SignInOutcome = Result<(SignedIn, String), StoreError>;

/// Writes sign-ins in one transaction; each in one of its own where that fails.
pub(super) async fn sign_in(database: Database, sign_ins: Vec<SignIn>) -> Result<Vec<SignInOutcome>, StoreError> {
    match sign_in_together(&database, &sign_ins).await {
        Ok(done) => Ok(done.into_iter().map(Ok).collect()),
        Err(StoreError::Failed(_)) if sign_ins.len() > 1 => {
            let mut outcomes = Vec::with_capacity(sign_ins.len());
            for one in sign_ins {
                let done = sign_in_together(&database, &[one]).await;
                outcomes.push(done.and_then(|mut done| done.pop().ok_or_else(|| sqlx::Error::RowNotFound.into())));
            }
            Ok(outcomes)
        }
        Err(error) => Err(error),
    }
}

async fn sign_in_together(database: &Database, sign_ins: &[SignIn]) -> Result<Vec<(SignedIn, String)>, StoreError> {
    let work = || {
        async |connection: &mut AnyConnection| {
            let mut transaction = sql::begin(connection).await?;
            let mut done = Vec::with_capacity(sign_ins.len());
            for one in sign_ins {
                done.push(sign_in_one(&mut transaction, database.dialect, one).await?);
            }
            transaction.commit().await?;
            Ok(done)
        }
    };
    database.writer.transact(work).await
}

async fn sign_in_one(
    connection: &mut AnyConnection,
    dialect: Dialect,
    sign_in: &SignIn,
) -> Result<(SignedIn, String), StoreError> {
    let SignIn { phone_number, device_id, now_ms, token } = sign_in;
    let known = user_key_of(connection, phone_number).await?;
    let (user_key, is_new) = match known {
        Some(user_key) => (user_key, false),
        // Waits for a concurrent transaction that makes the same user, and then sees her. Not for users who are known: an insert that
        // changes nothing takes a user id on MariaDB.
        None => {
            let insert = sqlx::query(dialect::insert_new_user(dialect)).bind(phone_number.as_str());
            let inserted = insert.bind(*now_ms).bind(*now_ms).execute(&mut *connection).await?;
            let user_key = user_key_of(connection, phone_number).await?.ok_or(sqlx::Error::RowNotFound)?;
            (user_key, inserted.rows_affected() > 0)
        }
    };
    let NewToken { text, stored } = token(id(user_key));
    let has_replaced = token::replace(connection, id(user_key), *device_id, &stored).await?;
    Ok((SignedIn { user_id: id(user_key), is_new, has_replaced }, text))
}

async fn user_key_of(connection: &mut AnyConnection, phone_number: &str) -> Result<Option<i64>, sqlx::Error> {
    let query = sqlx::query_scalar("SELECT user_id FROM user WHERE phone_number = ?").bind(phone_number);
    query.fetch_optional(&mut *connection).await
}

macro_rules! select_users {
    ($condition:literal) => {
        concat!(
            "SELECT user_id, phone_number, nickname, sex, avatar_url, extra, created_at_ms, updated_at_ms FROM user ",
            $condition
        )
    };
}

impl Store {
    /// The user of a phone number gets a token for a device, which is made once her id is known and whose text is returned; one who
    /// was never seen is made. Of several such calls at once for a new number, exactly one makes the user. Those that come together
    /// share a transaction, and of too many at once some are put off: they are strangers, for whom nobody else waits.
    pub async fn sign_in(
        &self,
        phone_number: &str,
        device_id: u64,
        now_ms: i64,
        token: impl Fn(u64) -> NewToken + Send + Sync + 'static,
    ) -> Result<(SignedIn, String), StoreError> {
        let _place =
            self.sign_in_places.try_acquire().map_err(|_| StoreError::Busy(Arc::new(sqlx::Error::PoolTimedOut)))?;
        let sign_in = SignIn { phone_number: phone_number.to_owned(), device_id, now_ms, token: Arc::new(token) };
        let done = self.sign_ins.ask(sign_in).await;
        done.unwrap_or_else(|| Err(sqlx::Error::PoolClosed.into()))?
    }

    /// The user with this id.
    pub async fn user(&self, user_id: u64) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = sqlx::query_as(select_users!("WHERE user_id = ?"))
            .bind(key(user_id))
            .fetch_optional(&self.database.reader)
            .await?;
        Ok(row.map(User::from))
    }

    /// Those of these users that exist, in no order.
    pub async fn users(&self, user_ids: impl IntoIterator<Item = u64>) -> Result<Vec<User>, StoreError> {
        let mut query = QueryBuilder::new(select_users!("WHERE user_id IN ("));
        let mut ids = query.separated(", ");
        for user_id in user_ids {
            ids.push_bind(key(user_id));
        }
        ids.push_unseparated(")");
        // The text differs with every count of ids: a cache of prepared statements would only fill with them.
        let query = query.build_query_as::<UserRow>().persistent(false);
        let rows = query.fetch_all(&self.database.reader).await?;
        Ok(rows.into_iter().map(User::from).collect())
    }

    /// A page of `count_max` users: on the first one (`from` 0) the user of exactly this phone number, then those whose nickname
    /// contains `text` ([`for_search`]), or whose phone number does where `by_part_of_number`, by ascending id. Blanks around it do not
    /// count. With it comes the `from` of the next page, 0 after the last one. `user_id` asks. One search is under way at a time, by turns between users, and takes its turn to read
    /// for each piece of the table: in a large one it holds up other searches, and nothing else.
    pub async fn search(
        &self,
        user_id: u64,
        text: &str,
        from: u64,
        count_max: u32,
        by_part_of_number: bool,
    ) -> Result<(Vec<User>, u64), StoreError> {
        let _search = self.searches.take(user_id).await?;
        let text = text.trim();
        let mut found = self.exactly(user_id, text, from).await?;
        let wanted = count_max as usize + 1;
        let mut first = from.max(1);
        let newest = self.newest_user_id(user_id).await?;
        let name = for_search(text);
        let part_of_number = by_part_of_number.then(|| containing(text));
        // What consists of accents alone is found nowhere, not everywhere.
        while !name.is_empty() && first <= newest && found.len() < wanted {
            let after = first.saturating_add(SEARCHED_IN_A_STEP);
            let _turn = self.database.user_reads.take(user_id).await?;
            let rows: Vec<UserRow> = sqlx::query_as(select_users!(
                "WHERE user_id >= ? AND user_id < ? AND (search_name LIKE ? ESCAPE '!' OR phone_number LIKE ? ESCAPE '!') \
                 AND phone_number <> ? ORDER BY user_id LIMIT ?"
            ))
            .bind(key(first))
            .bind(after as i64)
            .bind(containing(&name))
            .bind(&part_of_number)
            .bind(text)
            .bind((wanted - found.len()) as i64)
            .fetch_all(&self.database.reader)
            .await?;
            found.extend(rows);
            first = after;
        }
        let next = if found.len() == wanted { found.pop().map_or(0, |row| id(row.user_id)) } else { 0 };
        Ok((found.into_iter().map(User::from).collect(), next))
    }

    /// The user of this very phone number, where it is the first page.
    async fn exactly(&self, user_id: u64, phone_number: &str, from: u64) -> Result<Vec<UserRow>, StoreError> {
        if from != 0 {
            return Ok(Vec::new());
        }
        let _turn = self.database.user_reads.take(user_id).await?;
        let query = sqlx::query_as(select_users!("WHERE phone_number = ?")).bind(phone_number);
        Ok(query.fetch_all(&self.database.reader).await?)
    }

    async fn newest_user_id(&self, user_id: u64) -> Result<u64, StoreError> {
        let _turn = self.database.user_reads.take(user_id).await?;
        let newest: Option<i64> = sqlx::query_scalar("SELECT user_id FROM user ORDER BY user_id DESC LIMIT 1")
            .fetch_optional(&self.database.reader)
            .await?;
        Ok(newest.map_or(0, id))
    }

    /// Computes the names for searches that are missing, in short transactions; what one did is done when it is broken off.
    pub async fn fill_search_names(&self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let work = async |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                let rows: Vec<(i64, String)> = sqlx::query_as(
                    "SELECT user_id, nickname FROM user WHERE user_id > ? AND search_name IS NULL ORDER BY user_id LIMIT ?",
                )
                .bind(after)
                .bind(FILLED_IN_A_STEP)
                .fetch_all(&mut *transaction)
                .await?;
                for (user_key, nickname) in &rows {
                    // Who changed her name meanwhile has one.
                    sqlx::query("UPDATE user SET search_name = ? WHERE user_id = ? AND search_name IS NULL")
                        .bind(for_search(nickname))
                        .bind(user_key)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok::<_, sqlx::Error>(rows.last().map(|(user_key, _)| *user_key))
            };
            match self.database.writer.run(work).await? {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Replaces what a user says about herself; whether there is such a user.
    pub async fn update_profile(&self, user_id: u64, profile: &Profile, now_ms: i64) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE user SET nickname = ?, search_name = ?, sex = ?, avatar_url = ?, extra = ?, updated_at_ms = ? \
             WHERE user_id = ?",
        )
        .bind(profile.nickname.as_str())
        .bind(for_search(&profile.nickname))
        .bind(i64::from(profile.sex))
        .bind(profile.avatar_url.as_str())
        .bind(profile.extra.as_str())
        .bind(now_ms)
        .bind(key(user_id))
        .execute(&self.database.writer)
        .await?;
        Ok(updated.rows_affected() > 0)
    }
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        // Only an i32 is ever stored as sex.
        let sex = i32::try_from(row.sex).unwrap_or_default();
        let profile = Profile { nickname: row.nickname, sex, avatar_url: row.avatar_url, extra: row.extra };
        Self {
            user_id: id(row.user_id),
            phone_number: row.phone_number,
            profile,
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms,
        }
    }
}

/// A LIKE pattern for texts that contain `text`, whatever its characters mean to LIKE.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | LIKE_ESCAPE) {
            pattern.push(LIKE_ESCAPE);
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::user;

    on_both! {
        many_first_sign_ins_of_a_number_at_once_make_one_user,
        a_profile_is_read_as_it_was_written,
        only_users_that_exist_are_found_by_id,
        a_search_takes_its_text_literally,
        a_search_means_the_same_on_every_database,
        names_for_searches_that_are_missing_are_computed,
        a_search_puts_the_phone_number_first_and_stops_at_its_limit,
        a_part_of_a_phone_number_finds_only_where_that_is_asked_for,
        pages_of_a_search_hold_everybody_once,
    }

    async fn named(store: &Store, phone_number: &str, nickname: &str) -> u64 {
        let user_id = user(store, phone_number).await;
        let profile = Profile { nickname: nickname.into(), ..Profile::default() };
        assert!(store.update_profile(user_id, &profile, 5).await.unwrap());
        user_id
    }

    async fn found(store: &Store, text: &str, count_max: u32) -> Vec<u64> {
        store.search(1, text, 0, count_max, false).await.unwrap().0.iter().map(|user| user.user_id).collect()
    }

    async fn many_first_sign_ins_of_a_number_at_once_make_one_user(store: Store) {
        let mut tasks = tokio::task::JoinSet::new();
        for device_id in 1..=16 {
            let store = store.clone();
            tasks.spawn(async move { store.admit("1", device_id, &NewToken::make(0, 1_000).stored).await.unwrap() });
        }
        let signed_in = tasks.join_all().await;
        assert_eq!(signed_in.iter().filter(|signed_in| signed_in.is_new).count(), 1);
        assert!(signed_in.iter().all(|other| other.user_id == signed_in[0].user_id));
    }

    async fn a_profile_is_read_as_it_was_written(store: Store) {
        let user_id = user(&store, "1").await;
        let profile = Profile { nickname: "Zoë\0".into(), sex: i32::MIN, avatar_url: "a".into(), extra: "{}".into() };
        assert!(store.update_profile(user_id, &profile, 77).await.unwrap());
        let user = store.user(user_id).await.unwrap().unwrap();
        assert_eq!((user.profile, user.created_at_ms, user.updated_at_ms), (profile, 0, 77));
        assert!(!store.update_profile(user_id + 1, &Profile::default(), 77).await.unwrap());
    }

    async fn only_users_that_exist_are_found_by_id(store: Store) {
        let [first, second] = [user(&store, "1").await, user(&store, "2").await];
        let users = store.users([first, 999, second]).await.unwrap();
        assert_eq!(users.iter().map(|user| user.user_id).collect::<Vec<_>>(), [first, second]);
        assert_eq!(store.user(999).await.unwrap(), None);
    }

    async fn a_search_takes_its_text_literally(store: Store) {
        let percent = named(&store, "1", "100% sure").await;
        let under = named(&store, "2", "snake_case").await;
        let bang = named(&store, "3", "hey!").await;
        let plain = named(&store, "4", "100 snakes").await;
        assert_eq!(found(&store, "0%", 9).await, [percent]);
        assert_eq!(found(&store, "e_c", 9).await, [under]);
        assert_eq!(found(&store, "!", 9).await, [bang]);
        assert_eq!(found(&store, "snake", 9).await, [under, plain]);
        assert_eq!(found(&store, "' OR 1=1 --", 9).await, [0; 0]);
    }

    async fn a_search_means_the_same_on_every_database(store: Store) {
        let names = ["Sushi 🍣", "Beer 🍺", "Zoë", "zoe", "Ünal", "Straße", "明 李", "a\u{200d}b"];
        let mut ids = Vec::new();
        for (number, name) in names.into_iter().enumerate() {
            ids.push(named(&store, &format!("+1555{number}"), name).await);
        }
        let cases: [(&str, &[usize]); 11] = [
            ("🍣", &[0]),
            ("👩\u{200d}👩", &[]),
            ("ZOE", &[2, 3]),
            ("Zoë", &[2, 3]),
            ("unal", &[4]),
            ("STRASSE", &[5]),
            ("李", &[6]),
            (" 明 ", &[6]),
            ("ab", &[]),
            ("+15551 ", &[1]),
            ("\u{301}", &[]),
        ];
        for (key, expected) in cases {
            let expected: Vec<u64> = expected.iter().map(|&index| ids[index]).collect();
            assert_eq!(found(&store, key, 9).await, expected, "{key:?}");
        }
    }

    async fn names_for_searches_that_are_missing_are_computed(store: Store) {
        let mut ids = Vec::new();
        for number in 0..3 {
            ids.push(named(&store, &format!("{number}"), &format!("Zoë {number}")).await);
        }
        let forget = sqlx::query("UPDATE user SET search_name = NULL WHERE user_id <> ?").bind(key(ids[1]));
        forget.execute(&store.database.writer).await.unwrap();
        assert_eq!(found(&store, "zoe", 9).await, [ids[1]]);
        store.fill_search_names().await.unwrap();
        assert_eq!(found(&store, "zoe", 9).await, ids);
    }

    async fn a_search_puts_the_phone_number_first_and_stops_at_its_limit(store: Store) {
        let [first, second] = [named(&store, "1", "call 333").await, named(&store, "2", "333").await];
        let exact = named(&store, "333", "333").await;
        assert_eq!(found(&store, "333", 9).await, [exact, first, second]);
        assert_eq!(found(&store, "333", 2).await, [exact, first]);
        assert_eq!(found(&store, "33", 1).await, [first]);
    }

    async fn a_part_of_a_phone_number_finds_only_where_that_is_asked_for(store: Store) {
        let [ada, bob] = [named(&store, "13800000001", "Ada").await, named(&store, "13900000001", "Bob").await];
        named(&store, "13700000002", "Eve").await;
        for (text, expected) in
            [("0001", vec![ada, bob]), ("138", vec![ada]), ("13900000001", vec![bob]), ("%", vec![])]
        {
            let (users, _) = store.search(1, text, 0, 9, true).await.unwrap();
            assert_eq!(users.iter().map(|user| user.user_id).collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(found(&store, "0001", 9).await, [0; 0]);
    }

    async fn pages_of_a_search_hold_everybody_once(store: Store) {
        for number in 0..7 {
            named(&store, &number.to_string(), "call 333").await;
        }
        named(&store, "333", "333").await;
        let whole = found(&store, "333", 100).await;
        assert_eq!(whole.len(), 8);
        for count_max in 1..=9 {
            let (mut pages, mut from) = (Vec::new(), 0);
            loop {
                let (page, next) = store.search(1, "333", from, count_max, false).await.unwrap();
                assert!(page.len() <= count_max as usize);
                pages.extend(page.iter().map(|user| user.user_id));
                if next == 0 {
                    break;
                }
                from = next;
            }
            assert_eq!(pages, whole, "{count_max}");
        }
    }
}
