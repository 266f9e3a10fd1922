//! Repeated sends: found by their keys, and held against the messages that these stand for.
//!
//! Runs in the transaction, on the writer's task. Always holds: a key is known as long as its message is kept; what cannot be told any
//! more, because the message is recalled, counts as equal.

use foldhash::{HashMap, HashMapExt as _};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    columns::decode_receivers,
    dialect::Sql,
    inbox::read_message,
    script::Script,
    send_key::SendKey,
    statement::MultiRow,
    work::{Key, Post, Work},
};
use crate::domain::message::{Message, Sent};

const MESSAGES: MultiRow = MultiRow {
    head: "SELECT sender_seq, id, command, content, sender_id, created_at_ms, status, group_id, receivers, send_key \
           FROM message WHERE send_key IN (",
    row: "?",
    tail: ")",
};

/// A send of an earlier transaction.
pub(super) struct KnownSend {
    sent: Sent,
    message: Message,
    /// Who got it, where that is known.
    receivers: Option<Vec<u64>>,
}

impl KnownSend {
    /// The answer to a send that repeats its key.
    pub(super) fn answer(&self, work: &Work) -> Sent {
        Sent { differs_in: differs(work, &self.message, self.receivers.as_deref()), ..self.sent }
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
) -> Result<HashMap<SendKey, KnownSend>, sqlx::Error> {
    let keys: Vec<SendKey> = keys.iter().map(|key| SendKey::of(*key)).collect();
    let mut script = Script::new(sql.sends_text);
    script.add(MESSAGES, &keys, |row, key| row.bytes(key.bytes()));
    let mut known = HashMap::new();
    for row in script.fetch(connection).await? {
        let key: Vec<u8> = row.try_get(9)?;
        known.extend(SendKey::from_column(&key).zip(Some(read(&row)?)));
    }
    Ok(known)
}

fn read(row: &AnyRow) -> Result<KnownSend, sqlx::Error> {
    let (seq, message) = read_message(row)?;
    let receivers: Option<Vec<u8>> = row.try_get(8)?;
    let sent = Sent {
        message_id: message.id,
        seq,
        inbox_seq: 0,
        created_at_ms: message.created_at_ms,
        is_duplicate: true,
        differs_in: None,
    };
    Ok(KnownSend { sent, message, receivers: receivers.as_deref().map(decode_receivers) })
}

#[cfg(test)]
mod tests {
    use super::{super::plans::assert_by, *};

    #[tokio::test]
    async fn keys_are_found_by_their_index() {
        // A number would stand for each value, and no index of bytes is for numbers.
        let keys = ["7", "8", "9"].map(|key| format!("'{key}'"));
        let statement = keys.iter().fold(MESSAGES.sql(3).0, |statement, key| statement.replacen('?', key, 1));
        assert_by(&[(statement, &[("message", "message_by_send_key")])]).await;
    }
}
