//! What a server tells of a file. Pure.

use serde_json::Value;

use crate::error::GimError;

/// As the protocol says of what cannot be read.
pub(super) const BAD_REQUEST: i32 = 10001;

/// Whether a file can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It can.
    Good,
    /// After somebody has looked at it.
    Unchecked,
    /// Somebody looked at it, and nobody may have it.
    Refused,
}

/// A file that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// 32 digits; what is uploaded under it never changes.
    pub file_id: String,
    /// As whoever uploaded it called it.
    pub name: String,
    /// The media type that its bytes say.
    pub kind: String,
    /// Of what a download gives.
    pub size_bytes: u64,
    /// Of what a download gives, in hexadecimal digits.
    pub sha256: String,
    /// Whether it can be read.
    pub state: FileState,
    /// Of a picture, as it is shown; else 0.
    pub width: u32,
    /// The same.
    pub height: u32,
    /// By it anybody can read the file; [`Files::about`](super::Files::about) gives a new one.
    pub url: String,
    /// Of a small picture, if there is one.
    pub thumbnail_url: Option<String>,
    /// When both end.
    pub expires_at_ms: i64,
}

impl FileInfo {
    pub(super) fn of_json(bytes: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let side = |key: &str| json[key].as_u64().and_then(|side| side.try_into().ok()).unwrap_or(0);
        Some(Self {
            file_id: text("file_id")?,
            name: text("name")?,
            kind: text("kind")?,
            size_bytes: json["size_bytes"].as_u64()?,
            sha256: text("sha256")?,
            state: match json["state"].as_str()? {
                "good" => FileState::Good,
                "refused" => FileState::Refused,
                _ => FileState::Unchecked,
            },
            width: side("width"),
            height: side("height"),
            url: text("url")?,
            thumbnail_url: text("thumbnail_url"),
            expires_at_ms: json["expires_at_ms"].as_i64()?,
        })
    }
}

/// The id in a URL of a file or of an upload; an id as it is.
pub(super) fn file_id_of(id_or_url: &str) -> Result<&str, GimError> {
    let path = id_or_url.split(['?', '#']).next().unwrap_or_default();
    let is_id = |part: &&str| part.len() == 32 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let found = path.split('/').rev().find(is_id);
    found.ok_or_else(|| GimError::new(BAD_REQUEST, "this is no id or URL of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_urls_of_files_and_uploads() {
        const ID: &str = "0123456789abcdef0123456789abcdef";
        for text in [
            ID,
            "http://h/files/0123456789abcdef0123456789abcdef?expires=1&signature=a/b",
            "https://h/gim/uploads/0123456789abcdef0123456789abcdef",
            "https://h/files/0123456789abcdef0123456789abcdef/thumbnail?expires=1",
        ] {
            assert_eq!(file_id_of(text), Ok(ID), "{text}");
        }
        for text in
            ["", "http://h/files/", "0123456789ABCDEF0123456789ABCDEF", "http://h/?id=0123456789abcdef0123456789abcdef"]
        {
            assert!(file_id_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_server_tells_is_read_and_its_absence_noticed() {
        let json = br#"{"file_id":"a","name":"b","kind":"image/png","size_bytes":9,"sha256":"c","state":"good","width":4,"height":3,
            "url":"d","thumbnail_url":"e","expires_at_ms":7,"more":1}"#;
        let info = FileInfo::of_json(json).unwrap();
        assert_eq!((info.state, info.width, info.thumbnail_url.as_deref()), (FileState::Good, 4, Some("e")));
        for wrong in [&b""[..], b"{}", b"[]", br#"{"file_id":7}"#] {
            assert_eq!(FileInfo::of_json(wrong), None);
        }
    }
}
