//! Fan-out: pushes to rooms, to large groups, to everybody, and the telling of live connections to the bridge. All of them walk many
//! connections, so all of them share one budget of deliveries per turn: each that has work gets an equal part of it, and what it
//! leaves is for the next one.

use std::collections::VecDeque;

use super::{Reactor, apps::App, peer::Peer, rooms::Rooms, uplink::UpItem};
use crate::{
    settings::PushAllSettings,
    token_bucket::{Rate, TokenBucket},
    wire::{encoded::Encoded, outbound::Kind},
};

/// Pushes to everybody, one after the other, so that each connection gets them in order, and no faster than they are set to,
/// so that one to a million connections holds nothing else up.
#[derive(Debug)]
pub(super) struct Broadcasts {
    waiting: VecDeque<Broadcast>,
    waiting_max: usize,
    next_slot: usize,
    rate: Rate,
    bucket: TokenBucket,
}

/// What walks many connections.
#[derive(Debug, Clone, Copy)]
enum FanOut {
    Announcements,
    Broadcasts,
    Groups,
    Rooms,
}

#[derive(Debug)]
struct Broadcast {
    message_id: u64,
    frame: Encoded,
}

impl Broadcasts {
    pub(super) fn new(settings: &PushAllSettings) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_max: settings.waiting_max,
            next_slot: 0,
            rate: Rate::even(settings.connections_per_s),
            bucket: TokenBucket::default(),
        }
    }

    /// How many connections may get it now.
    fn allowed(&mut self, now_ms: u64) -> usize {
        self.bucket.available(now_ms, self.rate)
    }

    /// When the next connection is due, if anybody waits.
    pub(super) fn wait_ms(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.bucket.wait_ms(self.rate))
    }
}

impl FanOut {
    /// In this order: pushes to all keep to their rate and leave much of their part, groups and rooms use whatever they get.
    const ALL: [Self; 4] = [Self::Announcements, Self::Broadcasts, Self::Groups, Self::Rooms];

    fn is_active(self, app: &App) -> bool {
        match self {
            Self::Announcements => app.announce_from.is_some(),
            Self::Broadcasts => app.broadcasts.wait_ms().is_some(),
            Self::Groups => app.groups.is_active(),
            Self::Rooms => app.rooms.is_active(),
        }
    }
}

impl Reactor {
    pub(super) fn fan_out(&mut self) {
        let active = self.context.apps.iter().map(|app| FanOut::ALL.iter().filter(|kind| kind.is_active(app)).count());
        let share = (self.context.budget.deliveries / active.sum::<usize>().max(1)).max(1);
        // What one leaves of its share is for those that come after it.
        let mut spare = 0;
        for app in self.context.apps.in_turn() {
            for kind in FanOut::ALL {
                if kind.is_active(&self.context.apps[app]) {
                    let visits_max = share + spare;
                    spare = visits_max.saturating_sub(self.pump(kind, app, visits_max));
                }
            }
        }
    }

    /// Goes on with one kind for an app. Returns how many deliveries, or visits in vain, that were.
    fn pump(&mut self, kind: FanOut, app: usize, visits_max: usize) -> usize {
        match kind {
            FanOut::Announcements => self.pump_announcements(app, visits_max),
            FanOut::Broadcasts => self.pump_broadcasts(app, visits_max),
            FanOut::Groups => self.pump_groups(app, visits_max),
            FanOut::Rooms => self.pump_rooms(app, visits_max),
        }
    }

    fn pump_rooms(&mut self, app: usize, deliveries_max: usize) -> usize {
        // Lent out, so that members can be sent to while their room is walked.
        let mut rooms = std::mem::replace(&mut self.context.apps[app].rooms, Rooms::new(0));
        let mut missed = Vec::new();
        let deliveries = rooms.pump(
            deliveries_max,
            |slot, frame, is_urgent| {
                if let Some(mut peer) = self.peer(slot) {
                    peer.send(frame.clone(), if is_urgent { Kind::UrgentRoom } else { Kind::Room });
                }
            },
            |slot, count| missed.push((slot, count)),
        );
        self.context.apps[app].rooms = rooms;
        for (slot, count) in missed {
            self.counts_of(slot).room_dropped += count as u64;
        }
        deliveries
    }

    pub(super) fn push_to_all(&mut self, app: usize, message_id: u64, frame: Encoded) {
        let app = &mut self.context.apps[app];
        if app.broadcasts.waiting.len() < app.broadcasts.waiting_max {
            app.broadcasts.waiting.push_back(Broadcast { message_id, frame });
        } else {
            self.context.metrics.counts.broadcasts_dropped += 1;
            app.uplink.push(UpItem::PushAllDone(message_id));
        }
    }

    fn pump_broadcasts(&mut self, app: usize, visits_max: usize) -> usize {
        let mut visits = 0;
        while let Some(Broadcast { message_id, frame }) = self.context.apps[app].broadcasts.waiting.front() {
            let (message_id, frame) = (*message_id, frame.clone());
            let mut allowed = self.context.apps[app].broadcasts.allowed(self.context.clock.now_ms());
            let end = self.table.slots_end();
            while visits < visits_max && allowed > 0 && self.context.apps[app].broadcasts.next_slot < end {
                let slot = self.context.apps[app].broadcasts.next_slot;
                self.context.apps[app].broadcasts.next_slot += 1;
                visits += 1;
                if let Some(mut peer) = self.live_in(app, slot) {
                    peer.send(frame.clone(), Kind::Room);
                    self.context.apps[app].broadcasts.bucket.spend(1);
                    allowed -= 1;
                }
            }
            let app = &mut self.context.apps[app];
            if app.broadcasts.next_slot < end {
                break;
            }
            app.broadcasts.waiting.pop_front();
            app.broadcasts.next_slot = 0;
            app.uplink.push(UpItem::PushAllDone(message_id));
        }
        visits
    }

    /// The connection in a slot, if it is signed in to this app.
    fn live_in(&mut self, app: usize, slot: usize) -> Option<Peer<'_>> {
        self.peer(slot).filter(|peer| peer.app() == Some(app) && peer.identity().is_some())
    }

    fn pump_announcements(&mut self, app: usize, visits_max: usize) -> usize {
        let Some(from) = self.context.apps[app].announce_from else { return 0 };
        let to = self.table.slots_end().min(from + visits_max);
        for slot in from..to {
            if let Some(mut peer) = self.live_in(app, slot) {
                peer.announce(app);
            }
        }
        self.context.apps[app].announce_from = (to < self.table.slots_end()).then_some(to);
        to.saturating_sub(from)
    }
}

impl Peer<'_> {
    /// Tells the bridge of it.
    fn announce(&mut self, app: usize) {
        let Some(identity) = self.identity() else { return };
        let live_since_ms = self.connection.session.live_since_ms();
        let live = UpItem::Live {
            connection: self.id(),
            identity,
            since_ms: self.context.clock.unix_ms(live_since_ms),
            age_ms: self.context.clock.now_ms().saturating_sub(live_since_ms),
            large_group_ids: self.context.apps[app].groups.of(self.slot),
        };
        self.context.apps[app].uplink.push(live);
    }
}
