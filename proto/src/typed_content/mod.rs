//! Typed contents: what their fields have to say, and the line of text that stands for them in lists and notifications.
//!
//! Whoever takes a message in calls [`check`] once; from then on what is stored under such a command is such a content. Both work on
//! what the sender said, without the wrapper around it. The tables are part 13 of PROTOCOL.md.

mod beginning;
mod preview;
mod texts;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    check::{self, Violation, invalid, too_large},
    connect::MessageCommand,
    content::{
        ContactCard, Custom, File, ForwardedMessage, Gif, Image, Location, Media, Mention, MergedForward, Reply,
        Sticker, Text, Video, Voice,
    },
};

pub use beginning::{BEGINNING_BYTES_MAX, preview_of_beginning, whole_wrapper};
pub use preview::{PREVIEW_CHARS_MAX, one_line, preview};
pub use texts::{changed_texts, try_for_each_text};

/// The commands of typed contents. Those that name none yet are refused: an app finds them free when there are more.
pub const COMMANDS: std::ops::RangeInclusive<i32> = 200..=299;

/// Bytes of a name, a title, a caption, a quote and the like.
pub const LINE_BYTES_MAX: usize = 1_024;
/// Bytes of what identifies a file, a pack, a sticker or a kind of content of the app's own.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of an address.
pub const URL_BYTES_MAX: usize = 2_048;
/// Bytes of a small picture inside of a content.
pub const THUMBNAIL_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a waveform.
pub const WAVEFORM_BYTES_MAX: usize = 1_024;
/// Mentions of a text.
pub const MENTIONS_MAX: usize = 100;
/// Messages that are forwarded together.
pub const FORWARDED_MAX: usize = 100;
/// How deep forwarded messages may lie in each other.
pub const FORWARDED_DEPTH_MAX: usize = 3;

macro_rules! typed_contents {
    ($($command:ident $kind:ident)*) => {
        /// A content, read.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each is the message of its name")]
        pub enum TypedContent { $($kind($kind),)* }

        impl TypedContent {
            /// The command that says what it is.
            pub fn command(&self) -> MessageCommand {
                match self { $(Self::$kind(_) => MessageCommand::$command,)* }
            }

            /// As it travels.
            pub fn encode(&self) -> Bytes {
                match self { $(Self::$kind(content) => content.encode_to_vec(),)* }.into()
            }
        }

        $(impl From<$kind> for TypedContent {
            fn from(content: $kind) -> Self {
                Self::$kind(content)
            }
        })*

        /// None where the command is not that of a typed content.
        fn decode(command: i32, content: Bytes) -> Option<Result<TypedContent, prost::DecodeError>> {
            Some(match MessageCommand::try_from(command).ok()? {
                $(MessageCommand::$command => $kind::decode(content).map(TypedContent::$kind),)*
                _ => return None,
            })
        }
    };
}

typed_contents! {
    McText Text
    McSticker Sticker
    McGif Gif
    McImage Image
    McVoice Voice
    McVideo Video
    McFile File
    McLocation Location
    McContactCard ContactCard
    McMergedForward MergedForward
    McReply Reply
    McCustom Custom
}

/// What a content says; fails where it is not what its command says. None of other commands, whose contents are anything.
pub fn check(command: i32, content: &Bytes) -> Result<Option<TypedContent>, Violation> {
    if !COMMANDS.contains(&command) {
        return Ok(None);
    }
    check_at_depth(command, content, 1).map(Some)
}

/// What a content says, without a look at whether its fields are as they should be. None where the command is not that of a typed
/// content, or the bytes are not one.
pub fn read(command: i32, content: Bytes) -> Option<TypedContent> {
    decode(command, content)?.ok()
}

fn check_at_depth(command: i32, content: &Bytes, depth: usize) -> Result<TypedContent, Violation> {
    let Some(content) = decode(command, content.clone()) else {
        let problem =
            format!("{command} names no content; numbers of your own begin with {}", crate::BUSINESS_COMMAND_MIN);
        return Err(invalid("command", problem));
    };
    let content =
        content.map_err(|error| invalid("content", format!("is not what the command {command} says: {error}")))?;
    check_fields(&content, depth)?;
    Ok(content)
}

fn check_fields(content: &TypedContent, depth: usize) -> Result<(), Violation> {
    match content {
        TypedContent::Text(text) => check_text("content", text),
        TypedContent::Sticker(Sticker { pack_id, sticker_id, emoji, media }) => {
            check::size("content.pack_id", pack_id, NAME_BYTES_MAX)?;
            check::size("content.sticker_id", sticker_id, NAME_BYTES_MAX)?;
            check::size("content.emoji", emoji, NAME_BYTES_MAX)?;
            if sticker_id.is_empty() && emoji.is_empty() && media.is_none() {
                return Err(invalid("content", "must have a sticker_id, an emoji or a media"));
            }
            if media.is_some() { check_media(media.as_ref()) } else { Ok(()) }
        }
        TypedContent::Gif(Gif { media, thumbnail, .. }) => {
            check::size("content.thumbnail", thumbnail, THUMBNAIL_BYTES_MAX)?;
            check_media(media.as_ref())
        }
        TypedContent::Image(Image { media, thumbnail, caption, .. })
        | TypedContent::Video(Video { media, thumbnail, caption, .. }) => {
            check::size("content.thumbnail", thumbnail, THUMBNAIL_BYTES_MAX)?;
            check::size("content.caption", caption, LINE_BYTES_MAX)?;
            check_media(media.as_ref())
        }
        TypedContent::Voice(Voice { media, duration_ms, waveform }) => {
            if *duration_ms == 0 {
                return Err(invalid("content.duration_ms", "must be set"));
            }
            check::size("content.waveform", waveform, WAVEFORM_BYTES_MAX)?;
            check_media(media.as_ref())
        }
        TypedContent::File(File { media, name }) => {
            check::filled("content.name", name, LINE_BYTES_MAX)?;
            check_media(media.as_ref())
        }
        TypedContent::Location(place) => check_location(place),
        TypedContent::ContactCard(ContactCard { user_id, nickname, avatar_url }) => {
            check::id("content.user_id", *user_id)?;
            check::size("content.nickname", nickname, LINE_BYTES_MAX)?;
            if avatar_url.is_empty() { Ok(()) } else { check_url("content.avatar_url", avatar_url) }
        }
        TypedContent::MergedForward(forward) => check_forward(forward, depth),
        TypedContent::Reply(Reply { message_id, sender_id: _, quote, text }) => {
            check::id("content.message_id", *message_id)?;
            check::size("content.quote", quote, LINE_BYTES_MAX)?;
            check_text("content.text", text.as_ref().unwrap_or(&Text::default()))
        }
        TypedContent::Custom(Custom { r#type, data: _, preview }) => {
            check::filled("content.type", r#type, NAME_BYTES_MAX)?;
            check::size("content.preview", preview, LINE_BYTES_MAX)
        }
    }
}

fn check_text(field: &str, text: &Text) -> Result<(), Violation> {
    let Text { text, mentions, .. } = text;
    if text.is_empty() {
        return Err(invalid(&format!("{field}.text"), "must not be empty"));
    }
    if mentions.is_empty() {
        return Ok(());
    }
    let field = format!("{field}.mentions");
    if mentions.len() > MENTIONS_MAX {
        return Err(too_large(&field, format!("has {} entries, at most {MENTIONS_MAX} are allowed", mentions.len())));
    }
    let units = text.encode_utf16().count() as u64;
    for &Mention { user_id, offset, length } in mentions {
        check::id(&format!("{field}.user_id"), user_id)?;
        if length == 0 || u64::from(offset) + u64::from(length) > units {
            let problem = format!("{offset} and the {length} after it are no part of a text of {units}");
            return Err(invalid(&field, problem));
        }
    }
    Ok(())
}

fn check_media(media: Option<&Media>) -> Result<(), Violation> {
    let Some(Media { url, file_id, media_type, sha256, size_bytes: _ }) = media else {
        return Err(invalid("content.media", "must have a url or a file_id"));
    };
    match (url.is_empty(), file_id.is_empty()) {
        (true, true) => return Err(invalid("content.media", "must have a url or a file_id")),
        (false, false) => return Err(invalid("content.media", "must have a url or a file_id, not both")),
        (false, true) => check_url("content.media.url", url)?,
        (true, false) => check::size("content.media.file_id", file_id, NAME_BYTES_MAX)?,
    }
    check::size("content.media.media_type", media_type, NAME_BYTES_MAX)?;
    match sha256.len() {
        0 | 32 => Ok(()),
        length => Err(invalid("content.media.sha256", format!("has {length} bytes, and not 32"))),
    }
}

/// Addresses of the web alone: an app hands them to whatever shows them, and nobody shall run a script there.
fn check_url(field: &str, url: &str) -> Result<(), Violation> {
    check::size(field, url, URL_BYTES_MAX)?;
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    let is_whole = !url.chars().any(|character| character.is_control() || character.is_whitespace());
    if !(begins("https://") || begins("http://")) || !is_whole {
        return Err(invalid(field, "must be an https or http address"));
    }
    Ok(())
}

fn check_location(place: &Location) -> Result<(), Violation> {
    if !(-90.0..=90.0).contains(&place.latitude) {
        return Err(invalid("content.latitude", "must be from -90 to 90"));
    }
    if !(-180.0..=180.0).contains(&place.longitude) {
        return Err(invalid("content.longitude", "must be from -180 to 180"));
    }
    check::size("content.title", &place.title, LINE_BYTES_MAX)?;
    check::size("content.address", &place.address, LINE_BYTES_MAX)
}

fn check_forward(forward: &MergedForward, depth: usize) -> Result<(), Violation> {
    check::size("content.title", &forward.title, LINE_BYTES_MAX)?;
    let count = forward.messages.len();
    if count == 0 {
        return Err(invalid("content.messages", "must not be empty"));
    }
    if count > FORWARDED_MAX {
        return Err(too_large("content.messages", format!("has {count} entries, at most {FORWARDED_MAX} are allowed")));
    }
    for ForwardedMessage { nickname, command, content, .. } in &forward.messages {
        check::size("content.messages.nickname", nickname, LINE_BYTES_MAX)?;
        if !COMMANDS.contains(command) {
            continue;
        }
        if depth >= FORWARDED_DEPTH_MAX && *command == MessageCommand::McMergedForward as i32 {
            let problem = format!("lie in each other, at most {FORWARDED_DEPTH_MAX} deep is allowed");
            return Err(too_large("content.messages", problem));
        }
        check_at_depth(*command, content, depth + 1)
            .map_err(|inner| Violation { field: format!("content.messages: {}", inner.field), ..inner })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResultCode;

    fn refusal(command: MessageCommand, content: &impl prost::Message) -> String {
        check(command as i32, &content.encode_to_vec().into())
            .map_or_else(|problem| problem.to_string(), |_| String::new())
    }

    fn media() -> Option<Media> {
        Some(Media { url: "https://cdn.example/a.webp".into(), ..Media::default() })
    }

    fn text(text: &str) -> Text {
        Text { text: text.into(), ..Text::default() }
    }

    #[test]
    fn what_each_kind_needs_is_asked_for_by_name() {
        use MessageCommand as Command;
        let place = |latitude, longitude| Location { latitude, longitude, ..Location::default() };
        let of_file = |name: &str| File { media: media(), name: name.into() };
        let reply = |message_id, said: &str| Reply { message_id, text: Some(text(said)), ..Reply::default() };
        let forward =
            |count| MergedForward { messages: vec![ForwardedMessage::default(); count], ..Default::default() };
        for (problem, field) in [
            (refusal(Command::McText, &text("hi")), ""),
            (refusal(Command::McText, &text("")), "content.text"),
            (refusal(Command::McSticker, &Sticker::default()), "content"),
            (refusal(Command::McSticker, &Sticker { emoji: "🐈".into(), ..Sticker::default() }), ""),
            (
                refusal(Command::McSticker, &Sticker { media: Some(Media::default()), ..Sticker::default() }),
                "content.media",
            ),
            (refusal(Command::McGif, &Gif::default()), "content.media"),
            (refusal(Command::McImage, &Image { media: media(), ..Image::default() }), ""),
            (refusal(Command::McImage, &Image::default()), "content.media"),
            (refusal(Command::McVoice, &Voice { media: media(), ..Voice::default() }), "content.duration_ms"),
            (refusal(Command::McVideo, &Video { media: media(), ..Video::default() }), ""),
            (refusal(Command::McFile, &of_file("")), "content.name"),
            (refusal(Command::McFile, &of_file("a.pdf")), ""),
            (refusal(Command::McLocation, &place(90.0, -180.0)), ""),
            (refusal(Command::McLocation, &place(90.1, 0.0)), "content.latitude"),
            (refusal(Command::McLocation, &place(0.0, f64::NAN)), "content.longitude"),
            (refusal(Command::McContactCard, &ContactCard::default()), "content.user_id"),
            (refusal(Command::McReply, &reply(0, "hi")), "content.message_id"),
            (refusal(Command::McReply, &reply(1, "")), "content.text.text"),
            (refusal(Command::McReply, &reply(1, "hi")), ""),
            (refusal(Command::McMergedForward, &forward(0)), "content.messages"),
            (refusal(Command::McMergedForward, &forward(FORWARDED_MAX)), ""),
            (refusal(Command::McMergedForward, &forward(FORWARDED_MAX + 1)), "content.messages"),
            (refusal(Command::McCustom, &Custom::default()), "content.type"),
            (refusal(Command::McCustom, &Custom { r#type: "poll".into(), ..Custom::default() }), ""),
        ] {
            assert_eq!(problem.split_once(": ").map_or("", |(named, _)| named), field, "{problem}");
        }
    }

    #[test]
    fn bytes_that_are_no_content_and_numbers_without_one_are_refused() {
        let problem = check(200, &Bytes::from_static(b"\xff\xff")).unwrap_err();
        assert_eq!((problem.code, &problem.field[..]), (ResultCode::BadRequest, "content"));
        assert_eq!(check(299, &Bytes::new()).unwrap_err().field, "command");
        for command in [0, 1, 2, 199, 300, 1000, i32::MAX] {
            assert_eq!(check(command, &Bytes::from_static(b"\xff")), Ok(None));
        }
    }

    #[test]
    fn mentions_lie_within_the_text_in_units_of_utf_16() {
        let with = |offset, length| {
            let mentions = vec![Mention { user_id: 7, offset, length }];
            refusal(MessageCommand::McText, &Text { mentions, ..text("😀@a") })
        };
        assert_eq!((with(2, 2), with(0, 4)), Default::default());
        for (offset, length) in [(2, 3), (4, 1), (0, 0), (u32::MAX, u32::MAX)] {
            assert!(with(offset, length).starts_with("content.mentions: "), "{offset} {length}");
        }
    }

    #[test]
    fn an_address_is_one_of_the_web() {
        let with = |url: &str| {
            let media = Some(Media { url: url.into(), ..Media::default() });
            refusal(MessageCommand::McGif, &Gif { media, ..Gif::default() })
        };
        assert_eq!((with("https://a.example/x"), with("HTTP://a.example")), Default::default());
        let long = format!("https://{}", "a".repeat(URL_BYTES_MAX));
        for url in
            ["javascript:alert(1)", "data:text/html,x", "//a.example", "https://a b", "https://a\n", "é://x", &long]
        {
            assert!(with(url).starts_with("content.media.url: "), "{url}");
        }
    }

    #[test]
    fn forwarded_messages_are_checked_however_deep_they_lie() {
        let within = |command: MessageCommand, content: &dyn Fn() -> Vec<u8>| MergedForward {
            messages: vec![ForwardedMessage {
                command: command as i32,
                content: content().into(),
                ..Default::default()
            }],
            ..MergedForward::default()
        };
        let bad = within(MessageCommand::McText, &Vec::new);
        let problem = refusal(MessageCommand::McMergedForward, &bad);
        assert!(problem.starts_with("content.messages: content.text: "), "{problem}");
        let mut forward = within(MessageCommand::McUserMessage, &|| b"opaque".to_vec());
        for depth in 1..=FORWARDED_DEPTH_MAX {
            assert_eq!(refusal(MessageCommand::McMergedForward, &forward), "", "{depth}");
            let inner = forward.encode_to_vec();
            forward = within(MessageCommand::McMergedForward, &|| inner.clone());
        }
        assert!(refusal(MessageCommand::McMergedForward, &forward).contains("deep"));
    }
}
