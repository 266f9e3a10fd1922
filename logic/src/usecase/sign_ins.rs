//! Sign-in: is the token good, and which connection is the device's from now on.
//!
//! Shared by tasks of Tokio, with nothing of its own that changes. Always holds: a route is there before its sign-in is answered, and is
//! taken back where the token was revoked meanwhile.

use std::{sync::Arc, time::Instant};

use gim_config::seldom::Seldom;
use gim_proto::{ResultCode, check, logic::Device};
use metrics::counter;
use tokio::sync::OwnedRwLockReadGuard;

use super::connections::{Connections, Evicted};
use crate::{
    clients::{business::Business, jwt::JwtCheck},
    delivery::fanout::Fanout,
    domain::{
        caller::Caller,
        clock,
        route::{NodeKey, Route},
    },
    error::Error,
    metrics as names,
    store::{
        self,
        sign_in::Before,
        work::{DeviceChange, DeviceSave, Saver},
        writer::Writer,
    },
};

/// A connection that asks to be let in.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// Who says to be there.
    pub caller: Caller,
    /// On which conn process.
    pub node: Arc<NodeKey>,
    /// Which connection there.
    pub connection_id: u64,
    /// When it asked, by the clock of the shared state.
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
    pub memberships: OwnedRwLockReadGuard<()>,
    /// The connections that have to go for it (or it for them, where a later one is there already), to be closed after the
    /// answer.
    pub evicted: Vec<Evicted>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SignIns {
    /// Longest token.
    pub token_bytes_max: usize,
    pub(super) reads: store::SignInReads,
    pub(super) business: Arc<Business>,
    pub(super) jwt: JwtCheck,
    pub(super) refused_tokens: Seldom,
    pub(super) connections: Arc<Connections>,
    pub(super) fanout: Fanout,
    pub(super) writer: Writer,
}

impl SignIns {
    /// Checks ids and token.
    pub async fn check_token(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), Error> {
        self.admit(caller, token, request_id).await.map(drop)
    }

    /// [`SignIns::check_token`] for calls that come again and again: a token that was found good holds for a few seconds.
    pub async fn check_token_cached(&self, caller: Caller, token: &str, request_id: &str) -> Result<(), Error> {
        self.business.cached(caller, token, self.check_token(caller, token, request_id)).await
    }

    /// Judges a token: here where it is one of ours to judge, else by the business.
    async fn admit(&self, caller: Caller, token: &str, request_id: &str) -> Result<Before, Error> {
        check::id("user_id", caller.user_id)?;
        check::id("device_id", caller.device_id)?;
        check::filled("token", token, self.token_bytes_max)?;
        let before = self.reads.before(caller).await?;
        if self.jwt.is_for_us(token) {
            self.check_jwt(caller, token, before.not_before_ms)?;
        } else {
            self.business.auth(caller, token, request_id).await?;
        }
        if before.is_device_of_nobody {
            self.take_device_over(caller);
        }
        Ok(before)
    }

    /// What was told about a device is from now on about that of the user who signs in on it. Nobody waits for it: where it
    /// cannot be written now, the next sign-in does it.
    fn take_device_over(&self, caller: Caller) {
        let save = DeviceSave {
            owner: caller.user_id,
            device: Device { id: caller.device_id, ..Device::default() },
            change: DeviceChange::Owner,
            now_ms: clock::now_ms(),
            saver: Saver::User(caller.user_id),
        };
        if let Err(error) = self.writer.submit_device(save) {
            tracing::debug!(%error, "a device has no owner yet");
        }
    }

    fn check_jwt(&self, caller: Caller, token: &str, not_before_ms: i64) -> Result<(), Error> {
        let checked = self.jwt.check(caller, token, clock::now_ms());
        let result = match checked {
            Ok(issued_ms) if issued_ms >= not_before_ms => "ok",
            Ok(_) => "revoked",
            Err(problem) => {
                // A key that is not that of who makes the tokens refuses everybody; a single user must not fill the log.
                if let Some(left_out) = self.refused_tokens.due(Instant::now()) {
                    tracing::warn!(%problem, user_id = caller.user_id, left_out, "a token was refused");
                }
                "refused"
            }
        };
        counter!(names::JWT_CHECKS, "result" => result).increment(1);
        if result == "ok" { Ok(()) } else { Err(sign_in_again()) }
    }

    /// Lets a connection in.
    pub async fn sign_in(&self, connection: NewConnection, token: &str, request_id: &str) -> Result<SignedIn, Error> {
        let Caller { user_id, device_id } = connection.caller;
        let admitted = self.admit(connection.caller, token, request_id).await;
        let before = admitted.inspect_err(|error| self.tell_refusal(connection.caller, error))?;
        let route = Route {
            user_id,
            device_id,
            device_type: before.device_type,
            node: connection.node,
            connection_id: connection.connection_id,
            since_ms: connection.since_ms,
        };
        let evicted = self.connections.put(vec![route.clone()]).await?;
        let memberships = self.fanout.hold_memberships().await;
        // Asked only now: what is committed from here on is pushed along the route, what was before is in the answer.
        let after = match self.reads.after(connection.caller).await {
            Ok(after) if after.not_before_ms == before.not_before_ms => after,
            // Revoked while it was judged; the revocation may have looked for the route before it was there.
            Ok(_) => return Err(self.withdraw(&route, &evicted, sign_in_again()).await),
            Err(error) => return Err(self.withdraw(&route, &evicted, error.into()).await),
        };
        self.connections.live_events.online(&route);
        Ok(SignedIn {
            route,
            newest_seq: after.newest_seq,
            large_group_ids: after.large_group_ids,
            memberships,
            evicted,
        })
    }

    /// What is ours to mend, or passes, is no refusal.
    fn tell_refusal(&self, caller: Caller, error: &Error) {
        let code = error.code();
        if code != ResultCode::Internal && !code.is_retryable() {
            self.connections.live_events.refused(caller, code);
        }
    }

    /// Takes a route back that is not to be. Those that lost their device to it have no routes any more either, and would
    /// wait for pushes in vain: they have to come again.
    async fn withdraw(&self, route: &Route, evicted: &[Evicted], why: Error) -> Error {
        let others = evicted.iter().filter(|one| !one.route.is_same_connection(route));
        others.for_each(|one| self.connections.evict(one));
        match self.connections.remove(route).await {
            Ok(()) => why,
            Err(error) => error,
        }
    }
}

fn sign_in_again() -> Error {
    ResultCode::SignInAgain.into()
}
