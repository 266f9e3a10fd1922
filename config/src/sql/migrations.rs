//! Migrations that a program carries as files, one `NUMBER_WHAT_IT_DOES.sql` each, and how they are applied.
//!
//! sqlx's own macro does the first at the price of building its drivers a second time, for the compiler. On SQLite sqlx applies
//! each in a transaction. MySQL ends a transaction at every change of a table, so there it is done here, a statement at a time:
//! what is finished is noted in the table of sqlx, and whoever comes after a start that was killed goes on from there. Always
//! holds: the connection that holds the lock is the one that works, so nobody else begins while the server is still at it.

use std::time::{Duration, Instant};

use include_dir::{Dir, File};
use ring::digest::{SHA256, digest};
use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::errors;

/// How long a service that starts waits for another one that brings the tables of a MySQL up to date.
const WAIT_S: i64 = 600;

/// A table, column or index that is there already, or is gone already: the statement was done by a start that was killed
/// before it could note it.
const DONE_BEFORE: [u16; 4] = [1050, 1060, 1061, 1091];

/// A row that is there already says the same of a statement that puts rows, and of no other: an index is not made then.
const ROW_IS_THERE: u16 = 1062;

/// The table that sqlx made for this. While `success` is false, `execution_time` is -1 less the statements that are done.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
                     installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
                     checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";

/// The migrations in these files, by their number.
///
/// # Panics
/// Where a file has another name, or is no UTF-8: found by any test that opens a database.
pub fn migrator(files: &'static Dir<'static>) -> Migrator {
    let migration = |file: &'static File<'static>| {
        let path = file.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let (number, description) =
            name.and_then(|name| name.split_once('_')).expect("a migration is named NUMBER_WHAT_IT_DOES.sql");
        let number = number.parse().expect("the name of a migration begins with its number");
        let statements = file.contents_utf8().expect("a migration is UTF-8");
        let has_no_transaction = statements.starts_with("-- no-transaction");
        let description = description.replace('_', " ").into();
        Migration::new(number, description, MigrationType::Simple, statements.into_sql_str(), has_no_transaction)
    };
    Migrator::with_migrations(files.files().map(migration).collect())
}

/// Brings the tables of a MySQL up to date; needs no right to make tables where they are. `is_wanted` is asked between two
/// statements.
pub(super) async fn migrate_mysql(
    connection: &mut AnyConnection,
    migrator: &Migrator,
    database: &str,
    is_wanted: impl Fn() -> bool,
) -> Result<(), MigrateError> {
    if pending(connection, migrator).await?.is_empty() {
        return Ok(());
    }
    let name = lock_name("migrations", database);
    let lock = "SELECT CAST(GET_LOCK(?, ?) AS SIGNED)";
    let got: Option<i64> = sqlx::query_scalar(lock).bind(&name).bind(WAIT_S).fetch_one(&mut *connection).await?;
    if got != Some(1) {
        let problem = format!("another service migrates it since {WAIT_S} s");
        return Err(MigrateError::Execute(sqlx::Error::Protocol(problem)));
    }
    connection.execute(TABLE).await?;
    for (migration, done) in pending(connection, migrator).await? {
        apply(connection, migration, done, &is_wanted)
            .await
            .map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
    }
    Ok(())
}

/// The name of a lock for one database, which is ours alone on its server, and short enough for all servers.
pub(super) fn lock_name(what: &str, database: &str) -> String {
    let hash = digest(&SHA256, database.as_bytes());
    let hash: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("gim {what} {hash}")
}

/// What is still to be applied; of one that a former start began, how many statements are done.
async fn pending<'m>(
    connection: &mut AnyConnection,
    migrator: &'m Migrator,
) -> Result<Vec<(&'m Migration, Option<usize>)>, MigrateError> {
    let sql =
        "SELECT version, checksum, CAST(success AS SIGNED), execution_time FROM _sqlx_migrations ORDER BY version";
    let rows: Vec<(i64, Vec<u8>, i64, i64)> = match sqlx::query_as(sql).fetch_all(&mut *connection).await {
        Err(error) if errors::is_without_table(&error) => Vec::new(),
        rows => rows?,
    };
    if let Some((version, ..)) = rows.iter().find(|(version, ..)| !migrator.version_exists(*version)) {
        return Err(MigrateError::VersionMissing(*version));
    }
    let mut pending = Vec::new();
    for migration in migrator.iter() {
        match rows.iter().find(|(version, ..)| *version == migration.version) {
            None => pending.push((migration, None)),
            Some((version, checksum, ..)) if checksum[..] != migration.checksum[..] => {
                return Err(MigrateError::VersionMismatch(*version));
            }
            Some((_, _, 0, progress)) => {
                pending.push((migration, Some(usize::try_from(-1 - progress).unwrap_or_default())));
            }
            Some(_) => {}
        }
    }
    Ok(pending)
}

async fn apply(
    connection: &mut AnyConnection,
    migration: &Migration,
    done: Option<usize>,
    is_wanted: &impl Fn() -> bool,
) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    tracing::info!(migration = migration.version, resumed = done.is_some(), "bringing the tables up to date");
    if done.is_none() {
        let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                    VALUES (?, ?, FALSE, ?, -1)";
        let query = sqlx::query(note).bind(migration.version).bind(migration.description.as_ref());
        query.bind(migration.checksum.as_ref()).execute(&mut *connection).await?;
    }
    for (index, statement) in statements(migration.sql.as_str()).iter().enumerate().skip(done.unwrap_or_default()) {
        if !is_wanted() {
            return Err(sqlx::Error::PoolClosed);
        }
        // What only changes rows is done together with the note, or not at all.
        let mut transaction = connection.begin().await?;
        if let Err(error) = transaction.execute(AssertSqlSafe(statement.clone())).await
            && !(done.is_some() && is_done_before(statement, &error))
        {
            return Err(error);
        }
        note_progress(&mut transaction, migration.version, false, -2 - i64::try_from(index).unwrap_or_default())
            .await?;
        transaction.commit().await?;
    }
    note_progress(connection, migration.version, true, nanoseconds(began.elapsed())).await
}

async fn note_progress(
    connection: &mut AnyConnection,
    version: i64,
    is_whole: bool,
    execution_time: i64,
) -> Result<(), sqlx::Error> {
    let sql = "UPDATE _sqlx_migrations SET success = ?, execution_time = ? WHERE version = ?";
    sqlx::query(sql).bind(i64::from(is_whole)).bind(execution_time).bind(version).execute(connection).await?;
    Ok(())
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn is_done_before(statement: &str, error: &sqlx::Error) -> bool {
    let puts_rows = statement.trim_start().starts_with("INSERT");
    errors::mysql_number(error)
        .is_some_and(|number| DONE_BEFORE.contains(&number) || number == ROW_IS_THERE && puts_rows)
}

/// The statements of a migration. None of ours has a semicolon in a text.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sqlx::Row as _;

    use super::*;
    use crate::{sql::session, testing};

    /// DDL, rows that are changed, and rows that are copied; killed after any of them, each is done once.
    const SQL: &str = "-- two; tables\nCREATE TABLE one (id BIGINT PRIMARY KEY);\nINSERT INTO one VALUES (1), (2);\n\
                       ALTER TABLE one ADD COLUMN value BIGINT NOT NULL DEFAULT 0;\nUPDATE one SET value = value + 1;\n\
                       CREATE TABLE two (id BIGINT PRIMARY KEY, value BIGINT NOT NULL);\n\
                       INSERT INTO two SELECT id, value FROM one;\n";

    fn migrator() -> Migrator {
        let migration = Migration::new(1, "one and two".into(), MigrationType::Simple, SQL.into_sql_str(), false);
        Migrator::with_migrations(vec![migration])
    }

    async fn connect() -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = testing::mysql_database();
        let (server, name) = url.rsplit_once('/').unwrap();
        let mut connection = AnyConnection::connect(server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.execute(AssertSqlSafe(format!("USE {name}"))).await.unwrap();
        session::prepare_mysql(&mut connection, 5).await.unwrap();
        connection
    }

    async fn is_whole(connection: &mut AnyConnection) {
        let row = connection.fetch_one("SELECT COUNT(*), CAST(SUM(value) AS SIGNED) FROM two").await.unwrap();
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 2));
        assert!(pending(connection, &migrator()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_migration_that_was_stopped_anywhere_goes_on_at_the_next_start() {
        for stopped_after in 0..=6 {
            let mut connection = connect().await;
            let left = Cell::new(stopped_after);
            let wanted = || {
                left.set(left.get() - 1);
                left.get() >= 0
            };
            let first = migrate_mysql(&mut connection, &migrator(), "x", wanted).await;
            assert_eq!(first.is_ok(), stopped_after == 6);
            migrate_mysql(&mut connection, &migrator(), "x", || true).await.unwrap();
            is_whole(&mut connection).await;
        }
    }

    #[tokio::test]
    async fn a_table_that_a_killed_start_made_and_did_not_note_is_taken_for_made() {
        let mut connection = connect().await;
        let stopped = migrate_mysql(&mut connection, &migrator(), "x", || false).await;
        assert!(stopped.is_err());
        connection.execute("CREATE TABLE one (id BIGINT PRIMARY KEY)").await.unwrap();
        migrate_mysql(&mut connection, &migrator(), "x", || true).await.unwrap();
        is_whole(&mut connection).await;
    }

    #[tokio::test]
    async fn a_migration_with_another_text_and_one_of_a_newer_program_are_refused() {
        let mut connection = connect().await;
        migrate_mysql(&mut connection, &migrator(), "x", || true).await.unwrap();
        let none = Migrator::with_migrations(Vec::new());
        let newer = migrate_mysql(&mut connection, &none, "x", || true).await;
        assert!(matches!(newer, Err(MigrateError::VersionMissing(1))), "{newer:?}");
        connection.execute("UPDATE _sqlx_migrations SET checksum = 'x'").await.unwrap();
        let other = migrate_mysql(&mut connection, &migrator(), "x", || true).await;
        assert!(matches!(other, Err(MigrateError::VersionMismatch(1))), "{other:?}");
    }
}
