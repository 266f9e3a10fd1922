//! What waits to go down to one conn node: replies, which leave first; priority pushes to rooms, which leave before the rest; and
//! one queue for everything else, so that of that what was decided first also leaves first. A priority push still follows whatever
//! put somebody into its room, and the earlier ones of its room. A reply that changes what its connection is pushed (a subscription),
//! or tells what it should have got (newest seqs), keeps its place among the pushes.
//!
//! Replies hold the permit of their request, so there are never more of them than requests in flight. Pushes have a limit of
//! their own, beyond which they are dropped, in all and for each user who causes them; whose inbox they were for is remembered, and
//! told once there is room. Notices (kicks, moves, newest seqs) are small and few; a node that does not even take those is detached.
//! Any task.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::HashMap;
use gim_proto::logic::{DownItem, GroupPush, Push, down_item::Item};
use metrics::counter;
use prost::Message as _;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    item_batch::ItemBatch,
    owed_news::{OwedLimits, OwedNews},
};
use crate::{metrics as names, settings::LinkSettings};

/// Bytes in one message of the stream, unless a single item is larger: well below what gRPC peers accept.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Who causes a push that is a service's: nobody's share.
pub const SERVICE: u64 = 0;

/// The queue.
#[derive(Debug)]
pub struct NodeQueue {
    settings: LinkSettings,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    replies: VecDeque<Entry>,
    urgent: VecDeque<Entry>,
    entries: VecDeque<Entry>,
    /// Per room, how many of `entries` a priority push to it must not overtake.
    barriers: HashMap<u64, usize>,
    pushes: usize,
    push_bytes: usize,
    /// Of users who caused some of the pushes.
    shares: HashMap<u64, Share>,
    owed: OwedNews,
    is_closed: bool,
}

/// The pushes that one user caused.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    owed: OwedNews,
}

#[derive(Debug)]
struct Entry {
    item: DownItem,
    bytes: usize,
    /// Who caused it, if it is a push.
    push_of: Option<u64>,
    /// Whether it leaves before what is not.
    is_urgent: bool,
    /// The room whose priority pushes must not overtake it.
    barrier: Option<u64>,
    /// Given back when the reply leaves.
    permit: Option<OwnedSemaphorePermit>,
}

impl NodeQueue {
    /// An empty queue.
    pub fn new(settings: LinkSettings) -> Self {
        Self { settings, state: Mutex::default(), filled: Notify::new() }
    }

    /// Queues the reply to a request, with the request's permit.
    pub fn reply(&self, item: Item, permit: OwnedSemaphorePermit) {
        let entry = Entry { permit: Some(permit), ..Entry::new(item, None) };
        self.add(entry, |_, _, _| true);
    }

    /// Queues a notice; false where so much waits that the node has to be detached.
    pub fn notice(&self, item: Item) -> bool {
        self.add(Entry::new(item, None), |_, state, settings| {
            state.len() < settings.down_pushes_max.saturating_mul(2) + settings.in_flight_max
        })
    }

    /// Queues a push that a user caused, or drops it and remembers `owed_hints` of it: `(connection id, user id)` of its persisted
    /// receivers.
    pub fn push_to_connections(&self, push: Push, caused_by: u64, owed_hints: impl FnOnce(&Push) -> Vec<(u64, u64)>) {
        self.push_or(Item::Push(push), caused_by, |owed, limits, item| {
            if let Item::Push(push) = item {
                owed.add_connections(&owed_hints(push), limits.connections);
            }
        });
    }

    /// Queues a push to a room or to everybody, of which nobody is owed a hint; false where it was dropped.
    pub fn push(&self, item: Item, caused_by: u64) -> bool {
        self.push_or(item, caused_by, |_, _, _| {})
    }

    /// Queues a push to a large group, or drops it and, where it is persisted, remembers the group.
    pub fn push_to_group(&self, push: GroupPush, caused_by: u64) {
        let (group_id, is_persisted) = (push.group_id, push.seq > 0);
        self.push_or(Item::GroupPush(push), caused_by, |owed, limits, _| {
            if is_persisted {
                owed.add_group(group_id, limits.groups);
            }
        });
    }

    /// Priority pushes find room where others do not, within the share of who causes them.
    fn push_or(&self, item: Item, caused_by: u64, on_drop: impl FnOnce(&mut OwedNews, OwedLimits, &Item)) -> bool {
        let entry = Entry::new(item, Some(caused_by));
        let factor = if entry.is_urgent { 2 } else { 1 };
        self.add(entry, |entry, state, settings| {
            let has_room = state.pushes < settings.down_pushes_max.saturating_mul(factor)
                && state.push_bytes < settings.down_bytes_max.saturating_mul(factor);
            let full_share =
                state.shares.get_mut(&caused_by).filter(|share| share.bytes >= settings.down_user_bytes_max);
            let (owed, limits, bound) = match full_share {
                Some(share) => (&mut share.owed, OwedLimits::OF_USER, "user"),
                None if has_room => return true,
                None => (&mut state.owed, OwedLimits::OF_ALL, "all"),
            };
            counter!(names::LINK_PUSHES_DROPPED, "bound" => bound).increment(1);
            if let Some(item) = &entry.item.item {
                on_drop(owed, limits, item);
            }
            false
        })
    }

    /// The next batch, once there is one. `None` once the queue is closed and empty.
    pub async fn take(&self) -> Option<ItemBatch> {
        loop {
            {
                let mut state = self.lock();
                if state.len() > 0 {
                    return Some(state.take(&self.settings));
                }
                if state.is_closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes nothing more; what waits still leaves.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Adds an entry where `admits` lets it in; whether it did. A closed queue lets everything in, and forgets it.
    fn add(&self, entry: Entry, admits: impl FnOnce(&Entry, &mut State, &LinkSettings) -> bool) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return true;
        }
        if !admits(&entry, &mut state, &self.settings) {
            return false;
        }
        state.enqueue(entry);
        drop(state);
        self.filled.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(item: Item, push_of: Option<u64>) -> Self {
        let is_urgent = matches!(&item, Item::RoomPush(push) if push.is_priority);
        let barrier = match &item {
            Item::PacketReply(reply) => reply.subscribed.as_ref().map(|subscribed| subscribed.room_id),
            Item::RoomMove(room_move) => room_move.subscribed.as_ref().map(|subscribed| subscribed.room_id),
            Item::RoomPush(push) if push.is_priority => Some(push.room_id),
            _ => None,
        };
        let item = DownItem { item: Some(item) };
        Self { bytes: item.encoded_len(), item, push_of, is_urgent, barrier, permit: None }
    }

    /// Whether it leaves before all pushes.
    fn leaves_first(&self) -> bool {
        self.barrier.is_none()
            && matches!(&self.item.item, Some(Item::PacketReply(_) | Item::SignInResult(_)) if self.permit.is_some())
    }
}

impl State {
    fn len(&self) -> usize {
        self.replies.len() + self.urgent.len() + self.entries.len()
    }

    fn enqueue(&mut self, entry: Entry) {
        if let Some(user_id) = entry.push_of {
            self.pushes += 1;
            self.push_bytes += entry.bytes;
            if user_id != SERVICE {
                self.shares.entry(user_id).or_default().bytes += entry.bytes;
            }
        }
        if entry.leaves_first() {
            self.replies.push_back(entry);
            return;
        }
        if let Some(room_id) = entry.barrier {
            if entry.is_urgent && !self.barriers.contains_key(&room_id) {
                self.urgent.push_back(entry);
                return;
            }
            *self.barriers.entry(room_id).or_default() += 1;
        }
        self.entries.push_back(entry);
    }

    /// The next entry, where it has at most so many bytes: a reply, or where `is_turn_of_pushes` and there is one, something else.
    fn pop(&mut self, is_turn_of_pushes: bool, bytes_max: usize) -> Option<Entry> {
        let others = if self.urgent.is_empty() { &self.entries } else { &self.urgent };
        let is_reply = !self.replies.is_empty() && (!is_turn_of_pushes || others.is_empty());
        let next = if is_reply { self.replies.front() } else { others.front() };
        if next.is_none_or(|next| next.bytes > bytes_max) {
            return None;
        }
        if is_reply {
            return self.replies.pop_front();
        }
        if let Some(entry) = self.urgent.pop_front() {
            return Some(entry);
        }
        let entry = self.entries.pop_front()?;
        if let Some(room_id) = entry.barrier
            && let Some(count) = self.barriers.get_mut(&room_id)
        {
            *count -= 1;
            if *count == 0 {
                self.barriers.remove(&room_id);
            }
        }
        Some(entry)
    }

    /// Replies are first, and have half of a batch at most while something else waits.
    fn take(&mut self, settings: &LinkSettings) -> ItemBatch {
        let mut batch = ItemBatch::default();
        let mut bytes = 0;
        while batch.items.len() < settings.batch_items_max {
            let is_turn_of_pushes =
                batch.items.len() >= settings.batch_items_max.div_ceil(2) || bytes >= BATCH_BYTES_MAX / 2;
            let bytes_max = if batch.items.is_empty() { usize::MAX } else { BATCH_BYTES_MAX.saturating_sub(bytes) };
            let Some(entry) = self.pop(is_turn_of_pushes, bytes_max) else { break };
            bytes += entry.bytes;
            if let Some(user_id) = entry.push_of {
                self.give_back(user_id, entry.bytes, settings.down_user_bytes_max, &mut batch);
            }
            batch.items.push(entry.item);
        }
        if self.pushes <= settings.down_pushes_max / 2 && self.push_bytes <= settings.down_bytes_max / 2 {
            self.owed.settle(&mut batch);
        }
        counter!(names::LINK_DOWN_ITEMS).increment(batch.items.len() as u64);
        batch
    }

    /// A push leaves: what it took of its user's share is free.
    fn give_back(&mut self, user_id: u64, bytes: usize, share_bytes_max: usize, batch: &mut ItemBatch) {
        self.pushes -= 1;
        self.push_bytes -= bytes;
        if let Some(share) = self.shares.get_mut(&user_id) {
            share.bytes -= bytes;
            if share.bytes <= share_bytes_max / 2 {
                share.owed.settle(batch);
            }
            if share.bytes == 0 {
                self.shares.remove(&user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
