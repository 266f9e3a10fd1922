//! Calls of an `*ExtService` over a long connection (PC_CALL), which says who calls: the same services as every other door offers.
//!
//! Each runs in a task of its own, in no order with the packets around it. Always holds: calls take places of their own, so many for
//! all streams together and for each user, and one more is refused at once; a place is given back when its answer leaves; and what is dear
//! to an address by gRPC is as dear to the user here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gim_config::{grpc, request_shares::RequestShares};
use gim_proto::{
    ResultCode,
    connect::{CallRequest, Reply},
};
use metrics::counter;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tracing::Instrument as _;

use crate::{
    dispatch::Dispatch,
    domain::caller::{Caller, log_id},
    metrics as names,
    settings::CallSettings,
    usecase::under_way::{UnderWay, UserPlace},
};

/// What the calls of all streams share.
#[derive(Debug)]
pub struct Calls {
    dispatch: Dispatch,
    shares: Arc<RequestShares>,
    places: Arc<Semaphore>,
    under_way: Arc<UnderWay>,
    timeout: Duration,
    reply_bytes_max: usize,
}

/// What a call holds while it is under way.
#[derive(Debug)]
pub(super) struct CallPermit {
    permit: OwnedSemaphorePermit,
    _of_user: UserPlace,
}

impl CallPermit {
    /// What its answer holds until it leaves.
    pub(super) fn of_answer(self) -> OwnedSemaphorePermit {
        self.permit
    }
}

impl Calls {
    /// Calls over `dispatch`, as the settings say. What is dear takes more of `shares`.
    pub fn new(dispatch: Dispatch, shares: Arc<RequestShares>, settings: &CallSettings) -> Self {
        Self {
            dispatch,
            shares,
            places: Arc::new(Semaphore::new(settings.in_flight_max)),
            under_way: UnderWay::new(settings.in_flight_per_user_max),
            timeout: Duration::from_millis(settings.timeout_ms),
            reply_bytes_max: settings.reply_bytes_max,
        }
    }

    /// Lets one more call of a user in, or says what to answer.
    pub(super) fn enter(&self, user_id: u64) -> Result<CallPermit, ResultCode> {
        let refused = |bound: &'static str, code| {
            counter!(names::CALLS_REFUSED, "bound" => bound).increment(1);
            code
        };
        let of_user = self.under_way.enter(user_id).ok_or_else(|| refused("user", ResultCode::TooManyRequests))?;
        let permit = self.places.clone().try_acquire_owned().map_err(|_| refused("all", ResultCode::TryAgainLater))?;
        Ok(CallPermit { permit, _of_user: of_user })
    }

    /// The reply to a call.
    pub(super) async fn answer(&self, caller: Caller, content: Bytes, request_id: &str) -> Reply {
        let request_id = log_id(request_id);
        let span = tracing::info_span!("call", request_id, user_id = caller.user_id);
        let answered = self.ask(caller, content, request_id).instrument(span).await;
        let code = answered.as_ref().map_or_else(ResultCode::of_status, |_| ResultCode::Ok);
        counter!(names::CALLS, "code" => code.number().to_string()).increment(1);
        answered.map_or_else(|status| refused(&status), |data| Reply { data, ..Reply::default() })
    }

    async fn ask(&self, caller: Caller, content: Bytes, request_id: &str) -> Result<Bytes, Status> {
        let no_call = |_| ResultCode::BadRequest.status("content: is no CallRequest");
        let CallRequest { method, body } = CallRequest::decode(content).map_err(no_call)?;
        // The packet took one of them.
        self.shares.charge(caller.user_id, u64::from(grpc::cost_of(&method) - 1), Instant::now());
        let answer = self.dispatch.unary(&method, caller, request_id, &body, self.timeout).await?;
        if answer.len() > self.reply_bytes_max {
            let (bytes, bytes_max) = (answer.len(), self.reply_bytes_max);
            let problem =
                format!("the answer has {bytes} bytes, at most {bytes_max} fit a packet; ask for less at once");
            return Err(ResultCode::TooLarge.status(problem));
        }
        Ok(answer)
    }
}

/// With what gRPC would say besides, for programs: the `google.rpc.Status`.
fn refused(status: &Status) -> Reply {
    let data = Bytes::copy_from_slice(status.details());
    Reply { code: ResultCode::number_of_status(status), message: status.message().to_owned(), data }
}
