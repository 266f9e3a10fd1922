//! The same in memory: what conversations of a few users hold, without a thought of how it is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gim_proto::logic::Conversation;

pub const USERS: [u64; 3] = [7, 8, 9];

/// With whom, as one user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    User(u64),
    Normal(u64),
    Large(u64),
}

/// A message, as one user finds it in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct ModelPlace {
    pub seq: u64,
    pub message_id: u64,
    pub sender_id: u64,
    pub is_recalled: bool,
}

/// What one user has of a conversation.
#[derive(Debug, Clone, Default)]
pub struct Own {
    pub places: Vec<ModelPlace>,
    pub read: (u64, u64),
    pub is_muted: bool,
    pub is_marked: bool,
    pub is_pinned: bool,
    pub hidden_before: u64,
    pub cleared: u64,
}

/// What a list says of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub peer: Peer,
    pub last: (u64, u64),
    pub unread: u32,
    pub read: (u64, u64),
    pub peer_read: (u64, u64),
    pub is_muted: bool,
    pub is_marked: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Model {
    pub owned: BTreeMap<(u64, Peer), Own>,
    /// The newest seqs of inboxes and of timelines.
    inboxes: HashMap<u64, u64>,
    timelines: HashMap<u64, u64>,
}

impl Peer {
    /// As the list names it, whose kind of group it also says.
    pub fn of(conversation: &Conversation) -> Self {
        match conversation.peer.unwrap() {
            gim_proto::logic::conversation::Peer::UserId(id) => Self::User(id),
            gim_proto::logic::conversation::Peer::GroupId(id) if conversation.is_large => Self::Large(id),
            gim_proto::logic::conversation::Peer::GroupId(id) => Self::Normal(id),
        }
    }

    /// Those who see a message of a user to this one, each with the other side.
    fn sides(self, sender_id: u64) -> Vec<(u64, Self)> {
        match self {
            Self::User(peer_id) if peer_id == sender_id => vec![(sender_id, self)],
            Self::User(peer_id) => vec![(sender_id, self), (peer_id, Self::User(sender_id))],
            Self::Normal(_) | Self::Large(_) => USERS.iter().map(|&user_id| (user_id, self)).collect(),
        }
    }
}

impl Own {
    fn head(&self) -> Option<ModelPlace> {
        self.places.last().copied()
    }
}

impl Model {
    /// With inboxes and timelines as they are.
    pub fn new(inboxes: HashMap<u64, u64>, groups: &[(Peer, u64, u64)]) -> Self {
        let mut model = Self { inboxes, ..Self::default() };
        for &(peer, seq, notice_id) in groups {
            for user_id in USERS {
                let notice = ModelPlace { seq, message_id: notice_id, sender_id: 0, is_recalled: false };
                model.owned.insert((user_id, peer), Own { places: vec![notice], ..Own::default() });
            }
            if let Peer::Normal(id) | Peer::Large(id) = peer {
                model.timelines.insert(id, seq);
            }
        }
        model
    }

    fn next_seq(&mut self, user_id: u64) -> u64 {
        let seq = self.inboxes.entry(user_id).or_default();
        *seq += 1;
        *seq
    }

    /// A message is sent; the number that its sender is told.
    pub fn send(&mut self, sender_id: u64, peer: Peer, message_id: u64) -> u64 {
        let timeline_seq = self.next_in_timeline(peer);
        let mut told = 0;
        for (user_id, side) in peer.sides(sender_id) {
            let inbox_seq = if matches!(peer, Peer::Large(_)) { 0 } else { self.next_seq(user_id) };
            let seq = timeline_seq.unwrap_or(inbox_seq);
            let place = ModelPlace { seq, message_id, sender_id, is_recalled: false };
            self.owned.entry((user_id, side)).or_default().places.push(place);
            if user_id == sender_id {
                told = if matches!(peer, Peer::Large(_)) { seq } else { inbox_seq };
            }
        }
        told
    }

    fn next_in_timeline(&mut self, peer: Peer) -> Option<u64> {
        let (Peer::Normal(id) | Peer::Large(id)) = peer else { return None };
        let seq = self.timelines.entry(id).or_default();
        *seq += 1;
        Some(*seq)
    }

    /// A message is recalled. Everybody who has it gets one more place in the inbox, or in the timeline, which is in no conversation.
    pub fn recall(&mut self, sender_id: u64, peer: Peer, message_id: u64) {
        let mut is_new = false;
        for key in peer.sides(sender_id) {
            let places = &mut self.owned.get_mut(&key).unwrap().places;
            let place = places.iter_mut().find(|place| place.message_id == message_id).unwrap();
            is_new = !place.is_recalled;
            place.is_recalled = true;
        }
        match peer {
            _ if !is_new => {}
            Peer::Large(_) => drop(self.next_in_timeline(peer)),
            Peer::User(_) | Peer::Normal(_) => {
                for (user_id, _) in peer.sides(sender_id) {
                    self.next_seq(user_id);
                }
            }
        }
    }

    /// A user reads up to a place.
    pub fn read(&mut self, user_id: u64, peer: Peer, place: ModelPlace) {
        let own = self.owned.get_mut(&(user_id, peer)).unwrap();
        own.read = own.read.max((place.seq, place.message_id));
        own.is_marked = false;
    }

    /// A user deletes a conversation.
    pub fn delete(&mut self, user_id: u64, peer: Peer) {
        let own = self.owned.get_mut(&(user_id, peer)).unwrap();
        let head_seq = own.places.last().unwrap().seq;
        (own.is_pinned, own.is_marked) = (false, false);
        (own.hidden_before, own.cleared) = (head_seq + 1, head_seq);
    }

    /// What the lists of a user hold: of the pinned ones the peers, and the others in their order.
    pub fn lists(&self, user_id: u64) -> (BTreeSet<Peer>, Vec<Line>) {
        let mut lines = Vec::new();
        let mut pinned = BTreeSet::new();
        for (&(_, peer), own) in self.owned.iter().filter(|((owner, _), _)| *owner == user_id) {
            let head = own.head().unwrap();
            if head.seq < own.hidden_before || head.seq <= own.cleared {
                continue;
            }
            if own.is_pinned {
                pinned.insert(peer);
                continue;
            }
            lines.push(Line {
                peer,
                last: (head.seq, head.message_id),
                unread: self.unread(user_id, own),
                read: own.read,
                peer_read: self.peer_read(user_id, peer, own),
                is_muted: own.is_muted,
                is_marked: own.is_marked,
            });
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.last.1));
        (pinned, lines)
    }

    fn unread(&self, user_id: u64, own: &Own) -> u32 {
        let after = own.read.0.max(own.cleared);
        let news = own.places.iter().rev().take_while(|place| place.seq > after && place.sender_id != user_id);
        u32::try_from(news.filter(|place| !place.is_recalled && place.sender_id != 0).count()).unwrap().min(100)
    }

    /// How far the other user has read, in this one's numbers.
    fn peer_read(&self, user_id: u64, peer: Peer, own: &Own) -> (u64, u64) {
        let Peer::User(peer_id) = peer else { return (0, 0) };
        if peer_id == user_id {
            return (0, 0);
        }
        let Some(theirs) = self.owned.get(&(peer_id, Peer::User(user_id))) else { return (0, 0) };
        let there = own.places.iter().find(|place| place.message_id == theirs.read.1);
        there.map_or((0, 0), |place| (place.seq, place.message_id))
    }
}
