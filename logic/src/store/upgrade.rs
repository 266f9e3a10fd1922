//! Rows of earlier versions, put where this version has them: what takes more than SQL, or longer than one statement should.
//!
//! Runs at the start of a service, before it serves anybody, while no other logic node runs. Always holds: a step is one transaction
//! over a bounded number of rows, and what it put elsewhere is gone from where it was, so that whoever was killed goes on where he was;
//! a table of before is dropped when it is empty, and where it is missing there is nothing to do.

use std::time::{Duration, Instant};

use gim_config::sql::{self, Database};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::from_sql,
    dialect::{self, Sql},
    error::StoreError,
    script::Script,
    send_key::SendKey,
    statement::MultiRow,
};

/// Rows of one step.
const STEP_ROWS: i64 = 500;

/// How often it is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// How many rows are still in each table of an earlier version; nothing says where there is no such table.
pub const LEFT: [&str; 2] = ["SELECT COUNT(*) FROM sent", "SELECT COUNT(*) FROM direct_message"];

const TABLES: [OlderTable; 2] = [OlderTable::Sends, OlderTable::Conversations];

const DELETE_SENT: MultiRow =
    MultiRow { head: "DELETE FROM sent WHERE ", row: "sender_id = ? AND client_msg_id = ?", tail: "" };

/// Last, whether the inbox has the place: a sweep that was broken off may have left one of what it deleted.
const PLACES: &str = "SELECT user_id, seq, peer_id, message_id, \
                      EXISTS (SELECT 1 FROM user_message \
                              WHERE user_message.user_id = direct_message.user_id AND user_message.seq = direct_message.seq) \
                      FROM direct_message ORDER BY user_id, peer_id, seq LIMIT ?";
const PUT_PLACES: MultiRow = MultiRow {
    head: "INSERT INTO direct_inbox (user_id, seq, peer_id, message_id) VALUES ",
    row: "(?,?,?,?)",
    tail: "",
};
const DELETE_INBOX_ROW: MultiRow =
    MultiRow { head: "DELETE FROM user_message WHERE ", row: "user_id = ? AND seq = ?", tail: "" };
const DELETE_PLACE: MultiRow =
    MultiRow { head: "DELETE FROM direct_message WHERE ", row: "user_id = ? AND peer_id = ? AND seq = ?", tail: "" };

/// A table that this version does not have.
#[derive(Debug, Clone, Copy)]
enum OlderTable {
    /// Keys of sends.
    Sends,
    /// What two users said to each other, which was in their inboxes as well.
    Conversations,
}

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

    /// Whether there are rows to put elsewhere. Waits where the database is away.
    pub async fn is_due(&self) -> Result<bool, StoreError> {
        Ok(sql::persevere(async || self.has_older_rows().await).await?)
    }

    /// Rows that are still to be put elsewhere; none where it was done. All are counted, which may take long. Waits where the database is
    /// away.
    pub async fn left(&self) -> Result<Option<u64>, StoreError> {
        Ok(sql::persevere(async || self.left_in_all().await).await?)
    }

    /// Does all that is left. Waits where the database is away, and goes on.
    pub async fn run(&self) -> Result<(), StoreError> {
        Ok(sql::persevere(async || self.move_all().await).await?)
    }

    /// Puts some rows where they belong; returns how many.
    pub async fn step(&self) -> Result<usize, StoreError> {
        for table in TABLES {
            if self.first_of(table).await? == Some(true) {
                return Ok(self.step_of(table).await?);
            }
        }
        Ok(0)
    }

    async fn has_older_rows(&self) -> Result<bool, sqlx::Error> {
        for table in TABLES {
            if self.first_of(table).await? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn left_in_all(&self) -> Result<Option<u64>, sqlx::Error> {
        let mut left = None;
        for table in TABLES {
            left = self.left_in(table).await?.map(|rows| rows + left.unwrap_or(0)).or(left);
        }
        Ok(left)
    }

    async fn move_all(&self) -> Result<(), sqlx::Error> {
        for table in TABLES {
            if self.first_of(table).await?.is_none() {
                continue;
            }
            let (mut moved, mut told) = (0, Instant::now());
            loop {
                let rows = self.step_of(table).await?;
                if rows == 0 {
                    break;
                }
                moved += rows;
                if told.elapsed() >= TELL_INTERVAL {
                    told = Instant::now();
                    tracing::info!(?table, moved, "rows of an earlier version are put where this one has them");
                }
            }
            sqlx::query(table.drop()).execute(&self.database.writer).await?;
            tracing::info!(?table, moved, "rows of an earlier version are where this one has them");
        }
        Ok(())
    }

    /// Whether the table has a row; nothing where there is no such table. Counting millions would take longer than a statement may.
    async fn first_of(&self, table: OlderTable) -> Result<Option<bool>, sqlx::Error> {
        match sqlx::query(table.first()).fetch_optional(&self.database.reader).await {
            Err(error) if sql::is_without_table(&error) => Ok(None),
            first => Ok(Some(first?.is_some())),
        }
    }

    async fn left_in(&self, table: OlderTable) -> Result<Option<u64>, sqlx::Error> {
        match sqlx::query_scalar(table.count()).fetch_one(&self.database.reader).await {
            Err(error) if sql::is_without_table(&error) => Ok(None),
            left => Ok(Some(from_sql(left?))),
        }
    }

    async fn step_of(&self, table: OlderTable) -> Result<usize, sqlx::Error> {
        let select = match table {
            OlderTable::Sends => self.sql.older_sends,
            OlderTable::Conversations => PLACES,
        };
        let rows = match sqlx::query(select).bind(STEP_ROWS).fetch_all(&self.database.reader).await {
            // Somebody else did the last step.
            Err(error) if sql::is_without_table(&error) => return Ok(0),
            rows => rows?,
        };
        if rows.is_empty() {
            return Ok(0);
        }
        let (rows, sends_text) = (&rows, self.sql.sends_text);
        let work = || {
            async move |connection: &mut AnyConnection| {
                let script = match table {
                    OlderTable::Sends => put_send_keys(rows, self.sql.put_send_key, sends_text),
                    OlderTable::Conversations => put_places(rows, sends_text),
                };
                let mut transaction = sql::begin(connection).await?;
                script?.run(&mut transaction).await?;
                transaction.commit().await
            }
        };
        self.database.writer.transact(work).await?;
        Ok(rows.len())
    }
}

impl OlderTable {
    fn count(self) -> &'static str {
        let [sends, conversations] = LEFT;
        match self {
            Self::Sends => sends,
            Self::Conversations => conversations,
        }
    }

    fn first(self) -> &'static str {
        match self {
            Self::Sends => "SELECT 1 FROM sent LIMIT 1",
            Self::Conversations => "SELECT 1 FROM direct_message LIMIT 1",
        }
    }

    fn drop(self) -> &'static str {
        match self {
            Self::Sends => "DROP TABLE IF EXISTS sent",
            Self::Conversations => "DROP TABLE IF EXISTS direct_message",
        }
    }
}

fn put_send_keys(rows: &[AnyRow], put_send_key: MultiRow, sends_text: bool) -> Result<Script, sqlx::Error> {
    let mut script = Script::new(sends_text);
    for row in rows {
        let (sender_id, message_id, seq) = (number(row, 0)?, number(row, 2)?, number(row, 3)?);
        let client_msg_id = String::from_utf8(row.try_get(1)?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let key = SendKey::of((sender_id, &client_msg_id));
        script.add(put_send_key, &[key], |row, key| row.bytes(key.bytes()).id(seq).id(message_id));
        script.add(DELETE_SENT, &[sender_id], |row, sender_id| row.id(*sender_id).text(&client_msg_id));
    }
    Ok(script)
}

fn put_places(rows: &[AnyRow], sends_text: bool) -> Result<Script, sqlx::Error> {
    let place = |row: &AnyRow| Ok([number(row, 0)?, number(row, 1)?, number(row, 2)?, number(row, 3)?]);
    let places: Vec<[u64; 4]> = rows.iter().map(place).collect::<Result<_, sqlx::Error>>()?;
    let mut script = Script::new(sends_text);
    let kept: Vec<[u64; 4]> = std::iter::zip(rows, &places)
        .map(|(row, place)| Ok((number(row, 4)? != 0).then_some(*place)))
        .filter_map(Result::transpose)
        .collect::<Result<_, sqlx::Error>>()?;
    script.add(PUT_PLACES, &kept, |row, place| place.iter().fold(row, |row, value| row.id(*value)));
    for place in &places {
        script.add(DELETE_INBOX_ROW, &[place], |row, [user_id, seq, ..]| row.id(*user_id).id(*seq));
        script.add(DELETE_PLACE, &[place], |row, [user_id, seq, peer_id, _]| row.id(*user_id).id(*peer_id).id(*seq));
    }
    Ok(script)
}

fn number(row: &AnyRow, index: usize) -> Result<u64, sqlx::Error> {
    row.try_get(index).map(from_sql)
}
