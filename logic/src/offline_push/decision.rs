//! Which devices are to be woken about which messages, and which not, yet.
//!
//! Pure. Always holds: nobody is woken about what they wrote themselves, about what is muted, or on a device that has the message; of a
//! conversation a device gets one push at a time, which stands for its newest message.

use std::collections::{HashMap, HashSet};

use gim_proto::{
    business::{OfflinePush, offline_push},
    connect::MessageStatus,
    content::{Reply, Text},
    logic::{GroupMessagePush, UserMessagePush},
    typed_content::{self, TypedContent},
};
use prost::Message as _;

use crate::{
    domain::{
        conversation::Peer,
        message::{Delivery, Message},
        push_device::PushDevice,
    },
    store::push_targets::PushGroup,
};

/// Numbers of the server's own notices, which count as unread nowhere.
const NOTICES: std::ops::RangeInclusive<i32> = 100..=199;

/// A user, and one of the user's devices; 0 for the user as a whole.
pub(super) type DeviceKey = (u64, u64);

/// A device and a conversation.
pub(super) type PushKey = (DeviceKey, Option<Peer>);

/// What is known about people besides the messages themselves.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Who is connected, from which devices.
    pub connected: HashMap<u64, HashSet<u64>>,
    /// The devices of each user that have a push id.
    pub devices: HashMap<u64, Vec<PushDevice>>,
    /// Those of the members of large groups.
    pub of_large_groups: HashMap<u64, Vec<PushDevice>>,
    /// Conversations that are muted.
    pub muted: HashSet<(u64, Peer)>,
    /// How far devices have acknowledged their inboxes.
    pub acks: HashMap<DeviceKey, u64>,
    /// How far users have acknowledged the timelines of large groups.
    pub cursors: HashMap<(u64, u64), u64>,
    /// Groups.
    pub groups: HashMap<u64, PushGroup>,
}

/// A push that may be handed out, and where its message stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub key: PushKey,
    pub push: OfflinePush,
    /// Its place in the inbox, or in the timeline of a large group.
    pub seq: u64,
    pub is_large: bool,
}

/// What is to be done about messages.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// For those who are away.
    pub now: Vec<Candidate>,
    /// For those who are connected and may not have it yet.
    pub unless_acknowledged: Vec<Candidate>,
    /// How many receivers' devices are connected and have it.
    pub synced: u64,
}

/// Whether anybody is woken about such a message.
pub(super) fn is_worth_it(message: &Message) -> bool {
    message.status == MessageStatus::MsNormal as i32 && !NOTICES.contains(&message.command)
}

/// With whom its receivers have it; nobody where a service sent it to users.
pub(super) fn peer_of(message: &Message) -> Option<Peer> {
    match (message.group_id, message.sender_id) {
        (0, 0) => None,
        (0, sender_id) => Some(Peer::User(sender_id)),
        (group_id, _) => Some(Peer::Group(group_id)),
    }
}

/// Those who are told by name in a text.
pub(super) fn mentioned(message: &Message) -> Vec<u64> {
    let (_, said) = said(message);
    match typed_content::read(message.command, said) {
        Some(TypedContent::Text(text) | TypedContent::Reply(Reply { text: Some(text), .. })) => of_text(&text),
        _ => Vec::new(),
    }
}

fn of_text(text: &Text) -> Vec<u64> {
    text.mentions.iter().map(|mention| mention.user_id).collect()
}

/// Looks at messages, in the order in which they were stored.
pub(super) fn decide(stored: &[Delivery], facts: &Facts, with_preview: bool, wakes_users: bool) -> Decided {
    let mut decided = Decided::default();
    for delivery in stored.iter().filter(|delivery| is_worth_it(&delivery.message)) {
        let message = &delivery.message;
        let words = Words::of(message, facts, with_preview);
        for receiver in delivery.receivers.iter().filter(|receiver| receiver.seq > 0) {
            let (user_id, seq) = (receiver.user_id, receiver.seq);
            if user_id == message.sender_id {
                continue;
            }
            match facts.devices.get(&user_id).map(Vec::as_slice) {
                Some(devices) if !devices.is_empty() => {
                    devices.iter().for_each(|device| decided.add(device, &words, facts, seq, false));
                }
                _ if wakes_users && !facts.connected.contains_key(&user_id) => {
                    let nowhere = PushDevice { user_id, device_id: 0, device_type: 0, push_id: String::new() };
                    decided.add(&nowhere, &words, facts, seq, false);
                }
                _ => {}
            }
        }
        let Some(group) = delivery.group.as_ref().filter(|group| group.is_live && group.seq > 0) else { continue };
        let devices = facts.of_large_groups.get(&message.id).into_iter().flatten();
        devices
            .filter(|device| device.user_id != message.sender_id)
            .for_each(|device| decided.add(device, &words, facts, group.seq, true));
    }
    decided
}

impl Decided {
    fn add(&mut self, device: &PushDevice, words: &Words, facts: &Facts, seq: u64, is_large: bool) {
        let (user_id, device_id) = (device.user_id, device.device_id);
        let peer = words.peer;
        if peer.is_some_and(|peer| facts.muted.contains(&(user_id, peer))) {
            return;
        }
        if has_it(facts, (user_id, device_id), peer, seq, is_large) {
            self.synced += 1;
            return;
        }
        let candidate = Candidate { key: ((user_id, device_id), peer), push: words.push(device, peer), seq, is_large };
        let is_connected = facts.connected.get(&user_id).is_some_and(|devices| devices.contains(&device_id));
        if !is_connected {
            self.now.push(candidate);
        } else if acknowledges(facts, (user_id, device_id), peer, is_large) {
            self.unless_acknowledged.push(candidate);
        } else {
            self.synced += 1;
        }
    }
}

/// Whether a device has acknowledged a message.
pub(super) fn has_it(facts: &Facts, device: DeviceKey, peer: Option<Peer>, seq: u64, is_large: bool) -> bool {
    let acknowledged = match peer {
        Some(Peer::Group(group_id)) if is_large => facts.cursors.get(&(device.0, group_id)),
        _ => facts.acks.get(&device),
    };
    acknowledged.is_some_and(|&acknowledged| acknowledged >= seq)
}

/// Whether a device, or in a large group its user, ever acknowledged something. Of others nothing can be told by that they do not.
fn acknowledges(facts: &Facts, device: DeviceKey, peer: Option<Peer>, is_large: bool) -> bool {
    has_it(facts, device, peer, 0, is_large)
}

/// Of several pushes of a device and a conversation the newest, which says of how many it is.
pub(super) fn coalesced(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut places: HashMap<PushKey, usize> = HashMap::new();
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match places.get(&candidate.key) {
            Some(&place) => kept[place].absorb(candidate),
            None => {
                places.insert(candidate.key, kept.len());
                kept.push(candidate);
            }
        }
    }
    kept
}

impl Candidate {
    /// Both become one push.
    pub(super) fn absorb(&mut self, other: Self) {
        let messages = self.push.messages + other.push.messages;
        if other.push.message_id > self.push.message_id {
            *self = other;
        }
        self.push.messages = messages;
    }
}

/// What a message says on a locked screen.
struct Words {
    message_id: u64,
    peer: Option<Peer>,
    command: i32,
    stored_at_ms: i64,
    title: String,
    preview: String,
}

impl Words {
    fn of(message: &Message, facts: &Facts, with_preview: bool) -> Self {
        let (nickname, said) = said(message);
        let line = if with_preview { typed_content::preview(message.command, said) } else { String::new() };
        let (title, preview) = match message.group_id {
            0 => (nickname, line),
            group_id => {
                let name = facts.groups.get(&group_id).map_or_else(String::new, |group| group.name.clone());
                let is_said_by_somebody = !nickname.is_empty() && !line.is_empty();
                (name, if is_said_by_somebody { format!("{nickname}: {line}") } else { line })
            }
        };
        Self {
            message_id: message.id,
            peer: peer_of(message),
            command: message.command,
            stored_at_ms: message.created_at_ms,
            title: typed_content::one_line(&title),
            preview: typed_content::one_line(&preview),
        }
    }

    fn push(&self, device: &PushDevice, peer: Option<Peer>) -> OfflinePush {
        OfflinePush {
            id: format!("{:x}-{:x}-{:x}", self.message_id, device.user_id, device.device_id),
            user_id: device.user_id,
            device_id: device.device_id,
            device_type: device.device_type,
            push_id: device.push_id.clone(),
            peer: peer.map(|peer| match peer {
                Peer::User(user_id) => offline_push::Peer::PeerUserId(user_id),
                Peer::Group(group_id) => offline_push::Peer::GroupId(group_id),
            }),
            message_id: self.message_id,
            command: self.command,
            title: self.title.clone(),
            preview: self.preview.clone(),
            badge: 0,
            messages: 1,
            stored_at_ms: self.stored_at_ms,
        }
    }
}

/// The sender's nickname, and what is said without the card around it. A service has none.
fn said(message: &Message) -> (String, bytes::Bytes) {
    let content = message.content.clone();
    let unwrapped = match (message.sender_id, message.group_id) {
        (0, _) => None,
        (_, 0) => UserMessagePush::decode(content.clone()).ok().map(|push| (push.from_user, push.content)),
        _ => GroupMessagePush::decode(content.clone()).ok().map(|push| (push.from_user, push.content)),
    };
    let Some((card, said)) = unwrapped else { return (String::new(), content) };
    (card.unwrap_or_default().nickname, said)
}
