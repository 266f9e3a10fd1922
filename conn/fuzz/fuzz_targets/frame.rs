//! Whatever a stream of bytes is, and however it is cut and paused: the same frames come out, then the same verdict, and no
//! buffer is kept for longer than a frame is unfinished.
//!
//! Input: a limit, a number of cuts, how long each piece is, and then the stream.

#![no_main]

use gim_conn::wire::{
    frame::{self, Step},
    intake::{Fed, Flow, Intake},
};
use libfuzzer_sys::fuzz_target;

/// How a stream ends: with so many bytes that are no whole frame, or where it cannot be read any further.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Unfinished(usize),
    Bad,
}

fuzz_target!(|input: &[u8]| {
    let [limit, cuts, rest @ ..] = input else { return };
    let limit = usize::from(*limit) * 8;
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(cuts % 16)));
    assert_eq!(in_pieces(stream, cuts, limit), at_once(stream, limit));
});

/// The frames of a stream, told by the frame decoder alone.
fn at_once(mut stream: &[u8], limit: usize) -> (Vec<Vec<u8>>, End) {
    let mut frames = Vec::new();
    loop {
        match frame::next(stream, limit) {
            Step::Frame(body) => {
                assert!(body.len() <= limit && body.end <= stream.len());
                frames.push(stream[body.clone()].to_vec());
                stream = &stream[body.end..];
            }
            Step::NeedMore(count) => {
                assert!(count > 0 && count <= limit + frame::PREFIX_BYTES_MAX);
                return (frames, End::Unfinished(stream.len()));
            }
            Step::Bad(_) => return (frames, End::Bad),
        }
    }
}

/// The same by way of a connection's intake, whose consumer stops after every third frame.
fn in_pieces(mut stream: &[u8], cuts: &[u8], limit: usize) -> (Vec<Vec<u8>>, End) {
    let (mut frames, mut intake) = (Vec::new(), Intake::default());
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut));
    loop {
        let (piece, after) = stream.split_at(cuts.next().unwrap_or(stream.len()).min(stream.len()));
        stream = after;
        let fed = intake.feed(piece, limit, |frame| {
            frames.push(frame.to_vec());
            if frames.len() % 3 == 0 { Flow::Stop } else { Flow::Continue }
        });
        match fed {
            Fed::Bad(_) => return (frames, End::Bad),
            Fed::Drained if stream.is_empty() => return (frames, End::Unfinished(intake.tail_bytes())),
            Fed::Drained => {
                assert!(intake.tail_bytes() < limit + frame::PREFIX_BYTES_MAX, "an unfinished frame at most")
            }
            Fed::Stopped => {}
        }
    }
}
