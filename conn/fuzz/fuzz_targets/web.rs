//! Whatever a client of a WebSocket sends, and however it is cut: the same messages, pings and ends come out, then the same
//! verdict; no message and no fragments are larger than the limit, and every ping and end has its answer.
//!
//! Input: a limit, the length of a piece, and then the stream.

#![no_main]

use gim_conn::wire::{
    frame::Step,
    ws::{
        close,
        frames::{self, Event, Unfinished},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [limit, piece, stream @ ..] = input else { return };
    let limit = usize::from(*limit) * 4;
    assert_eq!(read(stream, usize::from(*piece) + 1, limit), read(stream, stream.len().max(1), limit));
});

/// What came out, and whether the stream can be read on.
fn read(stream: &[u8], piece_bytes: usize, limit: usize) -> (Vec<(u8, Vec<u8>)>, bool) {
    let (mut input, mut unfinished, mut plain) = (Vec::new(), Unfinished::default(), Vec::new());
    let mut events = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        input.extend_from_slice(piece);
        loop {
            let frame = match frames::next(&input, &unfinished, limit) {
                Step::NeedMore(count) => {
                    assert!(count > 0 && count <= limit.max(close::CONTROL_BYTES_MAX) + 14);
                    break;
                }
                Step::Frame(frame) => frame,
                Step::Bad(_) => return (events, false),
            };
            assert!(frame.start == 0 && frame.end <= input.len() && !frame.is_empty());
            match frames::take(&input[frame.clone()], &mut unfinished, &mut plain) {
                Ok(Event::Message(message)) => {
                    assert!(message.len() <= limit);
                    events.push((b'm', message.to_vec()));
                }
                Ok(Event::Ping(payload)) => events.push((b'p', close::pong(payload).to_vec())),
                Ok(Event::Close(payload)) => match close::answer(payload) {
                    Ok(answer) => events.push((b'c', answer.to_vec())),
                    Err(_) => return (events, false),
                },
                Ok(Event::Nothing) => events.push((b'n', Vec::new())),
                Err(_) => return (events, false),
            }
            input.drain(frame);
        }
    }
    (events, true)
}
