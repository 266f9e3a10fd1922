//! How a logic node comes to the others of its deployment, and leaves them: what it holds alone, what it shares, and the numbers that it
//! makes. In the task that starts the service, and in the one that stops it.
//!
//! Always holds: a node that does not start gives its name back at once.

use std::{sync::Arc, time::Duration};

use gim_config::{
    ready::ReadyPart,
    sql::{self, Claim},
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    StartError,
    belonging::Belonging,
    claims,
    lease_renewal::Joined,
    numbering::{self, MessageNumbers},
};
use crate::{
    settings::LogicSettings,
    shared_state::{SharedState, SharedStateError, local::LocalState, redis::RedisState},
    store::{Store, StoreError, writer::Writer},
};

/// Also returns what this node has for itself at the server of the database, and the ids that it makes.
pub(super) async fn join_others(
    settings: &LogicSettings,
    store: &Store,
    redis_part: Option<ReadyPart>,
    companions: ReadyPart,
) -> Result<(Joined, Option<JoinHandle<()>>, Option<Claim>, MessageNumbers), StartError> {
    let lease = Duration::from_millis(settings.link.lease_ms);
    let shared = shared_state(settings, lease, store).await?;
    redis_part.iter().for_each(|part| part.set(true));
    let claim = or_leave(&*shared, claims::take(settings, &store.database, lease).await).await?;
    let belonging = Belonging::begin(settings, store, &shared, companions).await;
    // Only now: a former process with this node number may have made ids until its lease was over.
    let numbers = or_leave(&*shared, numbering::begin(settings, store).await).await?;
    let (renewed, told) = watch::channel(());
    let belonging = belonging.map(|belonging| tokio::spawn(belonging.run(told)));
    Ok((Joined { shared, redis_part, renewed }, belonging, claim, numbers))
}

/// Gives the name of this node back where it does not start.
pub(super) async fn or_leave<T>(shared: &dyn SharedState, started: Result<T, StartError>) -> Result<T, StartError> {
    if started.is_err() {
        leave(shared).await;
    }
    started
}

/// The same where the writer is there already.
pub(super) async fn or_stop<T>(
    shared: &dyn SharedState,
    writer: &Writer,
    started: Result<T, StartError>,
) -> Result<T, StartError> {
    or_leave(shared, started.inspect_err(|_| writer.close())).await
}

pub(super) async fn leave(shared: &dyn SharedState) {
    if let Err(error) = shared.close().await {
        tracing::error!(%error, "the shared state was not left in order");
    }
}

async fn shared_state(
    settings: &LogicSettings,
    lease: Duration,
    store: &Store,
) -> Result<Arc<dyn SharedState>, SharedStateError> {
    let (room, seqs) = (settings.room.clone(), store.room_seqs.clone());
    if settings.shared_state.url.is_empty() {
        return Ok(Arc::new(LocalState::new(lease, room, seqs)));
    }
    let node = (settings.node.as_str(), settings.node_number);
    let deployment = sql::persevere(async || store.deployment_id().await).await.map_err(StoreError::from)?;
    Ok(Arc::new(RedisState::start(&settings.shared_state, node, deployment, lease, room, seqs).await?))
}
