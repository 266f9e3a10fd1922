//! Connections, whether they sign in or live on from an earlier stream: where they are, which have to go for others, and that they
//! are gone.

use std::sync::Arc;

use gim_proto::{
    CloseReason,
    logic::{ConnectionUser, LiveConnection},
};

use metrics::counter;

use crate::{
    delivery::nodes::Nodes,
    domain::{
        caller::Caller,
        kick,
        route::{NodeKey, Route},
    },
    error::Error,
    events::LiveEvents,
    metrics as names,
    settings::KickSettings,
    shared_state::{PutRoutes, SharedState},
    store::{self, revocation::ALL_DEVICES},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Connections {
    /// Which devices of a user may be connected side by side.
    pub(super) kick: KickSettings,
    /// Most connections of one user.
    pub(super) user_connections_max: usize,
    pub(super) devices: store::Devices,
    pub(super) revocations: store::Revocations,
    pub(super) shared: Arc<dyn SharedState>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) live_events: LiveEvents,
}

/// A connection that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evicted {
    /// Which.
    pub route: Route,
    /// What its client is told.
    pub reason: CloseReason,
    /// Why, in a sentence.
    pub text: &'static str,
}

impl Evicted {
    fn new(route: Route, reason: CloseReason) -> Self {
        Self { route, reason, text: reason.rule().text }
    }
}

impl Connections {
    /// The clock that connections are dated by.
    pub fn now_ms(&self) -> i64 {
        self.shared.now_ms()
    }

    /// Takes connections up that live on from an earlier stream of their node, and ends those that have to go for them. Returns
    /// where they are.
    pub async fn take_up(&self, node: &Arc<NodeKey>, connections: &[LiveConnection]) -> Result<Vec<Route>, Error> {
        let caller = |live: &LiveConnection| Caller { user_id: live.user_id, device_id: live.device_id };
        let callers: Vec<Caller> = connections.iter().map(caller).collect();
        let types = self.devices.types(&callers).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "announced connections are listed without the types of their devices");
            vec![0; callers.len()]
        });
        let now_ms = self.now_ms();
        let route = |(connection, device_type): (&LiveConnection, i32)| Route {
            user_id: connection.user_id,
            device_id: connection.device_id,
            device_type,
            node: node.clone(),
            connection_id: connection.connection_id,
            since_ms: since_ms(connection, now_ms),
        };
        let routes: Vec<Route> = connections.iter().zip(types).map(route).collect();
        let evicted = self.put(routes.clone()).await?;
        evicted.iter().for_each(|one| self.evict(one));
        Ok(routes)
    }

    /// Puts connections in. Returns those that have to go for them.
    pub async fn put(&self, routes: Vec<Route>) -> Result<Vec<Evicted>, Error> {
        let PutRoutes { losers, of_one_user } = self.shared.put_routes(routes.clone()).await?;
        let mut evicted: Vec<Evicted> =
            losers.into_iter().map(|route| Evicted::new(route, CloseReason::CrReplaced)).collect();
        let is_crowded = of_one_user > self.user_connections_max;
        if self.kick.is_off() && !is_crowded {
            return Ok(evicted);
        }
        let mut user_ids: Vec<u64> = routes.iter().map(|route| route.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let all = self.shared.routes_of(&user_ids).await?;
        let kicked = kick::evicted(|device_type| self.kick.policy_of(device_type), &routes, &all);
        let kicked = kicked.into_iter().map(|route| Evicted::new(route, CloseReason::CrKicked));
        let crowded_out = if is_crowded { kick::crowded_out(self.user_connections_max, &all) } else { Vec::new() };
        counter!(names::CONNECTIONS_CROWDED_OUT).increment(crowded_out.len() as u64);
        let crowded_out = crowded_out.into_iter().map(|route| Evicted {
            route,
            reason: CloseReason::CrKicked,
            text: "the user has too many connections",
        });
        for one in kicked.chain(crowded_out) {
            self.remove(&one.route).await?;
            evicted.push(one);
        }
        Ok(evicted)
    }

    /// Ends a connection that has to go.
    pub fn evict(&self, evicted: &Evicted) {
        self.nodes.kick(&evicted.route, evicted.reason, evicted.text);
    }

    /// Of connections that come back from an earlier stream, whose routes are there again, closes those that were let in
    /// before their token was revoked: the revocation may have been told while nobody knew of them.
    pub async fn close_revoked(&self, routes: &[Route]) -> Result<(), Error> {
        let mut user_ids: Vec<u64> = routes.iter().map(|route| route.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let revoked_at = self.revocations.revoked_at(&user_ids).await?;
        let at = |user_id, device_id| revoked_at.get(&(user_id, device_id)).copied().unwrap_or(i64::MIN);
        for route in routes {
            if at(route.user_id, route.device_id).max(at(route.user_id, ALL_DEVICES)) > route.since_ms {
                self.nodes.kick(route, CloseReason::CrTokenRevoked, CloseReason::CrTokenRevoked.rule().text);
            }
        }
        Ok(())
    }

    /// A connection is gone, or is not to be.
    pub async fn remove(&self, route: &Route) -> Result<(), Error> {
        if self.shared.remove_route(route).await? {
            self.live_events.offline(route);
        }
        Ok(())
    }

    /// Connections of a node are gone, of which only the ids are known.
    pub async fn forget(&self, node: &Arc<NodeKey>, connection_ids: &[u64]) -> Result<(), Error> {
        Ok(self.shared.remove_connections(node, connection_ids).await?)
    }

    /// These connections of a node were heard of. Those that were forgotten are put in again, and closed where their token was
    /// revoked while nobody knew of them.
    pub async fn touch(&self, node: &Arc<NodeKey>, connections: Vec<ConnectionUser>) -> Result<(), Error> {
        let forgotten = self.shared.touch(node, connections).await?;
        if forgotten.is_empty() {
            return Ok(());
        }
        let live = |connection: ConnectionUser| LiveConnection {
            connection_id: connection.connection_id,
            user_id: connection.user_id,
            device_id: connection.device_id,
            age_ms: connection.age_ms,
            ..LiveConnection::default()
        };
        let forgotten: Vec<LiveConnection> = forgotten.into_iter().map(live).collect();
        let routes = self.take_up(node, &forgotten).await?;
        self.close_revoked(&routes).await
    }
}

/// When a connection signed in, by our clock: that of its node may be an hour off.
fn since_ms(connection: &LiveConnection, now_ms: i64) -> i64 {
    match connection.age_ms {
        Some(age_ms) => now_ms.saturating_sub_unsigned(age_ms),
        // Of an older conn: it must not win against sign-ins that are yet to come.
        None => connection.since_ms.min(now_ms),
    }
}
