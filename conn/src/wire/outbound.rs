//! What waits to be written to one connection: a chain of shared bytes and the offset of the first unwritten one.
//!
//! Always holds: `queued_bytes` is the sum of the chunks less `head_written`; `head_written` is less than the first chunk's
//! length; a chunk of which the kernel took a part stays first until the rest is gone, so messages never interleave. A full
//! queue is no more work than an empty one: chunks that were looked at once are not looked at again.

use std::{collections::VecDeque, io::IoSlice};

use super::encoded::Piece;

/// Most slices handed to one `writev`: enough for a burst, small enough for the stack.
pub const SLICES_MAX: usize = 64;

/// Most bytes that are copied together instead: a WebSocket frame in two pieces, a reply and the push behind it.
pub const GATHER_BYTES_MAX: usize = 512;

/// What may be done with a chunk when the peer does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A reply or a goodbye: never dropped.
    Reply,
    /// A push from the inbox: replaced by a hint to sync.
    Inbox,
    /// A push that nobody stores: the oldest is dropped.
    Room,
    /// The same, but it overtakes those.
    UrgentRoom,
}

/// How [`Outbound::push`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// It waits; so many older room pushes were dropped for it.
    QueuedDropping(usize),
    /// There is no room, and this kind may be left out.
    Refused,
    /// There is no room, and this kind must not be left out.
    Overflow,
}

#[derive(Debug)]
struct Chunk {
    piece: Piece,
    kind: Kind,
    /// [`Outbound::detach`] has been here, and behind whatever comes before.
    is_detached: bool,
}

impl Chunk {
    fn new(piece: Piece, kind: Kind) -> Self {
        Self { piece, kind, is_detached: false }
    }
}

/// The outbound queue of one connection, bounded in bytes.
#[derive(Debug, Default)]
pub struct Outbound {
    chunks: VecDeque<Chunk>,
    head_written: usize,
    queued_bytes: usize,
    /// So many chunks at the front are known to be no room pushes that may be dropped: others, or begun.
    others_first: usize,
}

impl Outbound {
    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Appends one frame, unless that would exceed `bytes_max`. An empty queue takes any one frame.
    pub fn push(&mut self, piece: impl Into<Piece>, kind: Kind, bytes_max: usize) -> Pushed {
        let piece = piece.into();
        let needed = piece.len();
        let mut dropped = 0;
        while !self.is_empty() && self.queued_bytes + needed > bytes_max {
            match kind {
                Kind::Inbox => return Pushed::Refused,
                Kind::Room | Kind::UrgentRoom | Kind::Reply if self.drop_oldest_room_push() => dropped += 1,
                Kind::Room | Kind::UrgentRoom => return Pushed::Refused,
                Kind::Reply => return Pushed::Overflow,
            }
        }
        self.queued_bytes += needed;
        let index = if kind == Kind::UrgentRoom { self.before_room_pushes() } else { self.chunks.len() };
        self.chunks.insert(index, Chunk::new(piece, kind));
        if dropped == 0 { Pushed::Queued } else { Pushed::QueuedDropping(dropped) }
    }

    /// Appends the last frame, whatever the bound says.
    pub fn finish(&mut self, goodbye: impl Into<Piece>) {
        let piece = goodbye.into();
        self.queued_bytes += piece.len();
        self.chunks.push_back(Chunk::new(piece, Kind::Reply));
    }

    /// Drops everything that was not begun: a peer that does not read gets it too late anyway.
    pub fn give_up(&mut self) {
        let begun = usize::from(self.head_written > 0);
        let dropped: usize = self.chunks.drain(begun..).map(|chunk| chunk.piece.len()).sum();
        self.queued_bytes -= dropped;
        self.others_first = 0;
    }

    /// Forgets everything, keeping the memory for the next owner.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.head_written = 0;
        self.queued_bytes = 0;
        self.others_first = 0;
    }

    /// What to write, where that is one frame: it needs no `writev`.
    pub fn only(&self) -> Option<&[u8]> {
        let first = self.chunks.front().filter(|_| self.chunks.len() == 1);
        let [head, rest] = first?.piece.parts();
        head.is_empty().then(|| &rest[self.head_written..])
    }

    /// All that waits, copied together, where it fits: a `write` of few bytes costs less than a `writev` of their pieces.
    pub fn gather<'a>(&self, scratch: &'a mut [u8; GATHER_BYTES_MAX]) -> Option<&'a [u8]> {
        let gathered = scratch.get_mut(..self.queued_bytes)?;
        let (mut skip, mut end) = (self.head_written, 0);
        for part in self.chunks.iter().flat_map(|chunk| chunk.piece.parts()) {
            let bytes = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            gathered[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
        }
        Some(gathered)
    }

    /// The first slices to write, `SLICES_MAX` at most; returns how many of `slices` were set.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut offset = self.head_written;
        let mut count = 0;
        for part in self.chunks.iter().flat_map(|chunk| chunk.piece.parts()) {
            if offset >= part.len() {
                offset -= part.len();
                continue;
            }
            let Some(slice) = slices.get_mut(count) else { break };
            *slice = IoSlice::new(&part[offset..]);
            offset = 0;
            count += 1;
        }
        count
    }

    /// The kernel took `written` bytes; returns how many frames are complete with that.
    pub fn advance(&mut self, written: usize) -> usize {
        debug_assert!(written <= self.queued_bytes);
        self.queued_bytes -= written;
        let mut left = written + self.head_written;
        let mut completed = 0;
        while let Some(chunk) = self.chunks.front() {
            if left < chunk.piece.len() {
                break;
            }
            left -= chunk.piece.len();
            self.chunks.pop_front();
            completed += 1;
        }
        self.others_first = self.others_first.saturating_sub(completed);
        self.head_written = left;
        completed
    }

    /// Copies small frames that share a larger buffer, so that a peer that does not read pins no more than its own bytes.
    pub fn detach(&mut self, bytes_max: usize) {
        for chunk in self.chunks.iter_mut().rev().take_while(|chunk| !chunk.is_detached) {
            chunk.is_detached = true;
            if chunk.kind == Kind::Reply && chunk.piece.len() <= bytes_max {
                chunk.piece.detach();
            }
        }
    }

    /// Before the room pushes at the end of the queue: those before a reply or an inbox push keep their place, so that nothing
    /// comes before the reply that let the connection into the room.
    fn before_room_pushes(&self) -> usize {
        let begun = usize::from(self.head_written > 0);
        let last_other = self.chunks.iter().rposition(|chunk| chunk.kind != Kind::Room);
        last_other.map_or(0, |index| index + 1).max(begun)
    }

    fn drop_oldest_room_push(&mut self) -> bool {
        let from = self.others_first.max(usize::from(self.head_written > 0));
        let found = self.chunks.iter().skip(from).position(|chunk| chunk.kind == Kind::Room);
        self.others_first = found.map_or(self.chunks.len(), |index| from + index);
        let removed = found.and_then(|index| self.chunks.remove(from + index));
        self.queued_bytes -= removed.as_ref().map_or(0, |chunk| chunk.piece.len());
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn written(outbound: &Outbound) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbound.fill(&mut slices);
        let slices: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        let mut scratch = [0; GATHER_BYTES_MAX];
        match outbound.gather(&mut scratch) {
            Some(gathered) => assert_eq!(gathered, slices, "both ways to write are the same"),
            None => assert!(outbound.queued_bytes() > GATHER_BYTES_MAX),
        }
        slices
    }

    #[test]
    fn a_write_of_every_length_leaves_the_rest_in_order() {
        let frames: [&'static [u8]; 4] = [b"abc", b"d", b"efgh", b"ij"];
        let all = frames.concat();
        for taken in 0..=all.len() {
            let mut outbound = Outbound::default();
            for frame in frames {
                outbound.push(Bytes::from_static(frame), Kind::Reply, 100);
            }
            outbound.advance(taken);
            assert_eq!(written(&outbound), &all[taken..]);
            assert_eq!(outbound.queued_bytes(), all.len() - taken);
        }
    }

    #[test]
    fn rooms_drop_their_oldest_but_never_a_half_written_one() {
        let mut outbound = Outbound::default();
        for frame in [&b"aaaa"[..], b"bbbb", b"cccc"] {
            assert_eq!(outbound.push(Bytes::copy_from_slice(frame), Kind::Room, 12), Pushed::Queued);
        }
        outbound.advance(1);
        assert_eq!(outbound.push(Bytes::from_static(b"dddd"), Kind::Room, 12), Pushed::QueuedDropping(1));
        assert_eq!(written(&outbound), b"aaaccccdddd");
    }

    /// What a full queue drops by the plainest of rules, whatever was pushed and written before.
    #[derive(Default)]
    struct Plain(Vec<(u8, Kind, usize)>);

    impl Plain {
        fn push(&mut self, frame: (u8, Kind, usize), begun: usize, bytes_max: usize) {
            let queued = |frames: &[(u8, Kind, usize)]| frames.iter().map(|(_, _, length)| length).sum::<usize>();
            while !self.0.is_empty() && queued(&self.0) - begun + frame.2 > bytes_max {
                let oldest = self.0.iter().skip(usize::from(begun > 0)).position(|(_, kind, _)| *kind == Kind::Room);
                match oldest {
                    Some(index) if frame.1 != Kind::Inbox => self.0.remove(index + usize::from(begun > 0)),
                    _ => return,
                };
            }
            let last_other = self.0.iter().rposition(|(_, kind, _)| *kind != Kind::Room).map_or(0, |index| index + 1);
            let index = if frame.1 == Kind::UrgentRoom { last_other.max(usize::from(begun > 0)) } else { self.0.len() };
            self.0.insert(index, frame);
        }
    }

    proptest! {
        #[test]
        fn what_a_full_queue_keeps_does_not_depend_on_what_was_looked_at_before(
            steps in proptest::collection::vec((0usize..6, 1usize..9, 0usize..20), 1..300),
        ) {
            const BYTES_MAX: usize = 40;
            let (mut outbound, mut plain, mut begun) = (Outbound::default(), Plain::default(), 0);
            for (number, (step, length, take)) in steps.into_iter().enumerate() {
                let number = number as u8;
                match step {
                    4 => {
                        let mut take = take.min(outbound.queued_bytes());
                        outbound.advance(take);
                        take += begun;
                        while plain.0.first().is_some_and(|(_, _, length)| *length <= take) {
                            take -= plain.0.remove(0).2;
                        }
                        begun = take;
                    }
                    5 => outbound.detach(BYTES_MAX),
                    kind => {
                        let kind = [Kind::Reply, Kind::Inbox, Kind::Room, Kind::UrgentRoom][kind];
                        outbound.push(Bytes::from(vec![number; length]), kind, BYTES_MAX);
                        plain.push((number, kind, length), begun, BYTES_MAX);
                    }
                }
                let expected: Vec<u8> = plain.0.iter().flat_map(|(number, _, length)| vec![*number; *length]).collect();
                prop_assert_eq!(written(&outbound), &expected[begun..]);
                prop_assert_eq!(outbound.queued_bytes(), expected.len() - begun);
            }
        }
    }

    #[test]
    fn replies_are_copied_once_however_often_their_peer_blocks() {
        let mut outbound = Outbound::default();
        let arena = Bytes::from(vec![7; 100]);
        outbound.push(arena.slice(..10), Kind::Reply, 1000);
        outbound.push(arena.slice(10..20), Kind::Room, 1000);
        outbound.detach(50);
        let address = |outbound: &Outbound, index: usize| outbound.chunks[index].piece.parts()[1].as_ptr();
        let copied = address(&outbound, 0);
        assert_ne!(copied, arena.as_ptr(), "it is a copy");
        assert_eq!(address(&outbound, 1), arena[10..].as_ptr(), "this is shared by many, and is not");
        outbound.push(arena.slice(20..30), Kind::Reply, 1000);
        outbound.detach(50);
        assert_eq!(address(&outbound, 0), copied, "once only");
        assert_ne!(address(&outbound, 2), arena[20..].as_ptr());
    }

    #[test]
    fn inbox_pushes_are_refused_and_replies_overflow() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.push(Bytes::from_static(b"12345678"), Kind::Reply, 10), Pushed::Queued);
        assert_eq!(outbound.push(Bytes::from_static(b"abc"), Kind::Inbox, 10), Pushed::Refused);
        assert_eq!(outbound.push(Bytes::from_static(b"abc"), Kind::Room, 10), Pushed::Refused);
        assert_eq!(outbound.push(Bytes::from_static(b"abc"), Kind::Reply, 10), Pushed::Overflow);
        assert_eq!(outbound.push(Bytes::from_static(b"ab"), Kind::Inbox, 10), Pushed::Queued);
    }

    #[test]
    fn an_urgent_push_overtakes_room_pushes_but_no_reply_nor_one_begun() {
        let mut outbound = Outbound::default();
        let push = |outbound: &mut Outbound, text: &'static [u8], kind| {
            assert_eq!(outbound.push(Bytes::from_static(text), kind, 100), Pushed::Queued);
        };
        for text in [&b"a1"[..], b"a2"] {
            push(&mut outbound, text, Kind::Room);
        }
        outbound.advance(1);
        push(&mut outbound, b"U1", Kind::UrgentRoom);
        push(&mut outbound, b"U2", Kind::UrgentRoom);
        assert_eq!(written(&outbound), b"1U1U2a2");
        push(&mut outbound, b"ok", Kind::Reply);
        push(&mut outbound, b"b1", Kind::Room);
        push(&mut outbound, b"U3", Kind::UrgentRoom);
        assert_eq!(written(&outbound), b"1U1U2a2okU3b1");
        assert_eq!(outbound.push(Bytes::from_static(b"U4"), Kind::UrgentRoom, 13), Pushed::QueuedDropping(1));
        assert_eq!(written(&outbound), b"1U1U2okU3U4b1");
    }

    #[test]
    fn an_empty_queue_takes_one_frame_of_any_size() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.push(Bytes::from_static(b"123456"), Kind::Inbox, 2), Pushed::Queued);
    }

    #[test]
    fn after_giving_up_a_goodbye_follows_only_what_was_begun() {
        let mut outbound = Outbound::default();
        outbound.push(Bytes::from_static(b"aaaa"), Kind::Room, 100);
        outbound.push(Bytes::from_static(b"bbbb"), Kind::Reply, 100);
        outbound.advance(2);
        outbound.give_up();
        outbound.finish(Bytes::from_static(b"bye"));
        assert_eq!(written(&outbound), b"aabye");
        assert_eq!(outbound.queued_bytes(), 5);
    }

    proptest! {
        #[test]
        fn what_is_pushed_comes_out_once_and_in_order(
            operations in proptest::collection::vec((1usize..9, 0usize..12), 1..200),
        ) {
            let (mut outbound, mut pushed, mut taken) = (Outbound::default(), Vec::new(), Vec::new());
            for (number, (length, take)) in operations.into_iter().enumerate() {
                let frame = vec![number as u8; length];
                pushed.extend_from_slice(&frame);
                prop_assert_eq!(outbound.push(Bytes::from(frame), Kind::Reply, usize::MAX), Pushed::Queued);
                let front = written(&outbound);
                let take = take.min(front.len());
                taken.extend_from_slice(&front[..take]);
                outbound.advance(take);
                prop_assert_eq!(outbound.queued_bytes(), pushed.len() - taken.len());
            }
            while !outbound.is_empty() {
                let front = written(&outbound);
                outbound.advance(front.len());
                taken.extend(front);
            }
            prop_assert_eq!(taken, pushed);
        }
    }
}
