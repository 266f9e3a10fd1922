//! Who makes a call of an `*ExtService`: read from the metadata, and believed only with the right token, or where a trusted service
//! vouches for it, which has seen that token.

use std::{sync::Arc, time::Instant};

use gim_config::{
    grpc,
    places::{NoPlace, Place, Places},
    request_shares::{REQUEST, RequestShares},
};
use gim_proto::{
    ResultCode,
    check::{self, Violation},
    metadata,
};
use tonic::{Request, Status};

use crate::{
    clock,
    metrics::{READS_REFUSED_TOTAL, REQUESTS_BEYOND_SHARE_TOTAL},
    settings::Limits,
    usecase::{Caller, tokens::Tokens},
};

/// Reads and checks callers. Clones share the check.
#[derive(Debug, Clone)]
pub struct Callers {
    tokens: Tokens,
    token_bytes_max: usize,
    reads: Places,
    shares: Arc<RequestShares>,
}

impl Callers {
    /// Believes what `tokens` admits.
    pub fn new(tokens: Tokens, limits: &Limits, reads: Places, shares: Arc<RequestShares>) -> Self {
        Self { tokens, token_bytes_max: limits.token_bytes_max, reads, shares }
    }

    /// The caller of a request that reads, and her turn to do so: it lasts until it is dropped.
    ///
    /// # Errors
    /// As [`Callers::identify`], and 10003 where too much of her waits, or 10004 where nothing can be read in time.
    pub async fn identify_reader<T>(&self, request: &Request<T>) -> Result<(Caller, Place), Status> {
        let caller = self.identify(request).await?;
        let turn = self.reads.take(caller.user_id).await.map_err(|why| {
            metrics::counter!(READS_REFUSED_TOTAL).increment(1);
            Status::from(match why {
                NoPlace::TooMany => ResultCode::TooManyRequests,
                NoPlace::TooLate => ResultCode::TryAgainLater,
            })
        })?;
        Ok((caller, turn))
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the name of metadata that is missing or malformed, UNAUTHENTICATED (10000) where the token
    /// does not belong to the user and the device, and 10003 where the user asked for more than anybody may.
    pub async fn identify<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let user_id = user_id(request)?;
        let device_id = id(request, metadata::DEVICE_ID)?;
        if !grpc::is_vouched(request) {
            let token = text(request, metadata::TOKEN)?;
            check::filled(metadata::TOKEN, token, self.token_bytes_max)?;
            self.tokens.check(user_id, device_id, token, clock::now_ms()).await?;
        }
        if let Err(beyond) = self.shares.take(user_id, REQUEST, Instant::now()) {
            metrics::counter!(REQUESTS_BEYOND_SHARE_TOTAL).increment(1);
            return Err(beyond.refusal().await);
        }
        Ok(Caller { user_id, device_id, request_id: request_id(request).to_owned() })
    }
}

/// The request id that the caller chose, or nothing.
pub fn request_id<T>(request: &Request<T>) -> &str {
    metadata::text(request, metadata::REQUEST_ID).unwrap_or_default()
}

/// The user whom the caller names.
pub fn user_id<T>(request: &Request<T>) -> Result<u64, Violation> {
    id(request, metadata::USER_ID)
}

fn id<T>(request: &Request<T>, name: &str) -> Result<u64, Violation> {
    let text = text(request, name)?;
    let value = text.parse().map_err(|_| check::invalid(name, "is no id in decimal digits"))?;
    check::id(name, value)
}

fn text<'a, T>(request: &'a Request<T>, name: &str) -> Result<&'a str, Violation> {
    if !request.metadata().contains_key(name) {
        return Err(check::invalid(name, "is missing in the metadata"));
    }
    metadata::text(request, name).ok_or_else(|| check::invalid(name, "is no visible ASCII text"))
}
