//! WebP: a picture in chunks, whose lengths stand at its beginning. Pure.

use std::{
    io::{self, BufRead, Seek, SeekFrom, Write},
    mem,
};

use super::{
    array, byte, copy_exactly,
    exif::{UPRIGHT, read_orientation, tiff_of},
    icc::{PROFILE_BYTES_MAX, colours_of},
    no_picture,
};

/// What stays: pixels, and moving pictures; the colours of the profile as well. Neither EXIF and XMP, nor what programs have for themselves.
const KEPT: [&[u8; 4]; 6] = [EXTENDED, b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"];
const PROFILE: &[u8; 4] = b"ICCP";
/// The chunk that says what else there is, in its first byte.
const EXTENDED: &[u8; 4] = b"VP8X";
const HAS_EXIF: u8 = 0x08;
const HAS_XMP: u8 = 0x04;
const HAS_PROFILE: u8 = 0x20;
const HEAD_BYTES: u64 = 8;

/// What the first look at a picture finds.
struct Found {
    kept_bytes: u64,
    /// By the first EXIF that says it.
    orientation: Option<u8>,
    /// Nobody looks at EXIF unless the picture says that it has some.
    has_exif: bool,
    /// The chunk of the colours of the first profile, where that one has any.
    profile: Option<Vec<u8>>,
}

/// Copies a WebP without what it tells; how it is to be turned. Its length stands at its beginning, so its chunks are counted before any is
/// written.
pub fn strip(from: &mut (impl BufRead + Seek), to: &mut impl Write) -> io::Result<u8> {
    let (riff, length, webp): ([u8; 4], [u8; 4], [u8; 4]) = (array(from)?, array(from)?, array(from)?);
    if riff != *b"RIFF" || webp != *b"WEBP" {
        return Err(no_picture());
    }
    let length = u64::from(u32::from_le_bytes(length)).checked_sub(4).ok_or_else(no_picture)?;
    let first_chunk = from.stream_position()?;
    let found = look(from, length)?;
    let orientation = found.orientation.filter(|_| found.has_exif).unwrap_or(UPRIGHT);
    let exif = if orientation == UPRIGHT { Vec::new() } else { chunk(b"EXIF", &tiff_of(orientation)) };
    let profile = found.profile.unwrap_or_default();
    from.seek(SeekFrom::Start(first_chunk))?;
    to.write_all(b"RIFF")?;
    let kept_bytes = 4 + found.kept_bytes + (profile.len() + exif.len()) as u64;
    to.write_all(&u32::try_from(kept_bytes).map_err(|_| no_picture())?.to_le_bytes())?;
    to.write_all(b"WEBP")?;
    let mut profile_left = &profile[..];
    each_chunk(from, length, |from, kind, size| {
        if kind == PROFILE {
            // In the place of the first one.
            to.write_all(mem::take(&mut profile_left))?;
        }
        if !KEPT.contains(&kind) {
            return from.seek_relative(padded(size) as i64);
        }
        to.write_all(kind)?;
        to.write_all(&size.to_le_bytes())?;
        let mut left = padded(size);
        if kind == EXTENDED && left > 0 {
            let others = byte(from)? & !(HAS_EXIF | HAS_XMP | HAS_PROFILE);
            let has_exif = if exif.is_empty() { 0 } else { HAS_EXIF };
            let has_profile = if profile.is_empty() { 0 } else { HAS_PROFILE };
            to.write_all(&[others | has_exif | has_profile])?;
            left -= 1;
        }
        copy_exactly(from, to, left)
    })?;
    to.write_all(&exif)?;
    Ok(orientation)
}

fn look(from: &mut (impl BufRead + Seek), length: u64) -> io::Result<Found> {
    let mut found = Found { kept_bytes: 0, orientation: None, has_exif: false, profile: None };
    let mut has_profile = false;
    each_chunk(from, length, |from, kind, size| {
        let mut left = padded(size);
        if KEPT.contains(&kind) {
            found.kept_bytes += HEAD_BYTES + left;
        }
        if kind == EXTENDED && left > 0 {
            found.has_exif |= byte(from)? & HAS_EXIF != 0;
            left -= 1;
        } else if kind == b"EXIF" && found.orientation.is_none() {
            found.orientation = read_orientation(from, u64::from(size))?;
            left -= u64::from(size);
        } else if kind == PROFILE && !has_profile && size as usize <= PROFILE_BYTES_MAX {
            has_profile = true;
            let mut profile = vec![0; size as usize];
            from.read_exact(&mut profile)?;
            found.profile = colours_of(&profile).map(|colours| chunk(PROFILE, &colours));
            left -= u64::from(size);
        }
        from.seek_relative(left as i64)
    })?;
    Ok(found)
}

/// Hands out the kind of each chunk, and how many bytes it has, which are to be read with what they are padded with.
fn each_chunk<R: BufRead + Seek>(
    from: &mut R,
    length: u64,
    mut visit: impl FnMut(&mut R, &[u8; 4], u32) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = length;
    while left >= HEAD_BYTES {
        let (kind, size): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        let size = u32::from_le_bytes(size);
        left = left.checked_sub(HEAD_BYTES + padded(size)).ok_or_else(no_picture)?;
        visit(from, &kind, size)?;
    }
    Ok(())
}

fn padded(size: u32) -> u64 {
    u64::from(size).next_multiple_of(2)
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let padding = &[0][..data.len() % 2];
    [kind, &(data.len() as u32).to_le_bytes()[..], data, padding].concat()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            icc::tests::display_p3,
            tests::{stripped, turned},
        },
        *,
    };

    fn picture(flags: u8, told: &[u8]) -> Vec<u8> {
        let chunks = [b"WEBP", &chunk(EXTENDED, &[flags, 0, 0, 0])[..], &chunk(b"VP8 ", b"pixel"), told].concat();
        [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
    }

    #[test]
    fn a_webp_loses_its_texts_and_what_only_programs_know() {
        let told = [chunk(b"EXIF", b"GPS"), chunk(b"XMP ", b"place"), chunk(b"C2PA", b"who")].concat();
        let bytes = [&picture(0x1c, &told)[..], b"PK\x03\x04"].concat();
        assert_eq!(stripped("image/webp", &bytes).unwrap(), picture(0x10, &[]));
    }

    #[test]
    fn a_webp_keeps_how_it_is_turned() {
        for prefix in [&b""[..], b"Exif\0\0"] {
            let told = |orientation| chunk(b"EXIF", &[prefix, &tiff_of(orientation), b"GPS 48.8584 N"].concat());
            let first_counts = [told(6), told(3)].concat();
            let (clean, orientation) = turned("image/webp", &picture(0x1c, &first_counts)).unwrap();
            assert_eq!((&clean, orientation), (&picture(0x18, &chunk(b"EXIF", &tiff_of(6))), 6));
            assert_eq!(turned("image/webp", &clean).unwrap(), (clean, 6), "there is nothing left");
            assert_eq!(turned("image/webp", &picture(0x18, &told(UPRIGHT))).unwrap(), (picture(0x10, &[]), UPRIGHT));
            let unsaid = turned("image/webp", &picture(0x10, &told(6))).unwrap();
            assert_eq!(unsaid, (picture(0x10, &[]), UPRIGHT), "nobody would look for it");
        }
    }

    #[test]
    fn a_webp_keeps_the_colours_of_its_profile() {
        let told = [chunk(PROFILE, &display_p3()), chunk(PROFILE, b"GPS")].concat();
        let clean = stripped("image/webp", &picture(0x30, &told)).unwrap();
        let colours = colours_of(&display_p3()).unwrap();
        assert_eq!(clean, picture(0x30, &chunk(PROFILE, &colours)));
        assert_eq!(stripped("image/webp", &clean).unwrap(), clean, "there is nothing left");
        for dropped in [&b"GPS"[..], &vec![0; PROFILE_BYTES_MAX + 1]] {
            assert_eq!(stripped("image/webp", &picture(0x30, &chunk(PROFILE, dropped))).unwrap(), picture(0x10, &[]));
        }
    }
}
