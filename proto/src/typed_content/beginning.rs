//! The line for a content of which only the beginning was read, because all of it would be too much for a line.

use prost::encoding::{decode_varint, encode_varint};

use super::preview;
use crate::connect::MessageCommand;

/// Bytes of a message that are enough for its line: the largest small picture, and what stands before and after it.
pub const BEGINNING_BYTES_MAX: usize = super::THUMBNAIL_BYTES_MAX + 4 * 1024;

/// The field of the wrapper around what a user says, of either kind, that says it.
const WRAPPED: &[u64] = &[3];

/// [`preview`], as far as the beginning of a content tells.
pub fn preview_of_beginning(command: i32, beginning: &[u8]) -> String {
    let text: &[u64] = match MessageCommand::try_from(command) {
        Ok(MessageCommand::McText) => &[1],
        Ok(MessageCommand::McReply) => &[4, 1],
        _ => &[],
    };
    preview(command, cut(beginning, text).into())
}

/// The beginning of a wrapper, made whole: what it wraps ends where the beginning does.
pub fn whole_wrapper(beginning: &[u8]) -> Vec<u8> {
    cut(beginning, WRAPPED)
}

/// The fields of a message that are all there, and of the one at which it breaks off, where it is the first of `path`, what is there of
/// it; the rest of `path` says the same within that field.
fn cut(mut bytes: &[u8], path: &[u64]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let mut rest = bytes;
        let Ok(key) = decode_varint(&mut rest) else { break };
        let length = match key & 7 {
            0 => decode_varint(&mut rest).ok().map(|_| 0),
            1 => Some(8),
            2 => decode_varint(&mut rest).ok(),
            5 => Some(4),
            _ => None,
        };
        let Some(length) = length else { break };
        if let Some(after) = usize::try_from(length).ok().and_then(|length| rest.get(length..)) {
            kept.extend_from_slice(&bytes[..bytes.len() - after.len()]);
            bytes = after;
            continue;
        }
        if let Some((&field, within)) = path.split_first()
            && key == field << 3 | 2
        {
            let part = if within.is_empty() { whole_characters(rest).to_vec() } else { cut(rest, within) };
            encode_varint(key, &mut kept);
            encode_varint(part.len() as u64, &mut kept);
            kept.extend_from_slice(&part);
        }
        break;
    }
    kept
}

/// Without the character in whose middle it breaks off.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        content::{ForwardedMessage, Image, Media, MergedForward, Reply, Text},
        logic::{User, UserMessagePush},
    };

    fn text(text: &str) -> Text {
        Text { text: text.into(), ..Text::default() }
    }

    #[test]
    fn a_text_that_breaks_off_anywhere_has_the_line_of_what_is_there() {
        let whole = text("é👋 hello").encode_to_vec();
        for length in 0..=whole.len() {
            let line = preview_of_beginning(MessageCommand::McText as i32, &whole[..length]);
            assert!("é👋 hello".starts_with(&line) && !line.contains('\u{fffd}'), "{length}: {line}");
        }
        assert_eq!(preview_of_beginning(200, &whole[..whole.len() - 1]), "é👋 hell");
        let reply = Reply { message_id: 7, quote: "so?".into(), text: Some(text("yes, so")), ..Reply::default() };
        let whole = reply.encode_to_vec();
        assert_eq!(preview_of_beginning(MessageCommand::McReply as i32, &whole[..whole.len() - 3]), "yes,");
    }

    #[test]
    fn what_stands_behind_the_break_is_not_there() {
        let media = Some(Media { url: "https://a.example".into(), ..Media::default() });
        let image = Image { media, thumbnail: vec![0; 9000].into(), caption: "sea".into(), ..Image::default() };
        let whole = image.encode_to_vec();
        let line = |length| preview_of_beginning(MessageCommand::McImage as i32, &whole[..length]);
        assert_eq!((line(whole.len()), line(5000)), ("📷 sea".to_owned(), "📷".to_owned()));
        let messages = vec![ForwardedMessage { content: vec![1; 3000].into(), ..Default::default() }; 3];
        let whole = MergedForward { title: "trip".into(), messages }.encode_to_vec();
        assert_eq!(preview_of_beginning(MessageCommand::McMergedForward as i32, &whole[..4000]), "💬 trip");
        assert_eq!(
            preview_of_beginning(MessageCommand::McText as i32, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ""
        );
    }

    #[test]
    fn a_wrapper_that_breaks_off_wraps_what_is_there_of_its_content() {
        let from_user = Some(User { nickname: "Ada".into(), ..User::default() });
        let wrapper = UserMessagePush { from_user, to_user_id: 8, content: vec![0xff; 100].into() };
        let whole = wrapper.encode_to_vec();
        let read = UserMessagePush::decode(&whole_wrapper(&whole[..whole.len() - 40])[..]).unwrap();
        assert_eq!((read.from_user, read.content.len()), (wrapper.from_user.clone(), 60));
        assert_eq!(UserMessagePush::decode(&whole_wrapper(&whole)[..]), Ok(wrapper));
    }
}
