//! Keeps this node's part of the shared state alive: leases are renewed many times per lease, nodes that were forgotten are
//! asked to announce themselves again, what other logic nodes told is heard, and users whose pushes could not be routed are told to
//! sync. One task, which also runs at once when a node attaches.

use std::{sync::Arc, time::Duration};

use gim_config::ready::ReadyPart;
use tokio::sync::watch;

use crate::{
    delivery::{catch_up::CatchUp, fanout::Fanout, nodes::Nodes},
    shared_state::{SharedState, SharedStateError},
    usecase::UseCases,
};

/// Renewals per lease; two seconds without one is the most that others should have to wait.
const RENEWALS_PER_LEASE: u32 = 10;
const RENEW_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// What this node has in common with other logic nodes.
pub(super) struct Joined {
    pub shared: Arc<dyn SharedState>,
    /// Ready while Redis takes the renewals, if there is one.
    pub redis_part: Option<ReadyPart>,
    /// Told whenever the leases were renewed.
    pub renewed: watch::Sender<()>,
}

/// What the task works with.
pub(super) struct LeaseRenewal {
    pub joined: Joined,
    pub nodes: Arc<Nodes>,
    pub fanout: Fanout,
    pub catch_up: CatchUp,
    pub use_cases: Arc<UseCases>,
}

impl LeaseRenewal {
    /// Runs until this process may not go on; returns why.
    pub(super) async fn run(self, lease: Duration) -> String {
        let mut interval = tokio::time::interval((lease / RENEWALS_PER_LEASE).min(RENEW_INTERVAL_MAX));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // A node that has come takes clients at once: whoever knows that it is ready may ask where to connect.
            tokio::select! {
                _ = interval.tick() => {}
                () = self.nodes.arrival() => {}
            }
            let renewed = self.joined.shared.renew(self.nodes.infos()).await;
            self.joined.redis_part.iter().for_each(|part| part.set(renewed.is_ok()));
            match renewed {
                Ok(forgotten) => {
                    self.joined.renewed.send_replace(());
                    for node in forgotten {
                        tracing::warn!(
                            node = node.name,
                            "its connections were forgotten; it has to announce them again"
                        );
                        self.nodes.reattach(&node);
                    }
                    self.hear().await;
                    self.settle().await;
                    self.update_directory().await;
                }
                Err(error @ (SharedStateError::Taken { .. } | SharedStateError::OfAnotherDatabase { .. })) => {
                    return error.to_string();
                }
                Err(error) => tracing::debug!(%error, "leases were not renewed"),
            }
        }
    }

    /// Forgets what other logic nodes heard is out of date.
    async fn hear(&self) {
        match self.joined.shared.told().await {
            Ok(told) => self.use_cases.access.forget_here(&told).await,
            Err(error) => tracing::debug!(%error, "what is out of date is heard later"),
        }
    }

    /// Keeps what is known of the conn nodes fresh.
    async fn update_directory(&self) {
        match self.joined.shared.nodes().await {
            Ok(nodes) => self.use_cases.directory.update(nodes),
            Err(error) => tracing::debug!(%error, "what is known of the conn nodes stays as it was"),
        }
    }

    /// Routes answer again: whoever missed a push meanwhile is told how far the inbox got.
    async fn settle(&self) {
        let Some(owed) = self.fanout.take_owed() else { return };
        match self.joined.shared.routes_of(&owed.user_ids).await {
            Ok(_) if owed.is_overfull => self.nodes.reattach_all(),
            Ok(routes) => {
                for (link, connections) in self.nodes.links_of(&routes) {
                    let catch_up = self.catch_up.clone();
                    tokio::spawn(async move { catch_up.tell_newest_seqs(&link, connections).await });
                }
            }
            Err(_) => self.fanout.owe(owed),
        }
    }
}
