//! Up to where the message ids of all logic nodes are settled, from what they told and when it was seen here.
//!
//! Always holds: no clock of another node is believed. A node counts as gone when what it told stays the same for a lease, as it is seen
//! here; a node that was gone commits nothing before it has told its floor anew ([`crate::store::id_floor`]).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// For how long what a node told last is believed, and the node waited for.
pub const LEASE: Duration = Duration::from_secs(10);

/// What a node told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldFloor {
    /// Which node.
    pub node_number: i64,
    /// No id below it is going to be committed there.
    pub floor_id: u64,
    /// Whether it commits nothing where it cannot tell its floor.
    pub is_strict: bool,
    /// Rises with each telling.
    pub beat: i64,
}

/// What was seen of the nodes.
#[derive(Debug, Default)]
pub struct SettledIds {
    /// The last beat of each, and since when it is that.
    seen: BTreeMap<i64, (i64, Instant)>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Nothing below is going to be committed; `None` as long as a node does not know that others count on its floor.
    pub settled: Option<u64>,
    /// The highest floor, below which no node needs to make ids any more.
    pub highest: u64,
    /// Nodes that are waited for no longer.
    pub gone: Vec<ToldFloor>,
}

impl SettledIds {
    /// Looks at what all nodes told by `now`; `own` node's row stands for itself, however old it is.
    pub fn settle(&mut self, told: &[ToldFloor], own: i64, now: Instant) -> Settlement {
        self.seen.retain(|number, _| told.iter().any(|floor| floor.node_number == *number));
        let mut settlement = Settlement { settled: Some(u64::MAX), highest: 0, gone: Vec::new() };
        for floor in told {
            let (beat, since) = self.seen.entry(floor.node_number).or_insert((floor.beat, now));
            if *beat != floor.beat {
                (*beat, *since) = (floor.beat, now);
            }
            if floor.node_number != own && now.saturating_duration_since(*since) >= LEASE {
                settlement.gone.push(*floor);
                continue;
            }
            settlement.highest = settlement.highest.max(floor.floor_id);
            let may_go_on = if floor.is_strict { settlement.settled } else { None };
            settlement.settled = may_go_on.map(|settled| settled.min(floor.floor_id));
        }
        settlement.settled = settlement.settled.filter(|_| told.iter().any(|floor| floor.node_number == own));
        settlement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node_number: i64, floor_id: u64, beat: i64) -> ToldFloor {
        ToldFloor { node_number, floor_id, is_strict: true, beat }
    }

    #[test]
    fn ids_are_settled_up_to_the_lowest_floor_of_the_nodes_that_are_there() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let settlement = ids.settle(&[told(1, 100, 1), told(2, 70, 1)], 1, now);
        assert_eq!(settlement, Settlement { settled: Some(70), highest: 100, gone: vec![] });
        let unaware = ToldFloor { is_strict: false, ..told(3, 90, 1) };
        assert_eq!(ids.settle(&[told(1, 110, 2), unaware], 1, now).settled, None);
        assert_eq!(ids.settle(&[told(2, 110, 2)], 1, now).settled, None, "the own floor is not known to others");
        assert_eq!(ids.settle(&[], 1, now).settled, None);
    }

    #[test]
    fn a_node_that_was_killed_is_waited_for_as_long_as_its_lease() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let dead = told(2, 70, 9);
        let mut settled_after = |passed: Duration, beat| {
            let settlement = ids.settle(&[told(1, 100 + passed.as_secs(), beat), dead], 1, now + passed);
            (settlement.settled, settlement.gone)
        };
        assert_eq!(settled_after(Duration::ZERO, 1), (Some(70), vec![]));
        assert_eq!(settled_after(LEASE - Duration::from_millis(1), 2), (Some(70), vec![]));
        assert_eq!(settled_after(LEASE, 3), (Some(100 + LEASE.as_secs()), vec![dead]));
        let back = [told(1, 200, 4), told(2, 150, 10)];
        assert_eq!(ids.settle(&back, 1, now + LEASE).settled, Some(150), "it is back and told something");
    }

    #[test]
    fn the_own_floor_counts_however_long_it_could_not_be_told() {
        let (mut ids, now) = (SettledIds::default(), Instant::now());
        let both = [told(1, 100, 1), told(2, 300, 1)];
        ids.settle(&both, 1, now);
        let settlement = ids.settle(&[both[0], told(2, 400, 2)], 1, now + 2 * LEASE);
        assert_eq!((settlement.settled, settlement.gone), (Some(100), vec![]));
    }
}
