//! Up to where the message ids of all logic nodes are settled, from what they told and when it was seen here.
//!
//! Always holds: no clock of another node is believed. A node counts as gone when what it told stays the same for a lease, as it is seen
//! here, between the end of one look and the beginning of another; it is passed over only when its row is deleted, and commits nothing of
//! what it had under way then ([`crate::store::id_floor`]).

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::{Duration, Instant},
};

use gim_proto::check::ID_MAX;

use super::message_id;

/// For how long what a node told last is believed, and the node waited for.
pub const LEASE: Duration = Duration::from_secs(10);

/// Where a node tells its floor: another row with each joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FloorRow {
    /// Which node.
    pub node_number: i64,
    /// Which joining of it.
    pub epoch: u64,
}

/// What a node told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldFloor {
    /// Who told it.
    pub row: FloorRow,
    /// No id below it is going to be committed there.
    pub floor_id: u64,
    /// Whether it commits nothing where it cannot tell its floor.
    pub is_strict: bool,
    /// Rises with each telling.
    pub beat: i64,
}

impl FloorRow {
    /// Of a node that joins.
    pub fn of_joining(node_number: i64) -> Self {
        Self { node_number, epoch: new_epoch() }
    }
}

/// A number that no other joining, or taking of a walk, has.
pub fn new_epoch() -> u64 {
    (RandomState::new().build_hasher().finish() & ID_MAX).max(1)
}

/// A node whose clock is further ahead has nobody follow it: what it told may be of another year.
const AHEAD_MAX_MS: i64 = 60_000;

/// Up to where ids of a node may be raised at a time of its clock, for the highest floor of all.
pub fn raised(highest: u64, now_ms: i64) -> u64 {
    highest.min(message_id::least_at(now_ms.saturating_add(AHEAD_MAX_MS)))
}

/// What was seen of the nodes.
#[derive(Debug, Default)]
pub struct SettledIds {
    /// The last beat of each, and since when it is that.
    seen: BTreeMap<FloorRow, (i64, Instant)>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Nothing below is going to be committed; `None` as long as a node does not know that others count on its floor, or one that is gone
    /// has its row.
    pub settled: Option<u64>,
    /// The highest floor, below which no node needs to make ids any more.
    pub highest: u64,
    /// Nodes that need not be waited for any longer than it takes to delete their rows.
    pub gone: Vec<ToldFloor>,
}

impl SettledIds {
    /// Looks at what all nodes told, which was `asked` for and seen at these moments: however long that took, nobody is gone for it.
    /// The `own` row stands for itself, however old it is.
    pub fn settle(&mut self, told: &[ToldFloor], own: FloorRow, (asked, seen): (Instant, Instant)) -> Settlement {
        self.seen.retain(|row, _| told.iter().any(|floor| floor.row == *row));
        let mut settlement = Settlement { settled: Some(u64::MAX), highest: 0, gone: Vec::new() };
        for floor in told {
            let (beat, since) = self.seen.entry(floor.row).or_insert((floor.beat, seen));
            if *beat != floor.beat {
                (*beat, *since) = (floor.beat, seen);
            }
            if floor.row != own && asked.saturating_duration_since(*since) >= LEASE {
                settlement.gone.push(*floor);
                settlement.settled = None;
                continue;
            }
            settlement.highest = settlement.highest.max(floor.floor_id);
            let may_go_on = if floor.is_strict { settlement.settled } else { None };
            settlement.settled = may_go_on.map(|settled| settled.min(floor.floor_id));
        }
        settlement.settled = settlement.settled.filter(|_| told.iter().any(|floor| floor.row == own));
        settlement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: FloorRow = FloorRow { node_number: 1, epoch: 1 };

    fn told(node_number: i64, floor_id: u64, beat: i64) -> ToldFloor {
        ToldFloor { row: FloorRow { node_number, epoch: 1 }, floor_id, is_strict: true, beat }
    }

    #[test]
    fn ids_are_settled_up_to_the_lowest_floor_of_the_nodes_that_are_there() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let settlement = ids.settle(&[told(1, 100, 1), told(2, 70, 1)], OWN, (now, now));
        assert_eq!(settlement, Settlement { settled: Some(70), highest: 100, gone: vec![] });
        let unaware = ToldFloor { is_strict: false, ..told(3, 90, 1) };
        assert_eq!(ids.settle(&[told(1, 110, 2), unaware], OWN, (now, now)).settled, None);
        assert_eq!(
            ids.settle(&[told(2, 110, 2)], OWN, (now, now)).settled,
            None,
            "the own floor is not known to others"
        );
        assert_eq!(ids.settle(&[], OWN, (now, now)).settled, None);
        let of_another_process = FloorRow { epoch: 2, ..OWN };
        assert_eq!(ids.settle(&[told(1, 100, 1)], of_another_process, (now, now)).settled, None);
    }

    #[test]
    fn a_node_that_was_killed_is_waited_for_as_long_as_its_lease() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let dead = told(2, 70, 9);
        let mut settled_after = |passed: Duration, beat| {
            let at = now + passed;
            let settlement = ids.settle(&[told(1, 100 + passed.as_secs(), beat), dead], OWN, (at, at));
            (settlement.settled, settlement.gone)
        };
        assert_eq!(settled_after(Duration::ZERO, 1), (Some(70), vec![]));
        assert_eq!(settled_after(LEASE - Duration::from_millis(1), 2), (Some(70), vec![]));
        assert_eq!(settled_after(LEASE, 3), (None, vec![dead]), "nothing is passed before its row is deleted");
        let after = now + LEASE;
        assert_eq!(ids.settle(&[told(1, 110, 4)], OWN, (after, after)).settled, Some(110));
        let back = ToldFloor { row: FloorRow { node_number: 2, epoch: 2 }, ..told(2, 150, 9) };
        let settlement = ids.settle(&[told(1, 200, 5), back], OWN, (after, after));
        assert_eq!((settlement.settled, settlement.gone), (Some(150), vec![]), "it is back and told something");
    }

    #[test]
    fn nobody_follows_a_clock_that_is_wrong_by_more_than_a_minute() {
        let now_ms = 1_800_000_000_000;
        let at = |passed_ms: i64| message_id::least_at(now_ms + passed_ms);
        assert_eq!([-5_000, 5_000].map(|passed_ms| raised(at(passed_ms), now_ms)), [at(-5_000), at(5_000)]);
        assert_eq!(raised(at(15 * 365 * 86_400_000), now_ms), at(60_000));
    }

    #[test]
    fn a_look_that_took_long_makes_nobody_gone() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let both = [told(1, 100, 1), told(2, 70, 1)];
        let slow = ids.settle(&both, OWN, (now, now + LEASE));
        let next = ids.settle(&both, OWN, (now + LEASE, now + 3 * LEASE));
        assert_eq!((slow.settled, next.settled, next.gone), (Some(70), Some(70), vec![]));
        let at = now + 2 * LEASE;
        assert_eq!(ids.settle(&both, OWN, (at, at)).gone, [both[1]]);
    }

    #[test]
    fn the_own_floor_counts_however_long_it_could_not_be_told() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let both = [told(1, 100, 1), told(2, 300, 1)];
        ids.settle(&both, OWN, (now, now));
        let later = now + 2 * LEASE;
        let settlement = ids.settle(&[both[0], told(2, 400, 2)], OWN, (later, later));
        assert_eq!((settlement.settled, settlement.gone), (Some(100), vec![]));
    }
}
