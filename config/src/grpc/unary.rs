//! Calls with one message in either direction: gRPC's frame around it, and bodies that are there as a whole.
//!
//! Pure but for [`gather`] and [`message_of`], which wait for the rest of a body; what a body may hold at most, its server has bounded.

use bytes::{BufMut as _, Bytes, BytesMut};
use gim_proto::ResultCode;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status, body::Body};

/// A flag and a length.
pub(super) const PREFIX_BYTES: usize = 5;
const COMPRESSED: u8 = 1;
/// How the library's refusal of bytes that are no such message begins; it says nothing else that tells it from a failure of ours.
const UNREADABLE: &str = "failed to decode Protobuf message";
/// The same of a message that is longer than it takes.
const TOO_LONG: &str = "Error, decoded message length too large";

/// The frame of a message.
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    put_frame(&mut frame, 0, message);
    frame.freeze()
}

/// The frame of a message that is compressed.
pub(super) fn packed_frame(packed: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + packed.len());
    put_frame(&mut frame, COMPRESSED, packed);
    frame.freeze()
}

/// A body that is there as a whole.
pub fn whole(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes))
}

/// The message of an answer with its trailers, or the status that stands in its place.
pub async fn message_of(answer: Response<Body>) -> Result<(Bytes, HeaderMap), Status> {
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Err(refined(&status).unwrap_or(status));
    }
    let (bytes, trailers) = gather(answer.into_body()).await?;
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() != Code::Ok => Err(refined(&status).unwrap_or(status)),
        _ => Ok((only_message(bytes)?, trailers)),
    }
}

/// What the library says of a message that is the caller's mistake, in our codes.
pub(super) fn refined(status: &Status) -> Option<Status> {
    match status.code() {
        Code::Internal if status.message().starts_with(UNREADABLE) => {
            Some(ResultCode::BadRequest.status("the message cannot be read: it is cut off, or of another type"))
        }
        Code::OutOfRange if status.message().starts_with(TOO_LONG) => {
            Some(ResultCode::TooLarge.status("the request is longer than the service takes"))
        }
        _ => None,
    }
}

/// What was sent, to its end, with its trailers.
pub(super) async fn gather(body: Body) -> Result<(Bytes, HeaderMap), Status> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes(), trailers))
}

/// The message in what is to be exactly one frame.
pub(super) fn only_message(bytes: Bytes) -> Result<Bytes, Status> {
    match only_frame(bytes)? {
        (true, _) => Err(ResultCode::BadRequest.status("the message is compressed, and its encoding is not said")),
        (false, message) => Ok(message),
    }
}

/// The same, and whether it is compressed.
pub(super) fn only_frame(mut bytes: Bytes) -> Result<(bool, Bytes), Status> {
    let Some((&[flag, ref length @ ..], rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        let problem = "there is no message, and the method has exactly one each way";
        return Err(ResultCode::UnknownCommand.status(problem));
    };
    let length = u32::from_be_bytes(*length) as usize;
    if rest.len() < length {
        return Err(ResultCode::BadRequest.status("the message is cut off"));
    }
    if rest.len() > length {
        let problem = "there are several messages, and the method has exactly one each way";
        return Err(ResultCode::UnknownCommand.status(problem));
    }
    if flag & !COMPRESSED != 0 {
        return Err(ResultCode::BadRequest.status("the message has an unknown flag"));
    }
    Ok((flag == COMPRESSED, bytes.split_off(PREFIX_BYTES)))
}

pub(super) fn put_frame(bytes: &mut BytesMut, flag: u8, content: &[u8]) {
    bytes.put_u8(flag);
    // Messages are received and made within bounds far below that of a number of 32 bits.
    bytes.put_u32(content.len() as u32);
    bytes.put(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_whole_message_is_taken_and_nothing_else() {
        let read = async |bytes: Bytes| message_of(Response::new(whole(bytes))).await.map(|(message, _)| message);
        for message in [&b""[..], b"abc", &[7; 70_000]] {
            assert_eq!(only_message(frame(message)).unwrap(), message);
            assert_eq!(read(frame(message)).await.unwrap(), message);
        }
        for wrong in
            [&b""[..], b"\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\0\0\0\0\0\0", b"\x01\0\0\0\x01a", b"\x80\0\0\0\0"]
        {
            assert!(read(Bytes::from_static(wrong)).await.is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_status_stands_in_the_place_of_a_message() {
        let refusal = Status::from(ResultCode::NotFriends).into_http();
        assert_eq!(ResultCode::of_status(&message_of(refusal).await.unwrap_err()), ResultCode::NotFriends);
    }

    #[tokio::test]
    async fn bytes_that_are_no_message_are_the_callers_mistake() {
        use prost::Message as _;
        let wrong = gim_proto::connect::Packet::decode(&b"\xff\xff"[..]).unwrap_err();
        let refusal = Status::internal(wrong.to_string()).into_http();
        assert_eq!(ResultCode::of_status(&message_of(refusal).await.unwrap_err()), ResultCode::BadRequest);
    }
}
