//! A store in a file: messages, cursors and what is not sent yet, in one SQLite database for each user and device.
//!
//! Messages and cursors are written in one transaction. The file is locked while it is open: one client has it at a time, and the clones of
//! its store.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use sqlx::{
    Row as _, Sqlite, SqlitePool, Transaction,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::{Store, StoreFuture};
use crate::{
    core::{Cursors, PendingSend, Remembered, delivered_id},
    message::{Message, MessageStatus, Sender, conversation_of},
    wire::Target,
};

/// Ids of the newest messages, by which those of a server that lost numbers are recognised.
const DELIVERED_MAX: i64 = 10_000;
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
const SCHEMA: &str = include_str!("schema.sql");
const COLUMNS: &str = "message_id, command, content, status, seq, group_seq, group_id, created_at_ms, from_user_id, \
    from_device_id, nickname, avatar_url, extra, to_user_id, is_own, client_msg_id";

/// See the [module](self). Clones are the same store: the app keeps one, and reads from it what it shows.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
    /// What its file says of cursors, since it was loaded: of a thousand groups one moves at a time.
    written: Cursors,
}

impl SqliteStore {
    /// Opens the file, and makes it where there is none.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = one.connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool, written: Cursors::default() })
    }

    /// The newest messages of a conversation before a number (its own numbers: `group_seq` in large groups, otherwise `seq`; none for
    /// the newest of all), oldest first.
    pub async fn messages(&self, target: Target, before: Option<u64>, limit: u32) -> Result<Vec<Message>, sqlx::Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message WHERE conversation_kind = ? AND conversation_id = ? AND number < ? \
             ORDER BY number DESC LIMIT ?"
        );
        let (kind, id) = named(Some(target));
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(kind).bind(id).bind(before).bind(limit);
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().rev().map(message_of).collect()
    }

    /// Every conversation with its newest message, the newest conversation first.
    pub async fn conversations(&self) -> Result<Vec<(Target, Message)>, sqlx::Error> {
        let sql = format!(
            "SELECT conversation_kind, conversation_id, {COLUMNS} FROM message WHERE rowid IN (SELECT \
             (SELECT rowid FROM message AS newest WHERE newest.conversation_kind = one.conversation_kind \
             AND newest.conversation_id = one.conversation_id ORDER BY number DESC, rowid DESC LIMIT 1) \
             FROM (SELECT DISTINCT conversation_kind, conversation_id FROM message WHERE conversation_kind <> 0) AS one) \
             ORDER BY created_at_ms DESC"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        let pairs = rows.iter().map(|row| {
            let target = target_of(row.try_get("conversation_kind")?, row.try_get("conversation_id")?)?;
            Ok((target, message_of(row)?))
        });
        pairs.collect()
    }

    /// All messages of a conversation go, as after it was deleted. Cursors stay, so they do not come again.
    pub async fn forget(&self, target: Target) -> Result<(), sqlx::Error> {
        let (kind, id) = named(Some(target));
        let query = sqlx::query("DELETE FROM message WHERE conversation_kind = ? AND conversation_id = ?");
        query.bind(kind).bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// Closes the file, for all clones.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> StoreFuture<'_, Remembered> {
        Box::pin(async {
            let mut transaction = self.pool.begin().await?;
            let mut cursors = Cursors::default();
            for row in sqlx::query("SELECT group_id, seq FROM cursor").fetch_all(&mut *transaction).await? {
                let (group_id, seq) = (number(&row, "group_id")?, number(&row, "seq")?);
                if group_id == 0 {
                    cursors.inbox = Some(seq);
                } else {
                    cursors.groups.insert(group_id, seq);
                }
            }
            let sends = sqlx::query("SELECT * FROM outbox ORDER BY position").fetch_all(&mut *transaction).await?;
            let outbox = sends.iter().map(send_of).collect::<Result<_, _>>()?;
            let newest = "SELECT message_id, status FROM message ORDER BY rowid DESC LIMIT ?";
            let rows = sqlx::query(newest).bind(DELIVERED_MAX).fetch_all(&mut *transaction).await?;
            let delivered = rows.iter().rev().map(|row| {
                let id = number(row, "message_id")?;
                Ok(delivered_id(&Message { message_id: id, status: status_of(row)?, ..Message::default() }))
            });
            let delivered = delivered.collect::<Result<_, sqlx::Error>>()?;
            self.written.clone_from(&cursors);
            Ok(Remembered { cursors, outbox, delivered })
        })
    }

    fn apply<'a>(&'a mut self, messages: Vec<Message>, cursors: &'a Cursors) -> StoreFuture<'a, Vec<Message>> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await?;
            let mut added = Vec::new();
            for message in messages {
                if put(&mut transaction, &message).await? {
                    added.push(message);
                }
            }
            for (group_id, seq) in moved(&self.written, cursors) {
                let query = match seq {
                    Some(seq) => {
                        sqlx::query("REPLACE INTO cursor (seq, group_id) VALUES (?, ?)").bind(seq.cast_signed())
                    }
                    None => sqlx::query("DELETE FROM cursor WHERE group_id = ?"),
                };
                query.bind(group_id.cast_signed()).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            self.written.clone_from(cursors);
            Ok(added)
        })
    }

    fn remember_send<'a>(&'a mut self, send: &'a PendingSend) -> StoreFuture<'a, ()> {
        Box::pin(async {
            let (kind, id) = named(Some(send.target));
            let query = sqlx::query(
                "INSERT OR IGNORE INTO outbox (client_msg_id, target_kind, target_id, command, content, created_at_ms) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            );
            let query = query.bind(&send.client_msg_id).bind(kind).bind(id).bind(send.command).bind(&send.content[..]);
            query.bind(send.created_at_ms.cast_signed()).execute(&self.pool).await?;
            Ok(())
        })
    }

    fn forget_send<'a>(&'a mut self, client_msg_id: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let query = sqlx::query("DELETE FROM outbox WHERE client_msg_id = ?");
            query.bind(client_msg_id).execute(&self.pool).await?;
            Ok(())
        })
    }
}

/// Cursors that are others now, the inbox as group 0; none where there is none any more, as after a server was restored from an older
/// backup.
fn moved(before: &Cursors, now: &Cursors) -> Vec<(u64, Option<u64>)> {
    let gone =
        before.groups.keys().filter(|group_id| !now.groups.contains_key(group_id)).map(|&group_id| (group_id, None));
    let others = now.groups.iter().filter(|(group_id, seq)| before.groups.get(group_id) != Some(seq));
    let inbox = (before.inbox != now.inbox).then_some((0, now.inbox));
    inbox.into_iter().chain(gone).chain(others.map(|(&group_id, &seq)| (group_id, Some(seq)))).collect()
}

/// Returns whether it is new.
async fn put(transaction: &mut Transaction<'_, Sqlite>, message: &Message) -> Result<bool, sqlx::Error> {
    if (message.seq == 0 && message.group_seq == 0) || message.message_id == 0 {
        return Ok(true);
    }
    let query = sqlx::query("SELECT status FROM message WHERE message_id = ?").bind(message.message_id.cast_signed());
    if let Some(row) = query.fetch_optional(&mut **transaction).await? {
        // What has expired on the server stays here as it is.
        if message.status != MessageStatus::Recalled
            || row.try_get::<i64, _>("status")? == status_number(message.status)
        {
            return Ok(false);
        }
        let query = sqlx::query("UPDATE message SET content = ?, status = ? WHERE message_id = ?");
        let query = query.bind(&message.content[..]).bind(status_number(message.status));
        query.bind(message.message_id.cast_signed()).execute(&mut **transaction).await?;
        return Ok(true);
    }
    let sql = format!(
        "INSERT INTO message (conversation_kind, conversation_id, number, {COLUMNS}) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    let (kind, id) = named(conversation_of(message));
    let number = if message.group_seq > 0 { message.group_seq } else { message.seq };
    let none = Sender::default();
    let from = message.from.as_ref().unwrap_or(&none);
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(kind).bind(id).bind(number.cast_signed());
    let query = query.bind(message.message_id.cast_signed()).bind(message.command).bind(&message.content[..]);
    let query = query.bind(status_number(message.status)).bind(message.seq.cast_signed());
    let query = query.bind(message.group_seq.cast_signed()).bind(message.group_id.cast_signed());
    let query = query.bind(message.created_at_ms).bind(from.user_id.cast_signed()).bind(from.device_id.cast_signed());
    let query = query.bind(&from.nickname).bind(&from.avatar_url).bind(&from.extra);
    let query = query.bind(message.to_user_id.cast_signed()).bind(message.is_own).bind(&message.client_msg_id);
    query.execute(&mut **transaction).await?;
    Ok(true)
}

fn message_of(row: &SqliteRow) -> Result<Message, sqlx::Error> {
    let from_user_id = number(row, "from_user_id")?;
    let from = Sender {
        user_id: from_user_id,
        device_id: number(row, "from_device_id")?,
        nickname: row.try_get("nickname")?,
        avatar_url: row.try_get("avatar_url")?,
        extra: row.try_get("extra")?,
    };
    Ok(Message {
        message_id: number(row, "message_id")?,
        command: row.try_get("command")?,
        content: Bytes::from(row.try_get::<Vec<u8>, _>("content")?),
        status: status_of(row)?,
        seq: number(row, "seq")?,
        group_seq: number(row, "group_seq")?,
        room_seq: 0,
        group_id: number(row, "group_id")?,
        room_id: 0,
        created_at_ms: row.try_get("created_at_ms")?,
        from: (from_user_id != 0).then_some(from),
        to_user_id: number(row, "to_user_id")?,
        is_own: row.try_get("is_own")?,
        client_msg_id: row.try_get("client_msg_id")?,
    })
}

fn send_of(row: &SqliteRow) -> Result<PendingSend, sqlx::Error> {
    Ok(PendingSend {
        client_msg_id: row.try_get("client_msg_id")?,
        target: target_of(row.try_get("target_kind")?, row.try_get("target_id")?)?,
        command: row.try_get("command")?,
        content: Bytes::from(row.try_get::<Vec<u8>, _>("content")?),
        created_at_ms: number(row, "created_at_ms")?,
    })
}

fn number(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

fn status_of(row: &SqliteRow) -> Result<MessageStatus, sqlx::Error> {
    Ok(match row.try_get::<i64, _>("status")? {
        1 => MessageStatus::Recalled,
        2 => MessageStatus::Expired,
        _ => MessageStatus::Normal,
    })
}

fn status_number(status: MessageStatus) -> i64 {
    match status {
        MessageStatus::Normal => 0,
        MessageStatus::Recalled => 1,
        MessageStatus::Expired => 2,
    }
}

/// 0 for none.
fn named(target: Option<Target>) -> (i64, i64) {
    let kind = match target {
        None => 0,
        Some(Target::User(_)) => 1,
        Some(Target::Group(_)) => 2,
        Some(Target::Room(_)) => 3,
    };
    (kind, target.map_or(0, Target::id).cast_signed())
}

fn target_of(kind: i64, id: i64) -> Result<Target, sqlx::Error> {
    let id = id.cast_unsigned();
    match kind {
        1 => Ok(Target::User(id)),
        2 => Ok(Target::Group(id)),
        3 => Ok(Target::Room(id)),
        kind => Err(sqlx::Error::Decode(format!("{kind} is no kind of conversation").into())),
    }
}
