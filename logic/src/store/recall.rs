//! Recall: what it needs to know of a message, and the one update that makes it happen.
//!
//! A recalled message keeps its row and loses its content. Every receiver gets one more inbox row that names the same
//! message, so that devices which had synced it learn of the recall too; in a large group, where nobody has a copy, the
//! timeline gets that row. Written by the inbox writer, in its transaction.

use gim_config::sql::Pool;
use gim_proto::connect::MessageStatus;
use prost::encoding::{decode_varint, encode_varint};
use sqlx::{AnyConnection, Row as _};

use super::{
    StoreError,
    inbox::read_message,
    to_sql,
    work::{Post, Work},
};
use crate::domain::message::Message;

const FIND: &str =
    "SELECT 0, id, command, content, sender_id, created_at_ms, status, group_id, receivers FROM message WHERE id = ?";
const MARK: &str = "UPDATE message SET status = ?, content = ?, receivers = NULL WHERE id = ? AND status = ?";

/// A stored message and who got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The message.
    pub message: Message,
    /// Whose inboxes hold it: nobody's where it is in the timeline of a large group alone. None where nobody can recall it.
    pub receivers: Option<Vec<u64>>,
}

/// The message with this id, if it is stored.
pub(super) async fn find(reader: &Pool, message_id: u64) -> Result<Option<Stored>, StoreError> {
    let row = sqlx::query(FIND).bind(to_sql(message_id)).fetch_optional(reader).await?;
    let Some(row) = row else { return Ok(None) };
    let (_, message) = read_message(&row)?;
    let receivers: Option<Vec<u8>> = row.try_get(8)?;
    Ok(Some(Stored { message, receivers: receivers.as_deref().map(decode_receivers) }))
}

/// Recalls the messages that `works` asks for; returns the requests that changed something. Messages before inboxes, and
/// ascending: two transactions that meet wait for each other, and never in a circle.
pub(super) async fn mark<'a>(connection: &mut AnyConnection, works: &[&'a Work]) -> Result<Vec<&'a Post>, sqlx::Error> {
    let asked = |work: &&'a Work| match work {
        Work::Recall(post) => Some(post),
        _ => None,
    };
    let mut asked: Vec<&Post> = works.iter().filter_map(asked).collect();
    asked.sort_by_key(|post| post.message.id);
    let mut marked = Vec::new();
    for post in asked {
        let query = sqlx::query(MARK)
            .bind(i64::from(MessageStatus::MsRecalled as i32))
            .bind(Vec::new())
            .bind(to_sql(post.message.id))
            .bind(i64::from(MessageStatus::MsNormal as i32));
        if query.execute(&mut *connection).await?.rows_affected() > 0 {
            marked.push(post);
        }
    }
    Ok(marked)
}

/// Ids as varints, one after the other.
pub(super) fn encode_receivers(user_ids: &[u64]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(user_ids.len() * 9);
    user_ids.iter().for_each(|&user_id| encode_varint(user_id, &mut encoded));
    encoded
}

fn decode_receivers(mut encoded: &[u8]) -> Vec<u64> {
    std::iter::from_fn(|| decode_varint(&mut encoded).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_survive_the_trip_through_a_column() {
        for user_ids in [&[][..], &[7], &[1, u64::MAX >> 1, 300]] {
            assert_eq!(decode_receivers(&encode_receivers(user_ids)), user_ids);
        }
    }
}
