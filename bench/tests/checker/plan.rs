//! What goes wrong, when and for how long: an endless list that a seed decides. No IO, no clock.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::LEASE;

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub conn_nodes: usize,
    pub logic_nodes: usize,
    /// Whether MariaDB and Redis are there, to be harmed.
    pub has_databases: bool,
}

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    Conn(usize),
    Logic(usize),
    Business,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The process is gone, as after kill -9 or a power cut, and started again at the end.
    Kill(Node),
    /// The process is stopped in order, as in a rolling restart, and started again at the end.
    Restart(Node),
    /// The process stands still, and goes on at the end.
    Freeze(Node),
    /// Redis forgets everything.
    FlushRedis,
    /// Redis is gone, and empty when it is back.
    RestartRedis,
    /// MariaDB is gone as after a power cut, and started again at the end.
    KillDatabase,
    /// MariaDB is stopped in order, and started again at the end.
    StopDatabase,
    /// Nothing passes between a conn node and a logic node, or between it and all of them.
    Partition { conn: usize, logic: Option<usize>, how: Loss },
}

/// How a network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// Connections break, and new ones do not come about.
    Broken,
    /// Nothing arrives, and nobody is told.
    Silent,
}

/// A fault, with the quiet time before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub pause: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// Rounds in which everything goes wrong once, in another order each time.
#[derive(Debug)]
pub struct Plan {
    shape: Shape,
    random: StdRng,
    round: Vec<Fault>,
}

impl Plan {
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self { shape, random: StdRng::seed_from_u64(seed), round: Vec::new() }
    }

    /// Steps in a round.
    pub fn round_steps(&mut self) -> usize {
        if self.round.is_empty() {
            self.round = self.new_round();
        }
        self.round.len()
    }

    fn new_round(&mut self) -> Vec<Fault> {
        let Shape { conn_nodes, logic_nodes, has_databases } = self.shape;
        let conn = (0..conn_nodes).map(Node::Conn);
        let nodes = conn.chain((0..logic_nodes).map(Node::Logic)).chain([Node::Business]);
        let mut faults: Vec<Fault> =
            nodes.flat_map(|node| [Fault::Kill(node), Fault::Restart(node), Fault::Freeze(node)]).collect();
        for how in [Loss::Broken, Loss::Silent] {
            let one = Some(self.random.random_range(0..logic_nodes));
            for logic in [one, None] {
                faults.push(Fault::Partition { conn: self.random.random_range(0..conn_nodes), logic, how });
            }
        }
        if has_databases {
            faults.extend([Fault::FlushRedis, Fault::RestartRedis, Fault::KillDatabase, Fault::StopDatabase]);
        }
        faults.shuffle(&mut self.random);
        faults
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.round_steps();
        let fault = self.round.pop()?;
        // Half of them are over before anybody's lease is.
        let longest = if self.random.random() { LEASE / 2 } else { LEASE * 2 };
        let mut up_to = |longest: Duration| longest.mul_f64(self.random.random());
        Some(Step { pause: up_to(LEASE), fault, lasts: up_to(longest) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHAPE: Shape = Shape { conn_nodes: 2, logic_nodes: 2, has_databases: true };

    #[test]
    fn a_seed_decides_everything_and_another_one_differs() {
        let steps = |seed| Plan::new(seed, SHAPE).take(50).collect::<Vec<_>>();
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn in_a_round_everything_goes_wrong_once() {
        let mut plan = Plan::new(7, SHAPE);
        for _ in 0..3 {
            let count = plan.round_steps();
            let faults: BTreeSet<Fault> = plan.by_ref().take(count).map(|step| step.fault).collect();
            assert_eq!((faults.len(), count), (23, 23), "{faults:?}");
            let nodes = [Node::Conn(0), Node::Conn(1), Node::Logic(0), Node::Logic(1), Node::Business];
            assert!(nodes.iter().all(|&node| faults.contains(&Fault::Kill(node))), "{faults:?}");
            assert!(nodes.iter().all(|&node| faults.contains(&Fault::Restart(node))), "{faults:?}");
            assert!(nodes.iter().all(|&node| faults.contains(&Fault::Freeze(node))), "{faults:?}");
        }
    }
}
