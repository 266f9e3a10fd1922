//! Where in a trace something happens, as it travels: in the metadata of calls as W3C writes it (`traceparent`), on the link between conn
//! and logic in 24 bytes.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

/// The length on the link.
const LINK_BYTES: usize = 24;

/// A span that others can be children of. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Of the whole trace; 0 for none.
    pub trace_id: u128,
    /// Of the span.
    pub span_id: u64,
    /// Whether the spans of the trace are kept.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; nothing where it is none, or of a form that nobody knows.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !is_known || !is_hex(trace_id, 32) || !is_hex(span_id, 16) || !is_hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span_id, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }

    /// Reads what came over the link; none where that is nothing. What travels there is sampled.
    pub fn from_link(bytes: &[u8]) -> Self {
        let Some((trace_id, span_id)) = bytes.split_first_chunk::<16>() else { return Self::default() };
        let Ok(span_id) = span_id.try_into() else { return Self::default() };
        Self { trace_id: u128::from_be_bytes(*trace_id), span_id: u64::from_be_bytes(span_id), is_sampled: true }
    }

    /// For the link: nothing where the trace is not kept.
    pub fn to_link(self) -> Bytes {
        if !self.is_sampled {
            return Bytes::new();
        }
        let mut bytes = BytesMut::with_capacity(LINK_BYTES);
        bytes.put_u128(self.trace_id);
        bytes.put_u64(self.span_id);
        bytes.freeze()
    }
}

/// As a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_and_the_link_say_the_same() {
        let context = TraceContext::from_traceparent(TEXT).unwrap();
        assert_eq!(context.to_string(), TEXT);
        assert_eq!(TraceContext::from_link(&context.to_link()), context);
        let unsampled = TraceContext::from_traceparent(&TEXT.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled && unsampled.to_link().is_empty());
        let newer = format!("{}-more", TEXT.replacen("00", "01", 1));
        assert_eq!(TraceContext::from_traceparent(&newer), Some(context), "a later version may have more parts");
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            "\u{e9}\u{e9}-\u{1f600}",
        ] {
            assert_eq!(TraceContext::from_traceparent(text), None, "{text}");
        }
        for bytes in [&[][..], &[1; 16], &[1; 23], &[1; 25]] {
            assert_eq!(TraceContext::from_link(bytes), TraceContext::default());
        }
    }
}
