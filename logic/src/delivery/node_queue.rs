//! What waits to go down to one conn node: one queue for everything, so that what was decided first also leaves first, and one
//! for priority pushes to rooms, which leave before all that. A priority push still follows whatever put somebody into its
//! room, and the earlier ones of its room.
//!
//! Replies hold the permit of their request, so there are never more of them than requests in flight. Pushes have a limit of
//! their own, beyond which they are dropped; whose inbox they were for is remembered, and told once there is room. Notices
//! (kicks, moves, newest seqs) are small and few; a node that does not even take those is detached. Any task.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::{HashMap, HashSet};
use gim_proto::logic::{DownItem, GroupPush, Push, down_item::Item};
use metrics::counter;
use prost::Message as _;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::{metrics as names, settings::LinkSettings};

/// Bytes in one message of the stream, unless a single item is larger: well below what gRPC peers accept.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Connections that are remembered to be told their newest seq. Those beyond learn it from their heartbeat.
const OWED_HINTS_MAX: usize = 65_536;

/// Large groups that are remembered likewise.
const OWED_GROUPS_MAX: usize = 65_536;

/// The queue.
#[derive(Debug)]
pub struct NodeQueue {
    settings: LinkSettings,
    state: Mutex<State>,
    filled: Notify,
}

/// What leaves next.
#[derive(Debug, Default)]
pub struct ItemBatch {
    /// For one message of the stream.
    pub items: Vec<DownItem>,
    /// `(connection id, user id)` of persisted pushes that were dropped, now that there is room again.
    pub owed_hints: Vec<(u64, u64)>,
    /// Large groups of which persisted pushes were dropped, likewise.
    pub owed_groups: Vec<u64>,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    urgent: VecDeque<Entry>,
    /// Per room, how many of `entries` a priority push to it must not overtake.
    barriers: HashMap<u64, usize>,
    pushes: usize,
    push_bytes: usize,
    owed_hints: HashMap<u64, u64>,
    owed_groups: HashSet<u64>,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    item: DownItem,
    bytes: usize,
    is_push: bool,
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
        let entry = Entry { permit: Some(permit), ..Entry::new(item, false) };
        self.add(entry, |_, _, _| true);
    }

    /// Queues a notice; false where so much waits that the node has to be detached.
    pub fn notice(&self, item: Item) -> bool {
        self.add(Entry::new(item, false), |_, state, settings| {
            state.entries.len() + state.urgent.len()
                < settings.down_pushes_max.saturating_mul(2) + settings.in_flight_max
        })
    }

    /// Queues a push, or drops it and remembers `owed_hints` of it: `(connection id, user id)` of its persisted receivers.
    pub fn push_to_connections(&self, push: Push, owed_hints: impl FnOnce(&Push) -> Vec<(u64, u64)>) {
        self.push_or(Item::Push(push), |state, item| {
            if let Item::Push(push) = item {
                state.owe(&owed_hints(push));
            }
        });
    }

    /// Queues a push to a room or to everybody, of which nobody is owed a hint; false where it was dropped.
    pub fn push(&self, item: Item) -> bool {
        self.push_or(item, |_, _| {})
    }

    /// Queues a push to a large group, or drops it and, where it is persisted, remembers the group.
    pub fn push_to_group(&self, push: GroupPush) {
        let (group_id, is_persisted) = (push.group_id, push.seq > 0);
        self.push_or(Item::GroupPush(push), |state, _| {
            if !is_persisted {
                return;
            }
            if state.owed_groups.len() < OWED_GROUPS_MAX {
                state.owed_groups.insert(group_id);
            } else if !state.owed_groups.contains(&group_id) {
                counter!(names::LINK_HINTS_LOST).increment(1);
            }
        });
    }

    /// Priority pushes find room where others do not.
    fn push_or(&self, item: Item, on_drop: impl FnOnce(&mut State, &Item)) -> bool {
        let entry = Entry::new(item, true);
        let share = if entry.is_urgent { 2 } else { 1 };
        self.add(entry, |entry, state, settings| {
            let has_room = state.pushes < settings.down_pushes_max.saturating_mul(share)
                && state.push_bytes < settings.down_bytes_max.saturating_mul(share);
            if !has_room {
                counter!(names::LINK_PUSHES_DROPPED).increment(1);
                if let Some(item) = &entry.item.item {
                    on_drop(state, item);
                }
            }
            has_room
        })
    }

    /// The next batch, once there is one. `None` once the queue is closed and empty.
    pub async fn take(&self) -> Option<ItemBatch> {
        loop {
            {
                let mut state = self.lock();
                if !state.is_empty() {
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
        if entry.is_push {
            state.pushes += 1;
            state.push_bytes += entry.bytes;
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
    fn new(item: Item, is_push: bool) -> Self {
        let is_urgent = matches!(&item, Item::RoomPush(push) if push.is_priority);
        let barrier = match &item {
            Item::PacketReply(reply) => reply.subscribed.as_ref().map(|subscribed| subscribed.room_id),
            Item::RoomMove(room_move) => room_move.subscribed.as_ref().map(|subscribed| subscribed.room_id),
            Item::RoomPush(push) if push.is_priority => Some(push.room_id),
            _ => None,
        };
        let item = DownItem { item: Some(item) };
        Self { bytes: item.encoded_len(), item, is_push, is_urgent, barrier, permit: None }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.urgent.is_empty()
    }

    fn enqueue(&mut self, entry: Entry) {
        if let Some(room_id) = entry.barrier {
            if entry.is_urgent && !self.barriers.contains_key(&room_id) {
                self.urgent.push_back(entry);
                return;
            }
            *self.barriers.entry(room_id).or_default() += 1;
        }
        self.entries.push_back(entry);
    }

    fn front(&self) -> Option<&Entry> {
        self.urgent.front().or_else(|| self.entries.front())
    }

    fn pop(&mut self) -> Option<Entry> {
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

    fn take(&mut self, settings: &LinkSettings) -> ItemBatch {
        let mut batch = ItemBatch::default();
        let mut bytes = 0;
        while batch.items.len() < settings.batch_items_max
            && let Some(next) = self.front()
            && (batch.items.is_empty() || bytes + next.bytes <= BATCH_BYTES_MAX)
            && let Some(entry) = self.pop()
        {
            bytes += entry.bytes;
            if entry.is_push {
                self.pushes -= 1;
                self.push_bytes -= entry.bytes;
            }
            drop(entry.permit);
            batch.items.push(entry.item);
        }
        let has_room = self.pushes <= settings.down_pushes_max / 2 && self.push_bytes <= settings.down_bytes_max / 2;
        if has_room && !self.owed_hints.is_empty() {
            batch.owed_hints = std::mem::take(&mut self.owed_hints).into_iter().collect();
        }
        if has_room && !self.owed_groups.is_empty() {
            batch.owed_groups = std::mem::take(&mut self.owed_groups).into_iter().collect();
        }
        counter!(names::LINK_DOWN_ITEMS).increment(batch.items.len() as u64);
        batch
    }

    fn owe(&mut self, owed_hints: &[(u64, u64)]) {
        for &(connection_id, user_id) in owed_hints {
            if self.owed_hints.len() >= OWED_HINTS_MAX && !self.owed_hints.contains_key(&connection_id) {
                counter!(names::LINK_HINTS_LOST).increment(1);
            } else {
                self.owed_hints.insert(connection_id, user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gim_proto::logic::{Kick, PacketReply, RoomMove, RoomPush, RoomSubscribed};
    use tokio::sync::Semaphore;

    use super::*;

    fn queue(change: impl FnOnce(&mut LinkSettings)) -> NodeQueue {
        let mut settings = LinkSettings::default();
        change(&mut settings);
        NodeQueue::new(settings)
    }

    fn push(bytes: usize) -> Item {
        Item::Push(push_of(bytes))
    }

    fn push_of(bytes: usize) -> Push {
        Push { message: vec![0; bytes].into(), ..Push::default() }
    }

    fn kick(connection_id: u64) -> Item {
        Item::Kick(Kick { connection_id, ..Kick::default() })
    }

    #[tokio::test]
    async fn what_comes_first_leaves_first_in_batches() {
        let queue = queue(|settings| settings.batch_items_max = 2);
        for connection_id in 1..=3 {
            assert!(queue.notice(kick(connection_id)));
        }
        let ids = |batch: ItemBatch| -> Vec<u64> {
            let id = |item: &DownItem| match &item.item {
                Some(Item::Kick(kick)) => kick.connection_id,
                other => panic!("{other:?}"),
            };
            batch.items.iter().map(id).collect()
        };
        assert_eq!(ids(queue.take().await.unwrap()), [1, 2]);
        queue.close();
        assert_eq!(ids(queue.take().await.unwrap()), [3], "what waits leaves after the queue was closed");
        assert!(queue.take().await.is_none());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let queue = queue(|_| ());
        queue.push(push(2 * BATCH_BYTES_MAX));
        queue.push(push(BATCH_BYTES_MAX / 2));
        queue.push(push(BATCH_BYTES_MAX / 2));
        for expected in [1, 1, 1] {
            assert_eq!(queue.take().await.unwrap().items.len(), expected);
        }
    }

    #[tokio::test]
    async fn pushes_beyond_the_limit_are_owed_as_hints_until_there_is_room() {
        let queue = queue(|settings| {
            settings.down_pushes_max = 4;
            settings.batch_items_max = 1;
        });
        for connection_id in 0..6 {
            queue.push_to_connections(push_of(10), |_| vec![(connection_id, 7)]);
        }
        assert!(queue.take().await.unwrap().owed_hints.is_empty(), "there is no room yet");
        let mut owed = queue.take().await.unwrap().owed_hints;
        owed.sort_unstable();
        assert_eq!(owed, [(4, 7), (5, 7)]);
        assert!(queue.take().await.unwrap().owed_hints.is_empty(), "nobody is told twice");
    }

    #[tokio::test]
    async fn a_large_group_whose_persisted_push_was_dropped_is_owed_its_news() {
        let queue = queue(|settings| settings.down_pushes_max = 1);
        queue.push(push(10));
        for (group_id, seq) in [(5, 1), (5, 2), (6, 0)] {
            queue.push_to_group(GroupPush { group_id, seq, ..GroupPush::default() });
        }
        assert_eq!(queue.take().await.unwrap().owed_groups, [5], "what is not persisted is not owed");
    }

    #[tokio::test]
    async fn replies_are_never_dropped_and_hold_their_permit_until_they_leave() {
        let queue = queue(|settings| settings.down_pushes_max = 1);
        let in_flight = Arc::new(Semaphore::new(2));
        queue.push(push(10));
        queue.push(push(10));
        for _ in 0..2 {
            let permit = in_flight.clone().try_acquire_owned().unwrap();
            queue.reply(Item::PacketReply(PacketReply::default()), permit);
        }
        assert_eq!(in_flight.available_permits(), 0);
        assert_eq!(queue.take().await.unwrap().items.len(), 3);
        assert_eq!(in_flight.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_priority_push_overtakes_but_not_what_put_somebody_into_its_room() {
        let queue = queue(|settings| settings.down_pushes_max = 2);
        let room_push = |room_id, text: &'static str, is_priority| {
            Item::RoomPush(RoomPush { room_id, message: text.into(), is_priority, ..RoomPush::default() })
        };
        let joined = |room_id| {
            let subscribed = Some(RoomSubscribed { room_id, ..RoomSubscribed::default() });
            Item::RoomMove(RoomMove { connection_id: 1, subscribed })
        };
        assert!(queue.push(room_push(8, "normal 8", false)));
        assert!(queue.notice(joined(9)));
        assert!(queue.push(room_push(9, "normal 9", false)));
        assert!(!queue.push(room_push(9, "dropped", false)), "the queue is full");
        assert!(queue.push(room_push(8, "urgent 8", true)), "but not for what is urgent");
        assert!(queue.push(room_push(9, "urgent 9", true)));
        assert!(!queue.push(room_push(9, "one too many", true)));
        let items = queue.take().await.unwrap().items;
        let name = |item: &DownItem| match &item.item {
            Some(Item::RoomPush(push)) => String::from_utf8(push.message.to_vec()).unwrap(),
            _ => "joined 9".to_owned(),
        };
        let order: Vec<String> = items.iter().map(name).collect();
        assert_eq!(order, ["urgent 8", "normal 8", "joined 9", "normal 9", "urgent 9"]);
        assert!(queue.lock().barriers.is_empty());
    }

    #[test]
    fn a_node_that_takes_no_notices_is_given_up() {
        let queue = queue(|settings| (settings.down_pushes_max, settings.in_flight_max) = (1, 1));
        assert_eq!([1, 2, 3, 4].map(|connection_id| queue.notice(kick(connection_id))), [true, true, true, false]);
    }
}
