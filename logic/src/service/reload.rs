//! What SIGHUP changes of a running service, besides its log and its certificates. Made at the start; on the task of the signal.
//!
//! Always holds: keys that are of no use change nothing.

use std::sync::Arc;

use gim_config::request_shares::RequestShares;

use crate::{clients::jwt::JwtCheck, settings::LogicSettings};

/// Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Reloadable {
    pub(super) jwt: JwtCheck,
    pub(super) request_shares: Arc<RequestShares>,
}

impl Reloadable {
    /// As the settings say.
    pub(super) fn new(settings: &LogicSettings) -> Result<Self, String> {
        let limits = &settings.limits;
        let request_shares = Arc::new(RequestShares::new(limits.user_requests_per_s, limits.user_requests_burst));
        Ok(Self { jwt: JwtCheck::new(&settings.jwt)?, request_shares })
    }

    /// As they say now. Tells whether all of it is so; if not, the log says why.
    pub(super) fn apply(&self, settings: &LogicSettings) -> bool {
        self.request_shares.set(settings.limits.user_requests_per_s, settings.limits.user_requests_burst);
        match self.jwt.reload(&settings.jwt) {
            Ok(()) => true,
            Err(problem) => {
                tracing::error!(problem, "the keys of tokens stay as they were");
                false
            }
        }
    }
}
