//! Who walks over what is stored, and how far: one row for each walk, which one process at a time holds.
//!
//! Always holds: where a walk is moved by whoever does not hold it any more, nothing happens. Who holds it shows that by beats; when they
//! stop is for others to see ([`crate::walk`]).

use gim_config::sql::{Database, Dialect, Pool};
use sqlx::{Row as _, any::AnyRow};

use super::{
    columns::{from_sql, to_sql},
    error::StoreError,
};

/// Up to where retention may have deleted.
pub(super) const DELETED_UP_TO: &str = "SELECT cursor_id FROM message_walk WHERE name = 'retention'";

const GET: &str = "SELECT cursor_id, holder, is_paused, beat FROM message_walk WHERE name = ?";

/// The row of all streams of events: how far ids were settled when one was open.
pub const STREAMS: &str = "streams";

/// The row of retention: what stands up to there may be deleted.
pub const RETENTION: &str = "retention";

/// A walk, as it stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkRow {
    /// Everything up to this id is done.
    pub cursor_id: u64,
    /// Who holds it; 0 for nobody.
    pub holder: u64,
    /// Whether it is to stand still.
    pub is_paused: bool,
    /// Rises as long as somebody holds it.
    pub beat: i64,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Walks {
    /// Asked where it is written, where that may be another server: a replica may not know yet who holds a walk.
    asked: Pool,
    writer: Pool,
}

impl Walks {
    pub(super) fn new(database: &Database) -> Self {
        let asked = match database.dialect {
            Dialect::Sqlite => database.reader.clone(),
            Dialect::Mysql => database.writer.clone(),
        };
        Self { asked, writer: database.writer.clone() }
    }

    /// A walk, if it was ever begun.
    pub async fn get(&self, name: &str) -> Result<Option<WalkRow>, StoreError> {
        let row = sqlx::query(GET).bind(name.to_owned()).fetch_optional(&self.asked).await?;
        Ok(row.as_ref().map(read_walk).transpose()?)
    }

    /// Begins a walk after an id, unless it was begun before.
    pub async fn begin(&self, name: &str, cursor_id: u64) -> Result<(), StoreError> {
        let query =
            sqlx::query("INSERT INTO message_walk (name, cursor_id, holder, is_paused, beat) VALUES (?, ?, 0, 0, 1)");
        match query.bind(name.to_owned()).bind(to_sql(cursor_id)).execute(&self.writer).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
            begun => Ok(begun.map(drop)?),
        }
    }

    /// Takes a walk that is as it was seen; whether it is ours now.
    pub async fn take(&self, name: &str, seen: WalkRow, holder: u64) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE message_walk SET holder = ?, beat = beat + 1 WHERE name = ? AND holder = ? AND beat = ?",
        );
        let query = query.bind(to_sql(holder)).bind(name.to_owned()).bind(to_sql(seen.holder)).bind(seen.beat);
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Moves a walk on, or only shows that it is held; whether it was still ours.
    pub async fn advance(&self, name: &str, holder: u64, cursor_id: u64) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE message_walk SET cursor_id = ?, beat = beat + 1 WHERE name = ? AND holder = ?");
        let query = query.bind(to_sql(cursor_id)).bind(name.to_owned()).bind(to_sql(holder));
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Gives a walk back, if it is still ours.
    pub async fn leave(&self, name: &str, holder: u64) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE message_walk SET holder = 0, beat = beat + 1 WHERE name = ? AND holder = ?");
        query.bind(name.to_owned()).bind(to_sql(holder)).execute(&self.writer).await?;
        Ok(())
    }

    /// Has a walk stand still, or go on; whether there is one.
    pub async fn pause(&self, name: &str, is_paused: bool) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE message_walk SET is_paused = ?, beat = beat + 1 WHERE name = ?");
        let query = query.bind(i64::from(is_paused)).bind(name.to_owned());
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Sends a walk elsewhere: whoever holds it has to take it anew. Whether there is one.
    pub async fn replay(&self, name: &str, cursor_id: u64) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE message_walk SET cursor_id = ?, holder = 0, beat = beat + 1 WHERE name = ?");
        let query = query.bind(to_sql(cursor_id)).bind(name.to_owned());
        Ok(query.execute(&self.writer).await?.rows_affected() > 0)
    }

    /// Notes that the streams of this node are open, and how far ids are settled.
    pub async fn show_streams(&self, settled_id: u64) -> Result<(), StoreError> {
        self.note(STREAMS, settled_id, 1).await
    }

    /// Notes, before it is done, up to where retention deletes.
    pub async fn delete_up_to(&self, id: u64) -> Result<(), StoreError> {
        self.note(RETENTION, id, 0).await
    }

    /// Moves a row on that nobody holds, never back.
    async fn note(&self, name: &str, id: u64, beats: i64) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE message_walk SET cursor_id = CASE WHEN cursor_id < ? THEN ? ELSE cursor_id END, beat = beat + ? \
             WHERE name = ?",
        );
        let query = query.bind(to_sql(id)).bind(to_sql(id)).bind(beats).bind(name.to_owned());
        match query.execute(&self.writer).await?.rows_affected() {
            0 => self.begin(name, id).await,
            _ => Ok(()),
        }
    }

    /// Up to which id all walks are done that retention waits for; `None` without any. Pushes are handed out within minutes, or never.
    pub async fn slowest(&self) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query_scalar(
            "SELECT MIN(cursor_id) FROM message_walk WHERE cursor_id > 0 AND name <> 'streams' AND name <> 'retention' \
             AND name <> 'offline_push'",
        );
        let id: Option<i64> = query.fetch_one(&self.asked).await?;
        Ok(id.map(from_sql))
    }
}

fn read_walk(row: &AnyRow) -> Result<WalkRow, sqlx::Error> {
    Ok(WalkRow {
        cursor_id: from_sql(row.try_get(0)?),
        holder: from_sql(row.try_get(1)?),
        is_paused: row.try_get::<i64, _>(2)? != 0,
        beat: row.try_get(3)?,
    })
}
