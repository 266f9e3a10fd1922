//! Keeps this node's part of the shared state alive: leases are renewed many times per lease, nodes that were forgotten are
//! asked to announce themselves again, and users whose pushes could not be routed are told to sync. One task.

use std::{sync::Arc, time::Duration};

use crate::{shared_state::SharedStateError, usecase::App};

/// Renewals per lease; two seconds without one is the most that others should have to wait.
const RENEWALS_PER_LEASE: u32 = 10;
const RENEW_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Runs until this process may not go on; returns why.
pub async fn run(app: Arc<App>, lease: Duration) -> String {
    let mut interval = tokio::time::interval((lease / RENEWALS_PER_LEASE).min(RENEW_INTERVAL_MAX));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match app.shared.renew(app.nodes.infos()).await {
            Ok(forgotten) => {
                for node in forgotten {
                    tracing::warn!(node = node.name, "its connections were forgotten; it has to announce them again");
                    app.nodes.reattach(&node);
                }
                settle(&app).await;
                look_around(&app).await;
            }
            Err(error @ SharedStateError::Taken { .. }) => return error.to_string(),
            Err(error) => tracing::debug!(%error, "leases were not renewed"),
        }
    }
}

/// Keeps what is known of the conn nodes fresh.
async fn look_around(app: &Arc<App>) {
    match app.shared.nodes().await {
        Ok(nodes) => app.take_directory(nodes),
        Err(error) => tracing::debug!(%error, "what is known of the conn nodes stays as it was"),
    }
}

/// Routes answer again: whoever missed a push meanwhile is told how far the inbox got.
async fn settle(app: &Arc<App>) {
    let Some(owed) = app.fanout.take_owed() else { return };
    match app.shared.routes_of(&owed.user_ids).await {
        Ok(_) if owed.is_overfull => app.nodes.reattach_all(),
        Ok(routes) => {
            for (link, connections) in app.nodes.links_of(&routes) {
                tokio::spawn(crate::link::hint(app.clone(), link, connections));
            }
        }
        Err(_) => app.fanout.owe(owed),
    }
}
