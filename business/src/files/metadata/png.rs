//! PNG: a picture in chunks, some of which are texts. Pure.
//!
//! Always holds: of a chunk that has a length of its own no more is written; a colour profile is unpacked under a bound.

use std::io::{self, BufRead, Read, Write};

use flate2::{Compression, Decompress, FlushDecompress, Status, read::ZlibDecoder, write::ZlibEncoder};

use super::{
    array, copy_exactly,
    exif::{UPRIGHT, read_orientation, tiff_of},
    icc::{PROFILE_BYTES_MAX, colours_of},
    no_picture,
};

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
const HEADER: &[u8; 4] = b"IHDR";
const DATA: &[u8; 4] = b"IDAT";
const END: &[u8; 4] = b"IEND";
const EXIF: &[u8; 4] = b"eXIf";
const PROFILE: &[u8; 4] = b"iCCP";
/// Of moving pictures: one that follows, and its data.
const FRAME: &[u8; 4] = b"fcTL";
const FRAME_DATA: &[u8; 4] = b"fdAT";
/// What stays, and how long it is at most: pixels, colours, sizes, and moving pictures. Neither texts, times and EXIF, nor what has a name, nor
/// what programs have for themselves.
const KEPT: [(&[u8; 4], u64); 17] = [
    (HEADER, 13),
    (b"PLTE", 768),
    (DATA, ANY),
    (b"tRNS", 256),
    (b"cHRM", 32),
    (b"gAMA", 4),
    (b"sBIT", 4),
    (b"sRGB", 1),
    (b"cICP", 4),
    (b"mDCV", 24),
    (b"cLLI", 8),
    (b"bKGD", 6),
    (b"hIST", 512),
    (b"pHYs", 9),
    (b"acTL", 8),
    (FRAME, 26),
    (FRAME_DATA, ANY),
];
const ANY: u64 = u32::MAX as u64;

/// What data may unpack to beyond its pixels: some programs write a little too much.
const SLACK_BYTES: u64 = 65_536;

/// Copies a PNG without what it tells; how it is to be turned.
pub fn strip(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    if array(from)? != *SIGNATURE {
        return Err(no_picture());
    }
    to.write_all(SIGNATURE)?;
    let (mut said, mut has_profile, mut has_data) = (None, false, false);
    loop {
        // Many end without saying so.
        if has_data && from.fill_buf()?.is_empty() {
            to.write_all(&chunk(END, &[]))?;
            return Ok(said.unwrap_or(UPRIGHT));
        }
        let (length, kind): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        let data_bytes = u64::from(u32::from_be_bytes(length));
        match &kind {
            END => {
                to.write_all(&chunk(END, &[]))?;
                return Ok(said.unwrap_or(UPRIGHT));
            }
            EXIF if said.is_none() => {
                said = read_orientation(from, data_bytes)?;
                let _checksum: [u8; 4] = array(from)?;
                if let Some(orientation) = said.filter(|orientation| *orientation != UPRIGHT) {
                    to.write_all(&chunk(EXIF, &tiff_of(orientation)))?;
                }
            }
            PROFILE if !has_profile && data_bytes <= PROFILE_BYTES_MAX as u64 => {
                let mut packed = vec![0; data_bytes as usize];
                from.read_exact(&mut packed)?;
                let _checksum: [u8; 4] = array(from)?;
                if let Some(colours) = colours_of_packed(&packed) {
                    to.write_all(&chunk(PROFILE, &colours))?;
                    has_profile = true;
                }
            }
            // The data, and a checksum behind it.
            _ if KEPT.iter().any(|(kept, most)| **kept == kind && data_bytes <= *most) => {
                has_data |= kind == *DATA;
                to.write_all(&length)?;
                to.write_all(&kind)?;
                copy_exactly(from, to, data_bytes + 4)?;
            }
            _ => copy_exactly(from, &mut io::sink(), data_bytes + 4)?,
        }
    }
}

/// The colours of a profile, under a name that says nothing; both are packed.
fn colours_of_packed(chunk: &[u8]) -> Option<Vec<u8>> {
    let name_bytes = chunk.iter().position(|byte| *byte == 0)?;
    let packed = chunk[name_bytes..].strip_prefix(b"\0\0")?;
    let mut profile = Vec::new();
    ZlibDecoder::new(packed).take(PROFILE_BYTES_MAX as u64 + 1).read_to_end(&mut profile).ok()?;
    let mut packer = ZlibEncoder::new(b"ICC\0\0".to_vec(), Compression::default());
    packer.write_all(&colours_of(&profile)?).ok()?;
    packer.finish().ok()
}

/// Fails where the data of a PNG unpacks to much more than its pixels take: viewers unpack all of it. Of a moving one the pictures that follow
/// may take `frames_bytes_max` together.
///
/// # Errors
/// It is cut, or none.
pub fn check_unpacked(from: &mut impl BufRead, frames_bytes_max: u64) -> io::Result<()> {
    let _signature: [u8; 8] = array(from)?;
    let (mut header, mut picture, mut frame) = (None, None, None);
    let mut frames_left = frames_bytes_max;
    loop {
        let (length, kind): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        let mut data = from.take(u64::from(u32::from_be_bytes(length)));
        match &kind {
            END => return Ok(()),
            HEADER if header.is_none() => {
                let found = PngHeader(array(&mut data)?);
                let bytes = found.bytes_of(found.number(0), found.number(4));
                picture = Some(Unpacking::up_to(bytes.saturating_add(SLACK_BYTES)));
                header = Some(found);
            }
            DATA => picture.as_mut().ok_or_else(no_picture)?.unpack(&mut data).map(drop)?,
            FRAME => {
                let control: [u8; 12] = array(&mut data)?;
                let side = |at: usize| control[at..].first_chunk().map_or(0, |side| u32::from_be_bytes(*side));
                let bytes = header.as_ref().ok_or_else(no_picture)?.bytes_of(side(4), side(8));
                frame = Some(Unpacking::up_to(bytes.min(frames_left)));
            }
            FRAME_DATA => {
                let _number: [u8; 4] = array(&mut data)?;
                let bytes = frame.as_mut().ok_or_else(no_picture)?.unpack(&mut data)?;
                frames_left = frames_left.saturating_sub(bytes);
            }
            _ => {}
        }
        let rest = data.limit();
        copy_exactly(from, &mut io::sink(), rest + 4)?;
    }
}

/// The first chunk.
struct PngHeader([u8; 13]);

impl PngHeader {
    fn number(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().map_or(0, |number| u32::from_be_bytes(*number))
    }

    /// Bytes of the rows of a picture of this kind, each of which has a filter.
    fn bytes_of(&self, width: u32, height: u32) -> u64 {
        let [depth, colours, .., interlaced] = self.0[8..] else { return 0 };
        let samples = match colours {
            2 => 3,
            4 => 2,
            6 => 4,
            _ => 1,
        };
        let pixel_bits = u64::from(depth) * samples;
        let rows = |width: u64, height: u64| match width {
            0 => 0,
            width => height.saturating_mul(1 + width.saturating_mul(pixel_bits).div_ceil(8)),
        };
        let (width, height) = (u64::from(width), u64::from(height));
        if interlaced == 0 {
            return rows(width, height);
        }
        // Seven pictures, each of which has the pixels from one on, so many apart.
        let pass = |(x, y, across, down): (u64, u64, u64, u64)| {
            rows(width.saturating_sub(x).div_ceil(across), height.saturating_sub(y).div_ceil(down))
        };
        let passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
        passes.into_iter().map(pass).fold(0, u64::saturating_add)
    }
}

/// Data that is unpacked to see how much it is.
struct Unpacking {
    unpacker: Decompress,
    bytes_max: u64,
    is_over: bool,
}

impl Unpacking {
    fn up_to(bytes_max: u64) -> Self {
        Self { unpacker: Decompress::new(true), bytes_max, is_over: false }
    }

    /// Unpacks a part; how much that gave.
    fn unpack(&mut self, from: &mut impl BufRead) -> io::Result<u64> {
        let (mut unpacked, before) = ([0; 32_768], self.unpacker.total_out());
        while !self.is_over {
            let packed = from.fill_buf()?;
            let moved = (self.unpacker.total_in(), self.unpacker.total_out());
            let status = self.unpacker.decompress(packed, &mut unpacked, FlushDecompress::None);
            // What is broken nobody unpacks further.
            self.is_over = !matches!(status, Ok(Status::Ok | Status::BufError));
            from.consume((self.unpacker.total_in() - moved.0) as usize);
            if self.unpacker.total_out() > self.bytes_max {
                return Err(no_picture());
            }
            if (self.unpacker.total_in(), self.unpacker.total_out()) == moved {
                break;
            }
        }
        Ok(self.unpacker.total_out() - before)
    }
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &checked, &checksum(&checked).to_be_bytes()].concat()
}

/// The CRC of the kind and the data of a chunk.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
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

    fn picture(told: &[u8]) -> Vec<u8> {
        let (head, pixels) = (chunk(b"IHDR", b"head"), [chunk(b"gAMA", b"1"), chunk(b"IDAT", b"pixels")].concat());
        [&SIGNATURE[..], &head, told, &pixels, &chunk(b"IEND", b"")].concat()
    }

    #[test]
    fn a_png_loses_its_texts_and_what_only_programs_know() {
        let told =
            [chunk(b"eXIf", b"GPS"), chunk(b"iTXt", b"GPS"), chunk(b"tIME", b"now"), chunk(b"caBX", b"who")].concat();
        let longer = [chunk(b"gAMA", b"12 GPS"), chunk(b"sPLT", b"GPS\0"), chunk(b"GPSA", b"GPS")].concat();
        let told = [told, longer].concat();
        let trailer = [&picture(&told)[..], b"PK\x03\x04"].concat();
        assert_eq!(stripped("image/png", &trailer).unwrap(), picture(&[]));
        let without_end = &picture(&told)[..picture(&told).len() - 12];
        assert_eq!(stripped("image/png", without_end).unwrap(), picture(&[]), "its end is missing");
    }

    #[test]
    fn a_png_keeps_how_it_is_turned() {
        let told = |orientation| chunk(EXIF, &[&tiff_of(orientation)[..], b"GPS 48.8584 N"].concat());
        let first_counts = [told(6), told(3)].concat();
        let (clean, orientation) = turned("image/png", &picture(&first_counts)).unwrap();
        assert_eq!((&clean, orientation), (&picture(&chunk(EXIF, &tiff_of(6))), 6));
        assert_eq!(turned("image/png", &clean).unwrap(), (clean, 6), "there is nothing left");
        assert_eq!(turned("image/png", &picture(&told(UPRIGHT))).unwrap(), (picture(&[]), UPRIGHT));
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn profile(name: &[u8], profile: &[u8]) -> Vec<u8> {
        chunk(PROFILE, &[name, b"\0\0", &zipped(profile)].concat())
    }

    #[test]
    fn a_png_keeps_the_colours_of_its_profile_and_drops_one_that_is_large() {
        let clean = stripped("image/png", &picture(&profile(b"the phone of Ann", &display_p3()))).unwrap();
        let start = SIGNATURE.len() + chunk(HEADER, b"head").len();
        let length = u32::from_be_bytes(*clean[start..].first_chunk().unwrap()) as usize;
        let kept = clean[start + 8..start + 8 + length].strip_prefix(b"ICC\0\0").unwrap();
        let mut unpacked = Vec::new();
        ZlibDecoder::new(kept).read_to_end(&mut unpacked).unwrap();
        assert_eq!(Some(unpacked), colours_of(&display_p3()));
        assert_eq!(stripped("image/png", &clean).unwrap(), clean, "there is nothing left");
        let bomb = profile(b"ICC", &[&display_p3()[..], &vec![0; 64 << 20]].concat());
        let broken = chunk(PROFILE, b"ICC\0\0GPS");
        let long = chunk(PROFILE, &vec![0; PROFILE_BYTES_MAX + 1]);
        for dropped in [bomb, broken, long, chunk(PROFILE, b"GPS"), profile(b"GPS", b"GPS")] {
            assert_eq!(stripped("image/png", &picture(&dropped)).unwrap(), picture(&[]));
        }
    }

    /// Of 20 to 10 pixels of 24 bits.
    fn header(is_interlaced: bool) -> Vec<u8> {
        chunk(HEADER, &[0, 0, 0, 20, 0, 0, 0, 10, 8, 2, 0, 0, is_interlaced.into()])
    }

    #[test]
    fn data_that_unpacks_to_more_than_the_pixels_is_no_picture() {
        let check = |parts: &[Vec<u8>], frames_max| {
            let bytes = [&SIGNATURE[..], &parts.concat(), &chunk(END, b"")].concat();
            check_unpacked(&mut &bytes[..], frames_max)
        };
        // Rows of three bytes for each pixel, with a filter each; seven pictures, of 3, 2, 5, 5, 10, 10 and 20 pixels a row.
        for (is_interlaced, bytes) in [(false, 10 * 61), (true, 200 * 3 + 2 + 2 + 1 + 3 + 2 + 5 + 5)] {
            let split = |bytes: usize| {
                let packed = zipped(&vec![7; bytes]);
                let (first, second) = packed.split_at(packed.len() / 2);
                [header(is_interlaced), chunk(DATA, first), chunk(DATA, b""), chunk(DATA, second)]
            };
            check(&split(bytes), 0).unwrap();
            check(&split(bytes + SLACK_BYTES as usize), 0).expect("some write a little too much");
            check(&split(bytes + SLACK_BYTES as usize + 1), 0).unwrap_err();
            check(&split(32 << 20), 0).unwrap_err();
        }
        let control = |width: u8| chunk(FRAME, &[&[0, 0, 0, 1, 0, 0, 0, width, 0, 0, 0, 1][..], &[0; 14]].concat());
        let frame = |bytes: usize| chunk(FRAME_DATA, &[&[0; 4][..], &zipped(&vec![7; bytes])].concat());
        check(&[header(false), control(5), frame(16), control(6), frame(19)], 35).unwrap();
        check(&[header(false), control(5), frame(16), control(6), frame(19)], 34).unwrap_err();
        check(&[header(false), control(5), frame(17)], 1_000).unwrap_err();
        for wrong in [vec![], vec![chunk(DATA, b"x")], vec![frame(1)], vec![control(1)]] {
            assert_eq!(check(&wrong, 9).is_ok(), wrong.is_empty());
        }
        check(&[header(false), chunk(DATA, b"no such thing")], 0).expect("whoever decodes it says so");
    }

    #[test]
    fn a_checksum_is_as_png_has_it() {
        assert_eq!(checksum(b"IEND"), 0xae42_6082);
    }
}
