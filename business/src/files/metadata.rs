//! Takes out of pictures what they tell of their makers: where and when, with which camera, thumbnails of what was cut off. Pixels and colour
//! profiles stay as they are, byte for byte; of the EXIF of JPEG only the orientation stays, which is how cameras say it.
//!
//! Pure: bytes come from a reader and go to a writer, a segment at a time. What follows the end of a picture is left out.

use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom, Write};

const PNG_SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// Texts, times and EXIF.
const PNG_LEFT_OUT: [&[u8; 4]; 5] = [b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"];
const WEBP_LEFT_OUT: [&[u8; 4]; 2] = [b"EXIF", b"XMP "];
/// What a WebP says that it has: EXIF, XMP.
const WEBP_FLAGS: u8 = 0x08 | 0x04;

/// What programs say in a GIF that is kept: how often it is played.
const GIF_LOOPS: [&[u8; 11]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];
const GIF_EXTENSION: u8 = 0x21;
const GIF_IMAGE: u8 = 0x2c;
const GIF_TRAILER: u8 = 0x3b;
/// How the next picture of a GIF is shown.
const GIF_CONTROL: u8 = 0xf9;
const GIF_PROGRAM: u8 = 0xff;

const ICC_PROFILE: &[u8] = b"ICC_PROFILE\0";
const JFIF: &[u8] = b"JFIF\0";
/// Of the segment of JFIF, without the thumbnail.
const JFIF_BYTES: usize = 12;
const EXIF: &[u8] = b"Exif\0\0";
const ORIENTATION: u16 = 0x0112;
/// As a picture lies that was not turned.
const UPRIGHT: u16 = 1;

/// Segments of JPEG: the beginning and the end of a picture, pixels, and those of programs.
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const PROGRESSIVE: u8 = 0xc2;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP15: u8 = 0xef;
const ADOBE: u8 = 0xee;
const COMMENT: u8 = 0xfe;

/// Copies a picture of this media type without what it tells; one of another type as it is.
///
/// # Errors
/// It is cut, or none.
pub fn strip(kind: &str, from: &mut (impl BufRead + Seek), to: &mut impl Write) -> io::Result<()> {
    match kind {
        "image/jpeg" => strip_jpeg(from, to),
        "image/gif" => strip_gif(from, to),
        "image/png" => strip_png(from, to),
        "image/webp" => strip_webp(from, to),
        _ => io::copy(from, to).map(drop),
    }
}

fn strip_jpeg(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    if array(from)? != [0xff, SOI] {
        return Err(no_picture());
    }
    to.write_all(&[0xff, SOI])?;
    let mut marker = next_marker(from)?;
    loop {
        marker = match marker {
            EOI => return to.write_all(&[0xff, EOI]),
            0x01 | 0xd0..=0xd7 => {
                to.write_all(&[0xff, marker])?;
                next_marker(from)?
            }
            SOS => {
                copy_segment(marker, from, to)?;
                copy_scan(from, to)?
            }
            _ => {
                copy_segment(marker, from, to)?;
                next_marker(from)?
            }
        };
    }
}

/// The kind of the next segment; fill bytes may stand before it.
fn next_marker(from: &mut impl Read) -> io::Result<u8> {
    if byte(from)? != 0xff {
        return Err(no_picture());
    }
    marker_after_fill(from)
}

fn marker_after_fill(from: &mut impl Read) -> io::Result<u8> {
    loop {
        match byte(from)? {
            0xff => {}
            marker => return Ok(marker),
        }
    }
}

fn copy_segment(marker: u8, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let length = u16::from_be_bytes(array(from)?).checked_sub(2).ok_or_else(no_picture)?;
    let mut segment = vec![0; usize::from(length)];
    from.read_exact(&mut segment)?;
    let Some(kept) = kept_of_segment(marker, segment) else { return Ok(()) };
    let length = u16::try_from(kept.len() + 2).map_err(|_| no_picture())?;
    to.write_all(&[0xff, marker])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&kept)
}

/// Nothing of comments, nor of what programs put beside the picture, but for colours and the orientation.
fn kept_of_segment(marker: u8, segment: Vec<u8>) -> Option<Vec<u8>> {
    match marker {
        APP0 => {
            let jfif = segment.get(..JFIF_BYTES).filter(|jfif| jfif.starts_with(JFIF))?;
            Some([jfif, &[0, 0]].concat())
        }
        APP1 => {
            let orientation = orientation(segment.strip_prefix(EXIF)?)?;
            (orientation != UPRIGHT).then(|| exif_of(orientation))
        }
        APP2 if segment.starts_with(ICC_PROFILE) => Some(segment),
        ADOBE => Some(segment),
        APP2..=APP15 | COMMENT => None,
        _ => Some(segment),
    }
}

/// Copies the pixels of a scan; returns the marker behind them.
fn copy_scan(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    loop {
        let chunk = from.fill_buf()?;
        if chunk.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let plain = chunk.iter().position(|byte| *byte == 0xff).unwrap_or(chunk.len());
        to.write_all(&chunk[..plain])?;
        let is_at_marker = plain < chunk.len();
        from.consume(plain + usize::from(is_at_marker));
        if is_at_marker {
            match marker_after_fill(from)? {
                within @ (0x00 | 0xd0..=0xd7) => to.write_all(&[0xff, within])?,
                marker => return Ok(marker),
            }
        }
    }
}

/// Bytes that a decoder keeps beside each pixel of a JPEG until all of it has come: coefficients of two bytes of a progressive one; 0 of any
/// other.
pub fn coefficient_bytes(from: &mut impl BufRead) -> io::Result<u64> {
    let _begin: [u8; 2] = array(from)?;
    loop {
        let marker = next_marker(from)?;
        let length = u16::from_be_bytes(array(from)?).checked_sub(2).ok_or_else(no_picture)?;
        match marker {
            PROGRESSIVE => {
                let mut frame = vec![0; usize::from(length)];
                from.read_exact(&mut frame)?;
                return coefficients_of_frame(&frame).ok_or_else(no_picture);
            }
            SOS => return Ok(0),
            _ => copy_exactly(from, &mut io::sink(), u64::from(length))?,
        }
    }
}

/// Each component has as many samples as its factors say, of the largest ones.
fn coefficients_of_frame(frame: &[u8]) -> Option<u64> {
    let factors = frame.get(6..)?.chunks_exact(3).map(|component| (component[1] >> 4, component[1] & 0x0f));
    let (mut samples, mut across, mut down) = (0, 0, 0);
    for (horizontal, vertical) in factors {
        samples += u64::from(horizontal) * u64::from(vertical);
        (across, down) = (across.max(u64::from(horizontal)), down.max(u64::from(vertical)));
    }
    (across * down > 0).then(|| (2 * samples).div_ceil(across * down))
}

/// How the picture is to be turned, by the TIFF in its EXIF.
fn orientation(tiff: &[u8]) -> Option<u16> {
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
    u16_at(entry + 8).filter(|orientation| (1..=8).contains(orientation))
}

/// An EXIF that says nothing but the orientation.
fn exif_of(orientation: u16) -> Vec<u8> {
    let [tag_high, tag_low] = ORIENTATION.to_be_bytes();
    let [high, low] = orientation.to_be_bytes();
    let mut exif = EXIF.to_vec();
    // The header, its directory at byte 8; one entry of one SHORT; no further directory.
    exif.extend_from_slice(b"MM\0\x2a\0\0\0\x08\0\x01");
    exif.extend_from_slice(&[tag_high, tag_low, 0, 3, 0, 0, 0, 1, high, low, 0, 0]);
    exif.extend_from_slice(&[0; 4]);
    exif
}

fn strip_gif(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let head: [u8; 13] = array(from)?;
    if !head.starts_with(b"GIF8") {
        return Err(no_picture());
    }
    to.write_all(&head)?;
    copy_colours(head[10], from, to)?;
    loop {
        // Many end without saying so.
        if from.fill_buf()?.is_empty() {
            return to.write_all(&[GIF_TRAILER]);
        }
        match byte(from)? {
            GIF_TRAILER => return to.write_all(&[GIF_TRAILER]),
            GIF_EXTENSION => copy_extension(from, to)?,
            GIF_IMAGE => {
                let place: [u8; 9] = array(from)?;
                to.write_all(&[GIF_IMAGE])?;
                to.write_all(&place)?;
                copy_colours(place[8], from, to)?;
                to.write_all(&[byte(from)?])?;
                copy_blocks(from, to)?;
            }
            _ => return Err(no_picture()),
        }
    }
}

/// Copies the table of colours, if the flags say that there is one.
fn copy_colours(flags: u8, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let has_colours = flags & 0x80 != 0;
    if has_colours { copy_exactly(from, to, 3 << ((flags & 0x07) + 1)) } else { Ok(()) }
}

/// Copies how a picture is shown and how often all are, and leaves out comments, texts and what else programs say.
fn copy_extension(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let label = byte(from)?;
    if label == GIF_CONTROL {
        to.write_all(&[GIF_EXTENSION, label])?;
        return copy_blocks(from, to);
    }
    if label != GIF_PROGRAM {
        return copy_blocks(from, &mut io::sink());
    }
    let length = byte(from)?;
    let mut program = vec![0; usize::from(length)];
    from.read_exact(&mut program)?;
    if length == 0 || !GIF_LOOPS.iter().any(|loops| loops[..] == program) {
        return if length == 0 { Ok(()) } else { copy_blocks(from, &mut io::sink()) };
    }
    to.write_all(&[GIF_EXTENSION, label, length])?;
    to.write_all(&program)?;
    copy_blocks(from, to)
}

/// Copies blocks with their lengths, up to an empty one.
fn copy_blocks(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    loop {
        let length = byte(from)?;
        to.write_all(&[length])?;
        if length == 0 {
            return Ok(());
        }
        copy_exactly(from, to, u64::from(length))?;
    }
}

fn strip_png(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    if array(from)? != *PNG_SIGNATURE {
        return Err(no_picture());
    }
    to.write_all(PNG_SIGNATURE)?;
    loop {
        let (length, kind): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        // The data, and a checksum behind it.
        let rest = u64::from(u32::from_be_bytes(length)) + 4;
        if PNG_LEFT_OUT.contains(&&kind) {
            copy_exactly(from, &mut io::sink(), rest)?;
            continue;
        }
        to.write_all(&length)?;
        to.write_all(&kind)?;
        copy_exactly(from, to, rest)?;
        if kind == *b"IEND" {
            return Ok(());
        }
    }
}

/// A WebP says at its beginning how long it is, so its chunks are counted before any is written.
fn strip_webp(from: &mut (impl BufRead + Seek), to: &mut impl Write) -> io::Result<()> {
    let (riff, length, webp): ([u8; 4], [u8; 4], [u8; 4]) = (array(from)?, array(from)?, array(from)?);
    if riff != *b"RIFF" || webp != *b"WEBP" {
        return Err(no_picture());
    }
    let length = u64::from(u32::from_le_bytes(length)).checked_sub(4).ok_or_else(no_picture)?;
    let first_chunk = from.stream_position()?;
    let kept = webp_chunks(from, length, |from, _, rest| from.seek_relative(rest as i64))?;
    from.seek(SeekFrom::Start(first_chunk))?;
    to.write_all(b"RIFF")?;
    to.write_all(&u32::try_from(4 + kept).map_err(|_| no_picture())?.to_le_bytes())?;
    to.write_all(b"WEBP")?;
    webp_chunks(from, length, |from, (kind, length), rest| {
        to.write_all(kind)?;
        to.write_all(length)?;
        let mut copied = 0;
        if kind == b"VP8X" && rest > 0 {
            to.write_all(&[byte(from)? & !WEBP_FLAGS])?;
            copied = 1;
        }
        copy_exactly(from, to, rest - copied)
    })
    .map(drop)
}

/// Hands out each chunk that is kept: its head, and how many bytes follow. Returns the bytes of all these.
fn webp_chunks<R: BufRead + Seek>(
    from: &mut R,
    length: u64,
    mut keep: impl FnMut(&mut R, (&[u8; 4], &[u8; 4]), u64) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut left, mut kept) = (length, 0);
    while left >= 8 {
        let (kind, length): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        let padded = u64::from(u32::from_le_bytes(length)).next_multiple_of(2);
        left = left.checked_sub(8 + padded).ok_or_else(no_picture)?;
        if WEBP_LEFT_OUT.contains(&&kind) {
            from.seek_relative(padded as i64)?;
            continue;
        }
        keep(from, (&kind, &length), padded)?;
        kept += 8 + padded;
    }
    Ok(kept)
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

    fn stripped(kind: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut to = Vec::new();
        strip(kind, &mut io::Cursor::new(bytes), &mut to).map(|()| to)
    }

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], content].concat()
    }

    /// EXIF in the other byte order, with a place behind the orientation.
    fn exif(orientation: u8) -> Vec<u8> {
        let directory =
            [&b"II\x2a\0\x08\0\0\0\x02\0"[..], b"\x12\x01\x03\0\x01\0\0\0", &[orientation, 0, 0, 0]].concat();
        [EXIF, &directory, b"\x25\x88\x04\0\x01\0\0\0\0\0\0\0", b"GPS 48.8584 N"].concat()
    }

    #[test]
    fn a_jpeg_loses_all_that_it_tells_but_its_orientation_and_colours() {
        let profile = segment(APP2, b"ICC_PROFILE\0\x01\x01colours");
        let picture = |beside: &[Vec<u8>], scan: &[u8]| {
            let [first, second] = [segment(SOS, b"1"), segment(SOS, b"2")];
            let begin = [&[0xff, SOI], &beside.concat()[..], &profile, &segment(0xc0, b"frame")].concat();
            [&begin, &first[..], scan, &second, scan, &[0xff, EOI]].concat()
        };
        let told = [
            segment(APP1, &exif(6)),
            segment(APP1, b"http://ns.adobe.com/xap/1.0/\0GPS"),
            segment(COMMENT, b"GPS"),
            segment(0xed, b"GPS"),
        ];
        let scan = [0x12, 0xff, 0x00, 0x34, 0xff, 0xd0, 0x56, 0xff, 0xff, 0x00];
        let bytes = [&picture(&told, &scan)[..], b"film with GPS behind it"].concat();
        let clean = stripped("image/jpeg", &bytes).unwrap();
        let scan = [0x12, 0xff, 0x00, 0x34, 0xff, 0xd0, 0x56, 0xff, 0x00];
        assert_eq!(clean, picture(&[segment(APP1, &exif_of(6))], &scan), "fill bytes go as well");
        assert_eq!(stripped("image/jpeg", &clean).unwrap(), clean, "there is nothing left");
        assert_eq!(orientation(&exif_of(6)[EXIF.len()..]), Some(6));
        let upright = stripped("image/jpeg", &picture(&[segment(APP1, &exif(1))], &scan)).unwrap();
        assert!(!upright.windows(4).any(|window| window == b"Exif"));
    }

    #[test]
    fn a_jpeg_loses_the_small_picture_of_its_first_segment() {
        let picture = |first: &[Vec<u8>]| [&[0xff, SOI], &first.concat()[..], &[0xff, EOI]].concat();
        let jfif = |thumbnail: &[u8]| segment(APP0, &[&b"JFIF\0\x01\x02\0\0\x01\0\x01"[..], thumbnail].concat());
        let told = [jfif(b"\x01\x01rgb"), segment(APP0, b"JFXX\0\x10small")];
        assert_eq!(stripped("image/jpeg", &picture(&told)).unwrap(), picture(&[jfif(b"\0\0")]));
        assert_eq!(stripped("image/jpeg", &picture(&[segment(APP0, b"JFIF\0")])).unwrap(), picture(&[]));
    }

    #[test]
    fn a_gif_loses_what_is_said_in_it_and_behind_it() {
        let head = b"GIF89a\x02\0\x01\0\x80\0\0\xff\xff\xff\0\0\0";
        let shown = [&b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"[..], b"\x21\xf9\x04\0\0\0\0\0"].concat();
        let pixels = b"\x2c\0\0\0\0\x02\0\x01\0\x80\x01\x02\x03\x04\x05\x06\x02\x02D\x01\0";
        let clean = [&head[..], &shown, pixels, b";"].concat();
        let said = [&b"\x21\xfe\x03GPS\0"[..], b"\x21\xff\x0bXMP DataXMP\x05place\0", b"\x21\x01\x01a\x01b\0"].concat();
        let said = [&said[..], b"\x21\xff\0"].concat();
        let bytes = [&head[..], &said, &shown, &said, pixels, &said, b";PK\x03\x04"].concat();
        assert_eq!(stripped("image/gif", &bytes).unwrap(), clean);
        assert_eq!(stripped("image/gif", &clean).unwrap(), clean, "there is nothing left");
        assert_eq!(stripped("image/gif", &clean[..clean.len() - 1]).unwrap(), clean, "its end is missing");
        stripped("image/gif", &clean[..clean.len() - 3]).unwrap_err();
        stripped("image/gif", b"GIF89a/*\x01\0\x01\0*/=1;alert(1)").unwrap_err();
    }

    #[test]
    fn a_progressive_jpeg_is_known_by_what_its_decoder_keeps() {
        let bytes_of = |marker, components: &[u8]| {
            let frame = segment(marker, &[&[8, 0, 9, 0, 9, 3], components].concat());
            let bytes = [&[0xff, SOI], &segment(COMMENT, b"a")[..], &frame, &segment(SOS, b"1")].concat();
            coefficient_bytes(&mut io::Cursor::new(bytes))
        };
        let (whole, halved) = ([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0], [1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
        assert_eq!(bytes_of(PROGRESSIVE, &whole).unwrap(), 6);
        assert_eq!(bytes_of(PROGRESSIVE, &halved).unwrap(), 3);
        assert_eq!(bytes_of(0xc0, &whole).unwrap(), 0);
        bytes_of(PROGRESSIVE, &[1, 0, 0]).unwrap_err();
    }

    #[test]
    fn a_png_and_a_webp_lose_their_texts() {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], kind, data, b"crc."].concat()
        };
        let png = |told: &[u8]| {
            [&PNG_SIGNATURE[..], &chunk(b"IHDR", b"head"), told, &chunk(b"IDAT", b"pixels"), &chunk(b"IEND", b"")]
                .concat()
        };
        let told = [chunk(b"eXIf", b"GPS"), chunk(b"iTXt", b"GPS"), chunk(b"tIME", b"now")].concat();
        let trailer = [&png(&told)[..], b"PK\x03\x04"].concat();
        assert_eq!(stripped("image/png", &trailer).unwrap(), png(&[]));

        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let padding = vec![0; data.len() % 2];
            [kind, &u32::try_from(data.len()).unwrap().to_le_bytes()[..], data, &padding].concat()
        };
        let webp = |flags: u8, told: &[u8]| {
            let chunks = [b"WEBP", &chunk(b"VP8X", &[flags, 0, 0, 0])[..], &chunk(b"VP8 ", b"pixel"), told].concat();
            [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
        };
        let told = [chunk(b"EXIF", b"GPS"), chunk(b"XMP ", b"place")].concat();
        assert_eq!(stripped("image/webp", &webp(0x1c, &told)).unwrap(), webp(0x10, &[]));
    }

    #[test]
    fn what_is_cut_or_no_picture_is_refused() {
        for kind in ["image/jpeg", "image/png", "image/gif", "image/webp"] {
            stripped(kind, b"").unwrap_err();
            stripped(kind, b"<html>no picture at all").unwrap_err();
        }
        stripped("image/jpeg", &[0xff, SOI, 0xff, 0xe0, 0, 1]).unwrap_err();
        stripped("image/jpeg", &[0xff, SOI, 0xff, SOS, 0, 2, 1, 2, 3]).unwrap_err();
        stripped("image/png", &PNG_SIGNATURE[..]).unwrap_err();
        stripped("image/webp", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff").unwrap_err();
    }
}
