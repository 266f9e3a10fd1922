//! The line of text that stands for a content.

use bytes::Bytes;

use super::{TypedContent, read};
use crate::content::{Reply, Text};

/// Characters of a preview.
pub const PREVIEW_CHARS_MAX: usize = 100;

/// Characters of a text that are looked at for it.
const LOOKED_AT_CHARS_MAX: usize = 4_000;

/// One line of text that stands for a content, in no language: the beginning of a text, a symbol and what there is beside it for
/// others. Empty for contents that are not typed.
pub fn preview(command: i32, content: Bytes) -> String {
    let beside =
        |symbol: &str, text: &str| if text.is_empty() { symbol.to_owned() } else { format!("{symbol} {text}") };
    let line = match read(command, content) {
        None => String::new(),
        Some(
            TypedContent::Text(Text { text, .. }) | TypedContent::Reply(Reply { text: Some(Text { text, .. }), .. }),
        ) => text,
        Some(TypedContent::Reply(_)) => String::new(),
        Some(TypedContent::Sticker(sticker)) if sticker.emoji.is_empty() => "🙂".to_owned(),
        Some(TypedContent::Sticker(sticker)) => sticker.emoji,
        Some(TypedContent::Gif(_)) => "GIF".to_owned(),
        Some(TypedContent::Image(image)) => beside("📷", &image.caption),
        Some(TypedContent::Voice(voice)) => beside("🎤", &clock(voice.duration_ms)),
        Some(TypedContent::Video(video)) => beside("🎬", &video.caption),
        Some(TypedContent::File(file)) => beside("📎", &file.name),
        Some(TypedContent::Location(place)) if place.title.is_empty() => beside("📍", &place.address),
        Some(TypedContent::Location(place)) => beside("📍", &place.title),
        Some(TypedContent::ContactCard(card)) => beside("👤", &card.nickname),
        Some(TypedContent::MergedForward(forward)) => beside("💬", &forward.title),
        Some(TypedContent::Custom(custom)) => custom.preview,
    };
    one_line(&line)
}

/// A text on one line that is at most [`PREVIEW_CHARS_MAX`] characters long and turns nothing around it: white space is a space, and
/// what is not shown, or changes the direction of what comes after, is left out.
pub fn one_line(text: &str) -> String {
    // Far more than a line needs, so that a long text of spaces costs little.
    let begin = text.chars().take(LOOKED_AT_CHARS_MAX);
    let shown: String = begin.filter(|&character| character.is_whitespace() || is_shown(character)).collect();
    let line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(PREVIEW_CHARS_MAX) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(PREVIEW_CHARS_MAX - 1).collect();
            // What joins two characters joins nothing to the sign that there is more.
            format!("{}…", kept.trim_end_matches([' ', '\u{200d}']))
        }
    }
}

/// Whether a character may stand in the line of somebody else: no control, and none that embeds or overrides a direction.
fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn clock(duration_ms: u32) -> String {
    let seconds = duration_ms.div_ceil(1000);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        connect::MessageCommand as Command,
        content::{Custom, File, Image, Location, Sticker, Voice},
    };

    #[test]
    fn each_kind_has_its_line() {
        let of = |command: Command, content: Vec<u8>| preview(command as i32, content.into());
        let text = |text: &str| Text { text: text.into(), ..Text::default() };
        assert_eq!(of(Command::McText, text("  two\nlines ").encode_to_vec()), "two lines");
        let reply = Reply { text: Some(text("yes")), quote: "really?".into(), ..Reply::default() };
        assert_eq!(of(Command::McReply, reply.encode_to_vec()), "yes");
        assert_eq!(of(Command::McSticker, Sticker { emoji: "🐈".into(), ..Sticker::default() }.encode_to_vec()), "🐈");
        assert_eq!(of(Command::McSticker, Vec::new()), "🙂");
        assert_eq!(of(Command::McImage, Image { caption: "sea".into(), ..Image::default() }.encode_to_vec()), "📷 sea");
        assert_eq!(of(Command::McVoice, Voice { duration_ms: 61_001, ..Voice::default() }.encode_to_vec()), "🎤 1:02");
        assert_eq!(of(Command::McFile, File { name: "a.pdf".into(), ..File::default() }.encode_to_vec()), "📎 a.pdf");
        let place = Location { address: "Kai 1".into(), ..Location::default() };
        assert_eq!(of(Command::McLocation, place.encode_to_vec()), "📍 Kai 1");
        let custom = Custom { preview: "a game".into(), ..Custom::default() };
        assert_eq!(of(Command::McCustom, custom.encode_to_vec()), "a game");
        assert_eq!(of(Command::McVideo, Vec::new()), "🎬");
        assert_eq!(of(Command::McUserMessage, b"opaque".to_vec()), "");
        assert_eq!(of(Command::McText, b"\xff".to_vec()), "");
    }

    #[test]
    fn a_line_is_short_and_turns_nothing_around_it() {
        assert_eq!(one_line("a\u{202e}b\u{2066}c\u{0}d\u{2028}e\tf"), "abcd e f");
        let exact = "é".repeat(PREVIEW_CHARS_MAX);
        assert_eq!(one_line(&exact), exact);
        let line = one_line(&"é".repeat(PREVIEW_CHARS_MAX + 1));
        assert_eq!((line.chars().count(), line.chars().last()), (PREVIEW_CHARS_MAX, Some('…')));
        assert_eq!(one_line(&" ".repeat(1_000_000)), "");
        assert_eq!(one_line("👩\u{200d}🚀"), "👩\u{200d}🚀", "what joins the parts of one picture stays");
    }
}
