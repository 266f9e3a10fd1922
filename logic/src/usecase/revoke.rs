//! Revocation: tokens that were issued before a moment are worthless, here and in whatever is connected with them.

use gim_proto::{
    CloseReason, check,
    logic::{ForgetRequest, RevokeRequest},
};
use metrics::counter;

use super::App;
use crate::{
    domain::{clock, route::Route},
    error::Error,
    metrics as names,
    store::revocation::ALL_DEVICES,
};

impl App {
    /// Revokes the tokens of a user's device, or of all devices, and closes the connections that are there. First it is
    /// stored: a sign-in that is under way either finds it, or has its route found here.
    pub async fn revoke(&self, request: RevokeRequest) -> Result<(), Error> {
        let RevokeRequest { user_id, device_id, not_before_ms } = request;
        check::id("user_id", user_id)?;
        if device_id != ALL_DEVICES {
            check::id("device_id", device_id)?;
        }
        if not_before_ms < 0 {
            return Err(check::invalid("not_before_ms", "must not be negative").into());
        }
        let now_ms = clock::now_ms();
        let not_before_ms = if not_before_ms == 0 { now_ms } else { not_before_ms };
        // By the clock that connections are dated by: of the same moment, a sign-in is the later one.
        self.store.revocations.raise(user_id, device_id, not_before_ms, self.shared.now_ms()).await?;
        self.business.forget_tokens(user_id, device_id);
        let routes = self.shared.routes_of(&[user_id]).await?;
        let revoked = routes.iter().filter(|route| device_id == ALL_DEVICES || route.device_id == device_id);
        for route in revoked {
            self.nodes.kick(route, CloseReason::CrTokenRevoked);
        }
        counter!(names::REVOCATIONS).increment(1);
        tracing::info!(user_id, device_id, not_before_ms, "revoked");
        Ok(())
    }

    /// Of connections that come back from an earlier stream, whose routes are there again, closes those that were let in
    /// before their token was revoked: the revocation may have been told while nobody knew of them.
    pub async fn close_revoked(&self, routes: &[Route]) -> Result<(), Error> {
        let mut user_ids: Vec<u64> = routes.iter().map(|route| route.user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let revoked_at = self.store.revocations.revoked_at(&user_ids).await?;
        let at = |user_id, device_id| revoked_at.get(&(user_id, device_id)).copied().unwrap_or(i64::MIN);
        for route in routes {
            if at(route.user_id, route.device_id).max(at(route.user_id, ALL_DEVICES)) > route.since_ms {
                self.nodes.kick(route, CloseReason::CrTokenRevoked);
            }
        }
        Ok(())
    }

    /// Asks the business anew about a user, or about two.
    pub fn forget(&self, request: ForgetRequest) -> Result<(), Error> {
        check::id("user_id", request.user_id)?;
        if request.peer_id != 0 {
            check::id("peer_id", request.peer_id)?;
        }
        self.business.forget(request.user_id, request.peer_id);
        Ok(())
    }
}
