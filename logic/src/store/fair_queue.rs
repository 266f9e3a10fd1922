//! What waits for the inbox writer, in a flow for each who pays for it, and whose turn it is: fair queueing by virtual time.
//!
//! Turns are by cost: a flow's clock moves on by the cost of what is taken from it, the flow whose clock shows least is next, and one that
//! was empty begins at the present. So who asks for little is next after whatever is taken just now, however much others have waiting.
//! Always holds: a flow hands out in the order in which it was filled; there is a flow exactly while something waits in it.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use foldhash::HashMap;
use slab::Slab;

use super::work::Payer;

/// What it costs to do a request, and to let it wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cost {
    /// Rows that it may write.
    pub rows: usize,
    /// Memory that it holds.
    pub bytes: usize,
}

/// Something that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub payer: Payer,
    pub cost: Cost,
    pub what: T,
}

/// A flow whose turn it is; goes back with [`FairQueue::take`] or [`FairQueue::put_back`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    clock: u64,
    /// Among flows whose clocks show the same, the one that came first.
    order: u64,
    pub payer: Payer,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    flows: HashMap<Payer, Flow>,
    /// What waits in all flows, each linked with the one behind it.
    waiting: Slab<QueuedWork<T>>,
    turns: BinaryHeap<Reverse<Turn>>,
    now: u64,
    turns_made: u64,
    total: Cost,
    /// Of these, those of strangers.
    strangers: Cost,
}

#[derive(Debug)]
struct QueuedWork<T> {
    waiting: Waiting<T>,
    behind: Option<usize>,
}

#[derive(Debug)]
struct Flow {
    first: usize,
    last: usize,
    cost: Cost,
    /// What was taken of it for a batch, and for which.
    taken: usize,
    batch: u64,
}

/// So many bytes of a request count as a row: they are written, too.
const ROW_BYTES: usize = 512;

/// What strangers ask for costs so many times more: it is behind what users ask for.
const STRANGERS_FACTOR: usize = 4;

impl Cost {
    /// What counts in turns and batches: rows, and bytes as if they were some.
    pub(super) fn units(self) -> usize {
        self.rows + self.bytes / ROW_BYTES
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            flows: HashMap::default(),
            waiting: Slab::new(),
            turns: BinaryHeap::new(),
            now: 0,
            turns_made: 0,
            total: Cost::default(),
            strangers: Cost::default(),
        }
    }
}

impl<T> FairQueue<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What all who wait cost.
    pub(super) fn total(&self) -> Cost {
        self.total
    }

    /// What all strangers who wait cost.
    pub(super) fn strangers(&self) -> Cost {
        self.strangers
    }

    /// What those who wait in a flow cost; none for one who has nothing waiting.
    pub(super) fn cost_of(&self, payer: Payer) -> Option<Cost> {
        self.flows.get(&payer).map(|flow| flow.cost)
    }

    /// Puts something at the end of its flow.
    pub(super) fn push_back(&mut self, waiting: Waiting<T>) {
        let (payer, cost) = (waiting.payer, waiting.cost);
        let index = self.waiting.insert(QueuedWork { waiting, behind: None });
        match self.flows.get_mut(&payer) {
            Some(flow) => {
                self.waiting[flow.last].behind = Some(index);
                flow.last = index;
                flow.cost.add(cost);
            }
            None => self.open(payer, index, cost),
        }
        self.add(payer, cost);
    }

    /// Puts something back at the front of its flow.
    pub(super) fn push_front(&mut self, waiting: Waiting<T>) {
        let (payer, cost) = (waiting.payer, waiting.cost);
        match self.flows.get_mut(&payer) {
            Some(flow) => {
                flow.first = self.waiting.insert(QueuedWork { waiting, behind: Some(flow.first) });
                flow.cost.add(cost);
            }
            None => {
                let index = self.waiting.insert(QueuedWork { waiting, behind: None });
                self.open(payer, index, cost);
            }
        }
        self.add(payer, cost);
    }

    /// The flow whose turn it is, which has no other turn until this one goes back.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        self.turns.pop().map(|Reverse(turn)| turn)
    }

    /// What is first in a flow whose turn it is, and what was taken of that flow for this batch before.
    pub(super) fn first(&self, turn: Turn, batch: u64) -> Option<(&Waiting<T>, usize)> {
        let flow = self.flows.get(&turn.payer)?;
        let taken = if flow.batch == batch { flow.taken } else { 0 };
        Some((&self.waiting[flow.first].waiting, taken))
    }

    /// Takes what is first in the flow whose turn it is, for a batch.
    pub(super) fn take(&mut self, turn: Turn, batch: u64) -> Option<Waiting<T>> {
        let flow = self.flows.get_mut(&turn.payer)?;
        let QueuedWork { waiting, behind } = self.waiting.remove(flow.first);
        let units = waiting.cost.units();
        self.total.subtract(waiting.cost);
        if is_stranger(turn.payer) {
            self.strangers.subtract(waiting.cost);
        }
        self.now = self.now.max(turn.clock);
        let Some(behind) = behind else {
            self.flows.remove(&turn.payer);
            return Some(waiting);
        };
        flow.first = behind;
        flow.cost.subtract(waiting.cost);
        (flow.taken, flow.batch) = (if flow.batch == batch { flow.taken } else { 0 } + units, batch);
        let factor = if is_stranger(turn.payer) { STRANGERS_FACTOR } else { 1 };
        self.add_turn(turn.payer, turn.clock + (units * factor) as u64);
        Some(waiting)
    }

    /// Leaves a flow its turn: nothing of it can be taken now, and it is the first again when the next ones are looked for.
    pub(super) fn put_back(&mut self, turn: Turn) {
        self.turns.push(Reverse(turn));
    }

    /// What is first in each flow.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &T> {
        self.flows.values().map(|flow| &self.waiting[flow.first].waiting.what)
    }

    fn add(&mut self, payer: Payer, cost: Cost) {
        self.total.add(cost);
        if is_stranger(payer) {
            self.strangers.add(cost);
        }
    }

    fn open(&mut self, payer: Payer, index: usize, cost: Cost) {
        self.flows.insert(payer, Flow { first: index, last: index, cost, taken: 0, batch: 0 });
        self.add_turn(payer, self.now);
    }

    fn add_turn(&mut self, payer: Payer, clock: u64) {
        self.turns_made += 1;
        self.turns.push(Reverse(Turn { clock, order: self.turns_made, payer }));
    }
}

fn is_stranger(payer: Payer) -> bool {
    matches!(payer, Payer::Stranger(_))
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.rows -= other.rows;
        self.bytes -= other.bytes;
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.clock, self.order).cmp(&(other.clock, other.order))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn push(flows: &mut FairQueue<u32>, user_id: u64, rows: usize, what: u32) {
        let cost = Cost { rows, bytes: 0 };
        flows.push_back(Waiting { payer: Payer::User(user_id), cost, what });
    }

    fn take_all(flows: &mut FairQueue<u32>) -> Vec<u32> {
        let next = || {
            let turn = flows.next_turn()?;
            Some(flows.take(turn, 1)?.what)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn flows_take_turns_by_what_they_cost_and_keep_their_own_order() {
        let mut flows = FairQueue::default();
        (0..3).for_each(|what| push(&mut flows, 7, 500, what));
        (10..14).for_each(|what| push(&mut flows, 8, 200, what));
        push(&mut flows, 9, 2, 20);
        assert_eq!(take_all(&mut flows), [0, 10, 20, 11, 12, 1, 13, 2]);
        assert!(flows.is_empty() && flows.flows.is_empty() && flows.turns.is_empty());
        assert_eq!(flows.total(), Cost::default());
    }

    #[test]
    fn who_comes_later_begins_at_the_present_before_whoever_has_taken_much() {
        let mut flows = FairQueue::default();
        (0..4).for_each(|what| push(&mut flows, 7, 500, what));
        for expected in [0, 1] {
            let turn = flows.next_turn().unwrap();
            assert_eq!(flows.take(turn, 1).unwrap().what, expected);
        }
        (10..12).for_each(|what| push(&mut flows, 8, 2, what));
        assert_eq!(take_all(&mut flows), [10, 11, 2, 3]);
    }

    #[test]
    fn a_flow_keeps_its_turn_and_what_is_put_back_is_first() {
        let mut flows = FairQueue::default();
        push(&mut flows, 7, 1, 0);
        push(&mut flows, 7, 1, 1);
        push(&mut flows, 8, 1, 2);
        let turn = flows.next_turn().unwrap();
        let first = flows.take(turn, 1).unwrap();
        flows.push_front(first);
        assert_eq!(flows.cost_of(Payer::User(7)), Some(Cost { rows: 2, bytes: 0 }));
        let held = flows.next_turn().unwrap();
        flows.put_back(held);
        assert_eq!(take_all(&mut flows), [2, 0, 1]);
    }

    #[test]
    fn what_a_flow_gave_to_a_batch_is_known_and_bytes_count_as_rows() {
        let mut flows = FairQueue::default();
        let cost = Cost { rows: 2, bytes: 4 * ROW_BYTES };
        assert_eq!(cost.units(), 6);
        for what in 0..3 {
            flows.push_back(Waiting { payer: Payer::Stranger(Ipv4Addr::LOCALHOST.into()), cost, what });
        }
        let taken = |flows: &mut FairQueue<u32>, batch| {
            let turn = flows.next_turn().unwrap();
            let taken = flows.first(turn, batch).unwrap().1;
            flows.take(turn, batch).unwrap();
            taken
        };
        assert_eq!([taken(&mut flows, 1), taken(&mut flows, 1), taken(&mut flows, 2)], [0, 6, 0]);
    }
}
