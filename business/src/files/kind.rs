//! What a file is, by its first bytes; its name tells nothing. Pure.

/// Bytes that are looked at.
pub const HEAD_BYTES: usize = 8_192;

/// Of what nothing is known.
pub const UNKNOWN: &str = "application/octet-stream";
const TEXT: &str = "text/plain";
const HTML: &str = "text/html";
const SVG: &str = "image/svg+xml";
const XML: &str = "text/xml";

/// Pictures that are shown: they are decoded first.
pub const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Sound and film that browsers play.
const PLAYED: [&str; 12] = [
    "audio/mpeg",
    "audio/mp4",
    "audio/m4a",
    "audio/ogg",
    "audio/opus",
    "audio/x-wav",
    "audio/x-flac",
    "audio/aac",
    "video/mp4",
    "video/webm",
    "video/quicktime",
    "video/x-matroska",
];

/// The media type of a file that begins so.
pub fn kind_of(head: &[u8]) -> &'static str {
    // What looks like markup is markup, wherever that begins: a browser that guesses would take it so.
    if let Some(markup) = markup_of(head) {
        return markup;
    }
    match infer::get(head) {
        Some(found) => found.mime_type(),
        None if is_text(head) => TEXT,
        None => UNKNOWN,
    }
}

/// Whether a browser may show it in a page of ours: a picture that was decoded, sound and film. All else is only saved.
pub fn is_inline(kind: &str, is_decoded: bool) -> bool {
    is_decoded && PICTURES.contains(&kind) || PLAYED.contains(&kind)
}

/// What a download says that it is: nothing that could run, also where somebody leaves the other headers out of account.
pub fn content_type(kind: &str) -> &str {
    match kind {
        HTML | SVG | XML => UNKNOWN,
        TEXT => "text/plain; charset=utf-8",
        _ => kind,
    }
}

fn markup_of(head: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)).to_ascii_lowercase();
    let begins = text.trim_start();
    if !begins.starts_with('<') {
        return None;
    }
    let is_html = ["<!doctype html", "<html", "<head", "<body", "<script", "<iframe", "<style"]
        .iter()
        .any(|tag| begins.contains(tag));
    match () {
        () if begins.contains("<svg") => Some(SVG),
        () if is_html => Some(HTML),
        () if begins.starts_with("<?xml") => Some(XML),
        () => None,
    }
}

/// UTF-8 without what no text has; the last letter may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|letter| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_say_what_a_file_is() {
        assert_eq!(kind_of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "image/png");
        assert_eq!(kind_of(b"\xff\xd8\xff\xe0\0\x10JFIF"), "image/jpeg");
        assert_eq!(kind_of(b"GIF89a"), "image/gif");
        assert_eq!(kind_of(b"RIFF\x10\0\0\0WEBPVP8 "), "image/webp");
        assert_eq!(kind_of(b"%PDF-1.7"), "application/pdf");
        assert_eq!(kind_of(b"PK\x03\x04rest of it"), "application/zip");
        assert_eq!(kind_of(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"), "video/mp4");
        assert_eq!(kind_of(b"OggS\0\x02"), "audio/ogg");
        assert_eq!(kind_of("Grüße\r\n".as_bytes()), TEXT);
        assert_eq!(kind_of(&"Grüße".as_bytes()[..4]), TEXT, "the head may end within a letter");
        assert_eq!(kind_of(b""), UNKNOWN);
        assert_eq!(kind_of(b"\x00\x01\x02"), UNKNOWN);
    }

    #[test]
    fn markup_is_found_and_never_shown() {
        let markup: [(&[u8], &str); 6] = [
            (b"<svg onload=alert(1)>", SVG),
            (b"\xef\xbb\xbf <?xml version='1.0'?><!-- --><SVG xmlns='http://www.w3.org/2000/svg'>", SVG),
            (b"\n\n<!DOCTYPE html><p>", HTML),
            (b"<!-- a comment --><script>alert(1)</script>", HTML),
            (b"<?xml version='1.0'?><a/>", XML),
            (b"<html", HTML),
        ];
        for (head, kind) in markup {
            assert_eq!(kind_of(head), kind);
            assert!(!is_inline(kind, true));
            assert_eq!(content_type(kind), UNKNOWN);
        }
        for kind in [TEXT, UNKNOWN, "application/pdf", "application/zip"] {
            assert!(!is_inline(kind, true), "{kind}");
        }
        assert!(PICTURES.into_iter().all(|kind| is_inline(kind, true) && !is_inline(kind, false)));
    }
}
