//! What messages say: the contents of then as the typed contents of today, and back. Pure.
//!
//! What was said then comes back as it was, but for what the table in ARCHITECTURE.md names. What only today's clients say comes as what is
//! nearest, or as the line of text that stands for it.

use bytes::Bytes;
use gim_proto::{
    check::{Violation, invalid},
    content::{self, Media, Mention},
    typed_content::{self, MENTIONS_MAX, TypedContent},
};
use prost::Message as _;

use super::wire::{self, MessageType};

/// Kinds of today's own contents that were kinds of their own.
const COMMAND: &str = "command";
const CUSTOM: &str = "custom";

/// Codes of commands that are no user's: those of news.
const OF_THE_SERVER: std::ops::RangeInclusive<i32> = 100..=199;

/// The name of a file that has none, which today's have to have.
const NAMELESS: &str = "file";

/// What a content of today is in the words of then.
pub(super) struct Told {
    pub(super) message_type: MessageType,
    pub(super) content: Vec<u8>,
    /// Who is meant.
    pub(super) to_user_ids: Vec<u64>,
}

/// Today's command and content. Who is meant is meant by the whole of a text.
///
/// # Errors
/// Where the content is not what its type says; what today's checks refuse they refuse themselves.
pub(super) fn todays(
    message_type: MessageType,
    content: Bytes,
    to_user_ids: &[i64],
) -> Result<(i32, Bytes), Violation> {
    let content = match message_type {
        MessageType::MtText => text(read::<wire::Text>(content)?.text, to_user_ids).into(),
        MessageType::MtFace => face(read(content)?).into(),
        MessageType::MtVoice => voice(read(content)?).into(),
        MessageType::MtImage => image(read(content)?).into(),
        MessageType::MtFile => file(read(content)?).into(),
        MessageType::MtLocation => {
            let wire::Location { desc, latitude, longitude } = read(content)?;
            content::Location { latitude, longitude, title: desc, address: String::new() }.into()
        }
        MessageType::MtCommand => {
            let command: wire::Command = read(content)?;
            if OF_THE_SERVER.contains(&command.code) {
                return Err(invalid("message_content", format!("the code {} is the server's own", command.code)));
            }
            custom(COMMAND, command.encode_to_vec().into()).into()
        }
        MessageType::MtCustom => custom(CUSTOM, read::<wire::Custom>(content)?.data.into()).into(),
        MessageType::MtUnknown => return Err(invalid("message_type", "names no content")),
    };
    let content: TypedContent = content;
    Ok((content.command() as i32, content.encode()))
}

/// A typed content of today; none where the command names none, or the bytes are not one.
pub(super) fn told(command: i32, content: Bytes) -> Option<Told> {
    let mut to_user_ids = Vec::new();
    let (message_type, content) = match typed_content::read(command, content.clone())? {
        TypedContent::Text(content::Text { text, mentions, .. }) => {
            to_user_ids = mentions.iter().map(|mention| mention.user_id).collect();
            of_text(text)
        }
        TypedContent::Reply(content::Reply { text, .. }) => {
            let content::Text { text, mentions, .. } = text.unwrap_or_default();
            to_user_ids = mentions.iter().map(|mention| mention.user_id).collect();
            of_text(text)
        }
        TypedContent::Sticker(content::Sticker { sticker_id, emoji, media, .. }) => {
            let (face_id, face_url) = (sticker_id.parse().unwrap_or_default(), media.unwrap_or_default().url);
            match (face_id, face_url.is_empty()) {
                (0, true) if emoji.is_empty() => of_text(typed_content::preview(command, content)),
                (0, true) => of_text(emoji),
                _ => (MessageType::MtFace, wire::Face { face_id, face_url }.encode_to_vec()),
            }
        }
        TypedContent::Voice(content::Voice { media, duration_ms, .. }) => {
            let Media { url, file_id: id, size_bytes, .. } = media.unwrap_or_default();
            let (size, duration) = (small(size_bytes), small(duration_ms.div_ceil(1_000).into()));
            (MessageType::MtVoice, wire::Voice { id, size, duration, url }.encode_to_vec())
        }
        TypedContent::Image(content::Image { media, width, height, .. })
        | TypedContent::Gif(content::Gif { media, width, height, .. }) => {
            let Media { url, file_id: id, .. } = media.unwrap_or_default();
            let (width, height, thumbnail_url) = (small(width.into()), small(height.into()), String::new());
            (MessageType::MtImage, wire::Image { id, width, height, url, thumbnail_url }.encode_to_vec())
        }
        TypedContent::File(content::File { media, name }) => of_file(media, name),
        TypedContent::Video(content::Video { media, caption, .. }) => {
            of_file(media, if caption.is_empty() { "video".to_owned() } else { caption })
        }
        TypedContent::Location(content::Location { latitude, longitude, title, address }) => {
            let desc = if title.is_empty() { address } else { title };
            (MessageType::MtLocation, wire::Location { desc, latitude, longitude }.encode_to_vec())
        }
        TypedContent::Custom(content::Custom { r#type, data, .. }) if r#type == COMMAND && is_command(&data) => {
            (MessageType::MtCommand, data.into())
        }
        TypedContent::Custom(content::Custom { data, .. }) => of_bytes(&data),
        TypedContent::ContactCard(_) | TypedContent::MergedForward(_) => {
            of_text(typed_content::preview(command, content))
        }
    };
    Some(Told { message_type, content, to_user_ids })
}

/// What has no type, as a content that the app knows by itself.
pub(super) fn of_bytes(content: &[u8]) -> (MessageType, Vec<u8>) {
    let data = String::from_utf8_lossy(content).into_owned();
    (MessageType::MtCustom, wire::Custom { data }.encode_to_vec())
}

/// What has a number instead.
pub(super) fn of_number(code: i32, content: Bytes) -> (MessageType, Vec<u8>) {
    (MessageType::MtCommand, wire::Command { code, data: content }.encode_to_vec())
}

fn read<M: prost::Message + Default>(content: Bytes) -> Result<M, Violation> {
    M::decode(content).map_err(|error| invalid("message_content", format!("is not what message_type says: {error}")))
}

/// Whether bytes are a command that a user may give: anybody could send others, at which an app would stop.
fn is_command(data: &[u8]) -> bool {
    wire::Command::decode(data).is_ok_and(|command| !OF_THE_SERVER.contains(&command.code))
}

fn text(text: String, to_user_ids: &[i64]) -> content::Text {
    let length = u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX);
    let mention = |&user_id: &i64| Mention { user_id: user_id as u64, offset: 0, length };
    content::Text { mentions: to_user_ids.iter().take(MENTIONS_MAX).map(mention).collect(), text, mentions_all: false }
}

fn face(wire::Face { face_id, face_url: url }: wire::Face) -> content::Sticker {
    let media = (!url.is_empty()).then(|| Media { url, ..Media::default() });
    content::Sticker { sticker_id: face_id.to_string(), media, ..content::Sticker::default() }
}

fn voice(wire::Voice { id, size, duration, url }: wire::Voice) -> content::Voice {
    // One that was said to last no time is short.
    let duration_ms = u32::try_from(duration).unwrap_or_default().saturating_mul(1_000).max(1);
    content::Voice { media: media(id, size.into(), url), duration_ms, waveform: Bytes::new() }
}

fn image(wire::Image { id, width, height, url, .. }: wire::Image) -> content::Image {
    let (width, height) = (u32::try_from(width).unwrap_or_default(), u32::try_from(height).unwrap_or_default());
    content::Image { media: media(id, 0, url), width, height, ..content::Image::default() }
}

fn file(wire::File { id, name, size, url }: wire::File) -> content::File {
    let id = if id == 0 { String::new() } else { id.to_string() };
    let name = if name.is_empty() { NAMELESS.to_owned() } else { name };
    content::File { media: media(id, size, url), name }
}

/// By its address where it has one, as today's has one of the two.
fn media(file_id: String, size: i64, url: String) -> Option<Media> {
    let file_id = if url.is_empty() { file_id } else { String::new() };
    Some(Media { url, file_id, size_bytes: u64::try_from(size).unwrap_or_default(), ..Media::default() })
}

fn custom(kind: &str, data: Bytes) -> content::Custom {
    content::Custom { r#type: kind.to_owned(), data, preview: String::new() }
}

fn of_text(text: String) -> (MessageType, Vec<u8>) {
    (MessageType::MtText, wire::Text { text }.encode_to_vec())
}

fn of_file(media: Option<Media>, name: String) -> (MessageType, Vec<u8>) {
    let Media { url, file_id, size_bytes, .. } = media.unwrap_or_default();
    let (id, size) = (file_id.parse().unwrap_or_default(), i64::try_from(size_bytes).unwrap_or(i64::MAX));
    (MessageType::MtFile, wire::File { id, name, size, url }.encode_to_vec())
}

fn small(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
