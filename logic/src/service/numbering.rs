//! Message ids of this node: begun after every id that was ever made or passed, and told to the other nodes, if there may be any.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_config::sql;
use tokio::task::{JoinError, JoinHandle};

use super::StartError;
use crate::{
    domain::{
        message_id::MessageIds,
        settled_ids::{FloorRow, LEASE},
    },
    settings::LogicSettings,
    store::{Floors, Store, StoreError, id_floor::IdFloor, writer::Numbering},
    walk::{Settled, Settling},
};

/// A node that stops waits so long for what the database may be committing.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Between two looks whether it is.
const LEAVE_INTERVAL: Duration = Duration::from_millis(20);

/// What ids are made of, and who counts on them.
pub(super) struct MessageNumbers {
    pub ids: Arc<MessageIds>,
    pub newest_id: u64,
    pub settled: Settled,
    pub numbering: Numbering,
    /// Tells the floor to other nodes.
    pub telling: Option<FloorTelling>,
}

/// The task that tells it.
#[derive(Debug)]
pub(super) struct FloorTelling {
    task: JoinHandle<()>,
    floors: Floors,
    floor: IdFloor,
}

impl FloorTelling {
    /// Waits until it ends, which it does not by itself.
    pub(super) async fn ended(telling: &mut Option<Self>) -> Result<(), JoinError> {
        match telling {
            Some(telling) => (&mut telling.task).await,
            None => std::future::pending().await,
        }
    }

    /// Ends it, and takes this node out, as soon as it has nothing under way any more. Where nobody knows what became of something, the others
    /// wait for it as long as the lease.
    pub(super) async fn end(mut self) {
        self.task.abort();
        if !self.task.is_finished() {
            // What it does at this moment might put the row back.
            drop((&mut self.task).await);
        }
        let Some(row) = self.floor.row() else { return };
        let until = Instant::now() + LEAVE_MAX;
        while self.floor.is_held() {
            if Instant::now() >= until {
                tracing::debug!(
                    "something may be committed yet: the other nodes wait for this one as long as its lease"
                );
                return;
            }
            tokio::time::sleep(LEAVE_INTERVAL).await;
        }
        if let Err(error) = self.floors.leave(row).await {
            tracing::debug!(%error, "the other nodes wait for this one as long as its lease");
        }
    }
}

/// Begins to make ids. A former process with this node number makes none any more. What is taken over from another server ends here: new
/// messages come after it.
pub(super) async fn begin(settings: &LogicSettings, store: &Store) -> Result<MessageNumbers, StartError> {
    let problem = |source| StartError::Store { database: store.database.name().to_owned(), source };
    store.imports.end().await.map_err(problem)?;
    let node_number = settings.node_number;
    let has_others = !settings.shared_state.url.is_empty();
    let (row, at) = (FloorRow::of_joining(node_number.into()), Instant::now());
    let mut has_fence = false;
    if has_others {
        // Nobody goes on before it is known where these ids begin: after what others told by now.
        let joined = sql::persevere(async || store.floors.join(row).await).await;
        has_fence = joined.map_err(|error| problem(StoreError::from(error)))?;
    }
    let newest_id = sql::persevere(async || store.inboxes.newest_message_id().await).await;
    let newest_id = newest_id.map_err(|error| problem(StoreError::from(error)))?;
    let ids = Arc::new(MessageIds::new(node_number, newest_id));
    let floor = IdFloor::new(ids.clone());
    let numbering = Numbering {
        floor: floor.clone(),
        keeps_receivers: settings.events.is_on() || settings.offline_push.is_on(!settings.business.endpoint.is_off()),
        // As long as the database may wait for the rest of a transaction, too, where that has a limit.
        unresolved: Duration::from_millis(settings.database.statement_timeout_ms).max(LEASE),
    };
    let (settled, telling) = if has_others {
        floor.joined(row, has_fence, at);
        let floors = store.floors.clone();
        let (settling, settled) = Settling::new(floor.clone(), floors.clone(), row);
        (settled, Some(FloorTelling { task: tokio::spawn(settling.run()), floors, floor }))
    } else {
        (Settled::Alone(floor), None)
    };
    Ok(MessageNumbers { ids, newest_id, settled, numbering, telling })
}
