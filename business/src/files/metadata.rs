//! Takes out of pictures what they tell of their makers: where and when, with which camera, thumbnails of what was cut off. Pixels stay as
//! they are, byte for byte; of colour profiles the colours stay, and of EXIF the orientation, which is how cameras say it.
//!
//! Pure: bytes come from a reader and go to a writer, a segment at a time. What follows the end of a picture is left out.

mod exif;
mod gif;
mod icc;
mod jpeg;
mod png;
mod webp;

use std::io::{self, BufRead, ErrorKind, Read, Seek, Write};

#[cfg(test)]
pub use self::icc::tests::display_p3;
pub use self::{
    exif::UPRIGHT,
    icc::{PROFILE_BYTES_MAX, colours_of},
    jpeg::{JpegForm, form as jpeg_form},
    png::check_unpacked,
};

/// Copies a picture of this media type without what it tells; one of another type as it is. Returns how it is to be turned, by EXIF's
/// numbers.
///
/// # Errors
/// It is cut, or none.
pub fn strip(kind: &str, from: &mut (impl BufRead + Seek), to: &mut impl Write) -> io::Result<u8> {
    match kind {
        "image/jpeg" => jpeg::strip(from, to),
        "image/gif" => gif::strip(from, to).map(|()| UPRIGHT),
        "image/png" => png::strip(from, to),
        "image/webp" => webp::strip(from, to),
        _ => io::copy(from, to).map(|_| UPRIGHT),
    }
}

fn copy_exactly(from: &mut impl Read, to: &mut impl Write, count: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(count), to)?;
    if copied == count { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let [byte] = array(from)?;
    Ok(byte)
}

fn no_picture() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is no picture of its kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture without what it tells.
    pub fn stripped(kind: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        turned(kind, bytes).map(|(stripped, _)| stripped)
    }

    /// The same, and how it is to be turned.
    pub fn turned(kind: &str, bytes: &[u8]) -> io::Result<(Vec<u8>, u8)> {
        let mut to = Vec::new();
        let orientation = strip(kind, &mut io::Cursor::new(bytes), &mut to)?;
        Ok((to, orientation))
    }

    #[test]
    fn what_is_cut_or_no_picture_is_refused() {
        for kind in ["image/jpeg", "image/png", "image/gif", "image/webp"] {
            stripped(kind, b"").unwrap_err();
            stripped(kind, b"<html>no picture at all").unwrap_err();
        }
        stripped("image/jpeg", &[0xff, 0xd8, 0xff, 0xe0, 0, 1]).unwrap_err();
        stripped("image/jpeg", &[0xff, 0xd8, 0xff, 0xda, 0, 9, 1, 2, 3]).unwrap_err();
        stripped("image/png", b"\x89PNG\r\n\x1a\n").unwrap_err();
        stripped("image/webp", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff").unwrap_err();
    }
}
