//! Whether this logic node shares its Redis with those that are on the same database: of two that do not, neither knows the users and
//! rooms of the other.
//!
//! Each node that belongs says so in the database, right after Redis took its leases. Who reads that there looks whether its own Redis
//! has the number of that node. The one that came later is the odd one, and of those that came at once the smaller side: it is not ready,
//! takes no further conn nodes, and says why once. One task of its own, so that a database that hangs holds up no lease.
//!
//! Always holds: a node that is odd says nothing in the database, so the others never take it for one of theirs. Nobody becomes odd
//! because of a Redis that forgot everything, or was away: its nodes are back in it long before a lease is over.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::{ready::ReadyPart, sql::Dialect};
use tokio::sync::watch;

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

    /// Looks whenever Redis took the leases of this node, until nobody says so any more; then it is no longer one of those that are up.
    pub(super) async fn run(mut self, mut renewed: watch::Receiver<()>) {
        while renewed.changed().await.is_ok() {
            self.look().await;
        }
        if !self.standing.is_inside() {
            return;
        }
        match tokio::time::timeout(LOOK_MAX, self.nodes.forget(self.own.number)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "others may miss this node in Redis for a lease"),
            Err(_) => tracing::debug!("the database does not take in time that this node ends"),
        }
    }

    /// Looks, where it is time to or this node does not belong yet.
    async fn look(&mut self) {
        let now = Instant::now();
        let is_soon = self.looked.is_some_and(|looked| now - looked < self.lease / LOOKS_PER_LEASE);
        if is_soon && self.standing.is_inside() {
            return;
        }
        self.looked = Some(now);
        // A start waits for it, and a stop.
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
        let companions: Vec<u16> = numbers.into_iter().filter(|number| !strange.contains(number)).collect();
        let against = self.standing.minds(self.own.number, &companions, &others);
        if self.standing.judge(against, now, self.lease) {
            self.tell(against.first());
        }
        // What took long is no news of Redis any more.
        if self.standing.is_inside() && now.elapsed() < self.lease / LOOKS_PER_LEASE {
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
        tracing::error!(problem, "this logic node is not ready, and takes no further conn nodes");
        self.part.fail(problem);
    }
}

/// What this node is to the others.
#[derive(Debug, Default)]
pub(super) struct NodeStanding {
    kind: Kind,
    /// Since when each of those that speak against it has done so.
    against: BTreeMap<u16, Instant>,
    /// Since when nobody has.
    clean_since: Option<Instant>,
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

    /// Those of the strangers that speak against this node. Beside one that is inside, only more of them do than share its Redis, and as
    /// many with the smallest number: where both sides came at the same moment, one of them has to go.
    fn minds<'a>(&self, own: u16, companions: &[u16], strangers: &'a [LogicNode]) -> &'a [LogicNode] {
        let smallest = companions.iter().copied().chain([own]).min();
        let stays = match strangers.len().cmp(&(companions.len() + 1)) {
            Ordering::Less => true,
            Ordering::Equal => smallest < strangers.iter().map(|stranger| stranger.number).min(),
            Ordering::Greater => false,
        };
        if self.is_inside() && stays { &[] } else { strangers }
    }

    /// Takes in who speaks against it now; returns whether this node is something else since. Only a new one is believed at once that
    /// it belongs: others get time to come back to their Redis, or to say again that they are there.
    fn judge(&mut self, against: &[LogicNode], now: Instant, patience: Duration) -> bool {
        self.against.retain(|number, _| against.iter().any(|node| node.number == *number));
        for node in against {
            self.against.entry(node.number).or_insert(now);
        }
        self.clean_since = against.is_empty().then(|| self.clean_since.unwrap_or(now));
        let lasts = |since: &Instant| now - *since >= patience;
        let is_now = match self.kind {
            Kind::New if against.is_empty() => Kind::Inside,
            Kind::Odd if self.clean_since.iter().any(lasts) => Kind::Inside,
            Kind::New | Kind::Inside if self.against.values().any(lasts) => Kind::Odd,
            kind => kind,
        };
        std::mem::replace(&mut self.kind, is_now) != is_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn node(number: u16) -> LogicNode {
        LogicNode { number, name: format!("logic-{number}") }
    }

    fn inside(now: Instant) -> NodeStanding {
        let mut standing = NodeStanding::default();
        assert!(standing.judge(&[], now, LEASE) && standing.is_inside(), "the first belongs at once");
        standing
    }

    #[test]
    fn who_comes_with_another_redis_is_odd_and_says_it_once() {
        let (mut standing, began, strangers) = (NodeStanding::default(), Instant::now(), [node(2)]);
        assert_eq!(standing.minds(1, &[], &strangers), strangers, "whatever its number");
        assert!(!standing.judge(&strangers, began, LEASE), "the other one may have been killed a moment ago");
        assert!(!standing.is_inside());
        assert!(standing.judge(&strangers, began + LEASE, LEASE));
        assert!(!standing.judge(&strangers, began + 2 * LEASE, LEASE));
    }

    #[test]
    fn of_two_sides_that_came_at_once_the_larger_one_stays() {
        let standing = inside(Instant::now());
        assert!(standing.minds(1, &[], &[node(2)]).is_empty(), "as many: the smallest number");
        assert_eq!(standing.minds(2, &[], &[node(1)]), [node(1)]);
        assert!(standing.minds(2, &[3], &[node(1)]).is_empty(), "two against one");
        assert_eq!(standing.minds(1, &[], &[node(2), node(3)]).len(), 2);
    }

    #[test]
    fn who_belonged_is_odd_only_after_a_lease_and_back_only_after_another() {
        let (began, strangers) = (Instant::now(), [node(1)]);
        let mut standing = inside(began);
        assert!(!standing.judge(&strangers, began, LEASE), "Redis may have been emptied");
        assert!(!standing.judge(&[], began + LEASE, LEASE) && standing.is_inside());
        assert!(!standing.judge(&strangers, began + LEASE, LEASE), "it is counted anew");
        assert!(!standing.judge(&strangers, began + LEASE * 19 / 10, LEASE));
        assert!(standing.judge(&strangers, began + 2 * LEASE, LEASE) && !standing.is_inside());
        assert!(!standing.judge(&[], began + 2 * LEASE, LEASE), "the others may only not have said it");
        assert!(standing.judge(&[], began + 3 * LEASE, LEASE) && standing.is_inside());
    }

    #[test]
    fn nodes_that_end_one_after_the_other_do_not_add_up() {
        let began = Instant::now();
        let mut standing = inside(began);
        for step in 0..10_u16 {
            // Each is seen for less than a lease.
            let now = began + LEASE * 2 / 3 * u32::from(step);
            assert!(!standing.judge(&[node(step), node(step + 1)][..1], now, LEASE));
            assert!(!standing.judge(&[node(step), node(step + 1)], now + LEASE / 3, LEASE));
        }
        assert!(standing.is_inside());
    }
}
