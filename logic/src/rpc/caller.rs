//! Who calls an `*ExtService`: ids and token from the metadata, checked before anything is done.

use std::time::Instant;

use gim_config::request_shares::REQUEST;
use gim_proto::{
    ResultCode,
    check::{self, Violation},
    metadata,
};
use metrics::counter;
use tonic::Request;

use super::Services;
use crate::{
    dispatch::Vouched,
    domain::caller::{Caller, log_id},
    error::Error,
    metrics as names,
    usecase::syncs::PageFor,
};

impl Services {
    /// The caller, once the token was found good or somebody of this process vouched for her, unless she asked for more than anybody
    /// may.
    pub(super) async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Error> {
        // Who vouches has taken the request from her share already.
        if let Some(caller) = vouched(request) {
            return Ok(caller);
        }
        let (caller, token) = read(request, self.use_cases.sign_ins.token_bytes_max)?;
        self.use_cases.sign_ins.check_token_cached(caller, token, request_id(request)).await?;
        if let Err(beyond) = self.use_cases.request_shares.take(caller.user_id, REQUEST, Instant::now()) {
            counter!(names::REQUESTS_BEYOND_SHARE).increment(1);
            return Err(Error::later(ResultCode::TooManyRequests.text(), beyond.told().await));
        }
        Ok(caller)
    }
}

/// The caller, where somebody of this process vouches for her: what she is answered goes to a long connection.
pub(super) fn vouched<T>(request: &Request<T>) -> Option<Caller> {
    request.extensions().get().map(|&Vouched(caller)| caller)
}

/// Where an answer goes to.
pub(super) fn page_for<T>(request: &Request<T>) -> PageFor {
    if vouched(request).is_some() { PageFor::Packet } else { PageFor::Grpc }
}

/// The request id of a call, as far as logs take it; empty for none.
pub(super) fn request_id<T>(request: &Request<T>) -> &str {
    log_id(metadata::text(request, metadata::REQUEST_ID).unwrap_or(""))
}

fn read<T>(request: &Request<T>, token_bytes_max: usize) -> Result<(Caller, &str), Violation> {
    let user_id = read_id(request, metadata::USER_ID)?;
    let device_id = read_id(request, metadata::DEVICE_ID)?;
    let token = read_text(request, metadata::TOKEN)?;
    check::filled(metadata::TOKEN, token, token_bytes_max)?;
    Ok((Caller { user_id, device_id }, token))
}

fn read_id<T>(request: &Request<T>, name: &'static str) -> Result<u64, Violation> {
    let text = read_text(request, name)?;
    let id = text.parse().map_err(|_| check::invalid(name, "must be a decimal id in the metadata"))?;
    check::id(name, id)
}

fn read_text<'a, T>(request: &'a Request<T>, name: &'static str) -> Result<&'a str, Violation> {
    metadata::text(request, name).ok_or_else(|| check::invalid(name, "is missing in the metadata"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_or_malformed_field_is_named() {
        let problem = |request: Request<()>| read(&request, 8).unwrap_err().to_string();
        assert_eq!(problem(Request::new(())), "user_id: is missing in the metadata");
        assert_eq!(problem(metadata::signed((), 0, 2, "t")), "user_id: must not be 0");
        assert!(problem(metadata::signed((), u64::MAX, 2, "t")).starts_with("user_id: must be from 1 to"));
        assert_eq!(problem(metadata::signed((), 1, 0, "t")), "device_id: must not be 0");
        assert_eq!(problem(metadata::signed((), 1, 2, "")), "token: must not be empty");
        assert_eq!(problem(metadata::signed((), 1, 2, "too long.")), "token: has 9 bytes, at most 8 are allowed");
        let mut request = metadata::signed((), 1, 2, "t");
        metadata::put(&mut request, metadata::DEVICE_ID, "two");
        assert_eq!(problem(request), "device_id: must be a decimal id in the metadata");
        let request = metadata::signed((), 1, 2, "t");
        assert_eq!(read(&request, 8).unwrap(), (Caller { user_id: 1, device_id: 2 }, "t"));
    }
}
