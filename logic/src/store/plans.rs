//! How a database would run statements: for tests that hold what is asked often to its indexes. SQLite's plan stands for both databases,
//! which have the same keys.

use gim_config::sql::{Database, DatabaseSettings};
use sqlx::{AssertSqlSafe, Row as _};

/// Fails where a statement would read a table from one end to the other. What it makes itself, as `made` names it, it may.
#[cfg(test)]
pub(super) async fn assert_by_index(statement: &str, made: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let settings = DatabaseSettings::default();
    let database = Database::open(&settings, folder.path(), "plans.db", &super::migrations()).await.unwrap();
    let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
    let steps = explain.fetch_all(&database.reader).await.unwrap();
    let steps: Vec<String> = steps.iter().map(|step| step.get(3)).collect();
    let scans = steps.iter().filter_map(|step| step.strip_prefix("SCAN "));
    // A subquery without a name has one in brackets.
    let is_made = |of: &&str| made.contains(of) || *of == "CONSTANT ROW" || of.starts_with('(');
    let tables: Vec<&str> = scans.filter(|of| !is_made(of)).collect();
    assert!(!steps.is_empty() && tables.is_empty(), "{tables:?} would be read as a whole: {steps:#?}\n{statement}");
    database.close().await;
}
