//! Fan-out: pushes to rooms, to everybody, and the telling of live connections to the bridge. All of them walk many
//! connections, so all of them share one budget of deliveries per turn.

use std::collections::VecDeque;

use super::{Reactor, uplink::UpItem};
use crate::wire::{encoded::Encoded, outbound::Kind};

/// Pushes to everybody that wait at most; they are few and far between, and each reaches every connection.
const BROADCASTS_MAX: usize = 1024;

/// Pushes to everybody, one after the other, so that each connection gets them in order.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    waiting: VecDeque<Encoded>,
    next_slot: usize,
}

impl Broadcasts {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, frame: Encoded) {
        if self.waiting.len() < BROADCASTS_MAX {
            self.waiting.push_back(frame);
        } else {
            tracing::warn!("a push to all was dropped: {BROADCASTS_MAX} others wait");
        }
    }
}

impl Reactor {
    pub(super) fn fan_out(&mut self) {
        self.pump_rooms();
        self.pump_broadcasts();
        self.pump_announcements();
    }

    fn pump_rooms(&mut self) {
        if !self.rooms.is_active() {
            return;
        }
        // Lent out, so that members can be sent to while their room is walked.
        let mut rooms = std::mem::replace(&mut self.rooms, super::Rooms::new(0));
        let pumped = rooms.pump(self.budget.deliveries, |slot, frame| self.send(slot, frame.clone(), Kind::Room));
        self.rooms = rooms;
        self.metrics.tally.room_dropped += pumped.missed as u64;
    }

    fn pump_broadcasts(&mut self) {
        let mut budget = self.budget.deliveries;
        while let Some(frame) = self.broadcasts.waiting.front().cloned() {
            let from = self.broadcasts.next_slot;
            let to = self.table.slots_end().min(from + budget);
            for slot in from..to {
                if self.table.peek(slot).is_some_and(|connection| connection.session.identity().is_some()) {
                    self.send(slot, frame.clone(), Kind::Room);
                }
            }
            budget -= to - from;
            if to < self.table.slots_end() {
                self.broadcasts.next_slot = to;
                return;
            }
            self.broadcasts.waiting.pop_front();
            self.broadcasts.next_slot = 0;
        }
    }

    fn pump_announcements(&mut self) {
        let Some(from) = self.announce_from else { return };
        let to = self.table.slots_end().min(from + self.budget.deliveries);
        for slot in from..to {
            let Some(found) = self.table.peek(slot) else { continue };
            let Some(identity) = found.session.identity() else { continue };
            let since_ms = self.unix_ms(found.session.live_since_ms());
            let connection = self.connection_id(slot, found.generation);
            self.uplink.push(UpItem::Live { connection, identity, since_ms });
        }
        self.announce_from = (to < self.table.slots_end()).then_some(to);
    }
}
