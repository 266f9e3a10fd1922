//! Lists of words that were put by calls: one for each kind, with a version that rises whenever it is put.

use gim_config::sql::{Database, Pool};
use sqlx::{Row as _, any::AnyRow};

use super::error::StoreError;

const VERSIONS: &str = "SELECT version FROM word_list ORDER BY kind";
const ALL: &str = "SELECT kind, version, changed_at_ms, words FROM word_list ORDER BY kind";
const PUT: &str = "UPDATE word_list SET version = version + 1, changed_at_ms = ?, words = ? WHERE kind = ?";

/// A list as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWordList {
    /// A `logic.WordListKind`.
    pub kind: i64,
    /// Rises with each change.
    pub version: i64,
    /// 0 for never.
    pub changed_at_ms: i64,
    /// A line for each word.
    pub words: String,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct StoredWordLists {
    reader: Pool,
    writer: Pool,
}

impl StoredWordLists {
    pub(super) fn new(database: &Database) -> Self {
        Self { reader: database.reader.clone(), writer: database.writer.clone() }
    }

    /// Those of all kinds, which tell whether anything changed.
    pub async fn versions(&self) -> Result<Vec<i64>, StoreError> {
        Ok(sqlx::query_scalar(VERSIONS).fetch_all(&self.reader).await?)
    }

    /// All lists.
    pub async fn all(&self) -> Result<Vec<StoredWordList>, StoreError> {
        let rows = sqlx::query(ALL).fetch_all(&self.reader).await?;
        let read = |row: &AnyRow| {
            let words: Vec<u8> = row.try_get(3)?;
            let words = String::from_utf8(words).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(StoredWordList {
                kind: row.try_get(0)?,
                version: row.try_get(1)?,
                changed_at_ms: row.try_get(2)?,
                words,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Puts a list in the place of the one of its kind.
    pub async fn put(&self, kind: i64, words: &str, now_ms: i64) -> Result<(), StoreError> {
        let query = sqlx::query(PUT).bind(now_ms).bind(words.as_bytes().to_vec()).bind(kind);
        query.execute(&self.writer).await?;
        Ok(())
    }
}
