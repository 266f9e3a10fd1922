//! From reads to frames. A connection's [`Intake`] owns memory only while a frame is unfinished, or while its owner paused.
//!
//! ```text
//!              tail (private, rarely there)          fresh (the reactor's scratch buffer)
//!   ┌──────────────┬──────────────────────┐   ┌─────────┬─────────┬─────────┬───────────┐
//!   │ decoded      │ unfinished frame ….. │ + │ … rest  │ frame   │ frame   │ unfin…    │
//!   └──────────────┴──────────────────────┘   └─────────┴─────────┴─────────┴───────────┘
//!   0 ≤ processed  ≤ tail.len()               decoded where they lie, no copy │ becomes the tail
//! ```
//!
//! Always holds: after [`Intake::feed`] every byte was either handed out in a frame or lies in the tail; an empty tail owns
//! nothing. The tail grows with the bytes that came, never with the length that a prefix announces.

use super::frame::{self, FrameError, Step};

/// What the consumer of a frame wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next frame.
    Continue,
    /// No more now: what is left is kept for a later call.
    Stop,
}

/// How [`Intake::feed`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed<E = FrameError> {
    /// Every whole frame was handed out.
    Drained,
    /// The consumer stopped; whole frames may be left.
    Stopped,
    /// The input is no frame; nothing after it can be read.
    Bad(E),
}

/// How one kind of frame is told apart and taken.
pub trait Decode {
    /// What can be wrong with the bytes.
    type Error;

    /// Looks at the front of the input, whose whole frames are handed to [`Decode::take`].
    fn next(&self, input: &[u8]) -> Step<Self::Error>;

    /// Takes the range of a frame that [`Decode::next`] told.
    fn take(&mut self, frame: &[u8]) -> Result<Flow, Self::Error>;
}

/// Length-value frames, whose bodies a closure takes.
struct LengthValue<F> {
    body_bytes_max: usize,
    on_frame: F,
}

/// The unread input of one connection.
#[derive(Debug, Default)]
pub struct Intake {
    #[expect(clippy::box_collection, reason = "a million idle connections pay for eight bytes instead of twenty-four")]
    tail: Option<Box<Vec<u8>>>,
}

impl Intake {
    /// Bytes that wait here.
    pub fn tail_bytes(&self) -> usize {
        self.tail.as_ref().map_or(0, |tail| tail.len())
    }

    /// Forgets what waits here.
    pub fn clear(&mut self) {
        self.tail = None;
    }

    /// Keeps bytes for a later call.
    pub fn append(&mut self, fresh: &[u8]) {
        if !fresh.is_empty() {
            self.tail.get_or_insert_default().extend_from_slice(fresh);
        }
    }

    /// What waits here.
    pub fn tail(&self) -> &[u8] {
        self.tail.as_ref().map_or(&[], |tail| tail)
    }

    /// Forgets the first bytes of what waits here.
    pub fn consume(&mut self, count: usize) {
        let Some(tail) = &mut self.tail else { return };
        tail.drain(..count.min(tail.len()));
        if tail.is_empty() {
            self.tail = None;
        }
    }

    /// Takes all of `fresh` and hands the body of each whole length-value frame to `on_frame`, until that says [`Flow::Stop`].
    pub fn feed(&mut self, fresh: &[u8], body_bytes_max: usize, on_frame: impl FnMut(&[u8]) -> Flow) -> Fed {
        self.feed_to(fresh, &mut LengthValue { body_bytes_max, on_frame })
    }

    /// Takes all of `fresh` and hands each whole frame to `decoder`, until that says [`Flow::Stop`].
    pub fn feed_to<D: Decode>(&mut self, mut fresh: &[u8], decoder: &mut D) -> Fed<D::Error> {
        let mut fed = Fed::Drained;
        if let Some(mut tail) = self.tail.take() {
            let processed;
            (processed, fed) = feed_tail(&mut tail, &mut fresh, decoder);
            tail.drain(..processed);
            if !tail.is_empty() {
                tail.extend_from_slice(fresh);
                self.tail = Some(tail);
                return fed;
            }
        }
        if matches!(fed, Fed::Drained) {
            fed = feed_in_place(&mut fresh, decoder);
        }
        if !fresh.is_empty() {
            self.tail = Some(Box::new(fresh.to_vec()));
        }
        fed
    }
}

impl<F: FnMut(&[u8]) -> Flow> Decode for LengthValue<F> {
    type Error = FrameError;

    fn next(&self, input: &[u8]) -> Step {
        frame::next(input, self.body_bytes_max)
    }

    fn take(&mut self, frame: &[u8]) -> Result<Flow, FrameError> {
        Ok((self.on_frame)(frame))
    }
}

/// Hands out the frames that begin in `tail`, moving over from `fresh` just the bytes that they lack.
fn feed_tail<D: Decode>(tail: &mut Vec<u8>, fresh: &mut &[u8], decoder: &mut D) -> (usize, Fed<D::Error>) {
    let mut processed = 0;
    while processed < tail.len() {
        match decoder.next(&tail[processed..]) {
            Step::Frame(body) => {
                let flow = decoder.take(&tail[processed + body.start..processed + body.end]);
                processed += body.end;
                match flow {
                    Ok(Flow::Continue) => {}
                    Ok(Flow::Stop) => return (processed, Fed::Stopped),
                    Err(error) => return (processed, Fed::Bad(error)),
                }
            }
            Step::NeedMore(_) if fresh.is_empty() => break,
            Step::NeedMore(count) => {
                let (lacking, rest) = fresh.split_at(count.min(fresh.len()));
                tail.extend_from_slice(lacking);
                *fresh = rest;
            }
            Step::Bad(error) => return (processed, Fed::Bad(error)),
        }
    }
    (processed, Fed::Drained)
}

fn feed_in_place<D: Decode>(fresh: &mut &[u8], decoder: &mut D) -> Fed<D::Error> {
    loop {
        match decoder.next(fresh) {
            Step::Frame(body) => {
                let flow = decoder.take(&fresh[body.clone()]);
                *fresh = &fresh[body.end..];
                match flow {
                    Ok(Flow::Continue) => {}
                    Ok(Flow::Stop) => return Fed::Stopped,
                    Err(error) => return Fed::Bad(error),
                }
            }
            Step::NeedMore(_) => return Fed::Drained,
            Step::Bad(error) => return Fed::Bad(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream_of(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            prost::encode_length_delimiter(body.len(), &mut bytes).unwrap();
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn collect(intake: &mut Intake, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for piece in pieces {
            let fed = intake.feed(piece, 65536, |frame| {
                frames.push(frame.to_vec());
                Flow::Continue
            });
            assert_eq!(fed, Fed::Drained);
        }
        frames
    }

    #[test]
    fn a_frame_cut_at_every_byte_gives_the_same_packets() {
        let bodies = vec![vec![1; 3], vec![], vec![2; 200], vec![3]];
        let bytes = stream_of(&bodies);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut intake = Intake::default();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(collect(&mut intake, &pieces), bodies, "cut at {first} and {second}");
                assert!(intake.tail.is_none());
            }
        }
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_packets() {
        let bodies = vec![vec![9; 130], vec![8; 5]];
        let bytes = stream_of(&bodies);
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(collect(&mut Intake::default(), &pieces), bodies);
    }

    #[test]
    fn whole_frames_in_one_read_need_no_tail() {
        let mut intake = Intake::default();
        let bytes = stream_of(&vec![vec![5; 10]; 4]);
        assert_eq!(collect(&mut intake, &[&bytes]).len(), 4);
        assert!(intake.tail.is_none());
    }

    #[test]
    fn stopping_keeps_the_rest_in_order() {
        let bodies: Vec<Vec<u8>> = (0..6).map(|number| vec![number; 3]).collect();
        let bytes = stream_of(&bodies);
        let mut intake = Intake::default();
        let mut frames = Vec::new();
        let mut fresh = &bytes[..bytes.len() - 2];
        for _ in 0..5 {
            let fed = intake.feed(fresh, 10, |frame| {
                frames.push(frame.to_vec());
                Flow::Stop
            });
            assert_eq!(fed, Fed::Stopped);
            fresh = &[];
        }
        let fed = intake.feed(&bytes[bytes.len() - 2..], 10, |frame| {
            frames.push(frame.to_vec());
            Flow::Continue
        });
        assert_eq!(fed, Fed::Drained);
        assert_eq!(frames, bodies);
        assert!(intake.tail.is_none());
    }

    #[test]
    fn a_large_length_reserves_nothing() {
        let mut intake = Intake::default();
        let mut prefix = Vec::new();
        prost::encode_length_delimiter(65536, &mut prefix).unwrap();
        intake.feed(&prefix, 65536, |_| Flow::Continue);
        assert!(intake.tail.as_ref().unwrap().capacity() < 64);
    }

    proptest! {
        #[test]
        fn cuts_and_stops_never_change_the_frames(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in proptest::collection::vec(1usize..30, 1..40),
            stop_every in 1usize..5,
        ) {
            let bytes = stream_of(&bodies);
            let (mut rest, mut frames, mut intake) = (&bytes[..], Vec::new(), Intake::default());
            let mut cuts = cuts.iter().cycle();
            loop {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = after;
                let fed = intake.feed(piece, 65536, |frame| {
                    frames.push(frame.to_vec());
                    if frames.len() % stop_every == 0 { Flow::Stop } else { Flow::Continue }
                });
                prop_assert!(!matches!(fed, Fed::Bad(_)));
                if rest.is_empty() && fed == Fed::Drained {
                    break;
                }
            }
            prop_assert_eq!(frames, bodies);
            prop_assert!(intake.tail.is_none());
        }
    }
}
