//! The cursors of the inbox and of the large groups: which message is the next one, and when something is missing. It knows no time; the
//! core sends the syncs that it asks for.

use std::collections::{BTreeMap, HashSet, VecDeque};

use gim_proto::{
    connect,
    logic::{GroupCursor, SyncReply, SyncRequest},
};

use super::types::{Cursors, Event, StartAt};
use crate::{
    message::{Message, MessageStatus},
    wire::Target,
};

/// Ids of delivered messages that are remembered, by which those of a server that lost numbers are recognised.
const DELIVERED_MAX: usize = 10_000;

/// Large groups that a client follows, those that were left included: a sync names no more. Servers let a user into half of that.
const GROUPS_MAX: usize = 2_000;

pub(super) struct Timelines {
    own_user_id: u64,
    start_at: StartAt,
    cursors: Cursors,
    /// Messages that are to be delivered.
    pub(super) taken: Vec<Message>,
    pub(super) events: Vec<Event>,
    newest: u64,
    groups_newest: BTreeMap<u64, u64>,
    delivered: Delivered,
    /// The first run of syncs of a new device: groups begin where the user's other devices are.
    is_beginning: bool,
    is_hinted: bool,
    /// Some numbers stand for other messages now, message ids do not.
    is_recovering: bool,
    /// The app takes no more for now: what comes is left out, to be synced later.
    is_behind: bool,
}

impl Timelines {
    pub(super) fn new(own_user_id: u64, start_at: StartAt, cursors: Cursors, delivered: Vec<String>) -> Self {
        Self {
            own_user_id,
            start_at,
            is_beginning: cursors.inbox.is_none(),
            cursors,
            taken: Vec::new(),
            events: Vec::new(),
            newest: 0,
            groups_newest: BTreeMap::new(),
            delivered: Delivered::new(delivered),
            is_hinted: false,
            is_recovering: false,
            is_behind: false,
        }
    }

    pub(super) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Returns whether it was left out although no sync will bring it.
    pub(super) fn push(&mut self, wire: &connect::Message) -> bool {
        let message = Message::from_wire(wire, self.own_user_id);
        if message.group_seq > 0 {
            self.raise_group(message.group_id, message.group_seq);
            let cursor = self.cursors.groups.get(&message.group_id);
            if !self.is_behind && cursor == Some(&wire.prev_group_seq) && message.group_seq > wire.prev_group_seq {
                self.take(message);
            }
        } else if message.seq > 0 {
            self.newest = self.newest.max(message.seq);
            if !self.is_behind && self.cursors.inbox == Some(wire.prev_seq) && message.seq > wire.prev_seq {
                self.take(message);
            }
        } else if self.is_behind {
            return true;
        } else {
            self.taken.push(message);
        }
        false
    }

    /// A heartbeat's answer.
    pub(super) fn saw_newest(&mut self, seq: u64) {
        self.newest = self.newest.max(seq);
    }

    /// Something was not pushed, or nobody knows: ask.
    pub(super) fn hint(&mut self) {
        self.is_hinted = true;
    }

    /// The answer to a send takes the place of its push, where the message is the next one of its timeline.
    pub(super) fn sent(&mut self, mut message: Message, target: Target) {
        match target {
            Target::User(_) => {
                self.newest = self.newest.max(message.seq);
                if self.is_behind || self.cursors.inbox.and_then(|cursor| cursor.checked_add(1)) != Some(message.seq) {
                    return;
                }
            }
            Target::Group(group_id) => {
                // Of a group that is not known to be large, nobody can tell whose number the seq is.
                let Some(cursor) = self.cursors.groups.get(&group_id).copied() else {
                    self.is_hinted = true;
                    return;
                };
                self.raise_group(group_id, message.seq);
                if self.is_behind || cursor.checked_add(1) != Some(message.seq) {
                    return;
                }
                message.group_seq = std::mem::take(&mut message.seq);
            }
            Target::Room(_) => return,
        }
        self.take(message);
    }

    /// Whether there is something to ask for, and the app takes it.
    pub(super) fn wants_sync(&self) -> bool {
        !self.is_behind && self.is_missing()
    }

    /// Whether something is there, or may be, that the app has not got.
    pub(super) fn is_missing(&self) -> bool {
        let is_group_behind = |(group_id, newest): (&u64, &u64)| *newest > self.group_cursor(*group_id);
        self.is_hinted
            || self.cursors.inbox.is_none_or(|cursor| self.newest > cursor)
            || self.groups_newest.iter().any(is_group_behind)
    }

    pub(super) fn begin_sync(&mut self) -> SyncRequest {
        self.is_hinted = false;
        let cursors = self.cursors.groups.iter();
        SyncRequest {
            seq: self.cursors.inbox.unwrap_or(0),
            // Once a device has begun, a group that it does not know is one that its user came into: nothing of it may be passed over.
            from_start: self.start_at == StartAt::First || !self.is_beginning,
            large_groups: true,
            group_cursors: cursors.map(|(&group_id, &seq)| GroupCursor { group_id, seq }).collect(),
        }
    }

    /// Returns whether it brought anything.
    pub(super) fn page(&mut self, reply: &SyncReply) -> bool {
        let before = self.cursors.inbox;
        let first_prev_seq = reply.messages.first().map_or(0, |first| first.prev_seq);
        self.note_gap(0, before.unwrap_or(0), reply.start_seq.max(first_prev_seq));
        let start = before.unwrap_or(0).max(reply.start_seq);
        self.cursors.inbox = Some(start);
        let mut has_brought = self.cursors.inbox != before;
        for wire in &reply.messages {
            if self.cursors.inbox.is_none_or(|cursor| wire.seq > cursor) {
                has_brought = true;
                self.take(Message::from_wire(wire, self.own_user_id));
            }
        }
        for page in &reply.groups {
            self.raise_group(page.group_id, page.newest_seq);
            let first_prev_seq = page.messages.first().map_or(0, |first| first.prev_group_seq);
            self.note_gap(page.group_id, self.group_cursor(page.group_id), first_prev_seq);
            for wire in &page.messages {
                if wire.group_id == page.group_id && wire.group_seq > self.group_cursor(page.group_id) {
                    has_brought = true;
                    self.take(Message::from_wire(wire, self.own_user_id));
                }
            }
        }
        if reply.has_more || reply.groups_have_more {
            self.is_hinted = true;
        } else {
            self.is_beginning = false;
        }
        if !self.is_missing() {
            self.is_recovering = false;
        }
        has_brought
    }

    /// What was promised did not come in several syncs: its group was left, for instance.
    pub(super) fn give_up_waiting(&mut self) {
        self.is_hinted = false;
        self.newest = self.cursors.inbox.unwrap_or(0);
        self.groups_newest.clear();
    }

    /// The server was restored from an older backup.
    pub(super) fn begin_anew(&mut self, reply: &SyncReply) {
        self.is_recovering = true;
        self.is_hinted = true;
        if let Some(group) = reply.groups.first() {
            self.cursors.groups.remove(&group.group_id);
            self.groups_newest.remove(&group.group_id);
        } else {
            self.cursors.inbox = Some(0);
            self.newest = reply.start_seq;
        }
    }

    fn note_gap(&mut self, group_id: u64, after_seq: u64, prev_seq: u64) {
        if after_seq > 0 && prev_seq > after_seq {
            self.events.push(Event::Gap { group_id, after_seq, before_seq: prev_seq.saturating_add(1) });
        }
    }

    fn group_cursor(&self, group_id: u64) -> u64 {
        self.cursors.groups.get(&group_id).copied().unwrap_or(0)
    }

    fn raise_group(&mut self, group_id: u64, seq: u64) {
        if self.groups_newest.len() >= GROUPS_MAX && !self.groups_newest.contains_key(&group_id) {
            return;
        }
        let newest = self.groups_newest.entry(group_id).or_default();
        *newest = seq.max(*newest);
    }

    fn take(&mut self, message: Message) {
        if message.group_seq > 0 {
            let groups = &mut self.cursors.groups;
            if groups.len() >= GROUPS_MAX && !groups.contains_key(&message.group_id) {
                return;
            }
            groups.insert(message.group_id, message.group_seq);
        } else {
            self.cursors.inbox = Some(message.seq);
        }
        // Of a server that gives no ids, nothing is recognised.
        let is_new = message.message_id == 0 || self.delivered.insert(delivered_id(&message));
        if is_new || !self.is_recovering {
            self.taken.push(message);
        }
    }
}

/// By which a message is recognised that was delivered already. A recall has the id of the message that it takes back.
pub fn delivered_id(message: &Message) -> String {
    match message.status {
        MessageStatus::Normal => message.message_id.to_string(),
        MessageStatus::Recalled => format!("{} recalled", message.message_id),
        MessageStatus::Expired => format!("{} expired", message.message_id),
    }
}

/// The last ids, in the order in which they came.
struct Delivered {
    ids: HashSet<String>,
    in_order: VecDeque<String>,
}

impl Delivered {
    fn new(ids: Vec<String>) -> Self {
        let mut delivered = Self { ids: HashSet::new(), in_order: VecDeque::new() };
        for id in ids {
            delivered.insert(id);
        }
        delivered
    }

    /// Returns whether it is new.
    fn insert(&mut self, id: String) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > DELIVERED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
