//! What else than itself a call of an older client takes from the share of its address. On the tasks of calls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gim_proto::ResultCode;
use tonic::Status;

use super::{calls::count_refusal, costs::cost_of, peers::Address, settings::GrpcSettings};

/// In the extensions of an older client's call: whose share further calls are taken from that it takes to answer it.
#[derive(Debug, Clone)]
pub(super) struct CallShare {
    address: Arc<Address>,
    settings: Arc<GrpcSettings>,
}

impl CallShare {
    /// Of an address.
    pub(super) fn new(address: Arc<Address>, settings: Arc<GrpcSettings>) -> Self {
        Self { address, settings }
    }

    /// Takes one more call of a method of today's.
    pub(super) fn take(&self, method: &str) -> Result<(), Status> {
        self.address.take_calls(cost_of(method), &self.settings, Instant::now()).map_err(too_many)
    }
}

/// The refusal of a call of which the share has too little left.
pub(super) fn too_many(wait: Duration) -> Status {
    count_refusal("rate");
    ResultCode::TooManyRequests.status_after("too many calls come from this address", wait)
}
