//! Fan-out: pushes to rooms, to large groups, to everybody, and the telling of live connections to the bridge. All of them walk many
//! connections, so all of them share one budget of deliveries per turn.

use std::collections::VecDeque;

use super::{Reactor, pace::Pace, rooms::Rooms, uplink::UpItem};
use crate::{
    settings::PushAllSettings,
    wire::{encoded::Encoded, outbound::Kind},
};

/// Pushes to everybody, one after the other, so that each connection gets them in order, and no faster than they are set to,
/// so that one to a million connections holds nothing else up.
#[derive(Debug)]
pub(super) struct Broadcasts {
    waiting: VecDeque<Broadcast>,
    waiting_max: usize,
    next_slot: usize,
    pace: Pace,
}

#[derive(Debug)]
struct Broadcast {
    message_id: u64,
    frame: Encoded,
}

impl Broadcasts {
    pub(super) fn new(settings: &PushAllSettings) -> Self {
        let (waiting_max, pace) = (settings.waiting_max, Pace::new(settings.connections_per_s));
        Self { waiting: VecDeque::new(), waiting_max, next_slot: 0, pace }
    }

    /// When the next connection is due, if anybody waits.
    pub(super) fn wait_ms(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.pace.wait_ms())
    }
}

impl Reactor {
    pub(super) fn fan_out(&mut self) {
        let budget = self.budget.deliveries;
        let rooms = self.apps.share(budget, |app| app.rooms.is_active());
        let groups = self.apps.share(budget, |app| app.groups.is_active());
        let broadcasts = self.apps.share(budget, |app| app.broadcasts.wait_ms().is_some());
        let announcements = self.apps.share(budget, |app| app.announce_from.is_some());
        for app in self.apps.in_turn() {
            self.pump_rooms(app, rooms);
            self.pump_groups(app, groups);
            self.pump_broadcasts(app, broadcasts);
            self.pump_announcements(app, announcements);
        }
    }

    fn pump_rooms(&mut self, app: usize, deliveries: usize) {
        if !self.apps[app].rooms.is_active() {
            return;
        }
        // Lent out, so that members can be sent to while their room is walked.
        let mut rooms = std::mem::replace(&mut self.apps[app].rooms, Rooms::new(0));
        let pumped = rooms.pump(deliveries, |slot, frame, is_urgent| {
            self.send(slot, frame.clone(), if is_urgent { Kind::UrgentRoom } else { Kind::Room });
        });
        self.apps[app].rooms = rooms;
        self.metrics.tally.room_dropped += pumped.missed as u64;
    }

    pub(super) fn push_to_all(&mut self, app: usize, message_id: u64, frame: Encoded) {
        let app = &mut self.apps[app];
        if app.broadcasts.waiting.len() < app.broadcasts.waiting_max {
            app.broadcasts.waiting.push_back(Broadcast { message_id, frame });
        } else {
            self.metrics.tally.broadcasts_dropped += 1;
            app.uplink.push(UpItem::PushAllDone(message_id));
        }
    }

    fn pump_broadcasts(&mut self, app: usize, mut visits: usize) {
        while let Some(Broadcast { message_id, frame }) = self.apps[app].broadcasts.waiting.front() {
            let (message_id, frame) = (*message_id, frame.clone());
            let mut allowed = self.apps[app].broadcasts.pace.allowed(self.now_ms);
            let end = self.table.slots_end();
            while visits > 0 && allowed > 0 && self.apps[app].broadcasts.next_slot < end {
                let slot = self.apps[app].broadcasts.next_slot;
                self.apps[app].broadcasts.next_slot += 1;
                visits -= 1;
                if self.is_live_in(app, slot) {
                    self.send(slot, frame.clone(), Kind::Room);
                    self.apps[app].broadcasts.pace.spend(1);
                    allowed -= 1;
                }
            }
            let app = &mut self.apps[app];
            if app.broadcasts.next_slot < end {
                return;
            }
            app.broadcasts.waiting.pop_front();
            app.broadcasts.next_slot = 0;
            app.uplink.push(UpItem::PushAllDone(message_id));
        }
    }

    fn is_live_in(&self, app: usize, slot: usize) -> bool {
        self.table.peek(slot).is_some_and(|found| found.session.identity().is_some()) && self.app_of(slot) == Some(app)
    }

    fn pump_announcements(&mut self, app: usize, visits: usize) {
        let Some(from) = self.apps[app].announce_from else { return };
        let to = self.table.slots_end().min(from + visits);
        for slot in from..to {
            if !self.is_live_in(app, slot) {
                continue;
            }
            let Some(found) = self.table.peek(slot) else { continue };
            let Some(identity) = found.session.identity() else { continue };
            let age_ms = self.now_ms.saturating_sub(found.session.live_since_ms());
            let since_ms = self.unix_ms(found.session.live_since_ms());
            let connection = self.connection_id(slot, found.generation);
            let large_group_ids = self.apps[app].groups.of(slot);
            self.apps[app].uplink.push(UpItem::Live { connection, identity, since_ms, age_ms, large_group_ids });
        }
        self.apps[app].announce_from = (to < self.table.slots_end()).then_some(to);
    }
}
