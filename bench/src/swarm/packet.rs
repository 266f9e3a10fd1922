//! Packets and messages read where they lie, without a copy: one pass over the protobuf fields that a client looks at.
//! No IO; plain data on any thread.

use anyhow::ensure;

/// Longest frame that a server may send.
const FRAME_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Longest `uvarint`.
const VARINT_BYTES_MAX: usize = 10;

/// The bytes are no frame, packet or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent bytes that are no packet")]
pub struct Malformed;

/// `connect.Packet`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// As in the request.
    pub request_id: &'a [u8],
    /// Which one.
    pub command: i32,
    /// What is inside.
    pub content: &'a [u8],
    /// Newest inbox seq.
    pub seq: u64,
}

impl<'a> Packet<'a> {
    /// Reads one from a frame.
    pub fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut packet = Self::default();
        for field in Fields(frame) {
            match field? {
                (1, Field::Bytes(bytes)) => packet.request_id = bytes,
                (2, Field::Number(number)) => packet.command = number as i32,
                (3, Field::Bytes(bytes)) => packet.content = bytes,
                (4, Field::Number(number)) => packet.seq = number,
                _ => {}
            }
        }
        Ok(packet)
    }
}

/// What a client looks at in a `connect.Message`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whose the content is.
    pub command: i32,
    /// What is inside.
    pub content: &'a [u8],
    /// Of the inbox.
    pub seq: u64,
    /// Of the room.
    pub room_seq: u64,
    /// 0 where it was sent to no room.
    pub room_id: u64,
}

impl<'a> Message<'a> {
    /// Reads one from the content of a packet.
    pub fn read(content: &'a [u8]) -> Result<Self, Malformed> {
        let mut message = Self::default();
        for field in Fields(content) {
            match field? {
                (2, Field::Number(number)) => message.command = number as i32,
                (3, Field::Bytes(bytes)) => message.content = bytes,
                (4, Field::Number(number)) => message.seq = number,
                (6, Field::Number(number)) => message.room_id = number,
                (21, Field::Number(number)) => message.room_seq = number,
                _ => {}
            }
        }
        Ok(message)
    }
}

/// A `Reply` to a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// 0 is success.
    pub code: i32,
    /// Why it is none.
    pub message: &'a [u8],
    /// What the request asked for.
    pub data: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads one from the content of a packet.
    pub fn read(content: &'a [u8]) -> Result<Self, Malformed> {
        let mut reply = Self::default();
        for field in Fields(content) {
            match field? {
                (1, Field::Number(number)) => reply.code = number as i32,
                (2, Field::Bytes(bytes)) => reply.message = bytes,
                (3, Field::Bytes(bytes)) => reply.data = bytes,
                _ => {}
            }
        }
        Ok(reply)
    }

    /// The data of a success; the error says `what` was refused.
    pub fn accepted(self, what: &str) -> anyhow::Result<&'a [u8]> {
        let Self { code, message, data } = self;
        ensure!(code == 0, "{what} was refused with code {code}: {}", String::from_utf8_lossy(message));
        Ok(data)
    }
}

/// Looks at each message of a `logic.SyncReply`, in order; whether there are more.
pub fn each_synced(reply: &[u8], mut each: impl FnMut(&Message<'_>) -> anyhow::Result<()>) -> anyhow::Result<bool> {
    let mut has_more = false;
    for field in Fields(reply) {
        match field? {
            (1, Field::Bytes(message)) => each(&Message::read(message)?)?,
            (2, Field::Number(number)) => has_more = number != 0,
            _ => {}
        }
    }
    Ok(has_more)
}

/// One field's bytes in a message, the last if there are several.
pub fn bytes_of(message: &[u8], wanted: u64) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = &[];
    for field in Fields(message) {
        if let (number, Field::Bytes(bytes)) = field?
            && number == wanted
        {
            found = bytes;
        }
    }
    Ok(found)
}

/// One field's number in a message, the last if there are several; 0 where there is none.
pub fn number_of(message: &[u8], wanted: u64) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in Fields(message) {
        if let (number, Field::Number(value)) = field?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

/// A frame and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The first frame and what follows it; `None` while it is not whole.
pub fn split_frame(bytes: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let Some((length, rest)) = varint(bytes)? else { return Ok(None) };
    if length > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(rest.split_at_checked(length as usize))
}

/// `None` while it is not whole.
fn varint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Malformed> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, &bytes[index + 1..])));
        }
    }
    if bytes.len() < VARINT_BYTES_MAX { Ok(None) } else { Err(Malformed) }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a protobuf message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take_varint(&mut self) -> Result<u64, Malformed> {
        let (value, rest) = varint(self.0)?.ok_or(Malformed)?;
        self.0 = rest;
        Ok(value)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(count).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take_field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let key = self.take_varint()?;
        let field = match key & 7 {
            0 => Field::Number(self.take_varint()?),
            1 => self.take(8).map(|_| Field::Fixed)?,
            2 => {
                let length = self.take_varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((key >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take_field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::connect;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_prost_writes_is_read() {
        let message = connect::Message {
            command: 2001,
            content: "hello".into(),
            seq: 300,
            room_id: 7,
            created_at: 1,
            ..Default::default()
        };
        let content = message.encode_to_vec();
        let packet = connect::Packet { request_id: "17".into(), command: 4, content: content.into(), seq: u64::MAX };
        let mut bytes = packet.encode_length_delimited_to_vec();
        for end in 0..bytes.len() {
            assert_eq!(split_frame(&bytes[..end]), Ok(None), "cut at {end}");
        }
        bytes.extend_from_slice(b"more");
        let (frame, rest) = split_frame(&bytes).unwrap().unwrap();
        assert_eq!(rest, b"more");
        let packet = Packet::read(frame).unwrap();
        assert_eq!((packet.request_id, packet.command, packet.seq), (&b"17"[..], 4, u64::MAX));
        let expected = Message { command: 2001, content: b"hello", seq: 300, room_seq: 0, room_id: 7 };
        assert_eq!(Message::read(packet.content), Ok(expected));
        assert_eq!(bytes_of(packet.content, 3), Ok(&b"hello"[..]));
    }

    #[test]
    fn a_page_is_read_message_by_message() {
        let message = |seq| connect::Message { seq, ..Default::default() };
        let page = gim_proto::logic::SyncReply {
            messages: vec![message(7), message(8)],
            has_more: true,
            ..Default::default()
        };
        let reply = connect::Reply { data: page.encode_to_vec().into(), ..Default::default() }.encode_to_vec();
        let mut seqs = Vec::new();
        let data = Reply::read(&reply).unwrap().accepted("a sync").unwrap();
        let has_more = each_synced(data, |message| {
            seqs.push(message.seq);
            Ok(())
        });
        assert!(has_more.unwrap());
        assert_eq!(seqs, [7, 8]);
        let reply = connect::Reply { code: 10004, message: "try again".into(), ..Default::default() }.encode_to_vec();
        let refused = Reply::read(&reply).unwrap().accepted("a sync").unwrap_err();
        assert_eq!(refused.to_string(), "a sync was refused with code 10004: try again");
    }

    #[test]
    fn nonsense_is_told_and_never_panics() {
        assert_eq!(split_frame(&[0xff; 10]), Err(Malformed));
        assert_eq!(split_frame(&[0xff, 0xff, 0xff, 0x7f]), Err(Malformed));
        assert_eq!(Packet::read(&[0x0a, 5, 1]), Err(Malformed));
        assert_eq!(Packet::read(&[0x0b]), Err(Malformed));
        assert_eq!(Packet::read(&[0x0a]), Err(Malformed));
    }
}
