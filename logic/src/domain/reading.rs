//! Reading of a conversation, as devices tell of it within a moment: what they say together.
//!
//! Pure. Always holds: of what nobody waits for, only the furthest is kept.

use gim_proto::check::{self, Violation};
use prost::encoding::{decode_varint, encode_varint};

/// Up to where something was read, as a client says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadUpTo {
    /// A number as in History: of the reader's inbox, or of the timeline of a group.
    Seq(u64),
    /// A message.
    Message(u64),
}

impl ReadUpTo {
    /// As a request says it, in one of two fields.
    pub fn checked(seq: u64, message_id: u64) -> Result<Self, Violation> {
        match (seq, message_id) {
            (0, 0) => Err(check::invalid("seq", "must not be 0 where there is no message_id either")),
            (seq, 0) => Ok(Self::Seq(check::id("seq", seq)?)),
            (0, message_id) => Ok(Self::Message(check::id("message_id", message_id)?)),
            _ => Err(check::invalid("message_id", "must be 0 where there is a seq")),
        }
    }
}

/// The furthest of many, of either kind; 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Furthest {
    /// Of those that are numbers.
    pub seq: u64,
    /// Of those that are messages.
    pub message_id: u64,
}

impl Furthest {
    /// With one more.
    pub fn and(self, up_to: ReadUpTo) -> Self {
        match up_to {
            ReadUpTo::Seq(seq) => Self { seq: self.seq.max(seq), ..self },
            ReadUpTo::Message(message_id) => Self { message_id: self.message_id.max(message_id), ..self },
        }
    }

    /// Those that there are.
    pub fn each(self) -> impl Iterator<Item = ReadUpTo> {
        let seq = (self.seq > 0).then_some(ReadUpTo::Seq(self.seq));
        seq.into_iter().chain((self.message_id > 0).then_some(ReadUpTo::Message(self.message_id)))
    }
}

/// What a client gets to ask for the next page of readers: after this number, and there after this user.
pub fn encode_cursor((seq, user_id): (u64, u64)) -> Vec<u8> {
    let mut bytes = Vec::new();
    [seq, user_id].into_iter().for_each(|number| encode_varint(number, &mut bytes));
    bytes
}

/// What a client sends back, nothing at first; none where it is not what it got.
pub fn decode_cursor(mut bytes: &[u8]) -> Option<(u64, u64)> {
    if bytes.is_empty() {
        return Some((0, 0));
    }
    let mut number = || decode_varint(&mut bytes).ok().filter(|&number| number <= check::ID_MAX);
    let cursor = (number()?, number()?);
    bytes.is_empty().then_some(cursor)
}

/// The one device that all of it came from; 0 once there are several.
pub fn only_device(device_id: u64, another: u64) -> u64 {
    if device_id == another { device_id } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_the_furthest_of_either_kind_is_left() {
        let all = [ReadUpTo::Seq(3), ReadUpTo::Message(70), ReadUpTo::Seq(9), ReadUpTo::Seq(4), ReadUpTo::Message(60)];
        let furthest = all.into_iter().fold(Furthest::default(), Furthest::and);
        assert_eq!(furthest.each().collect::<Vec<_>>(), [ReadUpTo::Seq(9), ReadUpTo::Message(70)]);
        assert_eq!(Furthest::default().each().count(), 0);
        assert!(ReadUpTo::checked(0, 0).is_err() && ReadUpTo::checked(1, 1).is_err());
        assert_eq!((only_device(7, 7), only_device(7, 8), only_device(0, 7)), (7, 0, 0));
    }

    #[test]
    fn a_cursor_that_was_made_up_is_none() {
        assert_eq!(decode_cursor(&encode_cursor((5, check::ID_MAX))), Some((5, check::ID_MAX)));
        assert_eq!(decode_cursor(&[]), Some((0, 0)));
        for bytes in [&[1][..], &[1, 2, 3], &[0x80], &[0xff; 30]] {
            assert_eq!(decode_cursor(bytes), None, "{bytes:?}");
        }
    }
}
