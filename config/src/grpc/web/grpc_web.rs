//! gRPC-Web: what differs from gRPC in a body, trailers as a last frame of it, and all of it in base64 where it is text. Pure.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use gim_proto::ResultCode;
use http::HeaderMap;
use tonic::Status;

use crate::grpc::unary::{PREFIX_BYTES, put_frame};

/// How messages are compressed.
pub(super) const ENCODING: &str = "grpc-encoding";

const TRAILERS: u8 = 0x80;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An answer's message, where there is one, with its trailers.
pub(super) fn answer(message: Option<&[u8]>, trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.put(name.as_str().as_bytes());
        text.put(&b": "[..]);
        text.put(value.as_bytes());
        text.put(&b"\r\n"[..]);
    }
    let message_bytes = message.map_or(0, |message| PREFIX_BYTES + message.len());
    let mut answer = BytesMut::with_capacity(message_bytes + PREFIX_BYTES + text.len());
    if let Some(message) = message {
        put_frame(&mut answer, 0, message);
    }
    put_frame(&mut answer, TRAILERS, &text);
    answer.freeze()
}

/// What stands in base64; pieces that each end with padding may follow one another.
pub(super) fn from_text(text: &[u8]) -> Result<Bytes, Status> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    for piece in text.split_inclusive(|byte| *byte == b'=').filter(|piece| *piece != b"=") {
        let wrong = |_| ResultCode::BadRequest.status("the request is not in base64");
        BASE64.decode_vec(piece.strip_suffix(b"=").unwrap_or(piece), &mut decoded).map_err(wrong)?;
    }
    Ok(decoded.into())
}

/// The same in base64.
pub(super) fn to_text(bytes: &[u8]) -> Bytes {
    BASE64.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn trailers_are_the_last_frame() {
        let name = HeaderName::from_static("grpc-status");
        let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static("0"))]);
        assert_eq!(answer(Some(b"m"), &trailers), &b"\0\0\0\0\x01m\x80\0\0\0\x10grpc-status: 0\r\n"[..]);
        assert_eq!(answer(None, &HeaderMap::new()), &b"\x80\0\0\0\0"[..]);
    }

    #[test]
    fn text_may_come_in_padded_pieces() {
        assert_eq!(from_text(&to_text(b"a frame")).unwrap(), &b"a frame"[..]);
        assert_eq!(from_text(b"YQ==YmM=ZGVm").unwrap(), &b"abcdef"[..]);
        assert_eq!(from_text(b"").unwrap(), &b""[..]);
        for wrong in [&b"Y"[..], b"Y Q=", b"{}", b"YQ==Y"] {
            assert!(from_text(wrong).is_err(), "{wrong:?}");
        }
    }
}
