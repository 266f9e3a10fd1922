//! The fields of protobuf messages, read as views and written in place: what a reactor rewrites must not cost allocations. Pure functions.

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not protobuf.
    #[error("this is no protobuf: {0}")]
    Bytes(#[from] DecodeError),
    /// A length points beyond the end, or a field has another type.
    #[error("field {0} is malformed")]
    Field(u32),
    /// A text is no UTF-8.
    #[error("a text is no UTF-8")]
    Text,
    /// A sign-in that only newer clients say.
    #[error("a newer client signs in")]
    Newer,
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub tag: u32,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    Missing,
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

/// Visits the fields of a message in their order.
///
/// # Errors
/// The first one of the bytes, or of the visitor.
pub fn visit<'a>(
    mut body: &'a [u8],
    mut take: impl FnMut(Field<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !body.is_empty() {
        let (tag, wire_type) = decode_key(&mut body)?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut body)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut body)?).map_err(|_| Malformed::Field(tag))?;
                let (bytes, rest) = body.split_at_checked(length).ok_or(Malformed::Field(tag))?;
                body = rest;
                Value::Bytes(bytes)
            }
            WireType::SixtyFourBit => {
                let (bytes, rest) = body.split_first_chunk().ok_or(Malformed::Field(tag))?;
                body = rest;
                Value::Double(f64::from_le_bytes(*bytes))
            }
            _ => {
                skip_field(wire_type, tag, &mut body, DecodeContext::default())?;
                Value::Other
            }
        };
        take(Field { tag, value })?;
    }
    Ok(())
}

/// The last field of each of these numbers, in their order. One that is missing is 0, or empty.
///
/// # Errors
/// Where the bytes are no message.
pub fn last_of<const COUNT: usize>(body: &[u8], tags: [u32; COUNT]) -> Result<[Field<'_>; COUNT], Malformed> {
    let mut found = tags.map(|tag| Field { tag, value: Value::Missing });
    visit(body, |field| {
        if let Some(place) = found.iter_mut().find(|place| place.tag == field.tag) {
            *place = field;
        }
        Ok(())
    })?;
    Ok(found)
}

impl<'a> Field<'a> {
    /// A number of whatever width.
    ///
    /// # Errors
    /// Where it is none.
    pub fn number(self) -> Result<u64, Malformed> {
        match self.value {
            Value::Number(number) => Ok(number),
            Value::Missing => Ok(0),
            Value::Double(_) | Value::Bytes(_) | Value::Other => Err(Malformed::Field(self.tag)),
        }
    }

    /// Bytes, or a message.
    ///
    /// # Errors
    /// Where it is none.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Missing => Ok(&[]),
            Value::Number(_) | Value::Double(_) | Value::Other => Err(Malformed::Field(self.tag)),
        }
    }

    /// A number with a fraction.
    ///
    /// # Errors
    /// Where it is none.
    pub fn double(self) -> Result<f64, Malformed> {
        match self.value {
            Value::Double(number) => Ok(number),
            Value::Missing => Ok(0.0),
            Value::Number(_) | Value::Bytes(_) | Value::Other => Err(Malformed::Field(self.tag)),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// Where it is none.
    pub fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text)
    }
}

/// Appends a number, unless it is 0. Negative ones of 32 bits travel as those of 64.
pub fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

/// Appends bytes or a text, unless they are empty.
pub fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// Appends a number with a fraction, unless it is 0.
pub fn put_double(out: &mut Vec<u8>, tag: u32, number: f64) {
    if number != 0.0 {
        encode_key(tag, WireType::SixtyFourBit, out);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends one of several numbers that stand one after the other in a field.
pub fn put_packed(out: &mut Vec<u8>, number: u64) {
    encode_varint(number, out);
}

/// Whether bytes are numbers that stand one after the other.
pub fn is_packed(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if decode_varint(&mut bytes).is_err() {
            return false;
        }
    }
    true
}

/// Appends a message that is there, even where it is empty.
pub fn put_message(out: &mut Vec<u8>, tag: u32, put: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    let start = out.len();
    put(out);
    put_length_before(out, start);
}

/// Appends bytes that are written in place, unless they turn out to be none.
pub fn put_content(out: &mut Vec<u8>, tag: u32, put: impl FnOnce(&mut Vec<u8>)) {
    let before = out.len();
    encode_key(tag, WireType::LengthDelimited, out);
    let start = out.len();
    put(out);
    if out.len() == start {
        out.truncate(before);
    } else {
        put_length_before(out, start);
    }
}

/// Puts the length of what begins at `start`, which is known only now, before it.
fn put_length_before(out: &mut Vec<u8>, start: usize) {
    let end = out.len();
    encode_varint((end - start) as u64, out);
    let length_bytes = out.len() - end;
    out[start..].rotate_right(length_bytes);
}

#[cfg(test)]
mod tests {
    use gim_proto::connect::{Message, Packet};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_in_place_is_as_prost_writes_it(
            request_id in ".{0,20}", command: i32, content in proptest::collection::vec(any::<u8>(), 0..300), seq: u64,
        ) {
            let message = Message { command, content: content.clone().into(), seq, ..Message::default() };
            let packet = Packet { request_id, command, content: message.encode_to_vec().into(), seq };
            let mut out = Vec::new();
            put_bytes(&mut out, 1, &packet.request_id);
            put_number(&mut out, 2, command as u64);
            put_content(&mut out, 3, |out| {
                put_number(out, 2, command as u64);
                put_bytes(out, 3, &content);
                put_number(out, 4, seq);
            });
            put_number(&mut out, 4, seq);
            prop_assert_eq!(out, packet.encode_to_vec());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut fields = 0;
            let visited = visit(&bytes, |field| {
                fields += 1;
                if field.number().is_ok() && field.bytes().is_ok() { Err(Malformed::Text) } else { Ok(()) }
            });
            prop_assert_ne!(&visited, &Err(Malformed::Text));
            prop_assert!(visited.is_err() || fields <= bytes.len());
        }
    }
}
