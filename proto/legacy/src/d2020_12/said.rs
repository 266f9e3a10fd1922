//! What users of then say, as the typed contents of today. On the tasks of calls.

use bytes::Bytes;
use gim_proto::{
    check::{self, Violation, invalid, too_large},
    content::{self, Media, Mention},
    typed_content::{MENTIONS_MAX, TypedContent},
};
use prost::Message as _;

use super::{
    kept::{Kept, is_address, is_path},
    told::{COMMAND, CUSTOM, IN_NO_TIME_MS, is_of_the_server},
    wire::{self, MessageType},
};
use crate::fields::put_packed;

/// Whom a message may mean at most.
const TO_USER_IDS_MAX: usize = 1_000;

/// The name of a file that has none, which today's have to have.
const NAMELESS: &str = "file";

/// A content of today, and what it has no place for.
struct Said {
    content: TypedContent,
    id: String,
    thumbnail_url: String,
    has_path: bool,
}

/// Today's command and content. Who is meant by a text is meant by the whole of it.
///
/// # Errors
/// Where the content is not what its type says; what today's checks refuse they refuse themselves.
pub(super) fn todays(
    message_type: MessageType,
    content: Bytes,
    to_user_ids: &[i64],
) -> Result<(i32, Bytes), Violation> {
    if to_user_ids.len() > TO_USER_IDS_MAX {
        let problem = format!("has {} entries, at most {TO_USER_IDS_MAX} are allowed", to_user_ids.len());
        return Err(too_large("to_user_ids", problem));
    }
    to_user_ids.iter().try_for_each(|&user_id| check::id("to_user_ids", user_id as u64).map(drop))?;
    let Said { content, id, thumbnail_url, has_path } = match message_type {
        MessageType::MtText => text(read::<wire::Text>(content)?.text, to_user_ids).into(),
        MessageType::MtFace => face(read(content)?)?.into(),
        MessageType::MtVoice => voice(read(content)?)?,
        MessageType::MtImage => image(read(content)?)?,
        MessageType::MtFile => file(read(content)?)?,
        MessageType::MtLocation => {
            let wire::Location { desc, latitude, longitude } = read(content)?;
            content::Location { latitude, longitude, title: desc, address: String::new() }.into()
        }
        MessageType::MtCommand => {
            let command: wire::Command = read(content)?;
            if is_of_the_server(command.code) {
                return Err(invalid("message_content", format!("the code {} is the server's own", command.code)));
            }
            custom(COMMAND, command.encode_to_vec().into()).into()
        }
        MessageType::MtCustom => custom(CUSTOM, read::<wire::Custom>(content)?.data.into()).into(),
        MessageType::MtUnknown => return Err(invalid("message_type", "names no content")),
    };
    let mut all = Vec::new();
    if message_type != MessageType::MtText || to_user_ids.len() > MENTIONS_MAX {
        to_user_ids.iter().for_each(|&user_id| put_packed(&mut all, user_id as u64));
    }
    let (command, mut content) = (content.command() as i32, Vec::from(content.encode()));
    Kept { id: &id, thumbnail_url: &thumbnail_url, has_path, to_user_ids: &all }.put(&mut content);
    Ok((command, content.into()))
}

impl<C: Into<TypedContent>> From<C> for Said {
    fn from(content: C) -> Self {
        Self { content: content.into(), id: String::new(), thumbnail_url: String::new(), has_path: false }
    }
}

fn read<M: prost::Message + Default>(content: Bytes) -> Result<M, Violation> {
    M::decode(content).map_err(|error| invalid("message_content", format!("is not what message_type says: {error}")))
}

fn text(text: String, to_user_ids: &[i64]) -> content::Text {
    let length = u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX);
    let mention = |&user_id: &i64| Mention { user_id: user_id as u64, offset: 0, length };
    content::Text { mentions: to_user_ids.iter().take(MENTIONS_MAX).map(mention).collect(), text, mentions_all: false }
}

fn face(wire::Face { face_id, face_url: url }: wire::Face) -> Result<content::Sticker, Violation> {
    let media = (!url.is_empty()).then(|| Media { url, ..Media::default() });
    Ok(content::Sticker { sticker_id: id_text("face_id", face_id)?, media, ..content::Sticker::default() })
}

fn voice(wire::Voice { id, size, duration, url }: wire::Voice) -> Result<Said, Violation> {
    let duration_ms = count("duration", duration)?.saturating_mul(1_000).max(IN_NO_TIME_MS);
    let (media, id, has_path) = media(id, size.into(), url)?;
    Ok(Said { id, has_path, ..content::Voice { media, duration_ms, waveform: Bytes::new() }.into() })
}

fn image(wire::Image { id, width, height, url, thumbnail_url }: wire::Image) -> Result<Said, Violation> {
    if !thumbnail_url.is_empty() && !is_address(&thumbnail_url) {
        return Err(invalid("message_content.thumbnail_url", "must be an https or http address, or a path"));
    }
    let (width, height) = (count("width", width)?, count("height", height)?);
    let (media, id, has_path) = media(id, 0, url)?;
    let image = content::Image { media, width, height, ..content::Image::default() };
    Ok(Said { id, has_path, thumbnail_url, ..image.into() })
}

fn file(wire::File { id, name, size, url }: wire::File) -> Result<Said, Violation> {
    let name = if name.is_empty() { NAMELESS.to_owned() } else { name };
    let (media, id, has_path) = media(id_text("id", id)?, size, url)?;
    Ok(Said { id, has_path, ..content::File { media, name }.into() })
}

/// Today's has an address or an id, and an address with a host: what is left over, and whether the id is an address.
fn media(id: String, size: i64, url: String) -> Result<(Option<Media>, String, bool), Violation> {
    let size_bytes = u64::try_from(size).map_err(|_| negative("size"))?;
    let media = Media { size_bytes, ..Media::default() };
    Ok(if url.is_empty() {
        (Some(Media { file_id: id, ..media }), String::new(), false)
    } else if is_path(&url) {
        (Some(Media { file_id: url, ..media }), id, true)
    } else {
        (Some(Media { url, ..media }), id, false)
    })
}

/// An id that was a number then; 0 is none.
fn id_text(field: &str, id: i64) -> Result<String, Violation> {
    match id {
        0 => Ok(String::new()),
        1.. => Ok(id.to_string()),
        ..0 => Err(negative(field)),
    }
}

fn count(field: &str, number: i32) -> Result<u32, Violation> {
    u32::try_from(number).map_err(|_| negative(field))
}

fn negative(field: &str) -> Violation {
    invalid(&format!("message_content.{field}"), "must not be negative")
}

fn custom(kind: &str, data: Bytes) -> content::Custom {
    content::Custom { r#type: kind.to_owned(), data, preview: String::new() }
}
