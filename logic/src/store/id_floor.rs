//! How far the message ids of this node are settled: no id below its floor is going to be committed any more.
//!
//! Whoever makes ids for a transaction holds the floor where it is until it is known what became of that transaction. With several nodes
//! each tells its floor to the others ([`super::floors`]), in a row of its own. Always holds: what is under way belongs to the row that
//! stood when its ids were made, and is not committed with a later one. Where others count on the floor, or this node told nothing for a
//! while, the database commits only while that row stands (a [`Permit`] with a fence): whoever deletes it waits for what is being
//! committed, and nothing comes after. Any thread; the lock is held for a few instructions.
//!
//! What is not promised: where nobody walks there is no fence, so a transaction whose last text waits in the network for longer than
//! what is left of the lease, while others begin to walk, is held back by the time limit of the database alone, and a server without
//! such a limit (MySQL, TiDB) has none shorter than that of its connections. The same limit stands for a text that arrives after its
//! client gave it up, of a node that is there. TiDB has no locks that are shared: a node there asks its own clock instead of a fence.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::{
    message_id::MessageIds,
    settled_ids::{FloorRow, LEASE},
};

/// A node that told nothing for so long, where others count on it, commits nothing more, until it has told its floor again.
pub const COMMIT_WITHIN: Duration = Duration::from_secs(LEASE.as_secs() / 2);

/// A node that told nothing for so long commits with a fence, also where nobody walked when it told something last.
const FENCED_AFTER: Duration = Duration::from_secs(4);

/// The floor of one node. Clones share it.
#[derive(Debug, Clone)]
pub struct IdFloor {
    ids: Arc<MessageIds>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the floor is held, and for which row, by the numbers of those who hold it.
    held: BTreeMap<u64, (u64, Option<FloorRow>)>,
    holds: u64,
    /// Where it is told, if there may be anybody to tell.
    row: Option<FloorRow>,
    /// Whether the database can be asked to commit only while the row stands.
    has_fence: bool,
    /// Whether the row is gone.
    is_forgotten: bool,
    /// When the floor was read that others were told last.
    told_at: Option<Instant>,
    /// Whether they count on it.
    is_strict: bool,
}

/// Holds the floor; ids that are made after it was taken are not below it.
#[derive(Debug)]
pub struct FloorHold {
    floor: IdFloor,
    number: u64,
    row: Option<FloorRow>,
}

/// A transaction may be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// As long as this row stands.
    pub fence: Option<FloorRow>,
}

impl IdFloor {
    /// Of the ids of a node.
    pub fn new(ids: Arc<MessageIds>) -> Self {
        Self { ids, state: Arc::default() }
    }

    /// Where the ids come from.
    pub fn ids(&self) -> &MessageIds {
        &self.ids
    }

    /// Holds the floor where it is. To be taken before ids are made.
    pub fn hold(&self) -> FloorHold {
        let mut state = self.lock();
        state.holds += 1;
        let (number, row) = (state.holds, state.row);
        state.held.insert(number, (self.ids.floor(), row));
        drop(state);
        FloorHold { floor: self.clone(), number, row }
    }

    /// Below it nothing of this node is going to be committed.
    pub fn get(&self) -> u64 {
        let state = self.lock();
        let held = state.held.values().filter(|(_, row)| *row == state.row).map(|(floor_id, _)| *floor_id);
        held.min().unwrap_or_else(|| self.ids.pass_all())
    }

    /// Whether something may be committed yet.
    pub fn is_held(&self) -> bool {
        !self.lock().held.is_empty()
    }

    /// Notes the row that others wait for from now on, and whether it can be a fence. What was under way is void, and ids begin after what
    /// others passed by now.
    pub fn joined(&self, row: FloorRow, has_fence: bool, at: Instant) {
        let mut state = self.lock();
        (state.row, state.has_fence, state.is_forgotten) = (Some(row), has_fence, false);
        (state.told_at, state.is_strict) = (Some(at), true);
    }

    /// Where it is told.
    pub fn row(&self) -> Option<FloorRow> {
        self.lock().row
    }

    /// Notes that the row is gone: nothing is committed before there is another one.
    pub fn forgotten(&self) {
        self.lock().is_forgotten = true;
    }

    /// Notes that others may count on the floor from now on, which is about to be told.
    pub fn expect_telling(&self, at: Instant) {
        let mut state = self.lock();
        state.is_strict = true;
        state.told_at.get_or_insert(at);
    }

    /// Notes when the floor was read that others were told since, and whether they count on it.
    pub fn told(&self, at: Instant, is_strict: bool) {
        let mut state = self.lock();
        (state.told_at, state.is_strict) = (Some(at), is_strict);
    }

    /// Whether a transaction may be committed now whose ids were made under these holds.
    pub fn permit<'a>(&self, mut holds: impl Iterator<Item = &'a FloorHold>, now: Instant) -> Option<Permit> {
        let state = self.lock();
        let silent_for = state.told_at.map_or(Duration::ZERO, |told_at| now.saturating_duration_since(told_at));
        let is_late = state.is_strict && silent_for >= COMMIT_WITHIN;
        if state.is_forgotten || is_late || holds.any(|hold| hold.row != state.row) {
            return None;
        }
        let needs_fence = state.has_fence && (state.is_strict || silent_for >= FENCED_AFTER);
        Some(Permit { fence: state.row.filter(|_| needs_fence) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FloorHold {
    fn drop(&mut self) {
        self.floor.lock().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const ROW: FloorRow = FloorRow { node_number: 1, epoch: 5 };

    fn floor() -> IdFloor {
        IdFloor::new(Arc::new(MessageIds::new(1, 0)))
    }

    #[test]
    fn the_floor_stays_below_what_is_under_way_and_rises_when_that_is_over() {
        let floor = floor();
        let first = floor.hold();
        let early = floor.ids().next_id();
        floor.ids().raise(early + (1 << 40));
        let second = floor.hold();
        let late = floor.ids().next_id();
        assert!(floor.get() <= early);
        drop(first);
        assert!(early < floor.get() && floor.get() <= late && floor.is_held());
        drop(second);
        assert!(late < floor.get() && !floor.is_held(), "the clock is behind");
        let passed = floor.get();
        assert!(floor.ids().next_id() >= passed);
    }

    #[test]
    fn who_could_not_tell_the_floor_commits_nothing_where_others_count_on_it() {
        let (floor, now) = (floor(), Instant::now());
        let permit = |at| floor.permit(iter::empty(), at);
        assert_eq!(permit(now), Some(Permit { fence: None }), "nobody counts on it");
        floor.joined(ROW, true, now);
        assert_eq!((permit(now), permit(now + COMMIT_WITHIN)), (Some(Permit { fence: Some(ROW) }), None));
        floor.told(now + COMMIT_WITHIN, true);
        assert_eq!(permit(now + COMMIT_WITHIN), Some(Permit { fence: Some(ROW) }));
        floor.told(now, false);
        assert_eq!(permit(now), Some(Permit { fence: None }), "nobody walks");
        assert_eq!(permit(now + LEASE), Some(Permit { fence: Some(ROW) }), "but somebody may have begun");
        floor.expect_telling(now);
        assert_eq!(permit(now), Some(Permit { fence: Some(ROW) }));
    }

    #[test]
    fn what_was_under_way_when_a_node_was_forgotten_is_void() {
        let (floor, now) = (floor(), Instant::now());
        floor.joined(ROW, true, now);
        let before = floor.hold();
        let id = floor.ids().next_id();
        floor.forgotten();
        floor.told(now, true);
        let meanwhile = floor.hold();
        assert_eq!(floor.permit(iter::empty(), now), None);
        let row = FloorRow { epoch: 6, ..ROW };
        floor.joined(row, true, now);
        assert!(floor.get() > id, "nobody waits for it");
        let after = floor.hold();
        for void in [&before, &meanwhile] {
            assert_eq!(floor.permit([&after, void].into_iter(), now), None);
        }
        assert_eq!(floor.permit([&after].into_iter(), now), Some(Permit { fence: Some(row) }));
    }
}
