//! The header `Range` (RFC 9110, part 14): one part of a file. Pure.

use std::ops::Range;

const UNIT: &str = "bytes=";

/// What a request asks for of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All of it, also where the header makes no sense or names several parts, which a server may answer so.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// None that the file has.
    Beyond,
}

/// What a header asks for of a file of so many bytes.
pub fn asked(header: &str, length: u64) -> Asked {
    parse(header, length).unwrap_or(Asked::Whole)
}

fn parse(header: &str, length: u64) -> Option<Asked> {
    let (first, last) = header.strip_prefix(UNIT)?.trim().split_once('-')?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        // One that is too large for us is larger than any file.
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let count = number(last)?.min(length);
        return Some(if count == 0 { Asked::Beyond } else { Asked::Part(length - count..length) });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    match () {
        () if first > last => None,
        () if first >= length => Some(Asked::Beyond),
        () => Some(Asked::Part(first..last.saturating_add(1).min(length))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_answered_and_all_else_is_the_whole() {
        assert_eq!(asked("bytes=0-0", 10), Asked::Part(0..1));
        assert_eq!(asked("bytes=2-5", 10), Asked::Part(2..6));
        assert_eq!(asked("bytes=2-", 10), Asked::Part(2..10));
        assert_eq!(asked("bytes=2-99", 10), Asked::Part(2..10));
        assert_eq!(asked("bytes=-3", 10), Asked::Part(7..10));
        assert_eq!(asked("bytes=-99", 10), Asked::Part(0..10));
        assert_eq!(asked("bytes=0-18446744073709551615", 10), Asked::Part(0..10));
        for beyond in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(asked(beyond, 10), Asked::Beyond, "{beyond}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Beyond);
        for whole in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=1-2,4-5", "bytes=a-b", "bytes=+1-2", "items=0-1"]
        {
            assert_eq!(asked(whole, 10), Asked::Whole, "{whole}");
        }
    }
}
