//! From frames of a client to messages: headers by tungstenite, straight from where the bytes were read; only fragments of a
//! message are kept.
//!
//! Always holds: a length is judged, together with the fragments before it, before room is made for it.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::close::{CONTROL_BYTES_MAX, Violation};
use crate::wire::frame::Step;

/// A message whose fragments are still coming.
#[derive(Debug)]
pub struct Fragments {
    payload: Vec<u8>,
}

/// What is kept between frames.
pub type Unfinished = Option<Box<Fragments>>;

/// What a frame meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole binary message.
    Message(&'a [u8]),
    /// Asks for a pong with the same payload.
    Ping(&'a [u8]),
    /// The peer ends; its payload is judged by [`super::close::answer`].
    Close(&'a [u8]),
    /// Nothing to do: a fragment, or a pong.
    Nothing,
}

/// Looks at the front of `input` for a frame; header and payload lie in the range that is told.
pub fn next(input: &[u8], unfinished: &Unfinished, message_bytes_max: usize) -> Step<Violation> {
    let (header, start, length) = match parse(input) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Step::NeedMore(1),
        Err(violation) => return Step::Bad(violation),
    };
    if let Err(violation) = judge(&header, length, unfinished, message_bytes_max) {
        return Step::Bad(violation);
    }
    // Judged above: far below what would overflow.
    let end = start + length as usize;
    if input.len() < end { Step::NeedMore(end - input.len()) } else { Step::Frame(0..end) }
}

/// Takes a frame that [`next`] told; `plain` lends room for what is unmasked.
pub fn take<'a>(frame: &[u8], unfinished: &mut Unfinished, plain: &'a mut Vec<u8>) -> Result<Event<'a>, Violation> {
    let Some((header, start, _)) = parse(frame)? else { return Ok(Event::Nothing) };
    let payload = &frame[start..];
    let mask = header.mask.unwrap_or_default();
    plain.clear();
    let OpCode::Data(data) = header.opcode else {
        unmask_into(payload, mask, plain);
        return Ok(match header.opcode {
            OpCode::Control(Control::Ping) => Event::Ping(plain),
            OpCode::Control(Control::Close) => Event::Close(plain),
            _ => Event::Nothing,
        });
    };
    if data == Data::Text {
        unmask_into(payload, mask, plain);
        // However it goes on, it will be no packet.
        let is_wrong = header.is_final && str::from_utf8(plain).is_err();
        return Err(if is_wrong { Violation::Utf8 } else { Violation::Text });
    }
    if header.is_final && data == Data::Binary {
        unmask_into(payload, mask, plain);
        return Ok(Event::Message(plain));
    }
    let fragments = unfinished.get_or_insert_with(|| Box::new(Fragments { payload: Vec::new() }));
    unmask_into(payload, mask, &mut fragments.payload);
    if !header.is_final {
        return Ok(Event::Nothing);
    }
    std::mem::swap(plain, &mut fragments.payload);
    *unfinished = None;
    Ok(Event::Message(plain))
}

/// A header, where its payload starts, and how long that is. `None` while the header is not whole.
fn parse(input: &[u8]) -> Result<Option<(FrameHeader, usize, u64)>, Violation> {
    let mut cursor = Cursor::new(input);
    let Ok(parsed) = FrameHeader::parse(&mut cursor) else { return Err(Violation::Protocol("a reserved opcode")) };
    let Some((header, length)) = parsed else { return Ok(None) };
    // tungstenite takes a length in more bytes than it needs, which RFC 6455, 5.2, does not allow.
    let is_minimal = match input[1] & 0x7f {
        126 => length > 125,
        127 => length > u64::from(u16::MAX),
        _ => true,
    };
    match is_minimal {
        true => Ok(Some((header, cursor.position() as usize, length))),
        false => Err(Violation::Protocol("a length that is longer than it has to be")),
    }
}

fn judge(
    header: &FrameHeader,
    length: u64,
    unfinished: &Unfinished,
    message_bytes_max: usize,
) -> Result<(), Violation> {
    let fail = |what| Err(Violation::Protocol(what));
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return fail("a reserved bit, and no extension that gives it a meaning");
    }
    if header.mask.is_none() {
        return fail("a client's frame without a mask");
    }
    let before = unfinished.as_ref().map_or(0, |fragments| fragments.payload.len());
    match header.opcode {
        OpCode::Control(_) if !header.is_final => fail("a control frame in fragments"),
        OpCode::Control(_) if length > CONTROL_BYTES_MAX as u64 => fail("a control frame over 125 bytes"),
        OpCode::Control(_) => Ok(()),
        OpCode::Data(Data::Continue) if unfinished.is_none() => fail("a continuation of nothing"),
        OpCode::Data(Data::Text | Data::Binary) if unfinished.is_some() => fail("a message inside another one"),
        OpCode::Data(_) if length > (message_bytes_max - before.min(message_bytes_max)) as u64 => {
            Err(Violation::TooLarge { length: length.saturating_add(before as u64) })
        }
        OpCode::Data(_) => Ok(()),
    }
}

fn unmask_into(payload: &[u8], mask: [u8; 4], into: &mut Vec<u8>) {
    let from = into.len();
    into.extend_from_slice(payload);
    let (words, rest) = into[from..].as_chunks_mut::<8>();
    let mask_twice = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ mask_twice).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
