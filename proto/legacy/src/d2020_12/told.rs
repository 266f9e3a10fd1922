//! What today's contents are in the words of then: written into a `Message`, from its fourth field to its sixth. On a reactor's thread.
//!
//! Always holds: contents are read where they lie, so that none costs an allocation but the few of which a line of text is made, and these
//! are read only as far as a line needs. What was said then comes back as it was; what only today's clients say comes as what is nearest,
//! or as the line of text that stands for it.

use std::ops::RangeInclusive;

use gim_proto::{
    connect::MessageCommand,
    typed_content::{BEGINNING_BYTES_MAX, COMMANDS, preview_of_beginning},
};

use super::{
    kept::{Kept, is_path},
    wire::MessageType,
};
use crate::fields::{Malformed, last_of, put_bytes, put_content, put_double, put_number, put_packed, visit};

/// Kinds of today's own contents that were kinds of their own.
pub(super) const COMMAND: &str = "command";
pub(super) const CUSTOM: &str = "custom";

/// How long a voice lasts today of which no time was said.
pub(super) const IN_NO_TIME_MS: u32 = 1;

/// Codes of commands that are no user's: those of news.
const OF_THE_SERVER: RangeInclusive<i32> = 100..=199;

/// What stands for a sticker that can be shown by nothing else.
const FACE: &str = "🙂";

/// The fields of a `Message` that say it.
const TO_USER_IDS: u32 = 4;
const TYPE: u32 = 5;
const CONTENT: u32 = 6;

/// Today's `Media`.
struct Media<'a> {
    url: &'a str,
    file_id: &'a str,
    size_bytes: u64,
}

/// Appends what a user says: a typed content, or bytes of the app's own (which are `plain`), or a number of it.
pub(super) fn put_said(out: &mut Vec<u8>, command: i32, is_plain: bool, content: &[u8]) {
    let before = out.len();
    // Into the bytes of others nobody looks: that they are no message would cost an allocation to say.
    let typed = MessageCommand::try_from(command).ok().filter(|_| COMMANDS.contains(&command));
    let is_typed = typed.map(|command| put_typed(out, command, content));
    if !matches!(is_typed, Some(Ok(true))) {
        out.truncate(before);
        if is_plain {
            put_own(out, content);
        } else {
            put_numbered(out, command, content);
        }
    }
}

/// Appends what has a number instead of a type. One that is the server's own would be taken for its news.
pub(super) fn put_numbered(out: &mut Vec<u8>, code: i32, content: &[u8]) {
    if is_of_the_server(code) {
        put_own(out, content);
    } else {
        put_command(out, code, |out| out.extend_from_slice(content));
    }
}

/// Appends a command, whoever gives it.
pub(super) fn put_command(out: &mut Vec<u8>, code: i32, put_data: impl FnOnce(&mut Vec<u8>)) {
    put(out, MessageType::MtCommand, |out| {
        put_number(out, 1, code as u64);
        put_content(out, 2, put_data);
    });
}

pub(super) fn is_of_the_server(code: i32) -> bool {
    OF_THE_SERVER.contains(&code)
}

/// False where the command is that of no typed content; what was appended until an error is of no use.
fn put_typed(out: &mut Vec<u8>, command: MessageCommand, content: &[u8]) -> Result<bool, Malformed> {
    let kept = Kept::read(content);
    let mentions = match command {
        MessageCommand::McText => content,
        MessageCommand::McReply => last_of(content, [4])?[0].bytes()?,
        _ => b"",
    };
    put_meant(out, mentions, &kept)?;
    match command {
        MessageCommand::McText | MessageCommand::McReply => put_text(out, last_of(mentions, [1])?[0].text()?),
        MessageCommand::McSticker => put_face(out, content)?,
        MessageCommand::McVoice => put_voice(out, content, &kept)?,
        MessageCommand::McImage | MessageCommand::McGif => put_image(out, content, &kept)?,
        MessageCommand::McFile => put_file(out, command, content, 2, &kept)?,
        MessageCommand::McVideo => put_file(out, command, content, 6, &kept)?,
        MessageCommand::McLocation => put_location(out, content)?,
        MessageCommand::McCustom => put_custom(out, content)?,
        MessageCommand::McContactCard | MessageCommand::McMergedForward => put_line(out, command, content),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Who is meant: everybody of whom the app of then said so, or who is mentioned.
fn put_meant(out: &mut Vec<u8>, text: &[u8], kept: &Kept<'_>) -> Result<(), Malformed> {
    if !kept.to_user_ids.is_empty() {
        put_bytes(out, TO_USER_IDS, kept.to_user_ids);
        return Ok(());
    }
    let mut read = Ok(());
    put_content(out, TO_USER_IDS, |out| {
        read = visit(text, |field| {
            if field.tag == 2 {
                put_packed(out, last_of(field.bytes()?, [1])?[0].number()?);
            }
            Ok(())
        });
    });
    read
}

fn put(out: &mut Vec<u8>, message_type: MessageType, put_fields: impl FnOnce(&mut Vec<u8>)) {
    put_number(out, TYPE, message_type as u64);
    put_content(out, CONTENT, put_fields);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, MessageType::MtText, |out| put_bytes(out, 1, text));
}

/// The line that stands for a content.
fn put_line(out: &mut Vec<u8>, command: MessageCommand, content: &[u8]) {
    let beginning = &content[..content.len().min(BEGINNING_BYTES_MAX)];
    put_text(out, &preview_of_beginning(command as i32, beginning));
}

/// What has no type, as a content that the app knows by itself. It was a text: what is none does not come through.
fn put_own(out: &mut Vec<u8>, content: &[u8]) {
    put(out, MessageType::MtCustom, |out| {
        put_content(out, 1, |out| {
            for chunk in content.utf8_chunks() {
                out.extend_from_slice(chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        });
    });
}

fn put_face(out: &mut Vec<u8>, content: &[u8]) -> Result<(), Malformed> {
    let [sticker_id, emoji, media] = last_of(content, [2, 3, 4])?;
    let face_id: i64 = sticker_id.text()?.parse().unwrap_or_default();
    let (emoji, Media { url, .. }) = (emoji.text()?, Media::read(media.bytes()?)?);
    match (face_id, url) {
        (0, "") => put_text(out, if emoji.is_empty() { FACE } else { emoji }),
        _ => put(out, MessageType::MtFace, |out| {
            put_number(out, 1, face_id as u64);
            put_bytes(out, 2, url);
        }),
    }
    Ok(())
}

fn put_voice(out: &mut Vec<u8>, content: &[u8], kept: &Kept<'_>) -> Result<(), Malformed> {
    let [media, duration_ms] = last_of(content, [1, 2])?;
    let (media, duration_ms) = (Media::read(media.bytes()?)?, duration_ms.number()?);
    let duration_s = if duration_ms == u64::from(IN_NO_TIME_MS) { 0 } else { duration_ms.div_ceil(1_000) };
    let (id, url) = media.place(kept);
    put(out, MessageType::MtVoice, |out| {
        put_bytes(out, 1, id);
        put_number(out, 2, small(media.size_bytes));
        put_number(out, 3, small(duration_s));
        put_bytes(out, 4, url);
    });
    Ok(())
}

fn put_image(out: &mut Vec<u8>, content: &[u8], kept: &Kept<'_>) -> Result<(), Malformed> {
    let [media, width, height] = last_of(content, [1, 2, 3])?;
    let (media, width, height) = (Media::read(media.bytes()?)?, width.number()?, height.number()?);
    let (id, url) = media.place(kept);
    put(out, MessageType::MtImage, |out| {
        put_bytes(out, 1, id);
        put_number(out, 2, small(width));
        put_number(out, 3, small(height));
        put_bytes(out, 4, url);
        put_bytes(out, 5, kept.thumbnail_url);
    });
    Ok(())
}

/// A file, or what can be kept as one. What has neither an address nor an id that is a number is a line.
fn put_file(
    out: &mut Vec<u8>,
    command: MessageCommand,
    content: &[u8],
    name_tag: u32,
    kept: &Kept<'_>,
) -> Result<(), Malformed> {
    let [media, name] = last_of(content, [1, name_tag])?;
    let (media, name) = (Media::read(media.bytes()?)?, name.text()?);
    let (id, url) = media.place(kept);
    let id: i64 = id.parse().unwrap_or_default();
    if id == 0 && url.is_empty() {
        put_line(out, command, content);
        return Ok(());
    }
    put(out, MessageType::MtFile, |out| {
        put_number(out, 12, id as u64);
        put_bytes(out, 13, if name.is_empty() { "video" } else { name });
        put_number(out, 14, media.size_bytes.min(i64::MAX as u64));
        put_bytes(out, 15, url);
    });
    Ok(())
}

fn put_location(out: &mut Vec<u8>, content: &[u8]) -> Result<(), Malformed> {
    let [latitude, longitude, title, address] = last_of(content, [1, 2, 3, 4])?;
    let (latitude, longitude) = (latitude.double()?, longitude.double()?);
    let (title, address) = (title.text()?, address.text()?);
    put(out, MessageType::MtLocation, |out| {
        put_bytes(out, 1, if title.is_empty() { address } else { title });
        put_double(out, 2, latitude);
        put_double(out, 3, longitude);
    });
    Ok(())
}

fn put_custom(out: &mut Vec<u8>, content: &[u8]) -> Result<(), Malformed> {
    let [kind, data] = last_of(content, [1, 2])?;
    let (kind, data) = (kind.text()?, data.bytes()?);
    if kind == COMMAND && is_command(data).unwrap_or(false) {
        put(out, MessageType::MtCommand, |out| out.extend_from_slice(data));
    } else {
        put_own(out, data);
    }
    Ok(())
}

/// Whether bytes are a command that a user may give: anybody could send others, at which an app would stop.
fn is_command(data: &[u8]) -> Result<bool, Malformed> {
    let mut is_users = true;
    visit(data, |field| {
        match field.tag {
            1 => is_users = !is_of_the_server(field.number()? as i32),
            2 => drop(field.bytes()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_users)
}

impl<'a> Media<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [url, file_id, size_bytes] = last_of(bytes, [1, 2, 4])?;
        Ok(Self { url: url.text()?, file_id: file_id.text()?, size_bytes: size_bytes.number()? })
    }

    /// The id and the address of then.
    fn place(&self, kept: &Kept<'a>) -> (&'a str, &'a str) {
        match (self.url, kept.has_path && is_path(self.file_id)) {
            (_, true) => (kept.id, self.file_id),
            ("", false) => (self.file_id, ""),
            (url, false) => (kept.id, url),
        }
    }
}

fn small(number: u64) -> u64 {
    number.min(i32::MAX as u64)
}
