//! Repeated sends: found by their keys, and held against the messages that these stand for.
//!
//! Runs in the transaction, on the writer's task. Always holds: a message is read for a key that was used before, and for no
//! other one; what cannot be told any more (the message is recalled, or gone) counts as equal.

use foldhash::{HashMap, HashMapExt as _};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::{decode_receivers, from_sql},
    dialect::Sql,
    inbox::read_message,
    script::Script,
    statement::MultiRow,
    work::{Key, Post, Work},
};
use crate::domain::message::{Message, Sent};

const MESSAGES: MultiRow = MultiRow {
    head: "SELECT 0, id, command, content, sender_id, created_at_ms, status, group_id, receivers \
           FROM message WHERE id IN (",
    row: "?",
    tail: ")",
};

/// A send of an earlier transaction.
pub(super) struct KnownSend {
    pub sent: Sent,
    /// Its message and who got it, where they are still there.
    stored: Option<(Message, Option<Vec<u64>>)>,
}

impl KnownSend {
    /// The answer to a send that repeats its key.
    pub(super) fn answer(&self, work: &Work) -> Sent {
        let differs_in =
            self.stored.as_ref().and_then(|(message, user_ids)| differs(work, message, user_ids.as_deref()));
        Sent { differs_in, ..self.sent }
    }
}

/// In what a send differs from one of the same transaction that has its key.
pub(super) fn differs_from(work: &Work, earlier: &Post) -> Option<&'static str> {
    differs(work, &earlier.message, Some(&earlier.user_ids))
}

fn differs(work: &Work, stored: &Message, receivers: Option<&[u64]>) -> Option<&'static str> {
    let (message, user_ids) = match work {
        Work::Post(request) => (&request.wants.message, Some(&request.wants.user_ids[..])),
        // Whose inboxes get it is the group's affair, and may have changed.
        Work::Group(request) => (request.wants.messages.first()?, None),
        Work::Ack(_) | Work::Recall(_) | Work::GroupAcks(_) | Work::Read(_) | Work::Device(_) => return None,
    };
    let has_other_receivers =
        !stored.is_recalled() && matches!((user_ids, receivers), (Some(now), Some(then)) if now != then);
    if has_other_receivers { Some("target") } else { message.differs_in(stored) }
}

/// The sends of earlier transactions that have one of these keys.
pub(super) async fn find(
    connection: &mut AnyConnection,
    sql: &Sql,
    keys: &[Key<'_>],
) -> Result<HashMap<(u64, Vec<u8>), KnownSend>, sqlx::Error> {
    let mut script = Script::new(sql.sends_text);
    script.add(sql.find_sent, keys, |row, key| row.id(key.0).text(key.1));
    let rows = script.fetch(connection).await?;
    let read = |row: &AnyRow| {
        let sent = Sent {
            message_id: from_sql(row.try_get(2)?),
            seq: from_sql(row.try_get(3)?),
            inbox_seq: 0,
            created_at_ms: row.try_get(4)?,
            is_duplicate: true,
            differs_in: None,
        };
        Ok(((from_sql(row.try_get(0)?), row.try_get(1)?), KnownSend { sent, stored: None }))
    };
    let mut known: HashMap<(u64, Vec<u8>), KnownSend> = rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?;
    if !known.is_empty() {
        read_messages(connection, sql, &mut known).await?;
    }
    Ok(known)
}

async fn read_messages(
    connection: &mut AnyConnection,
    sql: &Sql,
    known: &mut HashMap<(u64, Vec<u8>), KnownSend>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<u64> = known.values().map(|known| known.sent.message_id).collect();
    let mut script = Script::new(sql.sends_text);
    script.add(MESSAGES, &ids, |row, id| row.id(*id));
    let mut stored = HashMap::with_capacity(ids.len());
    for row in script.fetch(connection).await? {
        let (_, message) = read_message(&row)?;
        let receivers: Option<Vec<u8>> = row.try_get(8)?;
        stored.insert(message.id, (message, receivers.as_deref().map(decode_receivers)));
    }
    for known in known.values_mut() {
        known.stored = stored.remove(&known.sent.message_id);
    }
    Ok(())
}
