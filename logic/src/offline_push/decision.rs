//! Which devices are to be woken about which messages, and which not, yet.
//!
//! Pure. Always holds: nobody is woken about what they wrote themselves, about what is muted, or on a device that has the message; of a
//! conversation a device gets one push at a time, which stands for its newest message.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use gim_proto::{
    business::{OfflinePush, offline_push},
    connect::MessageStatus,
    content::{Reply, Text},
    logic::{GroupMessagePush, UserMessagePush},
    typed_content::{self, TypedContent},
};
use prost::Message as _;

use crate::{
    domain::{conversation::Peer, message::Message, push_device::PushDevice},
    store::{push_claims::PushClaim, push_targets::PushGroup},
};

/// Numbers of the server's own notices, which count as unread nowhere.
const NOTICES: std::ops::RangeInclusive<i32> = 100..=199;

/// Of these a text tells by name whom it is for.
const MENTIONED_MAX: usize = 1_000;

/// A user, and one of the user's devices; 0 for the user as a whole.
pub(super) type DeviceKey = (u64, u64);

/// A device and a conversation.
pub(super) type PushKey = (DeviceKey, Option<Peer>);

/// What is kept of a message that was stored: whom it is for, and what a locked screen shows of it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub message_id: u64,
    pub sender_id: u64,
    pub group_id: u64,
    pub command: i32,
    pub stored_at_ms: i64,
    /// When it is too old to wake anybody.
    pub expires: Instant,
    /// Whose inboxes have it.
    pub receivers: Vec<u64>,
    /// Whether all members of its group get it from the timeline.
    pub is_large: bool,
    /// Those who are told by name.
    pub mentioned: Vec<u64>,
    nickname: String,
    line: String,
}

/// What is known about people besides the messages themselves.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Who is connected, from which devices.
    pub connected: HashMap<u64, HashSet<u64>>,
    /// The devices of each user that have a push id.
    pub devices: HashMap<u64, Vec<PushDevice>>,
    /// Those of the members of large groups, by message.
    pub of_large_groups: HashMap<u64, Vec<PushDevice>>,
    /// Conversations that are muted.
    pub muted: HashSet<(u64, Peer)>,
    /// The first message that each device has not acknowledged; nothing of those that acknowledged none.
    pub unacknowledged: HashMap<DeviceKey, u64>,
    /// The same of large groups, by user, group and device.
    pub unacknowledged_in_groups: HashMap<(u64, u64, u64), u64>,
    /// Groups.
    pub groups: HashMap<u64, PushGroup>,
}

/// What a message says on a locked screen.
#[derive(Debug, PartialEq)]
pub(super) struct Words {
    pub message_id: u64,
    pub sender_id: u64,
    pub peer: Option<Peer>,
    pub expires: Instant,
    pub stored_at_ms: i64,
    command: i32,
    title: String,
    preview: String,
}

/// A push that may be handed out: of one message, or of several of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub key: PushKey,
    pub first: Arc<Words>,
    pub newest: Arc<Words>,
    pub messages: u32,
    pub is_large: bool,
}

/// What is to be done about messages.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// For those who are away: with the push id that they had.
    pub now: Vec<(Candidate, String)>,
    /// For those who are connected and may not have it yet.
    pub unless_acknowledged: Vec<Candidate>,
    /// How many receivers' devices have it.
    pub synced: u64,
}

impl Said {
    /// Nothing where nobody is woken about such a message.
    pub(super) fn of(
        message: &Message,
        receivers: Option<&[u64]>,
        is_large: bool,
        (with_preview, expires): (bool, Instant),
    ) -> Option<Self> {
        if message.status != MessageStatus::MsNormal as i32 || NOTICES.contains(&message.command) {
            return None;
        }
        let (nickname, content) = unwrapped(message);
        let mentioned = if is_large { mentioned(message.command, content.clone()) } else { Vec::new() };
        let line = if with_preview { typed_content::preview(message.command, content) } else { String::new() };
        let receivers = receivers.unwrap_or_default().iter().filter(|&&user_id| user_id != message.sender_id);
        Some(Self {
            message_id: message.id,
            sender_id: message.sender_id,
            group_id: message.group_id,
            command: message.command,
            stored_at_ms: message.created_at_ms,
            expires,
            receivers: if is_large { Vec::new() } else { receivers.copied().collect() },
            is_large,
            mentioned,
            nickname: typed_content::one_line(&nickname),
            line: typed_content::one_line(&line),
        })
    }

    /// With whom its receivers have it; nobody where a service sent it to users.
    pub(super) fn peer(&self) -> Option<Peer> {
        match (self.group_id, self.sender_id) {
            (0, 0) => None,
            (0, sender_id) => Some(Peer::User(sender_id)),
            (group_id, _) => Some(Peer::Group(group_id)),
        }
    }

    fn words(&self, facts: &Facts) -> Arc<Words> {
        let (title, preview) = match self.group_id {
            0 => (self.nickname.clone(), self.line.clone()),
            group_id => {
                let name = facts.groups.get(&group_id).map_or_else(String::new, |group| group.name.clone());
                let is_said_by_somebody = !self.nickname.is_empty() && !self.line.is_empty();
                let said = || typed_content::one_line(&format!("{}: {}", self.nickname, self.line));
                (typed_content::one_line(&name), if is_said_by_somebody { said() } else { self.line.clone() })
            }
        };
        Arc::new(Words {
            message_id: self.message_id,
            sender_id: self.sender_id,
            peer: self.peer(),
            expires: self.expires,
            stored_at_ms: self.stored_at_ms,
            command: self.command,
            title,
            preview,
        })
    }
}

/// Looks at messages, in the order in which they were stored.
pub(super) fn decide(stored: &[Said], facts: &Facts, wakes_users: bool) -> Decided {
    let mut decided = Decided::default();
    for said in stored {
        let words = said.words(facts);
        for &user_id in &said.receivers {
            match facts.devices.get(&user_id).map(Vec::as_slice) {
                Some(devices) if !devices.is_empty() => {
                    devices.iter().for_each(|device| decided.add(device, &words, facts, false));
                }
                _ if wakes_users && !facts.connected.contains_key(&user_id) => {
                    let nowhere = PushDevice { user_id, device_id: 0, device_type: 0, push_id: String::new() };
                    decided.add(&nowhere, &words, facts, false);
                }
                _ => {}
            }
        }
        let devices = facts.of_large_groups.get(&said.message_id).into_iter().flatten();
        devices
            .filter(|device| device.user_id != said.sender_id)
            .for_each(|device| decided.add(device, &words, facts, true));
    }
    decided
}

impl Decided {
    fn add(&mut self, device: &PushDevice, words: &Arc<Words>, facts: &Facts, is_large: bool) {
        let (user_id, device_id) = (device.user_id, device.device_id);
        let key = ((user_id, device_id), words.peer);
        let candidate = Candidate { key, first: words.clone(), newest: words.clone(), messages: 1, is_large };
        if facts.mutes(&candidate) {
            return;
        }
        if facts.has(&candidate, words.message_id) {
            self.synced += 1;
        } else if facts.connected.get(&user_id).is_some_and(|devices| devices.contains(&device_id)) {
            self.unless_acknowledged.push(candidate);
        } else {
            self.now.push((candidate, device.push_id.clone()));
        }
    }
}

impl Facts {
    /// Whether a device has acknowledged a message.
    pub(super) fn has(&self, candidate: &Candidate, message_id: u64) -> bool {
        let first = match candidate.in_large_group() {
            Some(place) => self.unacknowledged_in_groups.get(&place),
            None => self.unacknowledged.get(&candidate.key.0),
        };
        first.is_some_and(|&first| message_id < first)
    }

    /// Whether its user wants no pushes of its conversation.
    pub(super) fn mutes(&self, candidate: &Candidate) -> bool {
        let ((user_id, _), peer) = candidate.key;
        peer.is_some_and(|peer| self.muted.contains(&(user_id, peer)))
    }
}

/// Of several pushes of a device and a conversation the newest, which says of how many it is.
pub(super) fn coalesced(candidates: Vec<(Candidate, String)>) -> Vec<(Candidate, String)> {
    let mut places: HashMap<PushKey, usize> = HashMap::new();
    let mut kept: Vec<(Candidate, String)> = Vec::new();
    for (candidate, push_id) in candidates {
        match places.get(&candidate.key) {
            Some(&place) => kept[place].0.absorb(candidate),
            None => {
                places.insert(candidate.key, kept.len());
                kept.push((candidate, push_id));
            }
        }
    }
    kept
}

impl Candidate {
    /// Both become one push.
    pub(super) fn absorb(&mut self, other: Self) {
        self.messages += other.messages;
        if other.newest.message_id > self.newest.message_id {
            self.newest = other.newest;
        }
        if other.first.message_id < self.first.message_id {
            self.first = other.first;
        }
    }

    /// Without a message that was recalled; false where nothing is left that could be shown.
    pub(super) fn without(&mut self, message_id: u64) -> bool {
        let is_both = self.first.message_id == self.newest.message_id;
        if self.newest.message_id == message_id {
            self.newest = self.first.clone();
        } else if self.first.message_id == message_id {
            self.first = self.newest.clone();
        } else {
            return true;
        }
        self.messages = self.messages.saturating_sub(1).max(1);
        !is_both
    }

    /// The user, the group and the device, where a large group has it.
    pub(super) fn in_large_group(&self) -> Option<(u64, u64, u64)> {
        match self.key {
            ((user_id, device_id), Some(Peer::Group(group_id))) if self.is_large => {
                Some((user_id, group_id, device_id))
            }
            _ => None,
        }
    }

    /// What is claimed before it is handed out.
    pub(super) fn claim(&self) -> PushClaim {
        let ((user_id, device_id), peer) = self.key;
        PushClaim { message_id: self.newest.message_id, user_id, device_id, peer }
    }

    /// As it is handed out, with what the device says of itself by now.
    pub(super) fn push(&self, device: &PushDevice, badge: u32) -> OfflinePush {
        let ((user_id, device_id), peer) = self.key;
        let words = &self.newest;
        OfflinePush {
            id: format!("{:x}-{user_id:x}-{device_id:x}", words.message_id),
            user_id,
            device_id,
            device_type: device.device_type,
            push_id: device.push_id.clone(),
            peer: peer.map(|peer| match peer {
                Peer::User(user_id) => offline_push::Peer::PeerUserId(user_id),
                Peer::Group(group_id) => offline_push::Peer::GroupId(group_id),
            }),
            message_id: words.message_id,
            command: words.command,
            title: words.title.clone(),
            preview: words.preview.clone(),
            badge,
            messages: self.messages,
            stored_at_ms: words.stored_at_ms,
        }
    }
}

/// The sender's nickname, and what is said without the card around it. A service has none.
fn unwrapped(message: &Message) -> (String, bytes::Bytes) {
    let content = message.content.clone();
    let unwrapped = match (message.sender_id, message.group_id) {
        (0, _) => None,
        (_, 0) => UserMessagePush::decode(content.clone()).ok().map(|push| (push.from_user, push.content)),
        _ => GroupMessagePush::decode(content.clone()).ok().map(|push| (push.from_user, push.content)),
    };
    let Some((card, said)) = unwrapped else { return (String::new(), content) };
    (card.unwrap_or_default().nickname, said)
}

/// Those who are told by name in a text.
fn mentioned(command: i32, said: bytes::Bytes) -> Vec<u64> {
    let of_text = |text: &Text| text.mentions.iter().map(|mention| mention.user_id).take(MENTIONED_MAX).collect();
    match typed_content::read(command, said) {
        Some(TypedContent::Text(text) | TypedContent::Reply(Reply { text: Some(text), .. })) => of_text(&text),
        _ => Vec::new(),
    }
}

/// What tests of the other modules decide about.
#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(in super::super) fn words(sender_id: u64, message_id: u64) -> Arc<Words> {
        Arc::new(Words {
            message_id,
            sender_id,
            peer: Some(Peer::User(sender_id)),
            expires: Instant::now() + std::time::Duration::from_secs(600),
            stored_at_ms: 0,
            command: 1,
            title: String::new(),
            preview: format!("{message_id}"),
        })
    }

    /// From a user to a device of user 7.
    pub(in super::super) fn candidate(sender_id: u64, device_id: u64, message_id: u64) -> Candidate {
        let words = words(sender_id, message_id);
        let key = ((7, device_id), words.peer);
        Candidate { key, first: words.clone(), newest: words, messages: 1, is_large: false }
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::candidate, *};

    #[test]
    fn what_is_recalled_leaves_the_rest() {
        let mut three = candidate(8, 1, 10);
        three.absorb(candidate(8, 1, 12));
        three.absorb(candidate(8, 1, 11));
        assert_eq!((three.first.message_id, three.newest.message_id, three.messages), (10, 12, 3));
        assert!(three.without(11), "one in between is in none of the places that are kept");
        assert!(three.without(12));
        assert_eq!((three.newest.message_id, three.messages), (10, 2));
        assert!(!three.without(10));
        let mut first = candidate(8, 1, 10);
        first.absorb(candidate(8, 1, 12));
        assert!(first.without(10));
        assert_eq!((first.first.message_id, first.newest.message_id, first.messages), (12, 12, 1));
    }

    #[test]
    fn a_device_has_what_is_before_the_first_that_it_did_not_acknowledge() {
        let (one, none) = (candidate(8, 1, 10), candidate(8, 2, 10));
        let mut facts = Facts::default();
        facts.unacknowledged.insert((7, 1), 11);
        assert!(facts.has(&one, 10) && !facts.has(&one, 11));
        assert!(!facts.has(&none, 10), "it acknowledged nothing");
    }
}
