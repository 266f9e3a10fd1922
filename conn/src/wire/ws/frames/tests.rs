//! Fragmenting, pinging, lying peers, cut at every byte.

use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;

use super::*;
use crate::wire::intake::{Decode, Fed, Flow, Intake};

const MAX: usize = 2_000;

/// What came out of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Close(Vec<u8>),
}

#[derive(Default)]
struct Reader {
    unfinished: Unfinished,
    plain: Vec<u8>,
    seen: Vec<Seen>,
}

impl Decode for Reader {
    type Error = Violation;

    fn next(&self, input: &[u8]) -> Step<Violation> {
        next(input, &self.unfinished, MAX)
    }

    fn take(&mut self, frame: &[u8]) -> Result<Flow, Violation> {
        match take(frame, &mut self.unfinished, &mut self.plain)? {
            Event::Message(message) => self.seen.push(Seen::Message(message.to_vec())),
            Event::Ping(payload) => self.seen.push(Seen::Ping(payload.to_vec())),
            Event::Close(payload) => self.seen.push(Seen::Close(payload.to_vec())),
            Event::Nothing => {}
        }
        Ok(Flow::Continue)
    }
}

/// A masked frame, with any first byte.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { mask: Some([7, 99, 200, 3]), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).unwrap();
    bytes[0] = first;
    bytes.extend(payload.iter().zip([7, 99, 200, 3].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn read(pieces: &[&[u8]]) -> (Vec<Seen>, Option<Violation>) {
    let (mut intake, mut reader) = (Intake::default(), Reader::default());
    for piece in pieces {
        if let Fed::Bad(violation) = intake.feed_to(piece, &mut reader) {
            return (reader.seen, Some(violation));
        }
    }
    assert_eq!(intake.tail_bytes(), 0);
    (reader.seen, None)
}

fn violation(bytes: &[u8]) -> Violation {
    read(&[bytes]).1.expect("a violation")
}

#[test]
fn pings_between_fragments_and_every_cut_give_the_same_messages() {
    let mut bytes = raw(0x02, b"one ");
    bytes.extend(raw(0x89, b"still there?"));
    bytes.extend(raw(0x00, &[b'x'; 200]));
    bytes.extend(raw(0x8a, b"unasked pong"));
    bytes.extend(raw(0x80, b" two"));
    bytes.extend(raw(0x82, b""));
    bytes.extend(raw(0x88, &[3, 232]));
    let message = [&b"one "[..], &[b'x'; 200], b" two"].concat();
    let expected = vec![
        Seen::Ping(b"still there?".to_vec()),
        Seen::Message(message),
        Seen::Message(Vec::new()),
        Seen::Close(vec![3, 232]),
    ];
    for cut in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), (expected.clone(), None), "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single), (expected, None));
}

#[test]
fn what_the_rfc_forbids_has_its_code() {
    let protocol = [
        raw(0xc2, b"compressed"),
        raw(0xa2, b"reserved"),
        raw(0x92, b"reserved"),
        raw(0x83, b"reserved opcode"),
        raw(0x8b, b"reserved control"),
        raw(0x89, &[0; 126]),
        raw(0x09, b"half a ping"),
        raw(0x80, b"continues nothing"),
        [raw(0x02, b"begun"), raw(0x82, b"another")].concat(),
        [0x82, 0x03, 1, 2, 3].to_vec(),
    ];
    for bytes in protocol {
        assert_eq!(violation(&bytes).code(), 1002, "{bytes:?}");
    }
    assert_eq!(violation(&raw(0x81, b"text")).code(), 1003);
    assert_eq!(violation(&raw(0x81, &[0xc3, 0x28])).code(), 1007);
    assert_eq!(violation(&raw(0x01, b"te")).code(), 1003, "at its first fragment");
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    assert_eq!(violation(&raw(0x82, &[0; MAX + 1])[..8]).code(), 1009);
    let endless = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(violation(&endless), Violation::TooLarge { length: u64::MAX });
    let mut bytes = raw(0x02, &[0; MAX]);
    bytes.extend(&raw(0x80, &[0])[..6]);
    assert_eq!(violation(&bytes), Violation::TooLarge { length: MAX as u64 + 1 });
    assert_eq!(read(&[&raw(0x82, &[5; MAX])]).0, [Seen::Message(vec![5; MAX])]);
}

proptest! {
    /// tungstenite's own frames, in fragments, with pings in between, cut anywhere.
    #[test]
    fn what_the_tungstenite_client_writes_is_read(
        messages in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..300), 1usize..5, any::<bool>()), 0..12,
        ),
        cuts in proptest::collection::vec(1usize..60, 1..40),
        mask: [u8; 4],
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        let mut write = |mut frame: Frame| {
            frame.header_mut().mask = Some(mask);
            frame.format(&mut bytes).unwrap();
        };
        for (message, fragments, pings) in messages {
            let size = message.len().div_ceil(fragments).max(1);
            let parts: Vec<&[u8]> = if message.is_empty() { vec![&[]] } else { message.chunks(size).collect() };
            for (index, part) in parts.iter().enumerate() {
                let data = if index == 0 { Data::Binary } else { Data::Continue };
                write(Frame::message(part.to_vec(), OpCode::Data(data), index + 1 == parts.len()));
                if pings {
                    write(Frame::ping(vec![index as u8]));
                    expected.push(Seen::Ping(vec![index as u8]));
                }
            }
            let at = if pings { expected.len() - 1 } else { expected.len() };
            expected.insert(at, Seen::Message(message.clone()));
        }
        let (mut rest, mut pieces, mut cuts) = (&bytes[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(read(&pieces), (expected, None));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut intake, mut reader) = (Intake::default(), Reader::default());
        intake.feed_to(&bytes, &mut reader);
        prop_assert!(intake.tail_bytes() <= bytes.len());
    }
}
