//! JPEG: a picture in segments, some of which tell of its maker. Pure.
//!
//! Always holds: what is written are the segments that a picture is decoded by, as long as their own numbers say, and the pixels of its scans
//! up to its first end. What is not looked at are the numbers themselves: whoever likes to can hide something in tables that no scan uses, and
//! behind the pixels of a scan (or between two of its restarts), where only who decodes it knows that nothing more is due.

use std::{
    io::{self, BufRead, Read, Write},
    mem,
};

use super::{
    array, byte,
    exif::{EXIF, UPRIGHT, orientation, tiff_of},
    icc::{PROFILE_BYTES_MAX, colours_of},
    no_picture,
};

const ICC_PROFILE: &[u8] = b"ICC_PROFILE\0";
const JFIF: &[u8] = b"JFIF\0";
/// Of the segment of JFIF, without the thumbnail.
const JFIF_BYTES: usize = 12;
/// Of the segment by which it is known how colours are written.
const ADOBE_BYTES: usize = 12;
/// Of a profile in one segment.
const PROFILE_PART_BYTES: usize = 65_519;

/// Segments of JPEG: the beginning and the end of a picture, pixels, and those of programs.
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
/// Frames, and between them tables of Huffman's and of arithmetic codes.
const FRAME: u8 = 0xc0;
const FRAME_LAST: u8 = 0xcf;
const PROGRESSIVE: u8 = 0xc2;
const HUFFMAN: u8 = 0xc4;
const RESERVED: u8 = 0xc8;
const ARITHMETIC: u8 = 0xcc;
/// Frames in which each component is in one scan.
const SEQUENTIAL: [u8; 5] = [0xc0, 0xc1, 0xc3, 0xc9, 0xcb];
const SOS: u8 = 0xda;
/// Tables and numbers, up to those of frames of frames.
const QUANTIZATION: u8 = 0xdb;
const LINES: u8 = 0xdc;
const RESTARTS: u8 = 0xdd;
const EXPANSION: u8 = 0xdf;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP15: u8 = 0xef;
const ADOBE: u8 = 0xee;
const COMMENT: u8 = 0xfe;

/// What is known of a JPEG as it is copied.
#[derive(Default)]
struct Copied {
    /// By the first EXIF that says it.
    orientation: Option<u8>,
    profile: ProfileParts,
    /// Components of a picture whose scans have each of them once, as far as they did not come; none where scans may come again.
    components_left: Option<u8>,
}

/// Copies a JPEG without what it tells; how it is to be turned.
pub fn strip(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    if array(from)? != [0xff, SOI] {
        return Err(no_picture());
    }
    to.write_all(&[0xff, SOI])?;
    let (mut marker, mut copied) = (next_marker(from)?, Copied::default());
    loop {
        if !matches!(marker, APP0..=APP15 | COMMENT) {
            copied.profile.write(to)?;
        }
        marker = match marker {
            EOI => {
                to.write_all(&[0xff, EOI])?;
                return Ok(copied.orientation.unwrap_or(UPRIGHT));
            }
            // They mean nothing out of a scan.
            0x00 | 0x01 | 0xd0..=0xd7 => next_marker(from)?,
            SOS => {
                let scan = read_segment(from)?;
                if copied.has_scan(&scan) {
                    write_segment(SOS, &trimmed(SOS, scan), to)?;
                    copy_scan(from, to)?
                } else {
                    copy_scan(from, &mut io::sink())?
                }
            }
            _ => {
                let segment = read_segment(from)?;
                if let Some(kept) = copied.kept_of_segment(marker, segment) {
                    write_segment(marker, &kept, to)?;
                }
                next_marker(from)?
            }
        };
    }
}

impl Copied {
    /// Nothing of comments, nor of what programs put beside the picture, nor of what is unknown; but the orientation, of which the first
    /// counts. The profile is written later.
    fn kept_of_segment(&mut self, marker: u8, segment: Vec<u8>) -> Option<Vec<u8>> {
        match marker {
            APP0 => {
                let jfif = segment.get(..JFIF_BYTES).filter(|jfif| jfif.starts_with(JFIF))?;
                Some([jfif, &[0, 0]].concat())
            }
            APP1 => {
                let orientation = orientation(segment.strip_prefix(EXIF)?)?;
                if self.orientation.is_some() {
                    return None;
                }
                self.orientation = Some(orientation);
                (orientation != UPRIGHT).then(|| [EXIF, &tiff_of(orientation)].concat())
            }
            APP2 => {
                self.profile.take(segment.strip_prefix(ICC_PROFILE)?);
                None
            }
            ADOBE => Some(segment.get(..ADOBE_BYTES).filter(|adobe| adobe.starts_with(b"Adobe"))?.to_vec()),
            RESERVED => None,
            FRAME..=FRAME_LAST | QUANTIZATION..=EXPANSION => {
                if SEQUENTIAL.contains(&marker) && self.components_left.is_none() {
                    self.components_left = segment.get(5).copied();
                }
                Some(trimmed(marker, segment))
            }
            _ => None,
        }
    }

    /// Whether a scan belongs to the picture.
    fn has_scan(&mut self, scan: &[u8]) -> bool {
        let (Some(left), Some(components)) = (&mut self.components_left, scan.first()) else { return true };
        let is_needed = *left > 0;
        *left = left.saturating_sub(*components);
        is_needed
    }
}

/// The kind of the next segment; fill bytes may stand before it, and what some programs leave there.
fn next_marker(from: &mut impl Read) -> io::Result<u8> {
    while byte(from)? != 0xff {}
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

fn read_segment(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u16::from_be_bytes(array(from)?).checked_sub(2).ok_or_else(no_picture)?;
    let mut segment = vec![0; usize::from(length)];
    from.read_exact(&mut segment)?;
    Ok(segment)
}

fn write_segment(marker: u8, segment: &[u8], to: &mut impl Write) -> io::Result<()> {
    let length = u16::try_from(segment.len() + 2).map_err(|_| no_picture())?;
    to.write_all(&[0xff, marker])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(segment)
}

/// A segment without what is more than its numbers say that it has.
fn trimmed(marker: u8, mut segment: Vec<u8>) -> Vec<u8> {
    let number = |at: usize| segment.get(at).copied().map_or(0, usize::from);
    let tables = |table_bytes: &dyn Fn(usize) -> usize| {
        let mut at = 0;
        while at < segment.len() && at + table_bytes(at) <= segment.len() {
            at += table_bytes(at);
        }
        at
    };
    let length = match marker {
        SOS => 4 + 2 * number(0),
        QUANTIZATION => tables(&|at| if number(at) >> 4 == 0 { 65 } else { 129 }),
        HUFFMAN => tables(&|at| 17 + (at + 1..at + 17).map(number).sum::<usize>()),
        ARITHMETIC => tables(&|_| 2),
        LINES | RESTARTS => 2,
        EXPANSION => 1,
        _ => 6 + 3 * number(5),
    };
    segment.truncate(length);
    segment
}

/// The colour profile, as far as it has come.
#[derive(Default)]
struct ProfileParts {
    /// Which of how many each is.
    parts: Vec<([u8; 2], Vec<u8>)>,
    bytes: usize,
}

impl ProfileParts {
    fn take(&mut self, segment: &[u8]) {
        let Some((place, part)) = segment.split_first_chunk() else { return };
        self.bytes = self.bytes.saturating_add(part.len());
        if self.bytes <= PROFILE_BYTES_MAX {
            self.parts.push((*place, part.to_vec()));
        }
    }

    /// Writes its colours, if it came whole; what comes later is none.
    fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        let (mut parts, bytes) = (mem::take(&mut self.parts), mem::replace(&mut self.bytes, usize::MAX));
        parts.sort_by_key(|(place, _)| *place);
        let count = parts.len();
        let is_whole = (1..=count).zip(&parts).all(|(number, (place, _))| place.map(usize::from) == [number, count]);
        if !is_whole || bytes > PROFILE_BYTES_MAX {
            return Ok(());
        }
        let whole = parts.into_iter().flat_map(|(_, part)| part).collect::<Vec<u8>>();
        let colours = colours_of(&whole).unwrap_or_default();
        let parts = colours.chunks(PROFILE_PART_BYTES);
        let count = u8::try_from(parts.len()).map_err(|_| no_picture())?;
        for (number, part) in (1..=count).zip(parts) {
            write_segment(APP2, &[ICC_PROFILE, &[number, count], part].concat(), to)?;
        }
        Ok(())
    }
}

/// Copies the pixels of a scan; returns the marker behind them, which is the end where nothing is: many end without saying so.
fn copy_scan(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    loop {
        let chunk = from.fill_buf()?;
        if chunk.is_empty() {
            return Ok(EOI);
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

/// How a JPEG is to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegForm {
    pub width: u16,
    pub height: u16,
    /// Bytes that a decoder keeps beside each pixel until all of it has come.
    pub bytes_beside: u64,
    /// A form that not every decoder knows: components in scans of their own without being progressive, restarts in one that is, or colours
    /// that have other samples than one for one, two or four of brightness.
    pub is_unusual: bool,
}

/// Reads the form of a JPEG, up to its first scan.
pub fn form(from: &mut impl BufRead) -> io::Result<JpegForm> {
    let _begin: [u8; 2] = array(from)?;
    let (mut frame, mut has_restarts) = (None, false);
    loop {
        let marker = next_marker(from)?;
        let segment = read_segment(from)?;
        match marker {
            RESTARTS => has_restarts = segment.iter().take(2).any(|byte| *byte > 0),
            SOS => {
                let (marker, frame): (u8, Vec<u8>) = frame.ok_or_else(no_picture)?;
                let in_scan = segment.first().copied().unwrap_or_default();
                return form_of(marker, &frame, in_scan, has_restarts).ok_or_else(no_picture);
            }
            HUFFMAN | RESERVED | ARITHMETIC => {}
            // Which of two a decoder goes by, and needs memory for, nobody knows.
            FRAME..=FRAME_LAST if frame.is_some() => return Err(no_picture()),
            FRAME..=FRAME_LAST => frame = Some((marker, segment)),
            _ => {}
        }
    }
}

fn form_of(marker: u8, frame: &[u8], in_first_scan: u8, has_restarts: bool) -> Option<JpegForm> {
    let number = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let factors: Vec<u8> = frame.get(6..)?.chunks_exact(3).map(|component| component[1]).collect();
    let is_progressive = marker == PROGRESSIVE;
    let (first, others) = factors.split_first()?;
    let is_usual_sampling =
        others.is_empty() || matches!(first, 0x11 | 0x12 | 0x21 | 0x22) && others.iter().all(|other| *other == 0x11);
    let has_own_scans = !is_progressive && usize::from(in_first_scan) < factors.len();
    let is_unusual = !is_usual_sampling || has_own_scans || is_progressive && has_restarts;
    // Coefficients of two bytes of what comes in several scans; the other decoder also keeps the samples.
    let bytes_of_sample = if is_unusual { 3 } else { 2 * u64::from(is_progressive) };
    let bytes_beside = bytes_of_samples(&factors, bytes_of_sample)?;
    Some(JpegForm { height: number(1)?, width: number(3)?, bytes_beside, is_unusual })
}

/// What all samples take for each pixel: each component has as many as its factors say, of the largest ones.
fn bytes_of_samples(factors: &[u8], bytes: u64) -> Option<u64> {
    let (mut samples, mut across, mut down) = (0, 0, 0);
    for factor in factors {
        let (horizontal, vertical) = (u64::from(factor >> 4), u64::from(factor & 0x0f));
        samples += horizontal * vertical;
        (across, down) = (across.max(horizontal), down.max(vertical));
    }
    (across * down > 0).then(|| (bytes * samples).div_ceil(across * down))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{icc::tests::display_p3, tests::stripped},
        *,
    };

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
        let colours = colours_of(&display_p3()).unwrap();
        let profile = segment(APP2, &[ICC_PROFILE, b"\x01\x01", &colours].concat());
        let frame = segment(FRAME, b"\x08\0\x01\0\x01\x02\x01\x11\0\x02\x11\0");
        let picture = |beside: &[Vec<u8>], scan: &[u8]| {
            let [first, second] = [1, 2].map(|component| segment(SOS, &[1, component, 0, 0, 63, 0]));
            let begin = [&[0xff, SOI], &beside.concat()[..], &profile, &frame].concat();
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
    fn a_jpeg_loses_what_no_picture_is_decoded_by() {
        let frame = segment(FRAME, b"\x08\0\x01\0\x01\x01\x01\x11\0");
        let scan = |more: &[u8]| segment(SOS, &[&[1, 1, 0, 0, 63, 0], more].concat());
        let tables = [
            segment(QUANTIZATION, &[1; 65 + 130]),
            segment(HUFFMAN, &[&[0; 16][..], &[2], &[5; 2]].concat()),
            segment(RESTARTS, &[0, 8]),
        ];
        let adobe = segment(ADOBE, b"Adobe\0\x64\0\0\0\0\x01");
        let clean = [&[0xff, SOI], &adobe[..], &frame, &tables[1], &scan(b""), b"pixels\xff\xd9"].concat();
        let longer = |segment: &[u8], marker| self::segment(marker, &[&segment[4..], b"GPS"].concat());
        let told = [
            &[0xff, SOI],
            &longer(&adobe, ADOBE)[..],
            &segment(ADOBE, b"GPS of more than 12 bytes"),
            &longer(&frame, FRAME),
            &longer(&tables[1], HUFFMAN),
            &segment(RESERVED, b"GPS"),
            &segment(0xf0, b"GPS"),
            b"\xff\xd3\xff\x01",
            &scan(b"GPS"),
            b"pixels",
            // A scan of a component that has come, of which every decoder has enough.
            &scan(b""),
            b"GPS\xff\xd0GPS\xff\xd9GPS",
        ];
        assert_eq!(stripped("image/jpeg", &told.concat()).unwrap(), clean);
        assert_eq!(stripped("image/jpeg", &clean).unwrap(), clean, "there is nothing left");
        for (marker, table) in [QUANTIZATION, HUFFMAN, RESTARTS].into_iter().zip(&tables) {
            let picture = |table: &[u8]| [&[0xff, SOI], table, &[0xff, EOI]].concat();
            let kept = stripped("image/jpeg", &picture(&longer(table, marker))).unwrap();
            assert_eq!(kept, picture(table), "{marker:x}");
        }
    }

    #[test]
    fn a_profile_of_several_segments_is_one_and_a_broken_one_is_dropped() {
        let (profile, colours) = (display_p3(), colours_of(&display_p3()).unwrap());
        let part = |number, count, part: &[u8]| segment(APP2, &[ICC_PROFILE, &[number, count], part].concat());
        let picture = |parts: &[Vec<u8>]| {
            let tables = segment(RESTARTS, &[0, 0]);
            [&[0xff, SOI], &parts.concat()[..], &tables, &[0xff, EOI]].concat()
        };
        let kept = |parts: &[Vec<u8>]| stripped("image/jpeg", &picture(parts)).unwrap();
        let (first, second) = profile.split_at(300);
        assert_eq!(kept(&[part(2, 2, second), part(1, 2, first)]), picture(&[part(1, 1, &colours)]));
        let mut all: Vec<Vec<u8>> = vec![part(1, 1, &profile), segment(APP2, &[ICC_PROFILE, &[1]].concat())];
        assert_eq!(kept(&all), picture(&[part(1, 1, &colours)]));
        all.push(part(1, 1, b"GPS"));
        for broken in [vec![part(1, 2, &profile)], vec![part(0, 1, &profile)], vec![part(1, 1, b"GPS")], all] {
            assert_eq!(kept(&broken), picture(&[]));
        }
        let large = vec![0; 65_000];
        let too_large: Vec<Vec<u8>> = (1..=17).map(|number| part(number, 17, &large)).collect();
        assert_eq!(kept(&too_large), picture(&[]));
        // It is looked for before the picture.
        let late = [&[0xff, SOI], &segment(RESTARTS, &[0, 0])[..], &part(1, 1, &profile), &[0xff, EOI]].concat();
        assert_eq!(stripped("image/jpeg", &late).unwrap(), picture(&[]));
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
    fn a_jpeg_is_known_by_what_its_decoder_keeps_and_has_to_know() {
        let form_of = |marker, restarts: u8, components: &[u8], in_scan: u8| {
            let frame = segment(marker, &[&[8, 0, 9, 0, 7, components.len() as u8 / 3], components].concat());
            let beside = [segment(COMMENT, b"a"), segment(RESTARTS, &[0, restarts]), segment(HUFFMAN, b"")].concat();
            let bytes = [&[0xff, SOI], &beside[..], &frame, &segment(SOS, &[in_scan])].concat();
            form(&mut io::Cursor::new(bytes)).map(|form| (form.width, form.height, form.bytes_beside, form.is_unusual))
        };
        let (whole, halved) = ([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0], [1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
        assert_eq!(form_of(PROGRESSIVE, 0, &whole, 3).unwrap(), (7, 9, 6, false));
        assert_eq!(form_of(PROGRESSIVE, 0, &halved, 1).unwrap(), (7, 9, 3, false));
        assert_eq!(form_of(PROGRESSIVE, 1, &halved, 3).unwrap(), (7, 9, 5, true), "with restarts");
        assert_eq!(form_of(FRAME, 1, &whole, 3).unwrap(), (7, 9, 0, false));
        assert_eq!(form_of(FRAME, 0, &halved, 1).unwrap(), (7, 9, 5, true), "each in a scan");
        assert_eq!(form_of(FRAME, 0, &[1, 0x22, 0], 1).unwrap(), (7, 9, 0, false), "there is no other");
        for odd in [0x41, 0x14, 0x42, 0x31] {
            assert!(form_of(FRAME, 0, &[1, odd, 0, 2, 0x11, 0, 3, 0x11, 0], 3).unwrap().3, "{odd:x}");
        }
        assert!(form_of(FRAME, 0, &[1, 0x11, 0, 2, 0x21, 0, 3, 0x21, 0], 3).unwrap().3);
        form_of(PROGRESSIVE, 0, &[1, 0, 0], 1).unwrap_err();
        let frames = [PROGRESSIVE, FRAME].map(|marker| segment(marker, &[8, 0, 9, 0, 7, 1, 1, 0x11, 0])).concat();
        let of_two_frames = [&[0xff, SOI], &frames[..], &segment(SOS, &[1])].concat();
        form(&mut io::Cursor::new(of_two_frames)).unwrap_err();
        form(&mut io::Cursor::new([&[0xff, SOI], &segment(SOS, b"1")[..]].concat())).unwrap_err();
    }

    #[test]
    fn a_jpeg_without_its_end_or_with_bytes_between_segments_is_one() {
        let frame = segment(FRAME, &[8, 0, 1, 0, 1, 1, 1, 0x11, 0]);
        let scan = segment(SOS, &[1, 1, 0, 0, 63, 0]);
        let clean = [&[0xff, SOI], &frame[..], &scan, b"pixels", &[0xff, EOI]].concat();
        let sloppy = [&[0xff, SOI], &frame[..], b"\0\0", &segment(COMMENT, b"GPS"), b"\0", &scan, b"pixels"].concat();
        assert_eq!(stripped("image/jpeg", &sloppy).unwrap(), clean);
    }
}
