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

use super::owed_news::{OwedLimits, OwedNews};
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
        queue.push(push(2 * BATCH_BYTES_MAX), SERVICE);
        queue.push(push(BATCH_BYTES_MAX / 2), SERVICE);
        queue.push(push(BATCH_BYTES_MAX / 2), SERVICE);
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
            queue.push_to_connections(push_of(10), SERVICE, |_| vec![(connection_id, 7)]);
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
        queue.push(push(10), SERVICE);
        for (group_id, seq) in [(5, 1), (5, 2), (6, 0)] {
            queue.push_to_group(GroupPush { group_id, seq, ..GroupPush::default() }, SERVICE);
        }
        assert_eq!(queue.take().await.unwrap().owed_groups, [5], "what is not persisted is not owed");
    }

    #[tokio::test]
    async fn a_reply_leaves_before_pushes_unless_it_puts_somebody_into_a_room() {
        let queue = queue(|settings| settings.batch_items_max = 4);
        let in_flight = Arc::new(Semaphore::new(8));
        let reply = |request_no, room_id: Option<u64>| {
            let subscribed = room_id.map(|room_id| RoomSubscribed { room_id, ..RoomSubscribed::default() });
            let reply = PacketReply { request_no, subscribed, ..PacketReply::default() };
            queue.reply(Item::PacketReply(reply), in_flight.clone().try_acquire_owned().unwrap());
        };
        queue.push(push(10), SERVICE);
        reply(1, Some(9));
        queue.push(push(10), SERVICE);
        (2..=5).for_each(|request_no| reply(request_no, None));
        let number = |item: &DownItem| match &item.item {
            Some(Item::PacketReply(reply)) => reply.request_no,
            _ => 0,
        };
        let batch = queue.take().await.unwrap();
        let numbers: Vec<u64> = batch.items.iter().map(number).collect();
        assert_eq!(numbers, [2, 3, 0, 1], "pushes have half of a batch");
        let batch = queue.take().await.unwrap();
        assert_eq!(batch.items.iter().map(number).collect::<Vec<_>>(), [4, 5, 0]);
    }

    #[tokio::test]
    async fn a_user_has_a_share_of_the_queue_and_others_are_not_dropped_for_him() {
        let queue = queue(|settings| {
            settings.down_user_bytes_max = 2_000;
            settings.batch_items_max = 1;
        });
        for connection_id in 0..4 {
            queue.push_to_connections(push_of(1_000), 7, |_| vec![(connection_id, 70)]);
        }
        queue.push_to_group(GroupPush { group_id: 5, seq: 1, ..GroupPush::default() }, 7);
        for caused_by in [8, SERVICE] {
            queue.push_to_connections(push_of(1_000), caused_by, |_| panic!("{caused_by} has room"));
        }
        let first = queue.take().await.unwrap();
        assert_eq!((first.owed_hints.len(), first.owed_groups.len()), (0, 0), "more than half of the share is taken");
        let second = queue.take().await.unwrap();
        let mut owed_hints = second.owed_hints;
        owed_hints.sort_unstable();
        assert_eq!((owed_hints, second.owed_groups), (vec![(2, 70), (3, 70)], vec![5]));
        queue.take().await.unwrap();
        queue.take().await.unwrap();
        assert!(queue.lock().shares.is_empty());
    }

    #[tokio::test]
    async fn replies_are_never_dropped_and_hold_their_permit_until_they_leave() {
        let queue = queue(|settings| settings.down_pushes_max = 1);
        let in_flight = Arc::new(Semaphore::new(2));
        queue.push(push(10), SERVICE);
        queue.push(push(10), SERVICE);
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
        assert!(queue.push(room_push(8, "normal 8", false), SERVICE));
        assert!(queue.notice(joined(9)));
        assert!(queue.push(room_push(9, "normal 9", false), SERVICE));
        assert!(!queue.push(room_push(9, "dropped", false), SERVICE), "the queue is full");
        assert!(queue.push(room_push(8, "urgent 8", true), SERVICE), "but not for what is urgent");
        assert!(queue.push(room_push(9, "urgent 9", true), SERVICE));
        assert!(!queue.push(room_push(9, "one too many", true), SERVICE));
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
