//! Whether this logic node shares its Redis with those that are on the same database: of two that do not, neither knows the users and
//! rooms of the other.
//!
//! Each node that belongs says so in the database, right after Redis took its leases. Who reads that there looks whether its own Redis
//! has the number of that node. The one that came later is the odd one: it is not ready, takes no conn nodes, and says why once.
//! Owned by the task that renews leases.
//!
//! Always holds: a node that is odd says nothing in the database, so the others never take it for one of theirs. Nobody becomes odd
//! because of a Redis that forgot everything, or was away: its nodes are back in it long before a lease is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::{ready::ReadyPart, sql::Dialect};

use crate::{
    settings::LogicSettings,
    shared_state::{SharedState, SharedStateError},
    store::{LogicNode, LogicNodes, Store, StoreError},
};

/// Comparisons per lease.
const LOOKS_PER_LEASE: u32 = 5;

/// How long a comparison may take.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    SharedState(#[from] SharedStateError),
}

/// Compares again and again.
pub(super) struct Belonging {
    own: LogicNode,
    nodes: LogicNodes,
    shared: Arc<dyn SharedState>,
    /// Ready while this node belongs to the others.
    part: ReadyPart,
    lease: Duration,
    standing: NodeStanding,
    looked: Option<Instant>,
}

impl Belonging {
    /// For a database that several processes may have open; looks for the first time.
    pub(super) async fn begin(
        settings: &LogicSettings,
        store: &Store,
        shared: &Arc<dyn SharedState>,
        part: ReadyPart,
    ) -> Option<Self> {
        if store.database.dialect == Dialect::Sqlite {
            part.set(true);
            return None;
        }
        let mut belonging = Self {
            own: LogicNode { number: settings.node_number, name: settings.node.clone() },
            nodes: store.logic_nodes.clone(),
            shared: shared.clone(),
            part,
            lease: Duration::from_millis(settings.link.lease_ms),
            standing: NodeStanding::default(),
            looked: None,
        };
        belonging.look().await;
        Some(belonging)
    }

    /// Looks, where it is time to or this node does not belong yet; called when Redis took its leases.
    pub(super) async fn look(&mut self) {
        let now = Instant::now();
        let is_soon = self.looked.is_some_and(|looked| now - looked < self.lease / LOOKS_PER_LEASE);
        if is_soon && self.standing.is_inside() {
            return;
        }
        self.looked = Some(now);
        // A database that hangs must not hold the leases up.
        match tokio::time::timeout(LOOK_MAX, self.compare(now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "whether the logic nodes of the database share one Redis is looked at later");
            }
            Err(_) => tracing::debug!("the database does not say in time which logic nodes there are"),
        }
    }

    async fn compare(&mut self, now: Instant) -> Result<(), CompareError> {
        let mut others = self.nodes.others(self.own.number, self.lease).await?;
        let numbers: Vec<u16> = others.iter().map(|node| node.number).collect();
        let strange = self.shared.strangers(&numbers).await?;
        others.retain(|node| strange.contains(&node.number));
        let stranger = self.standing.minds(self.own.number, &others);
        if self.standing.judge(stranger.is_none(), now, self.lease) {
            self.tell(stranger);
        }
        if self.standing.is_inside() {
            self.nodes.say(&self.own).await?;
        }
        Ok(())
    }

    fn tell(&self, stranger: Option<&LogicNode>) {
        let Some(other) = stranger else {
            self.part.set(true);
            tracing::info!("this logic node shares its Redis with those that are on the same database");
            return;
        };
        let problem = format!(
            "{} shares no Redis with {}, which is on the same database: give all logic nodes of a database the same \
             shared_state.url and shared_state.key_prefix",
            self.own.name, other.name
        );
        tracing::error!(problem, "this logic node is not ready, and takes no conn nodes");
        self.part.fail(problem);
    }
}

/// What this node is to the others.
#[derive(Debug, Default)]
pub(super) struct NodeStanding {
    kind: Kind,
    /// Since when it looks like something else.
    otherwise_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// Nothing is known yet.
    #[default]
    New,
    Inside,
    Odd,
}

impl NodeStanding {
    fn is_inside(&self) -> bool {
        self.kind == Kind::Inside
    }

    /// The stranger that speaks against this node. Of two that came at the same moment, the one with the larger number is odd.
    fn minds<'a>(&self, own: u16, strangers: &'a [LogicNode]) -> Option<&'a LogicNode> {
        strangers.iter().find(|stranger| !self.is_inside() || stranger.number < own)
    }

    /// Takes in what it looks like now; returns whether this node is something else since. Only a new one is believed at once that
    /// it belongs: others get time to come back to their Redis, or to say again that they are there.
    fn judge(&mut self, belongs: bool, now: Instant, patience: Duration) -> bool {
        let seems = if belongs { Kind::Inside } else { Kind::Odd };
        if seems == self.kind {
            self.otherwise_since = None;
            return false;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        let at_once = self.kind == Kind::New && belongs;
        if !at_once && now - since < patience {
            return false;
        }
        (self.kind, self.otherwise_since) = (seems, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn node(number: u16) -> LogicNode {
        LogicNode { number, name: format!("logic-{number}") }
    }

    #[test]
    fn the_first_belongs_at_once_and_who_comes_with_another_redis_is_odd() {
        let (mut first, mut second, began) = (NodeStanding::default(), NodeStanding::default(), Instant::now());
        assert!(first.minds(2, &[]).is_none());
        assert!(first.judge(true, began, LEASE) && first.is_inside());
        let strangers = [node(2)];
        assert_eq!(second.minds(1, &strangers), Some(&strangers[0]), "whatever its number");
        assert!(!second.judge(false, began, LEASE), "the other one may have been killed a moment ago");
        assert!(!second.is_inside());
        assert!(second.judge(false, began + LEASE, LEASE));
        assert!(!second.judge(false, began + 2 * LEASE, LEASE), "it is said once");
        assert!(first.minds(2, &[node(3)]).is_none());
    }

    #[test]
    fn of_two_that_came_at_once_the_smaller_number_stays() {
        let (mut small, mut large, now) = (NodeStanding::default(), NodeStanding::default(), Instant::now());
        assert!(small.judge(true, now, LEASE) && large.judge(true, now, LEASE));
        assert_eq!(small.minds(1, &[node(2)]), None);
        let strangers = [node(1)];
        assert_eq!(large.minds(2, &strangers), Some(&strangers[0]));
    }

    #[test]
    fn who_belonged_is_odd_only_after_a_lease_and_back_only_after_another() {
        let (mut standing, began) = (NodeStanding::default(), Instant::now());
        assert!(standing.judge(true, began, LEASE));
        assert!(!standing.judge(false, began, LEASE), "Redis may have been emptied");
        assert!(!standing.judge(true, began + LEASE, LEASE) && standing.is_inside());
        assert!(!standing.judge(false, began + LEASE, LEASE), "it is counted anew");
        assert!(!standing.judge(false, began + LEASE * 19 / 10, LEASE));
        assert!(standing.judge(false, began + 2 * LEASE, LEASE) && !standing.is_inside());
        assert!(!standing.judge(true, began + 2 * LEASE, LEASE), "the others may only not have said it");
        assert!(standing.judge(true, began + 3 * LEASE, LEASE) && standing.is_inside());
    }
}
