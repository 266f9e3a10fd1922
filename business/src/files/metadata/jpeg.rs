//! JPEG: a picture in segments, some of which tell of its maker. Pure.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use super::{
    array, byte, copy_exactly,
    exif::{EXIF, UPRIGHT, orientation, tiff_of},
    no_picture,
};

const ICC_PROFILE: &[u8] = b"ICC_PROFILE\0";
const JFIF: &[u8] = b"JFIF\0";
/// Of the segment of JFIF, without the thumbnail.
const JFIF_BYTES: usize = 12;

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

/// Copies a JPEG without what it tells; how it is to be turned.
pub fn strip(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    if array(from)? != [0xff, SOI] {
        return Err(no_picture());
    }
    to.write_all(&[0xff, SOI])?;
    let (mut marker, mut said) = (next_marker(from)?, None);
    loop {
        marker = match marker {
            EOI => {
                to.write_all(&[0xff, EOI])?;
                return Ok(said.unwrap_or(UPRIGHT));
            }
            0x01 | 0xd0..=0xd7 => {
                to.write_all(&[0xff, marker])?;
                next_marker(from)?
            }
            SOS => {
                copy_segment(marker, &mut said, from, to)?;
                copy_scan(from, to)?
            }
            _ => {
                copy_segment(marker, &mut said, from, to)?;
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

fn copy_segment(marker: u8, said: &mut Option<u8>, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let length = u16::from_be_bytes(array(from)?).checked_sub(2).ok_or_else(no_picture)?;
    let mut segment = vec![0; usize::from(length)];
    from.read_exact(&mut segment)?;
    let Some(kept) = kept_of_segment(marker, segment, said) else { return Ok(()) };
    let length = u16::try_from(kept.len() + 2).map_err(|_| no_picture())?;
    to.write_all(&[0xff, marker])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&kept)
}

/// Nothing of comments, nor of what programs put beside the picture, but for colours and the orientation, of which the first counts.
fn kept_of_segment(marker: u8, segment: Vec<u8>, said: &mut Option<u8>) -> Option<Vec<u8>> {
    match marker {
        APP0 => {
            let jfif = segment.get(..JFIF_BYTES).filter(|jfif| jfif.starts_with(JFIF))?;
            Some([jfif, &[0, 0]].concat())
        }
        APP1 => {
            let orientation = orientation(segment.strip_prefix(EXIF)?)?;
            if said.is_some() {
                return None;
            }
            *said = Some(orientation);
            (orientation != UPRIGHT).then(|| [EXIF, &tiff_of(orientation)].concat())
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

#[cfg(test)]
mod tests {
    use super::{super::tests::stripped, *};

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], content].concat()
    }

    fn exif_of(orientation: u8) -> Vec<u8> {
        [EXIF, &tiff_of(orientation)].concat()
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
}
