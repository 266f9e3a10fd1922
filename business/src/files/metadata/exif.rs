//! What EXIF says of how a picture lies. Pure.

use std::io::{self, Read};

use super::copy_exactly;

/// Stands before the TIFF of EXIF in a JPEG.
pub const EXIF: &[u8] = b"Exif\0\0";

/// As a picture lies that was not turned.
pub const UPRIGHT: u8 = 1;

/// So far EXIF is looked at: a JPEG has no more of it.
const EXIF_BYTES_MAX: u64 = 64 * 1_024;

const ORIENTATION: u16 = 0x0112;
/// Of a TIFF with one entry.
const TIFF_BYTES: usize = 26;

/// How the picture is to be turned, by so many bytes of EXIF, all of which are read.
pub fn read_orientation(from: &mut impl Read, length: u64) -> io::Result<Option<u8>> {
    let mut beginning = vec![0; length.min(EXIF_BYTES_MAX) as usize];
    from.read_exact(&mut beginning)?;
    copy_exactly(from, &mut io::sink(), length.saturating_sub(EXIF_BYTES_MAX))?;
    Ok(orientation(beginning.strip_prefix(EXIF).unwrap_or(&beginning)))
}

/// How the picture is to be turned, by the TIFF in its EXIF.
pub fn orientation(tiff: &[u8]) -> Option<u8> {
    let is_little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = u32_at(4)? as usize;
    let entries = usize::from(u16_at(directory)?);
    let mut at = (0..entries).map(|entry| directory + 2 + entry * 12);
    let entry = at.find(|at| u16_at(*at) == Some(ORIENTATION))?;
    let orientation = u16_at(entry + 8).filter(|orientation| (1..=8).contains(orientation))?;
    u8::try_from(orientation).ok()
}

/// A TIFF that says nothing but the orientation.
pub fn tiff_of(orientation: u8) -> [u8; TIFF_BYTES] {
    // The header, its directory at byte 8; one entry of one SHORT; no further directory.
    let mut tiff = *b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0";
    tiff[19] = orientation;
    tiff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for turned in 1..=8 {
            assert_eq!(orientation(&tiff_of(turned)), Some(turned));
        }
        for none in [0, 9] {
            assert_eq!(orientation(&tiff_of(none)), None);
        }
        let long = [EXIF, &tiff_of(6), &[0; EXIF_BYTES_MAX as usize]].concat();
        let bytes = [&long[..], b"behind it"].concat();
        let mut from = &bytes[..];
        assert_eq!(read_orientation(&mut from, long.len() as u64).unwrap(), Some(6));
        assert_eq!(from, b"behind it");
        read_orientation(&mut &b"cut"[..], 4).unwrap_err();
        for wrong in [&b""[..], b"II", b"MM\0\x2a\xff\xff\xff\xff", b"II\x2a\0\x08\0\0\0\xff\xff"] {
            assert_eq!(orientation(wrong), None);
        }
    }
}
