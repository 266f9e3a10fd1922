//! What was sent and is not answered. One message at a time is under way to each target, so that none overtakes another, whatever is put
//! off or sent again.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    backoff::Backoff,
    types::{NEVER, PendingSend},
};
use crate::wire::Target;

/// Messages that are under way to all targets together.
const UNDER_WAY_MAX: usize = 16;

/// Between two tries while a server puts messages off: so long, at most, they wait once it is well again. Longer waits would meet a server that
/// comes and goes too seldom; shorter ones would be felt by a node whose users all have something to send.
const PAUSE_MS_MAX: u64 = 5_000;

/// Messages that wait for an answer; more are refused at once.
pub const OUTBOX_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct Outbox {
    /// In the order in which they were sent.
    sends: BTreeMap<u64, PendingSend>,
    orders: HashMap<String, u64>,
    next_order: u64,
    under_way: HashSet<Target>,
    pause: Backoff,
    paused_until_ms: u64,
}

impl Outbox {
    pub(super) fn new(sends: impl IntoIterator<Item = PendingSend>) -> Self {
        let mut outbox = Self {
            sends: BTreeMap::new(),
            orders: HashMap::new(),
            next_order: 0,
            under_way: HashSet::new(),
            pause: Backoff::new(2000, PAUSE_MS_MAX),
            paused_until_ms: 0,
        };
        sends.into_iter().for_each(|send| outbox.add(send));
        outbox
    }

    pub(super) fn is_full(&self) -> bool {
        self.sends.len() >= OUTBOX_MAX
    }

    pub(super) fn has(&self, client_msg_id: &str) -> bool {
        self.orders.contains_key(client_msg_id)
    }

    pub(super) fn add(&mut self, send: PendingSend) {
        self.orders.insert(send.client_msg_id.clone(), self.next_order);
        self.sends.insert(self.next_order, send);
        self.next_order += 1;
    }

    /// Those that may go out now, oldest first; they are under way from here on.
    pub(super) fn take_ready(&mut self, now_ms: u64) -> Vec<PendingSend> {
        let mut ready = Vec::new();
        if now_ms < self.paused_until_ms || self.under_way.len() == self.sends.len() {
            return ready;
        }
        self.paused_until_ms = 0;
        for send in self.sends.values() {
            if self.under_way.len() >= UNDER_WAY_MAX {
                break;
            }
            if self.under_way.insert(send.target) {
                ready.push(send.clone());
            }
        }
        ready
    }

    /// It was answered: what comes next to its target may go out.
    pub(super) fn settle(&mut self, client_msg_id: &str) -> Option<PendingSend> {
        self.pause.reset();
        let send = self.sends.remove(&self.orders.remove(client_msg_id)?)?;
        self.under_way.remove(&send.target);
        Some(send)
    }

    /// `random` is from 0 to 1.
    pub(super) fn put_off(&mut self, client_msg_id: &str, now_ms: u64, random: f64) {
        if let Some(send) = self.orders.get(client_msg_id).and_then(|order| self.sends.get(order)) {
            self.under_way.remove(&send.target);
        }
        if now_ms >= self.paused_until_ms {
            self.paused_until_ms = now_ms + self.pause.next_ms(random);
        }
    }

    /// The connection ended: what was under way goes out again on the next one.
    pub(super) fn disconnected(&mut self) {
        self.under_way.clear();
        self.paused_until_ms = 0;
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        let is_waiting = self.sends.len() > self.under_way.len() && self.paused_until_ms > 0;
        if is_waiting { self.paused_until_ms } else { NEVER }
    }
}
