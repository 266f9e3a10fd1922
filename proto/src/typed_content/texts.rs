//! The texts of a content that people read, found and replaced in its bytes: what a newer client put beside them stays.

use std::ops::Range;

use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint};

use crate::connect::MessageCommand;

/// What takes the place of a text, if anything does.
type Change<'a, E> = dyn FnMut(&str) -> Result<Option<String>, E> + 'a;

/// The same of the value of a field.
type Replace<'a, E> = dyn FnMut(u64, &[u8]) -> Result<Option<Vec<u8>>, E> + 'a;

/// What a field of a content is, as far as people read it.
#[derive(Debug, Clone, Copy)]
enum Part {
    Text,
    Message(&'static [(u64, Part)]),
    /// A message that is forwarded, with a content of its own.
    Forwarded,
}

const TEXT: &[(u64, Part)] = &[(1, Part::Text)];

/// The fields of a content that people read; none of other commands.
fn parts(command: i32) -> &'static [(u64, Part)] {
    match MessageCommand::try_from(command) {
        Ok(MessageCommand::McText) => TEXT,
        Ok(MessageCommand::McSticker | MessageCommand::McCustom) => &[(3, Part::Text)],
        Ok(MessageCommand::McImage) => &[(5, Part::Text)],
        Ok(MessageCommand::McVideo) => &[(6, Part::Text)],
        Ok(MessageCommand::McFile | MessageCommand::McContactCard) => &[(2, Part::Text)],
        Ok(MessageCommand::McLocation) => &[(3, Part::Text), (4, Part::Text)],
        Ok(MessageCommand::McReply) => &[(3, Part::Text), (4, Part::Message(TEXT))],
        Ok(MessageCommand::McMergedForward) => &[(1, Part::Text), (2, Part::Forwarded)],
        _ => &[],
    }
}

/// The fields of a `ForwardedMessage`.
const NICKNAME: u64 = 2;
const COMMAND: u64 = 3;
const CONTENT: u64 = 4;

/// Hands each text of a content to `change`, those of forwarded messages included, and stops at the first error. `change` returns what takes
/// the text's place, and this the content with it, where any changed. Of bytes that are no such content only the beginning counts.
pub fn changed_texts<E>(command: i32, content: &[u8], change: &mut Change<'_, E>) -> Result<Option<Bytes>, E> {
    Ok(changed(content, parts(command), change)?.map(Bytes::from))
}

/// Looks at texts that are not changed.
pub fn try_for_each_text<E>(
    command: i32,
    content: &[u8],
    look: &mut dyn FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    changed_texts(command, content, &mut |text| look(text).map(|()| None)).map(drop)
}

fn changed<E>(message: &[u8], parts: &[(u64, Part)], change: &mut Change<'_, E>) -> Result<Option<Vec<u8>>, E> {
    replaced(message, &mut |number, value| match parts.iter().find(|(field, _)| *field == number) {
        None => Ok(None),
        Some((_, Part::Text)) => changed_text(value, change),
        Some((_, Part::Message(parts))) => changed(value, parts, change),
        Some((_, Part::Forwarded)) => changed_forwarded(value, change),
    })
}

fn changed_text<E>(value: &[u8], change: &mut Change<'_, E>) -> Result<Option<Vec<u8>>, E> {
    let Ok(text) = std::str::from_utf8(value) else { return Ok(None) };
    Ok(change(text)?.map(String::into_bytes))
}

fn changed_forwarded<E>(message: &[u8], change: &mut Change<'_, E>) -> Result<Option<Vec<u8>>, E> {
    // Of a field that is there twice, the last one holds.
    let command = Fields::of(message).filter(|field| field.number == COMMAND).last().map_or(0, |field| field.varint);
    // Enums are cut to 32 bits, as everywhere.
    let parts = parts(command as i32);
    replaced(message, &mut |number, value| match number {
        NICKNAME => changed_text(value, change),
        CONTENT => changed(value, parts, change),
        _ => Ok(None),
    })
}

/// A message in which some values are others; none where none is.
fn replaced<E>(message: &[u8], replace: &mut Replace<'_, E>) -> Result<Option<Vec<u8>>, E> {
    let (mut copy, mut copied_to) = (None::<Vec<u8>>, 0);
    for Field { number, value, place, .. } in Fields::of(message) {
        let Some(value) = value else { continue };
        let Some(other) = replace(number, value)? else { continue };
        let copy = copy.get_or_insert_with(|| Vec::with_capacity(message.len()));
        copy.extend_from_slice(&message[copied_to..place.start]);
        encode_varint(number << 3 | DELIMITED, copy);
        encode_varint(other.len() as u64, copy);
        copy.extend_from_slice(&other);
        copied_to = place.end;
    }
    Ok(copy.map(|mut copy| {
        copy.extend_from_slice(&message[copied_to..]);
        copy
    }))
}

/// Wire types.
const VARINT: u64 = 0;
const SIXTY_FOUR: u64 = 1;
const DELIMITED: u64 = 2;
const GROUP: u64 = 3;
const END_OF_GROUP: u64 = 4;
const THIRTY_TWO: u64 = 5;

/// A field of a message.
#[derive(Debug)]
struct Field<'a> {
    number: u64,
    varint: u64,
    /// Where it has a length.
    value: Option<&'a [u8]>,
    /// All of it.
    place: Range<usize>,
}

/// The fields of a message, up to where it is none; without those of groups, which nobody reads.
#[derive(Debug)]
struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Fields<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { message, at: 0, depth: 0 }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut rest = self.message.get(self.at..)?;
        let varint = decode_varint(&mut rest).ok()?;
        self.at = self.message.len() - rest.len();
        Some(varint)
    }

    fn bytes(&mut self, count: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        while self.at < self.message.len() {
            let start = self.at;
            let key = self.varint()?;
            let (mut varint, mut value) = (0, None);
            match key & 7 {
                VARINT => varint = self.varint()?,
                SIXTY_FOUR => drop(self.bytes(8)?),
                DELIMITED => {
                    let length = self.varint()?;
                    value = Some(self.bytes(length)?);
                }
                GROUP => self.depth += 1,
                END_OF_GROUP => {
                    self.depth = self.depth.checked_sub(1)?;
                    continue;
                }
                THIRTY_TWO => drop(self.bytes(4)?),
                _ => return None,
            }
            if self.depth == 0 {
                return Some(Field { number: key >> 3, varint, value, place: start..self.at });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        content::{ForwardedMessage, MergedForward, Reply, Text},
        typed_content::{TypedContent, check, read},
    };

    fn text(text: &str) -> Text {
        Text { text: text.into(), ..Text::default() }
    }

    /// All texts, and the content with them in capitals.
    fn capitals(command: MessageCommand, content: &[u8]) -> (Vec<String>, Option<Bytes>) {
        let mut seen = Vec::new();
        let changed: Result<_, ()> = changed_texts(command as i32, content, &mut |text| {
            seen.push(text.to_owned());
            Ok((text != text.to_uppercase()).then(|| text.to_uppercase()))
        });
        (seen, changed.unwrap())
    }

    #[test]
    fn texts_of_forwarded_messages_are_among_them_and_other_bytes_are_not() {
        let inner = TypedContent::from(text("inner"));
        let forwarded =
            |command, content| ForwardedMessage { nickname: "Ada".into(), command, content, ..Default::default() };
        let messages = vec![forwarded(inner.command() as i32, inner.encode()), forwarded(1000, "opaque".into())];
        let forward = MergedForward { title: "title".into(), messages }.encode_to_vec();
        let (seen, changed) = capitals(MessageCommand::McMergedForward, &forward);
        assert_eq!(seen, ["title", "Ada", "inner", "Ada"]);
        let changed = MergedForward::decode(changed.unwrap()).unwrap();
        let TypedContent::Text(text) = read(200, changed.messages[0].content.clone()).unwrap() else {
            panic!("a text")
        };
        assert_eq!((&text.text[..], &changed.messages[1].content[..]), ("INNER", &b"opaque"[..]));
        assert_eq!((&changed.title[..], &changed.messages[1].nickname[..]), ("TITLE", "ADA"));
    }

    #[test]
    fn what_a_newer_client_put_beside_a_text_stays() {
        let newer = [&b"\x7a\x03new"[..], &text("hi").encode_to_vec(), b"\xa0\x06\x07"].concat();
        let (seen, changed) = capitals(MessageCommand::McText, &newer);
        let expected = [&b"\x7a\x03new"[..], &text("HI").encode_to_vec(), b"\xa0\x06\x07"].concat();
        assert_eq!((seen, changed.unwrap()), (vec!["hi".to_owned()], Bytes::from(expected)));
        assert_eq!(capitals(MessageCommand::McText, &text("HI").encode_to_vec()).1, None);
    }

    #[test]
    fn a_text_is_found_wherever_a_client_would_find_it() {
        let reply = Reply { message_id: 7, quote: "so?".into(), text: Some(text("yes")), ..Reply::default() };
        let reply = reply.encode_to_vec();
        assert_eq!(capitals(MessageCommand::McReply, &reply).0, ["so?", "yes"]);
        // Said twice, behind a group, behind a number of any size, and a part in two pieces.
        let twice = [text("one").encode_to_vec(), text("two").encode_to_vec()].concat();
        assert_eq!(capitals(MessageCommand::McText, &twice).0, ["one", "two"]);
        let grouped = [&b"\x7b\x0a\x02no\x7c\xf9\x0112345678"[..], &text("yes").encode_to_vec()].concat();
        check(200, &grouped.clone().into()).unwrap();
        assert_eq!(capitals(MessageCommand::McText, &grouped).0, ["yes"]);
        let piece = Reply { text: Some(text("and")), ..Reply::default() }.encode_to_vec();
        assert_eq!(capitals(MessageCommand::McReply, &[reply, piece].concat()).0, ["so?", "yes", "and"]);
        // Which content is forwarded, may be said behind it, and not by the first who says it.
        let content = [&b"\x22\x05"[..], &text("inn").encode_to_vec(), b"\x18\x01\x18\xc8\x01"].concat();
        let forward = [&[0x12, content.len() as u8][..], &content].concat();
        assert_eq!(MergedForward::decode(&forward[..]).unwrap().messages[0].command, 200);
        assert_eq!(capitals(MessageCommand::McMergedForward, &forward).0, ["inn"]);
    }
}
