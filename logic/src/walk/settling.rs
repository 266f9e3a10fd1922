//! Up to where message ids are settled: the task that tells this node's floor to the others, and hears theirs.
//!
//! With one node there is nobody to tell, and no task. With several, a node tells its floor ten times a second as long as anybody walks
//! anywhere, and every two seconds otherwise. It also makes no ids below what the others told: a clock that is behind, or one that
//! jumped, neither holds a walk up nor lets messages change their order from node to node for longer than a moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::seldom::Seldom;
use tokio::sync::{Notify, watch};

use crate::{
    domain::{
        clock,
        settled_ids::{self, FloorRow, SettledIds},
    },
    store::{Floors, StoreError, id_floor::IdFloor},
};

/// Between two tellings while somebody walks.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// And while nobody does.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);

/// Nobody walks any more when the beats of all walks stayed the same for so long.
const WALKED_WITHIN: Duration = Duration::from_secs(30);

/// Up to where ids are settled. Clones share it.
#[derive(Debug, Clone)]
pub enum Settled {
    /// Of the only node.
    Alone(IdFloor),
    /// Of several.
    Among {
        /// What the task found.
        found: watch::Receiver<u64>,
        /// Wakes it.
        needed: Arc<Notify>,
    },
}

impl Settled {
    /// No id below it is going to be committed any more.
    pub fn get(&self) -> u64 {
        match self {
            Self::Alone(floor) => floor.get(),
            Self::Among { found, .. } => *found.borrow(),
        }
    }

    /// Says that somebody begins to walk.
    pub fn need(&self) {
        if let Self::Among { needed, .. } = self {
            needed.notify_one();
        }
    }
}

/// The task of one of several nodes.
#[derive(Debug)]
pub struct Settling {
    floor: IdFloor,
    floors: Floors,
    row: FloorRow,
    found: watch::Sender<u64>,
    needed: Arc<Notify>,
    ids: SettledIds,
    /// The beats of all walks, and when they were seen to change.
    walked: (Option<u64>, Instant),
    wrong_clocks: Seldom,
}

impl Settling {
    /// Of a node that has joined with this row.
    pub fn new(floor: IdFloor, floors: Floors, row: FloorRow) -> (Self, Settled) {
        let (sender, found) = watch::channel(0);
        let needed = Arc::new(Notify::new());
        let settled = Settled::Among { found, needed: needed.clone() };
        let (walked, wrong_clocks) = ((None, Instant::now()), Seldom::default());
        (Self { floor, floors, row, found: sender, needed, ids: SettledIds::default(), walked, wrong_clocks }, settled)
    }

    /// Goes on until it is aborted.
    pub async fn run(mut self) {
        loop {
            let is_walked = self.walked.1.elapsed() < WALKED_WITHIN;
            if let Err(error) = self.exchange(is_walked).await {
                tracing::debug!(%error, "the floor of message ids is told later");
            }
            let interval = if is_walked { TELL_INTERVAL } else { IDLE_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.needed.notified() => {}
            }
        }
    }

    /// Others count on the floor from the moment on at which they may have heard of it, and until they heard that they may not.
    async fn exchange(&mut self, is_strict: bool) -> Result<(), StoreError> {
        let (at, floor_id) = (Instant::now(), self.floor.get());
        if is_strict {
            self.floor.expect_telling(at);
        }
        if !self.floors.tell(self.row, floor_id, is_strict).await? {
            return self.come_back().await;
        }
        self.floor.told(at, is_strict);
        self.look().await
    }

    /// Others went on without this node, or another process has its number: what is under way is void, and the ids to come begin after
    /// what they passed.
    async fn come_back(&mut self) -> Result<(), StoreError> {
        self.floor.forgotten();
        self.look().await?;
        let (row, at) = (FloorRow::of_joining(self.row.node_number), Instant::now());
        let has_fence = self.floors.join_again(row).await?;
        self.floor.ids().raise(self.floors.passed().await?);
        self.floor.ids().pass_all();
        self.floor.joined(row, has_fence, at);
        self.row = row;
        tracing::warn!("the other logic nodes went on without this one: what it had under way is to be sent again");
        Ok(())
    }

    /// Sees what all nodes told. Nothing is passed before who is gone is taken out.
    async fn look(&mut self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let (told, beats) = self.floors.all().await?;
        let seen = Instant::now();
        if self.walked.0 != Some(beats) {
            self.walked = (Some(beats), seen);
        }
        let settlement = self.ids.settle(&told, self.row, (asked, seen));
        let raised = settled_ids::raised(settlement.highest, clock::now_ms());
        self.floor.ids().raise(raised);
        if raised < settlement.highest
            && let Some(left_out) = self.wrong_clocks.due(seen)
        {
            tracing::warn!(
                left_out,
                "the clock of a logic node is minutes ahead of this one's: what it stores is told late"
            );
        }
        if let Some(settled) = settlement.settled {
            self.found.send_if_modified(|found| settled > std::mem::replace(found, settled.max(*found)));
        }
        for gone in settlement.gone {
            self.floors.forget(&gone).await?;
            tracing::warn!(
                node_number = gone.row.node_number,
                "a logic node told nothing for a lease: its messages are waited for no longer"
            );
        }
        Ok(())
    }
}
