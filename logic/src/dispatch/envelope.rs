//! gRPC's frame around a message, for calls that have one message in either direction.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use gim_proto::ResultCode;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame};
use tonic::{Status, body::Body};

/// A flag and a length.
const PREFIX_BYTES: usize = 5;

/// A body that is there as a whole.
pub(super) struct Whole(Option<Bytes>);

impl Whole {
    /// The frame of `message`.
    pub(super) fn framed(message: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        frame.put_u8(0);
        // What comes here was received within bounds far below that of a number of 32 bits.
        frame.put_u32(message.len() as u32);
        frame.put_slice(message);
        Self(Some(frame.freeze()))
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// The message of an answer, or the status that stands in its place.
pub(super) async fn read(answer: Response<Body>) -> Result<Bytes, Status> {
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Err(status);
    }
    let mut body = pin!(answer.into_body());
    let (mut bytes, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        match frame?.into_data() {
            Ok(data) => bytes.put(data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        _ if is_whole(&bytes) => Ok(bytes.split_off(PREFIX_BYTES).freeze()),
        _ => Err(ResultCode::Internal.into()),
    }
}

/// Whether there is exactly one message, as it is.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_first_chunk::<PREFIX_BYTES>().is_some_and(|([flag, length @ ..], message)| {
        *flag == 0 && usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|length| length == message.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_back(whole: Whole) -> Result<Bytes, Status> {
        read(Response::new(Body::new(whole))).await
    }

    #[tokio::test]
    async fn a_message_survives_the_trip_through_a_frame() {
        for message in [&b""[..], b"a", &[7; 70_000]] {
            assert_eq!(read_back(Whole::framed(message)).await.unwrap(), message);
        }
    }

    #[tokio::test]
    async fn what_is_not_one_whole_message_is_refused() {
        for bytes in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\0a"] {
            assert!(read_back(Whole(Some(Bytes::from_static(bytes)))).await.is_err(), "{bytes:?}");
        }
        let refusal = Status::from(ResultCode::NotFriends).into_http();
        assert_eq!(ResultCode::of_status(&read(refusal).await.unwrap_err()), ResultCode::NotFriends);
    }
}
