//! The headers of HTTP/2 frames as they come in: which of them ask for nothing, and whether one is unfinished. No IO, no clock.
//! What does not begin as HTTP/2 does is HTTP/1.1, which has no frames.
//!
//! Always holds: nothing is kept of a frame but its nine bytes of header, however its bytes are cut.

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// DATA, HEADERS and WINDOW_UPDATE are what calls are made of; all else can be sent without a call: resets, pings, settings.
const OF_CALLS: [u8; 3] = [0, HEADERS, 8];
const END_HEADERS: u8 = 4;
const ACKNOWLEDGES: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// Where in the bytes of a connection we are.
#[derive(Debug)]
pub(super) struct FrameWatch {
    preface_left: usize,
    is_http_1: bool,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    payload_left: usize,
    is_in_headers: bool,
}

/// What some bytes held.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Frames that ask for nothing: resets, pings, settings, priorities.
    pub(super) idle_frames: u32,
    /// Frames, or blocks of headers, that ended.
    pub(super) finished: u32,
    /// Whether a frame or a block of headers waits for its rest.
    pub(super) is_unfinished: bool,
    /// Bytes of HTTP/1.1, of which more is not known.
    pub(super) http_1_bytes: usize,
}

impl FrameWatch {
    pub(super) fn new() -> Self {
        Self {
            preface_left: PREFACE.len(),
            is_http_1: false,
            header: [0; HEADER_BYTES],
            header_filled: 0,
            payload_left: 0,
            is_in_headers: false,
        }
    }

    pub(super) fn on_bytes(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let preface = &PREFACE[PREFACE.len() - self.preface_left..];
        self.is_http_1 |= bytes.iter().zip(preface).any(|(byte, wanted)| byte != wanted);
        if self.is_http_1 {
            return Seen { http_1_bytes: bytes.len(), ..seen };
        }
        while !bytes.is_empty() {
            let skipped = if self.preface_left > 0 { &mut self.preface_left } else { &mut self.payload_left };
            if *skipped > 0 {
                let count = bytes.len().min(*skipped);
                *skipped -= count;
                bytes = &bytes[count..];
            } else {
                let count = bytes.len().min(HEADER_BYTES - self.header_filled);
                self.header[self.header_filled..self.header_filled + count].copy_from_slice(&bytes[..count]);
                self.header_filled += count;
                bytes = &bytes[count..];
                if self.header_filled < HEADER_BYTES {
                    break;
                }
                self.on_header(&mut seen);
            }
            if self.header_filled == HEADER_BYTES && self.payload_left == 0 {
                self.header_filled = 0;
                seen.finished += u32::from(!self.is_in_headers);
            }
        }
        seen.is_unfinished = self.preface_left > 0 || self.header_filled > 0 || self.is_in_headers;
        seen
    }

    fn on_header(&mut self, seen: &mut Seen) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload_left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if kind == HEADERS || kind == CONTINUATION {
            self.is_in_headers = flags & END_HEADERS == 0;
        }
        // Our own pings and settings have to be acknowledged.
        let is_answer = (kind == SETTINGS || kind == PING) && flags & ACKNOWLEDGES != 0;
        seen.idle_frames += u32::from(!OF_CALLS.contains(&kind) && !is_answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload_bytes: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, payload_bytes, kind, flags, 0, 0, 0, 1];
        frame.extend(vec![0; payload_bytes.into()]);
        frame
    }

    /// A watch that has seen the preface.
    fn begun() -> FrameWatch {
        let mut watch = FrameWatch::new();
        watch.on_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        watch
    }

    #[test]
    fn frames_that_ask_for_nothing_are_counted_however_they_are_cut() {
        let bytes =
            [frame(SETTINGS, 0, 6), frame(SETTINGS, 1, 0), frame(HEADERS, 4, 20), frame(3, 0, 4), frame(PING, 1, 8)];
        let bytes = bytes.concat();
        for piece_bytes in [1, 2, 7, 9, 10, bytes.len()] {
            let mut watch = begun();
            let seen: Vec<Seen> = bytes.chunks(piece_bytes).map(|piece| watch.on_bytes(piece)).collect();
            assert_eq!(seen.iter().map(|seen| seen.idle_frames).sum::<u32>(), 2, "in pieces of {piece_bytes}");
            assert_eq!(seen.iter().map(|seen| seen.finished).sum::<u32>(), 5, "in pieces of {piece_bytes}");
            assert!(!seen.last().unwrap().is_unfinished);
        }
    }

    #[test]
    fn headers_are_unfinished_until_their_last_continuation_came() {
        let mut watch = begun();
        assert!(watch.on_bytes(&frame(HEADERS, 0, 5)).is_unfinished);
        let middle = watch.on_bytes(&frame(CONTINUATION, 0, 5));
        assert_eq!((middle.is_unfinished, middle.finished), (true, 0));
        let last = watch.on_bytes(&frame(CONTINUATION, END_HEADERS, 5));
        assert_eq!((last.is_unfinished, last.finished), (false, 1));
        assert!(watch.on_bytes(&frame(0, 0, 5)[..12]).is_unfinished);
        assert!(FrameWatch::new().on_bytes(b"PRI * HTTP").is_unfinished, "nor is a preface whole");
    }

    #[test]
    fn what_does_not_begin_as_http_2_is_http_1() {
        for bytes in [&b"POST / HTTP/1.1\r\n"[..], b"PRI * HTTP/1", b"GET"] {
            for cut in 0..bytes.len() {
                let mut watch = FrameWatch::new();
                watch.on_bytes(&bytes[..cut]);
                let seen = watch.on_bytes(&bytes[cut..]);
                assert_eq!(seen, Seen { http_1_bytes: bytes.len() - cut, ..Seen::default() }, "{bytes:?} cut at {cut}");
            }
        }
    }
}
