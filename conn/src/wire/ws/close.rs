//! How a WebSocket ends: what a peer may do wrong, close codes, and the control frames that we write.

use bytes::{BufMut as _, Bytes, BytesMut};
use gim_proto::CloseReason;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::wire::encoded::put_web_header;

/// Longest payload of a control frame.
pub const CONTROL_BYTES_MAX: usize = 125;

const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// What a peer may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Anything that RFC 6455 forbids.
    #[error("the frame breaks RFC 6455: {0}")]
    Protocol(&'static str),
    /// Packets are binary.
    #[error("a text message is no packet")]
    Text,
    /// A text, or the reason of a close, is no UTF-8.
    #[error("the text is no UTF-8")]
    Utf8,
    /// A message over the limit.
    #[error("a message of {length} bytes is over the limit")]
    TooLarge {
        /// What the header says, and what came before it.
        length: u64,
    },
}

impl Violation {
    /// The code of the close frame.
    pub fn code(self) -> u16 {
        u16::from(match self {
            Self::Protocol(_) => CloseCode::Protocol,
            Self::Text => CloseCode::Unsupported,
            Self::Utf8 => CloseCode::Invalid,
            Self::TooLarge { .. } => CloseCode::Size,
        })
    }

    /// Why the connection ends.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::TooLarge { .. } => CloseReason::CrFrameTooLarge,
            Self::Protocol(_) | Self::Text | Self::Utf8 => CloseReason::CrBadFrame,
        }
    }
}

/// The code of the close frame for each reason.
pub fn code_of(reason: CloseReason) -> u16 {
    u16::from(match reason {
        CloseReason::CrFrameTooLarge => CloseCode::Size,
        CloseReason::CrBadFrame => CloseCode::Invalid,
        CloseReason::CrServerDraining => CloseCode::Away,
        CloseReason::CrServerOverloaded | CloseReason::CrAddressFull => CloseCode::Again,
        CloseReason::CrIoError | CloseReason::CrUnknown => CloseCode::Error,
        CloseReason::CrPeerClosed => CloseCode::Normal,
        CloseReason::CrSignInDeadline
        | CloseReason::CrHeartbeatTimeout
        | CloseReason::CrReplaced
        | CloseReason::CrKicked
        | CloseReason::CrSlowConsumer
        | CloseReason::CrRateLimited
        | CloseReason::CrTokenRevoked => CloseCode::Policy,
    })
}

/// A close frame with a code and a sentence.
pub fn frame(code: u16, text: &str) -> Bytes {
    let mut end = text.len().min(CONTROL_BYTES_MAX - 2);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = BytesMut::with_capacity(2 + end);
    payload.put_u16(code);
    payload.put_slice(&text.as_bytes()[..end]);
    control(CLOSE, &payload)
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

/// The close frame that answers a peer's: its code, or none where it gave none.
pub fn answer(payload: &[u8]) -> Result<Bytes, Violation> {
    let (code, text) = match payload {
        [] => return Ok(control(CLOSE, &[])),
        [_] => return Err(Violation::Protocol("a close code of one byte")),
        [high, low, text @ ..] => (u16::from_be_bytes([*high, *low]), text),
    };
    if !CloseCode::from(code).is_allowed() {
        return Err(Violation::Protocol("a close code that nobody may send"));
    }
    match str::from_utf8(text) {
        Ok(_) => Ok(control(CLOSE, &payload[..2])),
        Err(_) => Err(Violation::Utf8),
    }
}

fn control(first: u8, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
    let mut bytes = BytesMut::with_capacity(2 + payload.len());
    put_web_header(first, payload.len(), &mut bytes);
    bytes.put_slice(payload);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_are_answered_as_the_rfc_says() {
        assert_eq!(&answer(&[]).unwrap()[..], [0x88, 0]);
        assert_eq!(&answer(&[0x03, 0xe8, b'b', b'y', b'e']).unwrap()[..], [0x88, 2, 0x03, 0xe8]);
        assert!(matches!(answer(&[3]), Err(Violation::Protocol(_))));
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000] {
            assert!(matches!(answer(&code.to_be_bytes()), Err(Violation::Protocol(_))), "{code}");
        }
        for code in [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999] {
            assert!(answer(&code.to_be_bytes()).is_ok(), "{code}");
        }
        assert_eq!(answer(&[0x03, 0xe8, 0xff]), Err(Violation::Utf8));
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        let bytes = frame(1008, &"é".repeat(100));
        assert!(bytes.len() <= 2 + CONTROL_BYTES_MAX);
        str::from_utf8(&bytes[4..]).unwrap();
    }
}
