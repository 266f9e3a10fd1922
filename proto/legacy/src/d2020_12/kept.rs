//! What contents of then say and today's have no place for. It travels inside of a content of today under a number that those leave free,
//! so that it comes back to whoever speaks the dialect; all others pass over it. Pure.
//!
//! Always holds: what is read of it can be read by the apps of then, whoever wrote it, and names no address that is none of the web.

use crate::fields::{Malformed, is_packed, put_bytes, put_content, put_number, visit};

/// The number of its field, far above those of today's contents.
const TAG: u32 = 1_000;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    /// What has an address had an id, too.
    pub(super) id: &'a str,
    /// The address of the small picture.
    pub(super) thumbnail_url: &'a str,
    /// What today's content has as the id of a file was an address without a host.
    pub(super) has_path: bool,
    /// Who is meant, where it is not by mentions: numbers one after the other.
    pub(super) to_user_ids: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Appends it to a content of today, unless there is nothing.
    pub(super) fn put(&self, content: &mut Vec<u8>) {
        put_content(content, TAG, |out| {
            put_bytes(out, 1, self.id);
            put_bytes(out, 2, self.thumbnail_url);
            put_number(out, 3, self.has_path.into());
            put_bytes(out, 4, self.to_user_ids);
        });
    }

    /// What stands in a content of today; nothing where that cannot be read.
    pub(super) fn read(content: &'a [u8]) -> Self {
        let mut kept = Self::default();
        let read = visit(content, |field| {
            if field.tag == TAG {
                kept = Self::of(field.bytes()?)?;
            }
            Ok(())
        });
        if read.is_ok() { kept } else { Self::default() }
    }

    fn of(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut kept = Self::default();
        visit(bytes, |field| {
            match field.tag {
                1 => kept.id = field.text()?,
                2 => kept.thumbnail_url = Some(field.text()?).filter(|url| is_address(url)).unwrap_or_default(),
                3 => kept.has_path = field.number()? != 0,
                4 => kept.to_user_ids = Some(field.bytes()?).filter(|ids| is_packed(ids)).unwrap_or_default(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(kept)
    }
}

/// Whether an address has no host, and so is one of the app's own server.
pub(super) fn is_path(url: &str) -> bool {
    !url.is_empty() && !url.contains(':')
}

/// Whether an app may show what is there.
pub(super) fn is_address(url: &str) -> bool {
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    is_path(url) || begins("https://") || begins("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_behind_a_content_and_harms_no_app() {
        let kept = Kept { id: "i", thumbnail_url: "/t", has_path: true, to_user_ids: &[3, 4] };
        let mut content = vec![0x0a, 1, b'x'];
        kept.put(&mut content);
        assert_eq!(Kept::read(&content), kept);
        let bad = Kept { thumbnail_url: "javascript:1", to_user_ids: &[0xff], ..kept };
        let mut content = Vec::new();
        bad.put(&mut content);
        assert_eq!(Kept::read(&content), Kept { thumbnail_url: "", to_user_ids: &[], ..kept });
        assert_eq!(Kept::read(b"\xff"), Kept::default());
        let mut nothing = Vec::new();
        Kept::default().put(&mut nothing);
        assert!(nothing.is_empty());
    }
}
