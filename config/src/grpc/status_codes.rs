//! Result codes as the number of a gRPC status, which is how gim has them: Go's `status.Code(10000)`.
//!
//! On the tasks of calls. Always holds: what a peer answers with such a number reaches us as the standard status with that result
//! code in its details, the same as from a peer that knows those; our own answers carry the details whichever number they have.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{TryFutureExt as _, future::MapOk};
use gim_proto::ResultCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tonic::{Status, body::Body};
use tower::Service;

/// Result codes from here on are no numbers of gRPC, which has 17.
const RESULT_CODES_FROM: i32 = 10_000;

/// Which number the status of a refused call has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusCodes {
    /// One of gRPC's own.
    #[default]
    Standard,
    /// The result code, as the services of gim in Go answer.
    Gim,
}

/// A channel whose answers may have result codes as the number of their status.
#[derive(Debug, Clone)]
pub struct ReadResultCodes<S>(S);

impl StatusCodes {
    /// The same answer with the number that callers expect.
    pub(super) fn write(self, mut answer: http::Response<Body>) -> http::Response<Body> {
        if self == Self::Gim
            && let Some(status) = Status::from_header_map(answer.headers())
            && let Some(number) = ResultCode::number_in_details(&status)
        {
            let renumbered =
                Status::with_details(status.code(), status.message(), with_number(status.details(), number));
            if renumbered.add_header(answer.headers_mut()).is_ok() {
                answer.headers_mut().insert(Status::GRPC_STATUS, number.into());
            }
        }
        answer
    }
}

/// The details of a status that has this number. Go takes an answer for broken in which the two differ.
fn with_number(details: &[u8], number: i32) -> Bytes {
    let details = tonic_types::pb::Status::decode(details).unwrap_or_default();
    tonic_types::pb::Status { code: number, ..details }.encode_to_vec().into()
}

impl<S> ReadResultCodes<S> {
    pub(super) fn new(channel: S) -> Self {
        Self(channel)
    }
}

impl<S> Service<http::Request<Body>> for ReadResultCodes<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(http::Response<Body>) -> http::Response<Body>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(read)
    }
}

/// The answer with a standard status, which stands in its headers where there is no message, and else in its trailers.
fn read(mut answer: http::Response<Body>) -> http::Response<Body> {
    make_standard(answer.headers_mut());
    if answer.headers().contains_key(Status::GRPC_STATUS) {
        return answer;
    }
    answer.map(|body| Body::new(StandardTrailers(body)))
}

/// Puts a standard number, and the result code as a detail, in the place of a number that is a result code.
fn make_standard(headers: &mut http::HeaderMap) {
    let number = headers.get(Status::GRPC_STATUS).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(number) = number.filter(|number| *number >= RESULT_CODES_FROM) else { return };
    let mut standard = http::HeaderMap::new();
    if ResultCode::status_of_business(number, "").add_header(&mut standard).is_err() {
        return;
    }
    for name in [Status::GRPC_STATUS, Status::GRPC_STATUS_DETAILS, Status::GRPC_MESSAGE] {
        // The sentence of the peer is better than ours.
        if let Some(value) = standard.remove(&name)
            && (name != Status::GRPC_MESSAGE || !headers.contains_key(&name))
        {
            headers.insert(name, value);
        }
    }
}

struct StandardTrailers(Body);

impl HttpBody for StandardTrailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            make_standard(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_number_of_gim_becomes_a_standard_status_with_that_result_code() {
        let read = |number: &'static str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static(number));
            headers.insert(Status::GRPC_MESSAGE, http::HeaderValue::from_static("as%20the%20peer%20said"));
            make_standard(&mut headers);
            let status = Status::from_header_map(&headers).unwrap();
            assert_eq!(status.message(), "as the peer said");
            (status.code(), ResultCode::number_of_status(&status))
        };
        assert_eq!(read("10000"), (Code::Unauthenticated, 10_000));
        assert_eq!(read("10210"), (Code::FailedPrecondition, 10_210));
        assert_eq!(read("20001"), (Code::FailedPrecondition, 20_001), "one of the business's own");
        assert_eq!(read("10999"), (Code::PermissionDenied, 10_006), "kept for gim, and unknown");
        assert_eq!(read("16"), (Code::Unauthenticated, 10_000));
        assert_eq!(read("9999").0, Code::Unknown);
        assert_eq!(read("99999999999").0, Code::Unknown);
    }

    #[test]
    fn an_answer_has_the_number_that_the_setting_says() {
        let number = |codes: StatusCodes, status: Status| {
            let answer = codes.write(status.into_http());
            answer.headers()[Status::GRPC_STATUS].to_str().unwrap().to_owned()
        };
        assert_eq!(number(StatusCodes::Standard, ResultCode::SignInAgain.into()), "16");
        assert_eq!(number(StatusCodes::Gim, ResultCode::SignInAgain.into()), "10000");
        assert_eq!(number(StatusCodes::Gim, ResultCode::status_of_business(20_001, "no")), "20001");
        assert_eq!(number(StatusCodes::Gim, Status::unimplemented("of tonic")), "12", "it has no result code");
        let answer = StatusCodes::Gim.write(Status::from(ResultCode::NotFriends).into_http());
        let sent = Status::from_header_map(answer.headers()).unwrap();
        let details = tonic_types::pb::Status::decode(sent.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (10_210, "not friends"), "Go compares it with the header");
        let mut headers = answer.headers().clone();
        make_standard(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!((status.code(), status.message()), (ResultCode::NotFriends.grpc(), "not friends"));
    }
}
