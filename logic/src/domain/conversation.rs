//! A user's conversations, and in which order a list shows them: the newest message first.
//!
//! Pure. A list is merged of two: of other users, in the order of the user's own inbox, and of groups, in the order of their newest
//! messages. A page that the first of them could only be read in part for goes no further than that part.

use std::cmp::Reverse;

use gim_proto::{
    check::{self, Violation},
    logic,
};
use prost::encoding::{decode_varint, encode_varint};

/// With whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Another user, or oneself.
    User(u64),
    /// The members of a group.
    Group(u64),
}

impl Peer {
    /// Of the user, or of the group.
    pub fn id(self) -> u64 {
        match self {
            Self::User(id) | Self::Group(id) => id,
        }
    }

    /// Whether it is a group.
    pub fn is_group(self) -> bool {
        matches!(self, Self::Group(_))
    }
}

/// How requests about conversations name them.
macro_rules! peer_of_requests {
    ($($request:ident),*) => {
        $(impl From<logic::$request::Peer> for Peer {
            fn from(peer: logic::$request::Peer) -> Self {
                match peer {
                    logic::$request::Peer::UserId(id) => Self::User(id),
                    logic::$request::Peer::GroupId(id) => Self::Group(id),
                }
            }
        })*
    };
}

peer_of_requests!(conversation_set_request, conversation_delete_request, conversation_read_request, history_request);

/// With whom, as a request says it.
pub fn checked(peer: Option<impl Into<Peer>>) -> Result<Peer, Violation> {
    let peer = peer.ok_or_else(|| check::invalid("peer", "must be set"))?.into();
    check::id(if peer.is_group() { "group_id" } else { "user_id" }, peer.id())?;
    Ok(peer)
}

/// There is no such message in a conversation.
pub fn no_message(field: &str, message_id: u64) -> Violation {
    check::invalid(field, format!("{message_id} is no message of the conversation"))
}

/// The newest message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which conversation.
    pub peer: Peer,
    /// Its place: in the user's inbox, or in the timeline of the group. 0 where there is none.
    pub seq: u64,
    /// The message; where there is none, an id of when the user came into the group.
    pub message_id: u64,
    /// Whether it is a large group.
    pub is_large: bool,
}

impl Head {
    /// By what groups are in order.
    fn key(&self) -> (u64, u64) {
        (self.message_id, self.peer.id())
    }
}

/// Conversations with other users, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectHeads {
    /// They.
    pub heads: Vec<Head>,
    /// Where not all of them were looked for: the place in the inbox (seq, message id) down to which all were.
    pub down_to: Option<(u64, u64)>,
}

/// Where a page of a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Of other users, before this seq of the inbox.
    pub before_seq: u64,
    /// Of groups, before this message id, and of those with this very one, before this group id.
    pub before: (u64, u64),
}

impl Cursor {
    /// Behind conversations that a page has, of which the last ones come last.
    #[must_use]
    pub fn behind(self, page: &[Head]) -> Self {
        page.iter().fold(self, |cursor, head| match head.peer {
            Peer::User(_) => Self { before_seq: head.seq, ..cursor },
            Peer::Group(_) => Self { before: head.key(), ..cursor },
        })
    }

    /// Of the first page.
    pub const START: Self = Self { before_seq: u64::MAX >> 1, before: (u64::MAX >> 1, u64::MAX >> 1) };

    /// What a client gets.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        [self.before_seq, self.before.0, self.before.1]
            .into_iter()
            .for_each(|number| encode_varint(number, &mut bytes));
        bytes
    }

    /// What a client sends back; none where it is not what it got.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::START);
        }
        let mut number = || decode_varint(&mut bytes).ok().filter(|&number| number <= u64::MAX >> 1);
        let cursor = Self { before_seq: number()?, before: (number()?, number()?) };
        bytes.is_empty().then_some(cursor)
    }
}

/// The newest `limit` conversations before a cursor, and the cursor of the next page, if there is one.
pub fn merge(direct: DirectHeads, mut groups: Vec<Head>, from: Cursor, limit: usize) -> (Vec<Head>, Option<Cursor>) {
    let is_reached = |head: &Head| direct.down_to.is_none_or(|(_, message_id)| head.message_id > message_id);
    groups.retain(|head| head.key() < from.before && is_reached(head));
    groups.sort_unstable_by_key(|head| Reverse(head.key()));
    let is_cut = direct.down_to.is_some();
    let (mut directs, mut groups) = (direct.heads.into_iter().peekable(), groups.into_iter().peekable());
    let mut page = Vec::new();
    while page.len() < limit {
        let is_group_next = match (directs.peek(), groups.peek()) {
            (None, None) => break,
            (Some(direct), Some(group)) => group.message_id > direct.message_id,
            (direct, _) => direct.is_none(),
        };
        let next = if is_group_next { groups.next() } else { directs.next() };
        let Some(head) = next else { break };
        page.push(head);
    }
    let mut cursor = from.behind(&page);
    let is_over = directs.peek().is_none() && groups.peek().is_none();
    if is_over && let Some((seq, _)) = direct.down_to {
        cursor.before_seq = cursor.before_seq.min(seq);
    }
    let next = (!is_over || is_cut).then_some(cursor);
    (page, next)
}

/// Messages of one conversation that are counted; so many stand for more than one less.
pub const UNREAD_MAX: u32 = 100;

/// How many of the newest messages are unread: those before the first one (from the newest back) of the user's own. `marks` are "1" for a
/// message of somebody else and "2" for the user's own, with commas between them, the newest first.
pub fn unread(marks: &str) -> u32 {
    let count = marks.split(',').take_while(|mark| *mark == "1").count();
    u32::try_from(count).unwrap_or(UNREAD_MAX).min(UNREAD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64, seq: u64, message_id: u64) -> Head {
        Head { peer: Peer::User(id), seq, message_id, is_large: false }
    }

    fn group(id: u64, message_id: u64) -> Head {
        Head { peer: Peer::Group(id), seq: 1, message_id, is_large: false }
    }

    fn ids(page: &[Head]) -> Vec<u64> {
        page.iter().map(|head| head.peer.id()).collect()
    }

    #[test]
    fn pages_are_in_the_order_of_the_newest_messages_and_miss_nobody() {
        let users = [user(1, 90, 190), user(2, 70, 170), user(3, 50, 150), user(4, 30, 130)];
        let groups = vec![group(11, 110), group(12, 180), group(13, 160), group(14, 160)];
        let (mut cursor, mut seen) = (Cursor::START, Vec::new());
        loop {
            let heads = users.iter().copied().filter(|head| head.seq < cursor.before_seq).collect();
            let (page, next) = merge(DirectHeads { heads, down_to: None }, groups.clone(), cursor, 3);
            seen.extend(ids(&page));
            let Some(next) = next else { break };
            cursor = Cursor::decode(&next.encode()).unwrap();
        }
        assert_eq!(seen, [1, 12, 2, 14, 13, 3, 4, 11]);
    }

    #[test]
    fn a_page_goes_no_further_than_the_inbox_was_looked_through() {
        let direct = DirectHeads { heads: vec![user(1, 90, 190)], down_to: Some((60, 160)) };
        let groups = vec![group(11, 170), group(12, 150)];
        let (page, next) = merge(direct, groups.clone(), Cursor::START, 10);
        assert_eq!(ids(&page), [1, 11]);
        let next = next.unwrap();
        assert_eq!(next, Cursor { before_seq: 60, before: (170, 11) });
        let (page, next) = merge(DirectHeads::default(), groups, next, 10);
        assert_eq!((ids(&page), next), (vec![12], None));
        let nothing = DirectHeads { heads: Vec::new(), down_to: Some((60, 160)) };
        let (page, next) = merge(nothing, Vec::new(), Cursor::START, 10);
        assert_eq!((page.len(), next.unwrap().before_seq), (0, 60));
    }

    #[test]
    fn a_cursor_that_was_made_up_is_none() {
        assert_eq!(Cursor::decode(&[]), Some(Cursor::START));
        for bytes in [&[1][..], &[1, 2], &[1, 2, 3, 4], &[0x80], &[0xff; 30]] {
            assert_eq!(Cursor::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_one_answered_is_read() {
        for (marks, count) in [("", 0), ("1", 1), ("1,1,2,1", 2), ("2,1,1", 0)] {
            assert_eq!(unread(marks), count, "{marks}");
        }
        assert_eq!(unread(&vec!["1"; 100].join(",")), UNREAD_MAX);
    }
}
