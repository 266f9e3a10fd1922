//! How databases would run statements: for tests that hold what is asked often to its indexes. SQLite tells it of empty tables; MariaDB
//! looks at how much there is, so that its tables are filled first.

use std::path::Path;

use gim_config::{
    sql::{Database, DatabaseSettings, Dialect},
    testing,
};
use sqlx::{AssertSqlSafe, Row as _};

/// The numbers from 0 to 9,999.
const NUMBERS: &str =
    "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM digit a, digit b, digit c, digit e) numbers";

/// Rows of 25 users and more, in 50 groups and more: so many that to read all of them is dear. For whatever is asked for there is the
/// number 7: also whether it is a group.
const FILL: [&str; 16] = [
    "CREATE TABLE digit (d BIGINT NOT NULL PRIMARY KEY)",
    "INSERT INTO digit (d) VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
    "INSERT INTO inbox (user_id, seq) SELECT n + 1, 10000 FROM",
    "INSERT INTO message (id, command, content, sender_id, created_at_ms, status, send_key) \
     SELECT n + 1, n % 300, '', n % 25, n, 0, n FROM",
    "INSERT INTO other_inbox (user_id, seq, message_id) SELECT n % 25, n + 1, n + 1 FROM",
    "INSERT INTO direct_inbox (user_id, peer_id, seq, message_id) SELECT n % 25, n % 49, n + 1, n + 1 FROM",
    "INSERT INTO chat_group (id, kind, name, avatar_url, introduction, extra, member_count, admin_count, version, seq, \
     large_after_seq, created_at_ms, updated_at_ms) SELECT n + 1, n % 2, '', '', '', '', 1, 1, 1, 1, 0, 0, 0 FROM",
    "INSERT INTO group_member (group_id, user_id, type, status, nickname, extra, joined_after_seq, joined_at_ms) \
     SELECT n % 50, n DIV 50, 0, 0, '', '', 0, 0 FROM",
    "INSERT INTO group_message (group_id, seq, message_id) SELECT n % 50, n + 1, n + 1 FROM",
    "INSERT INTO group_receivers (group_id, version, first_message_id, user_ids) SELECT n % 50, n, n, '' FROM",
    "INSERT INTO read_position (user_id, is_group, peer_id, seq, message_id, peer_seq, is_marked_unread) \
     SELECT n DIV 100, n DIV 50 % 2 * 7, n % 50, n, n, 0, 0 FROM",
    "INSERT INTO conversation_setting (user_id, is_group, peer_id, pinned_at_ms, is_muted, hidden_before_seq, cleared_seq) \
     SELECT n DIV 100, n DIV 50 % 2 * 7, n % 50, n % 10, 0, 0, 0 FROM",
    "INSERT INTO device (user_id, id, type, brand, model, system_version, sdk_version, branch_push_id, created_at_ms, updated_at_ms) \
     SELECT n % 25, n DIV 25, 0, '', '', '', '', '7', 0, 0 FROM",
    "INSERT INTO device_ack (user_id, device_id, seq) SELECT n % 25, n DIV 25, n FROM",
    "INSERT INTO group_cursor (user_id, group_id, seq) SELECT n % 25, n DIV 25, n FROM",
    "INSERT INTO group_device_cursor (user_id, group_id, device_id, seq) SELECT n % 25, n DIV 25, n, n FROM",
];
const COUNT: &str = "ANALYZE TABLE inbox, message, other_inbox, direct_inbox, chat_group, group_member, group_message, group_receivers, read_position, \
                     conversation_setting, device, device_ack, group_cursor, group_device_cursor";

/// As a start of the service does.
const RENAME: &str = "ALTER TABLE user_message RENAME TO other_inbox";

/// Fails where one of these would read a table from one end to the other. What a statement makes itself, as `made` names it, it may.
pub(super) async fn assert_by_index<S: AsRef<str>>(statements: &[S], made: &[&str]) {
    assert_by_index_in(&[Dialect::Sqlite, Dialect::Mysql], statements, made).await;
}

/// The same for statements of these databases alone.
pub(super) async fn assert_by_index_in<S: AsRef<str>>(dialects: &[Dialect], statements: &[S], made: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, mariadb) = open_both(folder.path()).await;
    for (dialect, statement) in dialects.iter().flat_map(|dialect| statements.iter().map(move |one| (dialect, one))) {
        let statement = statement.as_ref();
        let tables = match dialect {
            Dialect::Sqlite => whole_in_sqlite(&sqlite, statement).await,
            Dialect::Mysql => whole(&mariadb, statement).await,
        };
        // A subquery without a name has one in brackets.
        let is_made =
            |of: &String| made.contains(&of.as_str()) || of.contains("CONSTANT ROW") || of.starts_with(['(', '<']);
        let tables: Vec<String> = tables.into_iter().filter(|of| !is_made(of)).collect();
        assert!(tables.is_empty(), "{dialect:?} would read as a whole {tables:?}\n{statement}");
    }
    sqlite.close().await;
    mariadb.close().await;
}

/// Fails where one of these finds its rows otherwise than by the index that is named for each table (as the plan names that, by its
/// alias): its name, or `PRIMARY`.
pub(super) async fn assert_by<S: AsRef<str>>(wanted: &[(S, &[(&str, &str)])]) {
    assert_by_in(&[Dialect::Sqlite, Dialect::Mysql], wanted).await;
}

/// The same for statements of these databases alone.
pub(super) async fn assert_by_in<S: AsRef<str>>(dialects: &[Dialect], wanted: &[(S, &[(&str, &str)])]) {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, mariadb) = open_both(folder.path()).await;
    for (dialect, (statement, indexes)) in
        dialects.iter().flat_map(|dialect| wanted.iter().map(move |one| (dialect, one)))
    {
        let statement = statement.as_ref();
        let steps = match dialect {
            Dialect::Sqlite => searches_of_sqlite(&sqlite, statement).await,
            Dialect::Mysql => searches_of_mariadb(&mariadb, statement).await,
        };
        for (table, index) in *indexes {
            let mut by = steps.iter().filter(|(of, _)| of == table).map(|(_, by)| by.as_str()).peekable();
            let is_found = by.peek().is_some() && by.all(|by| by == *index);
            assert!(is_found, "{dialect:?} finds {table} not by {index}: {steps:#?}\n{statement}");
        }
    }
    sqlite.close().await;
    mariadb.close().await;
}

/// A statement with these values; MariaDB has other plans for other ones.
pub(super) fn with_values(statement: &str, values: &[u64]) -> String {
    values.iter().fold(statement.to_owned(), |statement, value| statement.replacen('?', &value.to_string(), 1))
}

/// What is looked up, and by which index.
async fn searches_of_sqlite(database: &Database, statement: &str) -> Vec<(String, String)> {
    let steps = steps_of_sqlite(database, statement).await;
    let search = |step: &String| {
        let (table, by) = step.strip_prefix("SEARCH ")?.split_once(" USING ")?;
        let by = match by.split_once("INDEX ") {
            Some((_, index)) => index.split(' ').next()?,
            None => by.contains("PRIMARY KEY").then_some("PRIMARY")?,
        };
        Some((table.to_owned(), by.to_owned()))
    };
    steps.iter().filter_map(search).collect()
}

/// The same; by none where all is read.
async fn searches_of_mariadb(database: &Database, statement: &str) -> Vec<(String, String)> {
    let steps = steps_of_mariadb(database, statement).await;
    let search = |[table, kind, key]: [String; 3]| (table, if is_whole(&kind) { String::new() } else { key });
    steps.into_iter().map(search).collect()
}

/// SQLite, and MariaDB with rows.
#[cfg(test)]
async fn open_both(folder: &Path) -> (Database, Database) {
    let open = async |settings: &DatabaseSettings| {
        Database::open(settings, folder, "plans.db", &super::migrations()).await.unwrap()
    };
    let sqlite = open(&DatabaseSettings::default()).await;
    let mariadb = open(&DatabaseSettings { url: testing::mysql_database(), ..DatabaseSettings::default() }).await;
    for database in [&sqlite, &mariadb] {
        sqlx::query(RENAME).execute(&database.writer).await.unwrap();
    }
    fill(&mariadb).await;
    (sqlite, mariadb)
}

async fn fill(database: &Database) {
    for statement in FILL {
        let numbers = if statement.ends_with("FROM") { NUMBERS } else { "" };
        let statement = sqlx::query(AssertSqlSafe(format!("{statement} {numbers}")));
        statement.execute(&database.writer).await.unwrap();
    }
    sqlx::query(COUNT).fetch_all(&database.writer).await.unwrap();
}

/// What SQLite would read from one end to the other.
async fn whole_in_sqlite(database: &Database, statement: &str) -> Vec<String> {
    let steps = steps_of_sqlite(database, statement).await;
    steps.iter().filter_map(|step| step.strip_prefix("SCAN ").map(str::to_owned)).collect()
}

async fn steps_of_sqlite(database: &Database, statement: &str) -> Vec<String> {
    let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
    let steps = explain.fetch_all(&database.reader).await.unwrap();
    assert!(!steps.is_empty(), "{statement}");
    steps.iter().map(|step| step.get(3)).collect()
}

/// What MariaDB would read from one end to the other: of the table itself, or of one of its indexes.
async fn whole(database: &Database, statement: &str) -> Vec<String> {
    let steps = steps_of_mariadb(database, statement).await;
    assert!(steps.iter().any(|[_, _, key]| !key.is_empty()), "nothing is looked up: {statement}");
    steps.into_iter().filter(|[_, kind, _]| is_whole(kind)).map(|[table, ..]| table).collect()
}

fn is_whole(kind: &str) -> bool {
    ["ALL", "index"].contains(&kind)
}

/// The steps, each as table, type and key.
async fn steps_of_mariadb(database: &Database, statement: &str) -> Vec<[String; 3]> {
    // A plan depends on the values, and there is none where it is clear that nothing is found.
    let explain = format!("EXPLAIN {}", statement.replace('?', "7"));
    let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&database.reader).await.unwrap();
    let text = |step: &sqlx::any::AnyRow, name: &str| step.get::<Option<String>, _>(name).unwrap_or_default();
    steps.iter().map(|step| ["table", "type", "key"].map(|name| text(step, name))).collect()
}

#[tokio::test]
async fn a_statement_that_reads_all_is_seen_in_either_database() {
    let folder = tempfile::tempdir().unwrap();
    let (sqlite, mariadb) = open_both(folder.path()).await;
    let statement = "SELECT id FROM message WHERE command = ? UNION SELECT seq FROM inbox WHERE user_id = ?";
    assert_eq!(whole_in_sqlite(&sqlite, statement).await, ["message"]);
    assert_eq!(whole(&mariadb, statement).await, ["message", "<union1,2>"], "and what it makes itself");
    sqlite.close().await;
    mariadb.close().await;
}
