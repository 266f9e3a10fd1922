//! The tables of earlier versions, and the fence around them.
//!
//! A logic node of an earlier version may have lost its name at the database and not know it yet. What it stored from then on would be
//! where nobody looks any more, and what it read would have gaps. So its tables get other names before anything is moved, all at once:
//! each of its sends and each of its reads of an inbox names one of them, and fails as a whole; the client asks again, another node.

use gim_config::sql::{self, Database, Dialect};
use sqlx::{AnyConnection, AssertSqlSafe};

/// Tables that earlier versions had, as these call them and as this one does. The first is the same table as before, but for the rows
/// that are put into another one.
const RENAMED: [[&str; 2]; 3] = [["user_message", "other_inbox"], ["sent", SENDS], ["direct_message", CONVERSATIONS]];

const SENDS: &str = "older_sent";
const CONVERSATIONS: &str = "older_direct_message";

/// How many rows are still in each table of an earlier version, by either name; nothing says where there is no such table.
pub const LEFT: [&str; 4] = [
    "SELECT COUNT(*) FROM sent",
    "SELECT COUNT(*) FROM direct_message",
    "SELECT COUNT(*) FROM older_sent",
    "SELECT COUNT(*) FROM older_direct_message",
];

/// In the order in which they are emptied.
pub(super) const TABLES: [OlderTable; 2] = [OlderTable::Sends, OlderTable::Conversations];

/// A table that this version does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OlderTable {
    /// Keys of sends.
    Sends,
    /// What two users said to each other, which was in their inboxes as well.
    Conversations,
}

impl OlderTable {
    /// Behind the fence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sends => SENDS,
            Self::Conversations => CONVERSATIONS,
        }
    }

    /// Its primary key.
    pub(super) fn key(self) -> &'static [&'static str] {
        match self {
            Self::Sends => &["sender_id", "client_msg_id"],
            Self::Conversations => &["user_id", "peer_id", "seq"],
        }
    }
}

/// Whether any of them is there, by either name.
pub(super) async fn are_there(database: &Database) -> Result<bool, sqlx::Error> {
    for table in names() {
        if is_there(database, table).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn names() -> impl Iterator<Item = &'static str> {
    RENAMED.iter().map(|[before, _]| *before).chain([SENDS, CONVERSATIONS])
}

/// Whether there are rows in any of them. Counting millions would take longer than a statement may.
pub(super) async fn have_rows(database: &Database) -> Result<bool, sqlx::Error> {
    for table in names() {
        if first_of(database, table).await? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is such a table.
pub(super) async fn is_there(database: &Database, table: &'static str) -> Result<bool, sqlx::Error> {
    Ok(first_of(database, table).await?.is_some())
}

/// Gives the tables their names, those that have not got them.
pub(super) async fn fence(database: &Database) -> Result<(), sqlx::Error> {
    loop {
        let mut named = Vec::new();
        for [before, after] in RENAMED {
            if is_there(database, before).await? {
                named.push([before, after]);
            }
        }
        if named.is_empty() {
            return Ok(());
        }
        match database
            .writer
            .run(async |connection: &mut AnyConnection| rename(connection, database.dialect, &named).await)
            .await
        {
            // Somebody else did it meanwhile: whether all of it is seen at the next look.
            Err(error) if sql::is_without_table(&error) => {}
            renamed => renamed?,
        }
    }
}

async fn rename(connection: &mut AnyConnection, dialect: Dialect, named: &[[&str; 2]]) -> Result<(), sqlx::Error> {
    match dialect {
        Dialect::Sqlite => {
            let mut transaction = sql::begin(connection).await?;
            for [before, after] in named {
                let statement = AssertSqlSafe(format!("ALTER TABLE {before} RENAME TO {after}"));
                sqlx::raw_sql(statement).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        }
        // One statement, which waits for transactions that use any of them.
        Dialect::Mysql => {
            let names: Vec<String> = named.iter().map(|[before, after]| format!("{before} TO {after}")).collect();
            let statement = AssertSqlSafe(format!("RENAME TABLE {}", names.join(", ")));
            sqlx::raw_sql(statement).execute(connection).await.map(|_| ())
        }
    }
}

/// Takes an empty table away.
pub(super) async fn drop(database: &Database, table: &'static str) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(format!("DROP TABLE IF EXISTS {table}"));
    sqlx::raw_sql(statement).execute(&database.writer).await.map(|_| ())
}

/// Whether the table has a row; nothing where there is no such table.
async fn first_of(database: &Database, table: &'static str) -> Result<Option<bool>, sqlx::Error> {
    let statement = AssertSqlSafe(format!("SELECT 1 FROM {table} LIMIT 1"));
    match sqlx::raw_sql(statement).fetch_optional(&database.writer).await {
        Err(error) if sql::is_without_table(&error) => Ok(None),
        first => Ok(Some(first?.is_some())),
    }
}
