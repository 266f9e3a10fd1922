//! What the business tells of its users: that tokens issued before a moment are worthless, here and in whatever is connected with
//! them; and that what was answered about a user is out of date, which every logic node has to hear.

use std::sync::Arc;

use gim_proto::{
    CloseReason, check,
    logic::{ForgetRequest, GetLimitsReply, RevokeRequest},
};
use metrics::counter;

use crate::{
    clients::business::Business,
    delivery::nodes::Nodes,
    domain::{clock, out_of_date::OutOfDate},
    error::Error,
    metrics as names,
    shared_state::SharedState,
    store::{self, revocation::ALL_DEVICES},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Access {
    pub(super) revocations: store::Revocations,
    pub(super) business: Arc<Business>,
    pub(super) shared: Arc<dyn SharedState>,
    pub(super) nodes: Arc<Nodes>,
    /// What a business is told of our limits.
    pub limits: GetLimitsReply,
}

impl Access {
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
        self.revocations.raise(user_id, device_id, not_before_ms, self.shared.now_ms()).await?;
        self.forget_everywhere(OutOfDate::Tokens { user_id, device_id }).await?;
        let routes = self.shared.routes_of(&[user_id]).await?;
        let revoked = routes.iter().filter(|route| device_id == ALL_DEVICES || route.device_id == device_id);
        for route in revoked {
            self.nodes.kick(route, CloseReason::CrTokenRevoked, CloseReason::CrTokenRevoked.rule().text);
        }
        counter!(names::REVOCATIONS).increment(1);
        tracing::info!(user_id, device_id, not_before_ms, "revoked");
        Ok(())
    }

    /// Asks the business anew about a user, about two, or about who may write into a room.
    pub async fn forget(&self, request: ForgetRequest) -> Result<(), Error> {
        self.forget_everywhere(out_of_date(request)?).await
    }

    /// What logic nodes told all of them, this one too.
    pub async fn forget_here(&self, told: &[OutOfDate]) {
        self.business.forget(told).await;
    }

    /// Here at once; other nodes hear of it within a second.
    async fn forget_everywhere(&self, what: OutOfDate) -> Result<(), Error> {
        self.business.forget(&[what]).await;
        Ok(self.shared.tell(what).await?)
    }
}

fn out_of_date(request: ForgetRequest) -> Result<OutOfDate, Error> {
    let ForgetRequest { user_id, peer_id, room_id } = request;
    if room_id != 0 {
        check::id("room_id", room_id)?;
        if user_id != 0 {
            check::id("user_id", user_id)?;
        }
        return Ok(OutOfDate::RoomWriter { user_id, room_id });
    }
    check::id("user_id", user_id)?;
    if peer_id == 0 {
        return Ok(OutOfDate::Card(user_id));
    }
    check::id("peer_id", peer_id)?;
    Ok(OutOfDate::Pair(user_id, peer_id))
}
