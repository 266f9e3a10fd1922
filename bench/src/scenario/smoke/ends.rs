//! Why the server ends a connection: the device signed in anew, or its token was revoked. The last act.

use gim_proto::{
    CloseReason,
    logic::{RevokeRequest, access_int_service_client::AccessIntServiceClient},
};

use super::{Cast, Stage};
use crate::result::Checks;

/// A token that somebody brought stays good.
pub fn play(stage: &Stage, cast: &mut Cast, may_revoke: bool, checks: &mut Checks) -> anyhow::Result<()> {
    let newer = cast.bob.sign_in_again(stage.target)?;
    checks.arrives(
        "Bob's device signs in anew: its older connection",
        CloseReason::CrReplaced,
        cast.bob.wait_for_close()?,
    );
    cast.bob = newer;
    if !may_revoke {
        return Ok(());
    }

    let request = RevokeRequest { user_id: cast.bob(), device_id: cast.bob.device_id(), not_before_ms: 0 };
    let mut client = AccessIntServiceClient::new(stage.target.logic());
    stage.target.call("AccessIntService/Revoke", client.revoke(stage.target.internal(request)))?;
    let closed = cast.bob.wait_for_close()?;
    checks.arrives("Bob's token is revoked: his connection", CloseReason::CrTokenRevoked, closed);
    checks.equal("Ada's phone, meanwhile, is heard", true, cast.ada_phone.heartbeat().is_ok());
    Ok(())
}
