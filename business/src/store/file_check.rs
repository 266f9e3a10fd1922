//! Contents that somebody has to look at before they can be read, and when that is asked for.
//!
//! Part of [`Store`], used by tasks of Tokio. Always holds: what a node asks about is handed to no node until the time which that one set.

use sqlx::{FromRow, Row as _, any::AnyRow};

use super::{Content, ContentState, Store, StoreError, file::number};
use crate::domain::file::FileHash;

/// A content that nobody has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedContent {
    pub content: Content,
    /// Who brought it first.
    pub user_id: u64,
    /// When it is asked about; 0 where it never was.
    pub ask_at_ms: i64,
    /// How often nobody answered.
    pub failed_checks: u32,
}

/// The next one about which nobody was asked: of the first user from one on the oldest.
const SELECT_NEW: &str = "SELECT sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, user_id, ask_at_ms, failed_checks \
     FROM file_content WHERE state = 0 AND ask_at_ms = 0 AND user_id >= ? ORDER BY user_id, created_at_ms LIMIT 1";

/// The next one whose time has come: of the first user from one on what was never asked about, then what waits for longest.
const SELECT_DUE: &str = "SELECT sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, user_id, ask_at_ms, failed_checks \
     FROM file_content WHERE state = 0 AND user_id >= ? AND ask_at_ms <= ? ORDER BY user_id, ask_at_ms, created_at_ms LIMIT 1";

impl Store {
    /// The oldest content about which nobody was asked, of the first user that has one from this one on.
    pub async fn new_content(&self, from_user: u64) -> Result<Option<UncheckedContent>, StoreError> {
        let query = sqlx::query_as(SELECT_NEW).bind(number(from_user));
        Ok(query.fetch_optional(&self.database.reader).await?)
    }

    /// The content that is to be asked about next, be it for the first time or again, of the first user that has one from this one on.
    pub async fn due_content(&self, from_user: u64, now_ms: i64) -> Result<Option<UncheckedContent>, StoreError> {
        let query = sqlx::query_as(SELECT_DUE).bind(number(from_user)).bind(now_ms);
        Ok(query.fetch_optional(&self.database.reader).await?)
    }

    /// Keeps others from asking about a content until then; `false` where somebody else does that already, or it was judged.
    pub async fn reserve_check(&self, found: &UncheckedContent, until_ms: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE file_content SET ask_at_ms = ? WHERE sha256 = ? AND state = 0 AND ask_at_ms = ?";
        let query = sqlx::query(sql).bind(until_ms).bind(&found.content.hash.0[..]).bind(found.ask_at_ms);
        Ok(query.execute(&self.database.writer).await?.rows_affected() == 1)
    }

    /// Says when a content is asked about again, and how often nobody answered.
    pub async fn put_off_check(&self, hash: FileHash, ask_at_ms: i64, failed_checks: u32) -> Result<(), StoreError> {
        let sql = "UPDATE file_content SET ask_at_ms = ?, failed_checks = ? WHERE sha256 = ? AND state = 0";
        let query = sqlx::query(sql).bind(ask_at_ms).bind(i64::from(failed_checks)).bind(&hash.0[..]);
        query.execute(&self.database.writer).await?;
        Ok(())
    }

    /// How many contents nobody has looked at, and when the oldest of them came; 0 where there is none.
    pub async fn unchecked_contents(&self) -> Result<(u64, i64), StoreError> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(MIN(created_at_ms), 0) AS SIGNED) FROM file_content WHERE state = 0";
        let (count, oldest_ms): (i64, i64) = sqlx::query_as(sql).fetch_one(&self.database.reader).await?;
        Ok((count.unsigned_abs(), oldest_ms))
    }

    /// Says what came of looking at a content.
    pub async fn judge_content(&self, hash: FileHash, state: ContentState) -> Result<(), StoreError> {
        let sql = "UPDATE file_content SET state = ? WHERE sha256 = ? AND state = 0";
        let query = sqlx::query(sql).bind(state.number()).bind(&hash.0[..]);
        query.execute(&self.database.writer).await?;
        Ok(())
    }
}

impl FromRow<'_, AnyRow> for UncheckedContent {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            content: Content::from_row(row)?,
            user_id: row.try_get::<i64, _>("user_id")?.unsigned_abs(),
            ask_at_ms: row.try_get("ask_at_ms")?,
            failed_checks: row.try_get::<i64, _>("failed_checks")?.try_into().unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::store::{
        UploadEnd,
        testing::{begun, on_mysql, temporary, unchecked, user},
    };

    on_both! {
        users_have_turns_and_each_has_the_oldest_first,
        what_is_asked_about_is_handed_to_nobody_else,
        what_was_asked_in_vain_comes_again_when_its_time_has_come,
        a_content_is_judged_once,
    }

    /// A file of a user with bytes of this hash.
    async fn bring(store: &Store, user_id: u64, byte: u8, now_ms: i64) -> Content {
        let file_id = begun(store, user_id, now_ms).await;
        let content = unchecked(file_id, byte);
        let end = UploadEnd { file_id, uploaded_bytes: 9, content, is_known: false, is_kept_anew: false, now_ms };
        store.finish_upload(end).await.unwrap().unwrap()
    }

    fn named(found: Option<UncheckedContent>) -> Option<(u64, u8)> {
        found.map(|found| (found.user_id, found.content.hash.0[0]))
    }

    async fn users_have_turns_and_each_has_the_oldest_first(store: Store) {
        let [alice, bob] = [user(&store, "1").await, user(&store, "2").await];
        for (user_id, byte, now_ms) in [(alice, 1, 30), (alice, 2, 10), (bob, 3, 20), (bob, 2, 40)] {
            bring(&store, user_id, byte, now_ms).await;
        }
        assert_eq!(named(store.new_content(0).await.unwrap()), Some((alice, 2)));
        assert_eq!(named(store.new_content(alice + 1).await.unwrap()), Some((bob, 3)), "who brought it first counts");
        assert_eq!(named(store.new_content(bob + 1).await.unwrap()), None);
        assert_eq!(store.unchecked_contents().await.unwrap(), (3, 10));
    }

    async fn what_is_asked_about_is_handed_to_nobody_else(store: Store) {
        let user_id = user(&store, "1").await;
        bring(&store, user_id, 1, 10).await;
        let found = store.new_content(0).await.unwrap().unwrap();
        assert!(store.reserve_check(&found, 900).await.unwrap());
        assert!(!store.reserve_check(&found, 901).await.unwrap(), "another node has it");
        assert_eq!(store.new_content(0).await.unwrap(), None);
        assert_eq!(store.due_content(0, 899).await.unwrap(), None);
        let left = store.due_content(0, 900).await.unwrap().unwrap();
        assert_eq!(
            (left.ask_at_ms, left.failed_checks),
            (900, 0),
            "a node that ended while it asked leaves it to others"
        );
    }

    async fn what_was_asked_in_vain_comes_again_when_its_time_has_come(store: Store) {
        let [alice, bob] = [user(&store, "1").await, user(&store, "2").await];
        for (user_id, byte) in [(alice, 1), (alice, 2), (bob, 3)] {
            bring(&store, user_id, byte, 10).await;
        }
        store.put_off_check(FileHash([1; 32]), 50, 1).await.unwrap();
        store.put_off_check(FileHash([3; 32]), 40, 4).await.unwrap();
        assert_eq!(named(store.due_content(0, 50).await.unwrap()), Some((alice, 2)), "what is new comes first");
        store.judge_content(FileHash([2; 32]), ContentState::Good).await.unwrap();
        assert_eq!(named(store.due_content(0, 49).await.unwrap()), Some((bob, 3)));
        assert_eq!(named(store.due_content(0, 50).await.unwrap()), Some((alice, 1)));
        assert_eq!(store.due_content(bob, 50).await.unwrap().unwrap().failed_checks, 4);
        assert_eq!(store.new_content(0).await.unwrap(), None);
        // As if it had never been asked about.
        store.put_off_check(FileHash([3; 32]), 0, 0).await.unwrap();
        assert_eq!(named(store.new_content(0).await.unwrap()), Some((bob, 3)));
    }

    async fn a_content_is_judged_once(store: Store) {
        let content = bring(&store, user(&store, "1").await, 1, 10).await;
        store.judge_content(content.hash, ContentState::Refused).await.unwrap();
        store.judge_content(content.hash, ContentState::Good).await.unwrap();
        store.put_off_check(content.hash, 20, 1).await.unwrap();
        assert_eq!(store.content(content.hash).await.unwrap().unwrap().state, ContentState::Refused);
        assert_eq!(store.due_content(0, 1_000).await.unwrap(), None);
        assert_eq!(store.unchecked_contents().await.unwrap(), (0, 0));
    }

    const NEXT: [(&str, &str); 2] = [(SELECT_NEW, "file_content_new"), (SELECT_DUE, "file_content_waiting")];

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite_finds_who_is_next_by_an_index_of_what_waits() {
        let (_folder, store) = temporary().await;
        for (statement, index) in NEXT {
            let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
            let steps = explain.fetch_all(&store.database.reader).await.unwrap();
            let steps: Vec<String> = steps.iter().map(|step| step.get(3)).collect();
            assert!(steps.len() == 1 && steps[0].contains(&format!("USING INDEX {index} ")), "not sorted: {steps:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mariadb_finds_who_is_next_by_an_index_of_what_waits() {
        let store = on_mysql().await;
        // Of 50 users, who have many files: one in ten waits, and one in twenty was never asked about.
        let fill = "INSERT INTO file_content (sha256, content_id, size_bytes, kind, state, width, height, thumbnail_bytes, \
                    created_at_ms, user_id, ask_at_ms) SELECT UNHEX(LPAD(HEX(seq), 64, '0')), UNHEX(LPAD(HEX(seq), 32, '0')), 1, '', \
                    IF(seq % 10 = 0, 0, 1), 0, 0, 0, seq, seq DIV 200, IF(seq % 20 = 0, 0, seq) FROM seq_1_to_10000";
        for statement in [fill, "ANALYZE TABLE file_content"] {
            sqlx::query(statement).fetch_all(&store.database.writer).await.unwrap();
        }
        for (statement, index) in NEXT {
            let explain = format!("EXPLAIN {}", statement.replace('?', "7"));
            let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&store.database.reader).await.unwrap();
            let text = |name: &str| steps[0].get::<Option<String>, _>(name).unwrap_or_default();
            assert_eq!((steps.len(), text("type").as_str(), text("key").as_str()), (1, "range", index));
            assert!(!text("Extra").contains("filesort"), "not sorted: {}", text("Extra"));
        }
    }
}
