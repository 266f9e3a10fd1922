//! Those who are woken by this node: offline pushes are prepared before anything happens, and begin once all is there that they ask.

use std::sync::Arc;

use gim_config::threads::Threads;

use super::{StartError, database_error, numbering::MessageNumbers};
use crate::{
    clients::business::Business,
    offline_push::{self, OfflinePushes, PreparedPushes, PushParts},
    settings::LogicSettings,
    shared_state::SharedState,
    store::{Store, push_claims::WALK},
    usecase::UseCases,
};

/// What is stored from now on counts, where that was never looked at before.
pub(super) async fn prepare(
    settings: &LogicSettings,
    store: &Store,
    numbers: &MessageNumbers,
    (shared, business): (&Arc<dyn SharedState>, &Arc<Business>),
) -> Result<Option<PreparedPushes>, StartError> {
    let settled = numbers.settled.clone();
    let parts = PushParts { store: store.clone(), settled, shared: shared.clone(), business: business.clone() };
    let pushes = offline_push::prepare(&settings.offline_push, parts).map_err(StartError::Files)?;
    if pushes.is_some() {
        let begun = store.walks.begin(WALK, numbers.newest_id.max(1)).await;
        begun.map_err(|source| database_error(store, source))?;
    }
    Ok(pushes)
}

/// Begins to hand out, on threads that give way.
pub(super) fn start(
    prepared: Option<PreparedPushes>,
    store: &Store,
    use_cases: &Arc<UseCases>,
    threads: &Threads,
) -> Result<Option<OfflinePushes>, StartError> {
    let pushes = prepared.map(|pushes| pushes.start(use_cases.clone(), threads)).transpose();
    pushes.map_err(|source| database_error(store, source))
}
