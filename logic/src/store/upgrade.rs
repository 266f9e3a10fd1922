//! Rows of earlier versions, put where this version has them: what takes more than SQL, or longer than one statement should.
//!
//! Runs at the start of a service, before it serves anybody, while no other logic node runs. Always holds: a step is one transaction
//! over a bounded number of rows, and what it put elsewhere is gone from where it was, so that whoever was killed goes on where he was;
//! the table of before is dropped when it is empty, and where it is missing there is nothing to do.

use std::time::{Duration, Instant};

use gim_config::sql::{self, Database};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::from_sql,
    dialect::{self, Sql},
    script::Script,
    send_key::SendKey,
    statement::MultiRow,
};

/// Rows of one step.
const STEP_ROWS: i64 = 500;

/// How often it is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// How many rows are still where an earlier version had them; nothing says where there is no such table.
pub const LEFT: &str = "SELECT COUNT(*) FROM sent";

const PUT_SEND_KEY: MultiRow =
    MultiRow { head: "UPDATE message SET ", row: "send_key = ?, sender_seq = ? WHERE id = ?", tail: "" };
const DELETE_SENT: MultiRow =
    MultiRow { head: "DELETE FROM sent WHERE ", row: "sender_id = ? AND client_msg_id = ?", tail: "" };
const DROP_SENT: &str = "DROP TABLE sent";

/// The upgrade of one database.
#[derive(Debug)]
pub struct Upgrade<'a> {
    database: &'a Database,
    sql: &'static Sql,
}

impl<'a> Upgrade<'a> {
    /// Of this one, whose tables are there.
    pub fn of(database: &'a Database) -> Self {
        Self { database, sql: dialect::sql(database.dialect) }
    }

    /// Rows that are still to be put elsewhere; none where it was done.
    pub async fn left(&self) -> Result<Option<u64>, sqlx::Error> {
        match sqlx::query_scalar(LEFT).fetch_one(&self.database.reader).await {
            Err(error) if sql::is_without_table(&error) => Ok(None),
            left => Ok(Some(from_sql(left?))),
        }
    }

    /// Does all that is left.
    pub async fn run(&self) -> Result<(), sqlx::Error> {
        let Some(left) = self.left().await? else { return Ok(()) };
        let mut told = Instant::now();
        let mut moved = 0;
        loop {
            let rows = self.step().await?;
            if rows == 0 {
                break;
            }
            moved += rows;
            if told.elapsed() >= TELL_INTERVAL {
                told = Instant::now();
                tracing::info!(moved, of = left, "what an earlier version stored is put where this one has it");
            }
        }
        sqlx::query(DROP_SENT).execute(&self.database.writer).await?;
        tracing::info!(moved, "what an earlier version stored is where this one has it");
        Ok(())
    }

    /// Puts some rows where they belong; returns how many.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let rows = sqlx::query(self.sql.older_sends).bind(STEP_ROWS).fetch_all(&self.database.reader).await?;
        let sends: Vec<OlderSend> = rows.iter().map(OlderSend::read).collect::<Result<_, sqlx::Error>>()?;
        let (sends, sends_text) = (&sends, self.sql.sends_text);
        let work = || {
            async move |connection: &mut AnyConnection| {
                let mut transaction = sql::begin(connection).await?;
                put(sends, sends_text).run(&mut transaction).await?;
                transaction.commit().await
            }
        };
        self.database.writer.transact(work).await?;
        Ok(sends.len())
    }
}

/// A row of the table `sent`.
struct OlderSend {
    sender_id: u64,
    client_msg_id: String,
    message_id: u64,
    seq: u64,
}

impl OlderSend {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let client_msg_id = String::from_utf8(row.try_get(1)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let (sender_id, message_id) = (from_sql(row.try_get(0)?), from_sql(row.try_get(2)?));
        Ok(Self { sender_id, client_msg_id, message_id, seq: from_sql(row.try_get(3)?) })
    }
}

fn put(sends: &[OlderSend], sends_text: bool) -> Script {
    let mut script = Script::new(sends_text);
    for send in sends {
        let key = SendKey::of((send.sender_id, &send.client_msg_id));
        script.add(PUT_SEND_KEY, &[send], |row, send| row.bytes(key.bytes()).id(send.seq).id(send.message_id));
        script.add(DELETE_SENT, &[send], |row, send| row.id(send.sender_id).text(&send.client_msg_id));
    }
    script
}
