//! What happened and is stored, and how a walk over it is cut into pages. Pure.

use super::{conversation::Peer, group::Kind, message::Message};

/// Something that happened, in its place among the ids of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredEvent {
    /// A message was stored; a change of a group is one that nobody sent.
    Message {
        /// What was said: nothing any more, where it was recalled meanwhile.
        message: Message,
        /// Whom it is for, as far as that is stored, the sender first; of groups, their members.
        receivers: Option<Vec<u64>>,
        /// Of which kind the group is that it is for.
        group_kind: Option<Kind>,
    },
    /// A message was recalled.
    Recall(Recall),
    /// A user has read on.
    Read(StoredRead),
}

/// A recall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// When.
    pub id: u64,
    /// Of which message.
    pub message_id: u64,
    /// Whose it was; 0 where it is kept no longer.
    pub sender_id: u64,
    /// The group that it was for; 0 for none.
    pub group_id: u64,
    /// Between whom it was; of groups, nobody.
    pub receivers: Vec<u64>,
}

/// How far a user has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRead {
    /// When.
    pub id: u64,
    /// Who.
    pub user_id: u64,
    /// What.
    pub peer: Peer,
    /// Up to where.
    pub seq: u64,
    /// The message there.
    pub message_id: u64,
}

impl StoredEvent {
    /// Its place among the ids of messages.
    pub fn id(&self) -> u64 {
        match self {
            Self::Message { message, .. } => message.id,
            Self::Recall(recall) => recall.id,
            Self::Read(read) => read.id,
        }
    }
}

/// A page of a walk: everything that happened from where it began up to an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// In the order of their ids.
    pub events: Vec<StoredEvent>,
    /// The walk goes on after it.
    pub up_to: u64,
    /// Whether it ends there for its size, so that there is more already.
    pub has_more: bool,
}

/// What a page is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkPart {
    /// Where it begins: after this id.
    pub after_id: u64,
    /// Where it ends at the latest: before this one.
    pub before_id: u64,
    /// So much that happened, at most.
    pub events_max: u32,
    /// So many bytes of what was said, at most, but one message.
    pub bytes_max: usize,
}

impl WalkPart {
    /// Up to where a page goes, of which the heads (id and bytes) were found in several places, each in order and as many as there may be.
    pub fn end_of(&self, found: [&[(u64, usize)]; 3]) -> u64 {
        let events_max = self.events_max as usize;
        let mut heads: Vec<(u64, usize)> = found.concat();
        heads.sort_unstable();
        // Of what was found in full number there may be more behind the last one.
        let last_of_full =
            |heads: &[(u64, usize)]| heads.last().filter(|_| heads.len() >= events_max).map(|(id, _)| *id);
        let mut end = self.before_id.saturating_sub(1);
        for last in found.into_iter().filter_map(last_of_full) {
            end = end.min(last);
        }
        let mut bytes = 0;
        for (index, &(_, more)) in heads.iter().enumerate() {
            bytes += more;
            if index > 0 && (index >= events_max || bytes > self.bytes_max) {
                return end.min(heads[index - 1].0);
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: WalkPart = WalkPart { after_id: 10, before_id: 100, events_max: 3, bytes_max: 1_000 };

    #[test]
    fn a_page_goes_as_far_as_all_that_happened_is_known() {
        assert_eq!(PART.end_of([&[], &[], &[]]), 99, "nothing happened");
        assert_eq!(PART.end_of([&[(20, 1), (30, 1)], &[(25, 0)], &[]]), 99);
        assert_eq!(PART.end_of([&[(20, 1), (30, 1), (40, 1)], &[], &[]]), 40, "there may be more");
        assert_eq!(PART.end_of([&[(20, 1), (30, 1), (40, 1)], &[(25, 0)], &[]]), 30, "three in all");
        assert_eq!(PART.end_of([&[(50, 1)], &[(20, 0), (21, 0), (22, 0)], &[(23, 0)]]), 22);
    }

    #[test]
    fn a_page_ends_before_it_says_too_much_but_has_one_message() {
        assert_eq!(PART.end_of([&[(20, 600), (30, 600)], &[], &[]]), 20);
        assert_eq!(PART.end_of([&[(20, 5_000), (30, 1)], &[], &[]]), 20);
        assert_eq!(PART.end_of([&[(20, 500), (30, 500)], &[], &[]]), 99);
    }
}
