//! Statements over many rows that leave rows alone that are there: what is taken over may be taken over again.
//!
//! On any task, inside the transaction of whoever calls.

use sqlx::{Any, AnyConnection, AssertSqlSafe, any::AnyArguments, query::Query};

use super::Dialect;

/// Rows of one statement: more gain nothing, and databases limit the number of parameters.
const ROWS_MAX: usize = 256;

/// Such a statement.
#[derive(Debug, Clone, Copy)]
pub struct InsertNew {
    /// A table and its columns, as in `told (user_id, what)`.
    pub into: &'static str,
    /// The values of a row, as in `(?,?)`.
    pub row: &'static str,
}

impl InsertNew {
    /// Inserts those of the rows that are not there. Returns how many.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn run<T>(
        &self,
        connection: &mut AnyConnection,
        dialect: Dialect,
        rows: &[T],
        bind: impl Fn(Query<'static, Any, AnyArguments>, &T) -> Query<'static, Any, AnyArguments>,
    ) -> Result<u64, sqlx::Error> {
        let verb = match dialect {
            Dialect::Sqlite => "INSERT OR IGNORE INTO",
            Dialect::Mysql => "INSERT IGNORE INTO",
        };
        let mut inserted = 0;
        for rows in rows.chunks(ROWS_MAX) {
            let values = vec![self.row; rows.len()].join(",");
            let query = sqlx::query(AssertSqlSafe(format!("{verb} {} VALUES {values}", self.into)));
            inserted += rows.iter().fold(query, &bind).execute(&mut *connection).await?.rows_affected();
        }
        Ok(inserted)
    }
}
