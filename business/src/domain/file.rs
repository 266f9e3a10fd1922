//! Files that users upload: how they are called, and what stands in their place.

use std::fmt;

use ring::digest::Context;

/// 128 random bits that nobody can guess. Whoever knows it may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId([u8; 16]);

/// SHA-256 of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileHash(pub [u8; 32]);

/// Bytes of a name that are taken: as many as `content.File` has room for.
pub const NAME_BYTES_MAX: usize = 1_024;

/// The name of a file that came without one.
const UNNAMED: &str = "file";

impl FileId {
    /// One that was never given away.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// As it stands in URLs: 32 digits.
    pub fn parse(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self)
    }

    /// As it is stored.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(formatter, &self.0)
    }
}

impl FileHash {
    /// Of all that was hashed.
    pub fn of(hash: Context) -> Self {
        Self(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// As it is stored.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(formatter, &self.0)
    }
}

/// A name as it may be shown and stored anywhere: what stands after the last slash, without what cannot be seen. `None` where it is too
/// long.
pub fn clean_name(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_shown = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = last.chars().filter(is_shown).collect();
    let shown = shown.trim();
    Some(if shown.trim_matches('.').is_empty() { UNNAMED.into() } else { shown.to_owned() })
}

/// The one way in which bytes are written: two small digits each.
fn bytes_of_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn write_hex(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way_only() {
        let id = FileId::random();
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        assert_ne!(FileId::random(), id);
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(FileId::parse(good).unwrap().to_string(), good);
        for bad in [
            "",
            "0123",
            &good.to_uppercase(),
            &format!("{good}0"),
            "../../../../../../etc/passwd/////",
            "+123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(FileId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_loses_its_folders_and_what_cannot_be_seen() {
        let cleaned = |name: &str| clean_name(name).unwrap();
        assert_eq!(cleaned("../../etc/passwd"), "passwd");
        assert_eq!(cleaned(r"C:\holiday\sea.jpg"), "sea.jpg");
        assert_eq!(cleaned("a\0b\r\nc.txt"), "abc.txt");
        assert_eq!(cleaned("invoice\u{202e}gpj.exe"), "invoicegpj.exe", "what turns the reading direction");
        assert_eq!(cleaned("a\u{2028}b\u{200f}c\u{61c}.txt"), "abc.txt", "lines, and marks of direction");
        assert_eq!(cleaned("\"quoted\" & <b>.txt"), "\"quoted\" & <b>.txt");
        assert_eq!(cleaned("度假 🏖.jpg"), "度假 🏖.jpg");
        for nothing in ["", "/", "..", " ", "a/", "\0", "\u{200b}\u{feff}\u{2060}"] {
            assert_eq!(cleaned(nothing), UNNAMED, "{nothing:?}");
        }
        assert_eq!(cleaned(&"é".repeat(512)).len(), 1_024);
        assert_eq!(clean_name(&"x".repeat(1_025)), None);
    }
}
