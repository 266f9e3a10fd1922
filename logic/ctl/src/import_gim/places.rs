//! Inboxes: what stands at which place, also where gim skipped one. Pure.

use std::ops::Range;

use gim_logic::{domain::message_id, store::import::InboxRow};
use gim_proto::logic::UserMessagePush;
use prost::Message as _;

use super::source;

/// In front of the first message of an inbox so many missing places were skipped; more were once there, and gim's owner deleted
/// them.
const SKIPPED_FIRST_MAX: u64 = 1_000;

/// So many missing places in a row may have been skipped; more are a mistake in the table.
const SKIPPED_MAX: u64 = 1_000_000;

/// What is missing between the newest place that is there and the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// gim skipped these.
    Skipped(Range<u64>),
    /// These are gone for good: the inbox begins behind them.
    Gone,
    /// Nobody skips that many.
    TooLong,
}

impl Gap {
    /// Between `newest_seq` (0: the inbox is empty) and `next_seq`.
    pub fn between(newest_seq: u64, next_seq: u64) -> Self {
        let first = newest_seq + 1;
        match next_seq.saturating_sub(first) {
            missing if newest_seq == 0 && missing > SKIPPED_FIRST_MAX => Self::Gone,
            missing if missing > SKIPPED_MAX => Self::TooLong,
            _ => Self::Skipped(first..next_seq),
        }
    }
}

/// A place at which there is no message: an expired one is synced in its place.
pub fn without_message(user_id: u64, seq: u64, created_at_s: i64) -> InboxRow {
    InboxRow { user_id, seq, message_id: message_id::of_place_without_message(created_at_s), peer_id: 0 }
}

/// The place of a message. Ids of messages are of no later second than `latest_s`, as the server's own come after them.
pub fn of_message(user_id: u64, row: &source::InboxRow, latest_s: i64) -> InboxRow {
    let created_at_s = row.created_at_s.min(latest_s);
    if !row.has_message {
        return without_message(user_id, row.seq, created_at_s);
    }
    let message_id = message_id::of_numbered(created_at_s, row.message_id);
    let peer_id = row.content.as_deref().map_or(0, |content| peer_of(user_id, content));
    InboxRow { user_id, seq: row.seq, message_id, peer_id }
}

/// With whom a user spoke; 0 where that is not said.
fn peer_of(user_id: u64, content: &[u8]) -> u64 {
    let Ok(push) = UserMessagePush::decode(content) else { return 0 };
    let (from, to) = (push.from_user.map_or(0, |user| user.user_id), push.to_user_id);
    let peer_id = match user_id {
        user_id if user_id == from => to,
        user_id if user_id == to => from,
        _ => 0,
    };
    if gim_proto::check::id("peer", peer_id).is_ok() { peer_id } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_proto::logic::User;

    #[test]
    fn gaps_are_filled_unless_nobody_skips_that_many() {
        assert_eq!(Gap::between(0, 1), Gap::Skipped(1..1));
        assert_eq!(Gap::between(0, 4), Gap::Skipped(1..4));
        assert_eq!(Gap::between(7, 8), Gap::Skipped(8..8));
        assert_eq!(Gap::between(7, 10), Gap::Skipped(8..10));
        assert_eq!(Gap::between(0, 5_000), Gap::Gone);
        assert_eq!(Gap::between(1, 5_000), Gap::Skipped(2..5_000));
        assert_eq!(Gap::between(1, u64::MAX), Gap::TooLong);
    }

    #[test]
    fn a_conversation_is_found_under_the_other_side() {
        let from_user = Some(User { user_id: 7, ..User::default() });
        let content = UserMessagePush { from_user, to_user_id: 8, ..UserMessagePush::default() }.encode_to_vec();
        let row = source::InboxRow {
            seq: 3,
            message_id: 99,
            has_message: true,
            created_at_s: 1_764_547_200,
            content: Some(content),
        };
        let peers = [7, 8, 9].map(|user_id| of_message(user_id, &row, i64::MAX).peer_id);
        assert_eq!(peers, [8, 7, 0]);
        let row = source::InboxRow { content: Some(b"\xff".to_vec()), ..row };
        assert_eq!(of_message(7, &row, i64::MAX).peer_id, 0);
    }
}
