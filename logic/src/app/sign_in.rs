//! Sign-in: is the token good, and which connection is the device's from now on.

use std::sync::Arc;

use gim_proto::{CloseReason, check};
use tokio::sync::OwnedRwLockReadGuard;

use super::{App, Caller};
use crate::{
    domain::{
        kick,
        route::{NodeKey, Route},
    },
    error::Error,
};

const TOKEN_BYTES_MAX: usize = 4096;

/// A connection that asks to be let in.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// Who says to be there.
    pub caller: Caller,
    /// On which conn process.
    pub node: Arc<NodeKey>,
    /// Which connection there.
    pub connection_id: u64,
    /// When it asked, by [`crate::domain::clock::SteadyClock`].
    pub since_ms: i64,
}

/// A connection that was let in.
#[derive(Debug)]
pub struct SignedIn {
    /// Where it is.
    pub route: Route,
    /// The newest seq of the user's inbox.
    pub newest_seq: u64,
    /// The large groups that the user is in.
    pub large_group_ids: Vec<u64>,
    /// Held until conn is told of them, so that whoever leaves one meanwhile is out of it after that.
    pub seats: OwnedRwLockReadGuard<()>,
    /// The connections that have to go for it (or it for them, where a later one is there already), to be closed after the
    /// answer.
    pub losers: Vec<Loser>,
}

/// A connection that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loser {
    /// Which.
    pub route: Route,
    /// What its client is told.
    pub reason: CloseReason,
}

impl App {
    /// Checks ids and token.
    pub async fn check_token(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), Error> {
        check::id("user_id", caller.user_id)?;
        check::id("device_id", caller.device_id)?;
        check::filled("token", token, TOKEN_BYTES_MAX)?;
        self.business.auth(caller, token, request_id).await
    }

    /// Lets a connection in.
    pub async fn sign_in(&self, connection: NewConnection, token: &str, request_id: &str) -> Result<SignedIn, Error> {
        let Caller { user_id, device_id } = connection.caller;
        self.check_token(connection.caller, token, request_id).await?;
        let types = self.store.devices.types(&[device_id]).await?;
        let route = Route {
            user_id,
            device_id,
            device_type: types.first().copied().unwrap_or(0),
            node: connection.node,
            connection_id: connection.connection_id,
            since_ms: connection.since_ms,
        };
        let losers = self.put_routes(vec![route.clone()]).await?;
        // Asked only now: what is committed from here on is pushed along the route, what was before is in the answer.
        let newest_seq = self.store.inboxes.newest_seq(user_id).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "signed in without the newest seq; the first heartbeat asks again");
            0
        });
        let seats = self.fanout.hold_seats().await;
        let large_groups = match self.store.groups.large_of(&[user_id]).await {
            Ok(large_groups) => large_groups,
            Err(error) => {
                // Without them the connection would miss messages unseen: it has to come again.
                self.shared.remove_route(&route).await?;
                return Err(error.into());
            }
        };
        let large_group_ids = large_groups.into_iter().map(|(_, group_id)| group_id).collect();
        Ok(SignedIn { route, newest_seq, large_group_ids, seats, losers })
    }

    /// Puts connections in. Returns those that have to go for them.
    pub async fn put_routes(&self, routes: Vec<Route>) -> Result<Vec<Loser>, Error> {
        let replaced = self.shared.put_routes(routes.clone()).await?;
        let mut losers: Vec<Loser> =
            replaced.into_iter().map(|route| Loser { route, reason: CloseReason::CrReplaced }).collect();
        if self.kick.is_off() {
            return Ok(losers);
        }
        let mut user_ids: Vec<u64> = routes.iter().map(|route| route.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let all = self.shared.routes_of(&user_ids).await?;
        for route in kick::losers(&self.kick, &routes, &all) {
            self.shared.remove_route(&route).await?;
            losers.push(Loser { route, reason: CloseReason::CrKicked });
        }
        Ok(losers)
    }
}
