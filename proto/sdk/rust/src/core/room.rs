//! The room that the app is in. A connection knows no room until it subscribes, so this remembers which one, and how far it was seen.

use std::collections::{HashSet, VecDeque};

use gim_proto::connect::SubscribeRoomRequest;

use super::types::NEVER;
use crate::message::Message;

/// Messages by which a repeated one is recognised.
const SEEN_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Room {
    room_id: u64,
    from_start: bool,
    highest_seq: u64,
    seen: HashSet<(u64, u64)>,
    seen_in_order: VecDeque<(u64, u64)>,
    /// When to ask again, after the server put it off or the app could not take what came.
    pub(super) retry_at_ms: u64,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            room_id: 0,
            from_start: false,
            highest_seq: 0,
            seen: HashSet::new(),
            seen_in_order: VecDeque::new(),
            retry_at_ms: NEVER,
        }
    }

    /// 0 for none.
    pub(super) fn room_id(&self) -> u64 {
        self.room_id
    }

    pub(super) fn enter(&mut self, room_id: u64, from_start: bool) {
        if room_id != self.room_id {
            self.highest_seq = 0;
            self.seen.clear();
            self.seen_in_order.clear();
        }
        self.room_id = room_id;
        self.from_start = from_start;
        self.retry_at_ms = NEVER;
    }

    pub(super) fn request(&self) -> SubscribeRoomRequest {
        let from_start = self.from_start && self.highest_seq == 0;
        SubscribeRoomRequest { room_id: self.room_id, seq: self.highest_seq, from_start }
    }

    /// Whether the message is a new one. Urgent ones come before lower numbers, so a lower number alone says nothing.
    pub(super) fn is_new(&mut self, message: &Message) -> bool {
        if message.room_id != self.room_id {
            return true;
        }
        let id = (message.room_seq, message.message_id);
        if !self.seen.insert(id) {
            return false;
        }
        self.seen_in_order.push_back(id);
        if self.seen_in_order.len() > SEEN_MAX
            && let Some(oldest) = self.seen_in_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.highest_seq = self.highest_seq.max(message.room_seq);
        true
    }
}
