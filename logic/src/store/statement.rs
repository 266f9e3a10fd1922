//! Statements over many rows: prepared ones come in a few fixed sizes, so that each is prepared once and then found in the
//! cache. How the inbox writer sends several at once stands in [`super::script`].

use std::ops::Range;

use sqlx::{AnyConnection, AssertSqlSafe, any::AnyArguments, any::AnyRow, query::Query};

/// Rows of the largest statement. Larger ones gain nothing, and databases limit the number of parameters.
const ROWS_MAX: usize = 256;

/// A query under construction. Its parameters are owned by it.
pub(super) type AnyQuery = Query<'static, sqlx::Any, AnyArguments>;

/// A statement with a repeated part: `head row, row, row tail`. Each `?` is a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct MultiRow {
    pub head: &'static str,
    pub row: &'static str,
    pub tail: &'static str,
}

impl MultiRow {
    pub(super) fn sql(&self, count: usize) -> AssertSqlSafe<String> {
        let mut sql = String::with_capacity(self.head.len() + self.tail.len() + count * (self.row.len() + 1));
        sql.push_str(self.head);
        for index in 0..count {
            if index > 0 {
                sql.push(',');
            }
            sql.push_str(self.row);
        }
        sql.push_str(self.tail);
        AssertSqlSafe(sql)
    }

    /// Runs the statement for all rows.
    pub(super) async fn execute<T>(
        &self,
        connection: &mut AnyConnection,
        rows: &[T],
        bind: impl Fn(AnyQuery, &T) -> AnyQuery,
    ) -> Result<(), sqlx::Error> {
        for range in chunks(rows.len()) {
            let query = sqlx::query(self.sql(range.len()));
            rows[range].iter().fold(query, &bind).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Runs the statement for all rows, with parameters of its tail.
    pub(super) async fn execute_then<T>(
        &self,
        connection: &mut AnyConnection,
        rows: &[T],
        bind: impl Fn(AnyQuery, &T) -> AnyQuery,
        bind_tail: impl Fn(AnyQuery) -> AnyQuery,
    ) -> Result<(), sqlx::Error> {
        for range in chunks(rows.len()) {
            let query = sqlx::query(self.sql(range.len()));
            bind_tail(rows[range].iter().fold(query, &bind)).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Runs the statement for all rows, with parameters of its tail, and collects what it returns.
    pub(super) async fn fetch_then<T>(
        &self,
        connection: &mut AnyConnection,
        rows: &[T],
        bind: impl Fn(AnyQuery, &T) -> AnyQuery,
        bind_tail: impl Fn(AnyQuery) -> AnyQuery,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut fetched = Vec::new();
        for range in chunks(rows.len()) {
            let query = sqlx::query(self.sql(range.len()));
            fetched.extend(bind_tail(rows[range].iter().fold(query, &bind)).fetch_all(&mut *connection).await?);
        }
        Ok(fetched)
    }

    /// Runs the statement for all rows and collects what it returns.
    pub(super) async fn fetch<T>(
        &self,
        connection: &mut AnyConnection,
        rows: &[T],
        bind: impl Fn(AnyQuery, &T) -> AnyQuery,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let mut fetched = Vec::new();
        for range in chunks(rows.len()) {
            let query = sqlx::query(self.sql(range.len()));
            fetched.extend(rows[range].iter().fold(query, &bind).fetch_all(&mut *connection).await?);
        }
        Ok(fetched)
    }
}

/// Cuts `0..count` into ranges whose lengths are powers of two, the largest first.
pub(super) fn chunks(count: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = count - start;
        if left == 0 {
            return None;
        }
        let length = (1 << left.ilog2()).min(ROWS_MAX);
        start += length;
        Some(start - length..start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_rows_in_few_sizes() {
        for count in [0, 1, 2, 3, 255, 256, 257, 1000] {
            let ranges: Vec<_> = chunks(count).collect();
            let covered: Vec<usize> = ranges.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..count).collect::<Vec<_>>());
            assert!(ranges.iter().all(|range| range.len().is_power_of_two() && range.len() <= ROWS_MAX));
        }
    }

    #[test]
    fn rows_are_joined_by_commas() {
        let statement = MultiRow { head: "INSERT INTO t VALUES ", row: "(?,?)", tail: " RETURNING a" };
        assert_eq!(statement.sql(2).0, "INSERT INTO t VALUES (?,?),(?,?) RETURNING a");
    }
}
