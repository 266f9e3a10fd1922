//! PNG: a picture in chunks, some of which are texts. Pure.

use std::io::{self, BufRead, Write};

use super::{
    array, copy_exactly,
    exif::{UPRIGHT, read_orientation, tiff_of},
    no_picture,
};

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
const EXIF: &[u8; 4] = b"eXIf";
/// Of a chunk that a decoder may leave out; it says so in its name.
const ANCILLARY: u8 = 0x20;
/// What stays of these: colours, sizes, and moving pictures. Neither texts, times and EXIF, nor what programs have for themselves.
const KEPT: [&[u8; 4]; 16] = [
    b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"hIST", b"pHYs",
    b"sPLT", b"acTL", b"fcTL", b"fdAT",
];

/// Copies a PNG without what it tells; how it is to be turned.
pub fn strip(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<u8> {
    if array(from)? != *SIGNATURE {
        return Err(no_picture());
    }
    to.write_all(SIGNATURE)?;
    let mut said = None;
    loop {
        let (length, kind): ([u8; 4], [u8; 4]) = (array(from)?, array(from)?);
        let data_bytes = u64::from(u32::from_be_bytes(length));
        if kind == *EXIF && said.is_none() {
            said = read_orientation(from, data_bytes)?;
            let _checksum: [u8; 4] = array(from)?;
            if let Some(orientation) = said.filter(|orientation| *orientation != UPRIGHT) {
                to.write_all(&exif_of(orientation))?;
            }
            continue;
        }
        // The data, and a checksum behind it.
        let rest = data_bytes + 4;
        if kind[0] & ANCILLARY != 0 && !KEPT.contains(&&kind) {
            copy_exactly(from, &mut io::sink(), rest)?;
            continue;
        }
        to.write_all(&length)?;
        to.write_all(&kind)?;
        copy_exactly(from, to, rest)?;
        if kind == *b"IEND" {
            return Ok(said.unwrap_or(UPRIGHT));
        }
    }
}

/// A chunk of EXIF that says nothing but the orientation.
fn exif_of(orientation: u8) -> Vec<u8> {
    let tiff = tiff_of(orientation);
    let checked = [&EXIF[..], &tiff].concat();
    [&(tiff.len() as u32).to_be_bytes()[..], &checked, &checksum(&checked).to_be_bytes()].concat()
}

/// The CRC of the kind and the data of a chunk.
fn checksum(bytes: &[u8]) -> u32 {
    let mut checksum = u32::MAX;
    for byte in bytes {
        checksum ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = checksum & 1 == 1;
            checksum >>= 1;
            if is_odd {
                checksum ^= 0xedb8_8320;
            }
        }
    }
    !checksum
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{stripped, turned},
        *,
    };

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], kind, data, b"crc."].concat()
    }

    fn picture(told: &[u8]) -> Vec<u8> {
        let (head, pixels) = (chunk(b"IHDR", b"head"), [chunk(b"gAMA", b"1"), chunk(b"IDAT", b"pixels")].concat());
        [&SIGNATURE[..], &head, told, &pixels, &chunk(b"IEND", b"")].concat()
    }

    #[test]
    fn a_png_loses_its_texts_and_what_only_programs_know() {
        let told =
            [chunk(b"eXIf", b"GPS"), chunk(b"iTXt", b"GPS"), chunk(b"tIME", b"now"), chunk(b"caBX", b"who")].concat();
        let trailer = [&picture(&told)[..], b"PK\x03\x04"].concat();
        assert_eq!(stripped("image/png", &trailer).unwrap(), picture(&[]));
    }

    #[test]
    fn a_png_keeps_how_it_is_turned() {
        let told = |orientation| chunk(EXIF, &[&tiff_of(orientation)[..], b"GPS 48.8584 N"].concat());
        let first_counts = [told(6), told(3)].concat();
        let (clean, orientation) = turned("image/png", &picture(&first_counts)).unwrap();
        assert_eq!((&clean, orientation), (&picture(&exif_of(6)), 6));
        assert_eq!(turned("image/png", &clean).unwrap(), (clean, 6), "there is nothing left");
        assert_eq!(turned("image/png", &picture(&told(UPRIGHT))).unwrap(), (picture(&[]), UPRIGHT));
    }

    #[test]
    fn a_checksum_is_as_png_has_it() {
        assert_eq!(checksum(b"IEND"), 0xae42_6082);
    }
}
