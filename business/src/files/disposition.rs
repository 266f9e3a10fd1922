//! The header `Content-Disposition` (RFC 6266): how a browser shows a file, and under which name it saves it. Pure.

use std::fmt::Write as _;

use axum::http::HeaderValue;

/// Bytes of the name that a header carries: no file system takes more than 255, and a letter takes three for each.
const NAME_BYTES_MAX: usize = 255;

/// The header for a file of this name, whatever stands in it.
pub fn content_disposition(is_inline: bool, name: &str) -> HeaderValue {
    let kind = if is_inline { "inline" } else { "attachment" };
    let name = shortened(name);
    let plain: String = name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
    let mut text = format!("{kind}; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => text.push(char::from(byte)),
                _ => write!(text, "%{byte:02X}").expect("a String takes all that is written to it"),
            }
        }
    }
    HeaderValue::try_from(text).expect("all of it is visible ASCII")
}

/// What every browser reads alike between quotes. (A percent sign is one that some decode.)
fn is_plain(letter: char) -> bool {
    matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\' | '%')
}

/// A name that can be saved: its beginning, and its ending as in `.jpg`.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 16 => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    let mut end = NAME_BYTES_MAX - ending.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> String {
        content_disposition(false, name).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_plain_name_stands_as_it_is_and_any_other_is_encoded_beside_it() {
        assert_eq!(header("sea & sun.jpg"), r#"attachment; filename="sea & sun.jpg""#);
        assert_eq!(content_disposition(true, "a.png"), r#"inline; filename="a.png""#);
        assert_eq!(header("a\"b\\c.txt"), r#"attachment; filename="a_b_c.txt"; filename*=UTF-8''a%22b%5Cc.txt"#);
        assert_eq!(header("50%.txt"), r#"attachment; filename="50_.txt"; filename*=UTF-8''50%25.txt"#);
        assert_eq!(header("é.txt"), r#"attachment; filename="_.txt"; filename*=UTF-8''%C3%A9.txt"#);
        assert_eq!(
            header("a\r\nset-cookie: b"),
            r#"attachment; filename="a__set-cookie: b"; filename*=UTF-8''a%0D%0Aset-cookie%3A%20b"#
        );
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let text = header(&format!("{}.jpeg", "x".repeat(4_000)));
        assert_eq!(text, format!("attachment; filename=\"{}.jpeg\"", "x".repeat(250)));
        let text = header(&format!("{}.png", "画".repeat(1_000)));
        assert!(text.ends_with("%E7%94%BB.png") && text.len() < 1_100, "{text}");
    }
}
