//! Length-value frames: `uvarint(length) ‖ body`, LEB128 in at most five bytes and in its shortest form (PROTOCOL.md part 1).
//!
//! Always holds: a length is judged before a byte of the body is looked at or room for it is made.

use std::ops::Range;

/// Longest length prefix.
pub const PREFIX_BYTES_MAX: usize = 5;

/// What the front of the input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<E = FrameError> {
    /// No whole frame yet; at least this many more bytes are needed.
    NeedMore(usize),
    /// A frame; its body lies in this range, and the next frame begins at its end.
    Frame(Range<usize>),
    /// Whatever follows cannot be read.
    Bad(E),
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The prefix has more than five bytes, or more bytes than its value needs.
    #[error("the length prefix is over-long")]
    OverlongPrefix,
    /// The body would be over the limit.
    #[error("a frame of {length} bytes is over the limit")]
    TooLarge {
        /// What the prefix says.
        length: u64,
    },
}

/// Looks at the front of `input` for a frame whose body has `body_bytes_max` bytes at most.
pub fn next(input: &[u8], body_bytes_max: usize) -> Step {
    let mut length = 0u64;
    for (index, &byte) in input.iter().take(PREFIX_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 != 0 {
            continue;
        }
        if byte == 0 && index > 0 {
            return Step::Bad(FrameError::OverlongPrefix);
        }
        if length > body_bytes_max as u64 {
            return Step::Bad(FrameError::TooLarge { length });
        }
        let start = index + 1;
        let end = start + length as usize;
        return if input.len() < end { Step::NeedMore(end - input.len()) } else { Step::Frame(start..end) };
    }
    if input.len() < PREFIX_BYTES_MAX { Step::NeedMore(1) } else { Step::Bad(FrameError::OverlongPrefix) }
}

/// Bytes of the prefix for a body of this length.
pub fn prefix_bytes(body_bytes: usize) -> usize {
    prost::length_delimiter_len(body_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encode_length_delimiter(body.len(), &mut bytes).unwrap();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        assert_eq!(next(&[0], 10), Step::Frame(1..1));
    }

    #[test]
    fn a_length_prefix_of_2_to_the_63_is_refused() {
        let mut bytes = Vec::new();
        prost::encode_length_delimiter(1 << 63, &mut bytes).unwrap();
        assert_eq!(next(&bytes, 65536), Step::Bad(FrameError::OverlongPrefix));
    }

    #[test]
    fn overlong_negative_and_non_minimal_prefixes_are_refused() {
        // -1 as a 64-bit varint; six continuation bytes; 1 written in two bytes; 0 written in two bytes.
        for bytes in [&[0xff; 10][..], &[0x80; 6], &[0x81, 0x00], &[0x80, 0x00], &[0xff, 0xff, 0xff, 0xff, 0x00]] {
            assert_eq!(next(bytes, 65536), Step::Bad(FrameError::OverlongPrefix), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_body_comes() {
        let bytes = framed(&[7; 11]);
        assert_eq!(next(&bytes[..1], 10), Step::Bad(FrameError::TooLarge { length: 11 }));
        assert_eq!(next(&framed(&[7; 10]), 10), Step::Frame(1..11));
        assert_eq!(
            next(&[0xff, 0xff, 0xff, 0xff, 0x7f], 65536),
            Step::Bad(FrameError::TooLarge { length: (1 << 35) - 1 })
        );
    }

    proptest! {
        #[test]
        fn need_more_never_asks_for_too_much(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = framed(&body);
            for cut in 0..bytes.len() {
                match next(&bytes[..cut], 65536) {
                    Step::NeedMore(count) => prop_assert!((1..=bytes.len() - cut).contains(&count)),
                    other => prop_assert!(false, "{other:?} at {cut}"),
                }
            }
            prop_assert_eq!(next(&bytes, 65536), Step::Frame(prefix_bytes(body.len())..bytes.len()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), limit in 0usize..100) {
            if let Step::Frame(body) = next(&bytes, limit) {
                prop_assert!(body.len() <= limit && body.end <= bytes.len());
            }
        }
    }
}
