//! Calls by gRPC whose messages are in gzip: unpacked before anything reads them, and answered in gzip where the caller reads that.
//!
//! On the tasks of calls. Always holds: a message is unpacked piece by piece, and each piece counts as if it had come so, so that a
//! small request becomes no larger than the largest that is taken; it is unpacked for methods with one message each way alone.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use flate2::{
    Compression,
    read::{GzDecoder, GzEncoder},
};
use gim_proto::{ResultCode, metadata};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::{Status, body::Body};
use tower::Service;

use super::{grpc_web::ENCODING, protocol::Protocol};
use crate::grpc::{
    bodies::RequestRoom,
    unary::{self, PREFIX_BYTES, gather, whole},
};

const GZIP: &str = "gzip";
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What is unpacked at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Shorter answers hardly become shorter.
const PACKED_FROM_BYTES: usize = 1024;

/// How the messages of a call come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Unknown,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Self::Plain,
            Some(b"gzip") => Self::Gzip,
            Some(_) => Self::Unknown,
        }
    }
}

/// The refusal of messages that nobody here can unpack.
pub(super) fn refuse_unknown(headers: &HeaderMap) -> Response<Body> {
    let status = ResultCode::UnknownCommand.status("grpc-encoding: only `gzip` and `identity` are taken");
    let mut answer = Protocol::Grpc.refuse(status, request_id(headers));
    answer.headers_mut().insert(ACCEPTED, HeaderValue::from_static("gzip,identity"));
    answer
}

/// Calls with what is unpacked.
pub(super) async fn call<S>(mut inner: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let (mut parts, body) = request.into_parts();
    let room = parts.extensions.remove::<RequestRoom>().unwrap_or_default();
    let message = match gather(body).await.and_then(|(bytes, _)| unpack(bytes, &room)) {
        Ok(message) => message,
        Err(status) => return Ok(Protocol::Grpc.refuse(status, request_id(&parts.headers))),
    };
    let is_packed = reads_gzip(&parts.headers);
    for name in [HeaderName::from_static(ENCODING), ACCEPTED] {
        parts.headers.remove(name);
    }
    let id = request_id(&parts.headers).to_owned();
    let answer = inner.call(Request::from_parts(parts, whole(unary::frame(&message)))).await?;
    if !is_packed || answer.headers().contains_key(Status::GRPC_STATUS) {
        return Ok(answer);
    }
    Ok(pack(answer).await.unwrap_or_else(|status| Protocol::Grpc.refuse(status, &id)))
}

/// The message of a request, which counts for what it comes to.
fn unpack(bytes: Bytes, room: &RequestRoom) -> Result<Bytes, Status> {
    let (is_packed, packed) = unary::only_frame(bytes)?;
    if !is_packed {
        return Ok(packed);
    }
    let (mut decoder, mut piece) = (GzDecoder::new(&packed[..]), vec![0; PIECE_BYTES]);
    let mut message = BytesMut::new();
    loop {
        let no_gzip = |_| ResultCode::BadRequest.status("the message is said to be gzip, and is not");
        let count = decoder.read(&mut piece).map_err(no_gzip)?;
        if count == 0 {
            return Ok(message.freeze());
        }
        room.take(message.len() + count, count)?;
        message.extend_from_slice(&piece[..count]);
    }
}

/// The same answer in gzip, if that is worth it.
async fn pack(answer: Response<Body>) -> Result<Response<Body>, Status> {
    let (mut parts, body) = answer.into_parts();
    let (bytes, trailers) = gather(body).await?;
    let bytes = if bytes.len() < PACKED_FROM_BYTES {
        bytes
    } else {
        let mut packed = Vec::with_capacity(bytes.len() / 2);
        let mut encoder = GzEncoder::new(&bytes[PREFIX_BYTES..], Compression::fast());
        encoder.read_to_end(&mut packed).map_err(|_| Status::from(ResultCode::Internal))?;
        parts.headers.insert(HeaderName::from_static(ENCODING), HeaderValue::from_static(GZIP));
        unary::packed_frame(&packed)
    };
    let body = Full::new(bytes).with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::from_parts(parts, Body::new(body)))
}

fn reads_gzip(headers: &HeaderMap) -> bool {
    let said = headers.get(&ACCEPTED).and_then(|value| value.to_str().ok()).unwrap_or("");
    said.split(',').any(|encoding| encoding.trim() == GZIP)
}

fn request_id(headers: &HeaderMap) -> &str {
    headers.get(metadata::REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(message: &[u8]) -> Bytes {
        let mut packed = Vec::new();
        GzEncoder::new(message, Compression::best()).read_to_end(&mut packed).unwrap();
        unary::packed_frame(&packed)
    }

    #[test]
    fn a_message_is_unpacked_up_to_what_may_come() {
        let room = RequestRoom::of(100_000);
        for bytes in [0, 1, PIECE_BYTES, 100_000] {
            assert_eq!(unpack(packed(&vec![7; bytes]), &room).unwrap(), vec![7; bytes]);
        }
        assert_eq!(unpack(unary::frame(b"plain"), &room).unwrap(), "plain");
        let bomb = packed(&vec![0; 16 << 20]);
        assert!(bomb.len() < 128 * 1024);
        let refused = unpack(bomb, &room).unwrap_err();
        assert_eq!(ResultCode::of_status(&refused), ResultCode::TooLarge);
    }

    #[test]
    fn what_is_no_gzip_is_the_callers_mistake() {
        let room = RequestRoom::of(1_000);
        let cut = packed(b"some message")[PREFIX_BYTES..].to_vec();
        for wrong in [b"nonsense".to_vec(), cut[..cut.len() / 2].to_vec(), Vec::new()] {
            let refused = unpack(unary::packed_frame(&wrong), &room).unwrap_err();
            assert_eq!(ResultCode::of_status(&refused), ResultCode::BadRequest, "{wrong:?}");
        }
    }
}
