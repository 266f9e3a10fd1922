//! What stands in a content under numbers that this version has no field for. A content that is written anew keeps it. Pure.

use bytes::Bytes;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::TypedContent;

impl TypedContent {
    /// As it travels in the place of the bytes that it was read from: with those of their fields that no content of its kind has. What is
    /// unknown inside of a known field is lost.
    pub fn encode_in_place_of(&self, read_from: &[u8]) -> Bytes {
        let mut encoded = Vec::from(self.encode());
        let mut rest = read_from;
        while let Some((tag, field)) = next_field(&mut rest) {
            if tag > self.last_tag() {
                encoded.extend_from_slice(field);
            }
        }
        encoded.into()
    }
}

/// The first field, with its key, and its number. None where nothing is left, or nothing that can be read.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let before = *rest;
    let (tag, wire_type) = decode_key(rest).ok()?;
    skip_field(wire_type, tag, rest, DecodeContext::default()).ok()?;
    Some((tag, &before[..before.len() - rest.len()]))
}

#[cfg(test)]
mod tests {
    use prost::encoding::{WireType, encode_key};

    use super::*;
    use crate::typed_content::{COMMANDS, read};

    /// A field of each kind that a number may have; of those that a content has, one changes it, or is refused.
    fn fields(tag: u32) -> Vec<Vec<u8>> {
        let of = |wire_type, value: &[u8]| {
            let mut field = Vec::new();
            encode_key(tag, wire_type, &mut field);
            field.extend_from_slice(value);
            field
        };
        vec![
            of(WireType::Varint, &[1]),
            of(WireType::LengthDelimited, &[2, 8, 1]),
            of(WireType::SixtyFourBit, &[1; 8]),
            of(WireType::ThirtyTwoBit, &[1; 4]),
        ]
    }

    #[test]
    fn the_last_field_of_each_kind_is_the_one_that_it_is_said_to_be() {
        let mut kinds = 0;
        for command in COMMANDS {
            let Some(empty) = read(command, Bytes::new()) else { continue };
            kinds += 1;
            for tag in 1..100 {
                let changes = |field: Vec<u8>| read(command, field.into()).as_ref() != Some(&empty);
                let is_known = fields(tag).into_iter().any(changes);
                assert_eq!(is_known, tag <= empty.last_tag(), "field {tag} of {:?}", empty.command());
            }
        }
        assert_eq!(kinds, 12);
    }

    #[test]
    fn fields_that_a_kind_does_not_have_stay_as_they_were() {
        for command in COMMANDS {
            let Some(empty) = read(command, Bytes::new()) else { continue };
            let unknown =
                [empty.last_tag() + 1, 1_000, 2_000].into_iter().flat_map(fields).collect::<Vec<_>>().concat();
            assert_eq!(empty.encode_in_place_of(&unknown)[..], [&empty.encode()[..], &unknown].concat());
            assert_eq!(empty.encode_in_place_of(b"\x0a\xff"), empty.encode());
        }
    }
}
