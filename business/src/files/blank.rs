//! Takes out of HEIC, AVIF and TIFF what they tell of their makers. These are no chain of segments but full of places of bytes, so what is
//! told is overwritten with zeros, where it stands, and all else keeps its place; of a colour profile the colours stay, in its place.
//!
//! Blocking, on a copy of the file. Always holds: nothing but EXIF, XMP, texts and colour profiles is changed; every walk is bounded, whatever a
//! file says.

use std::{
    fs::File,
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::FileExt as _,
};

use super::metadata::{PROFILE_BYTES_MAX, colours_of};

/// The kinds of it.
pub const BLANKED: [&str; 3] = ["image/heif", "image/avif", "image/tiff"];

/// What a file may say of itself: boxes and their items of HEIF; directories of TIFF, and entries of each.
const META_BYTES_MAX: u64 = 4 << 20;
const BOXES_MAX: usize = 4_096;
const EXTENTS_MAX: usize = 65_536;
const DIRECTORIES_MAX: usize = 256;
const ENTRIES_MAX: u64 = 65_536;

/// Tags of TIFF: directories of EXIF, of places and of what connects programs; and XMP, IPTC, Photoshop's, texts of who, when and with what.
const SUB_DIRECTORIES: [u16; 3] = [0x8769, 0x8825, 0xa005];
const PROFILE: u16 = 0x8773;
const TOLD: [u16; 20] = [
    0x010e, 0x010f, 0x0110, 0x0131, 0x0132, 0x013b, 0x013c, 0x02bc, 0x83bb, 0x8649, 0x8298, 0x9003, 0x9004, 0x9286,
    0x9c9b, 0x9c9c, 0x9c9d, 0x9c9e, 0x9c9f, 0xc62f,
];

/// Overwrites in a file of this kind what it tells.
///
/// # Errors
/// It is cut, or none of its kind ([`ErrorKind::InvalidData`], [`ErrorKind::UnexpectedEof`]).
pub fn blank(kind: &str, file: &File) -> io::Result<()> {
    match kind {
        "image/tiff" => Tiff::open(file)?.blank(),
        _ => blank_heif(file),
    }
}

fn blank_heif(file: &File) -> io::Result<()> {
    let mut zeros = Zeros::of(file)?;
    for (kind, content) in boxes(file, 0..zeros.length)? {
        if kind == *b"meta" {
            let meta = bytes_of(file, content.clone())?;
            for told in told_items(&meta, content.start)? {
                zeros.write(told)?;
            }
            for profile in profiles(&meta, content.start)? {
                zeros.write_colours(profile)?;
            }
        }
    }
    Ok(())
}

/// The boxes in a part of a file: what each is, and where its content stands.
fn boxes(file: &File, within: Range<u64>) -> io::Result<Vec<([u8; 4], Range<u64>)>> {
    let (mut found, mut at) = (Vec::new(), within.start);
    while at < within.end {
        if found.len() == BOXES_MAX {
            return Err(broken());
        }
        let mut head = [0; 8];
        file.read_exact_at(&mut head, at)?;
        let (size, kind) = (u32::from_be_bytes(*first(&head)?), *first::<4>(&head[4..])?);
        let (begin, size) = match size {
            0 => (at + 8, within.end - at),
            1 => {
                let mut long = [0; 8];
                file.read_exact_at(&mut long, at + 8)?;
                (at + 16, u64::from_be_bytes(long))
            }
            size => (at + 8, u64::from(size)),
        };
        let end = at.checked_add(size).filter(|end| *end <= within.end && *end >= begin).ok_or_else(broken)?;
        found.push((kind, begin..end));
        at = end;
    }
    Ok(found)
}

/// Where the items of a `meta` box stand that tell something: EXIF, and XMP (of the type `mime`).
fn told_items(meta: &[u8], meta_at: u64) -> io::Result<Vec<Range<u64>>> {
    let parts = boxes_of(meta.get(4..).ok_or_else(broken)?)?;
    let part = |kind: &[u8; 4]| parts.iter().find(|(found, _)| found == kind).map(|(_, content)| *content);
    let (Some(infos), Some(places)) = (part(b"iinf"), part(b"iloc")) else { return Ok(Vec::new()) };
    let told = told_ids(infos)?;
    let data_at = part(b"idat").map(|data| meta_at + (data.as_ptr() as u64 - meta.as_ptr() as u64));
    let mut ranges = Vec::new();
    for (in_data, range) in item_places(places, &told)? {
        let base = if in_data { data_at.ok_or_else(broken)? } else { 0 };
        let begin = base.checked_add(range.start).ok_or_else(broken)?;
        ranges.push(begin..base.checked_add(range.end).ok_or_else(broken)?);
    }
    Ok(ranges)
}

/// The same as [`boxes`], in memory.
fn boxes_of(mut bytes: &[u8]) -> io::Result<Vec<([u8; 4], &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        if found.len() == BOXES_MAX {
            return Err(broken());
        }
        let size = match u32::from_be_bytes(*first(bytes)?) as usize {
            0 => bytes.len(),
            size => size,
        };
        let kind = *first(bytes.get(4..).ok_or_else(broken)?)?;
        found.push((kind, bytes.get(8..size).ok_or_else(broken)?));
        bytes = &bytes[size..];
    }
    Ok(found)
}

/// Where colour profiles stand: beside other properties of items.
fn profiles(meta: &[u8], meta_at: u64) -> io::Result<Vec<Range<u64>>> {
    let mut boxes = vec![(*b"meta", meta.get(4..).ok_or_else(broken)?)];
    for name in [b"iprp", b"ipco", b"colr"] {
        let within = boxes.into_iter().map(|(_, content)| boxes_of(content)).collect::<io::Result<Vec<_>>>()?;
        boxes = within.into_iter().flatten().filter(|(kind, _)| kind == name).collect();
    }
    let place = |(_, content): &([u8; 4], &[u8])| {
        let profile = content.strip_prefix(b"prof").or_else(|| content.strip_prefix(b"rICC"))?;
        let begin = meta_at + (profile.as_ptr() as u64 - meta.as_ptr() as u64);
        Some(begin..begin + profile.len() as u64)
    };
    Ok(boxes.iter().filter_map(place).collect())
}

fn told_ids(infos: &[u8]) -> io::Result<Vec<u32>> {
    let count_bytes = if infos.first() == Some(&0) { 2 } else { 4 };
    let mut told = Vec::new();
    for (kind, info) in boxes_of(infos.get(4 + count_bytes..).ok_or_else(broken)?)? {
        let mut info = Reader(info);
        let version = info.number(1)?;
        info.number(3)?;
        // Older ones have no types, and no EXIF.
        if kind != *b"infe" || version < 2 {
            continue;
        }
        let id = info.number(if version == 2 { 2 } else { 4 })?;
        info.number(2)?;
        if [u64::from(u32::from_be_bytes(*b"Exif")), u64::from(u32::from_be_bytes(*b"mime"))].contains(&info.number(4)?)
        {
            told.push(id as u32);
        }
    }
    Ok(told)
}

/// The parts of these items: whether each stands in the `idat` box, and where. Parts may take no byte to be told of, so all are counted.
fn item_places(places: &[u8], told: &[u32]) -> io::Result<Vec<(bool, Range<u64>)>> {
    let mut places = Reader(places);
    let version = places.number(1)?;
    places.number(3)?;
    let sizes = places.number(2)?;
    let size_at = |shift: u32| ((sizes >> shift) & 0xf) as usize;
    let (offset, length, base, index) = (size_at(12), size_at(8), size_at(4), size_at(0));
    let id_bytes = if version < 2 { 2 } else { 4 };
    let (mut found, mut extents) = (Vec::new(), 0);
    for _ in 0..places.number(id_bytes)? {
        let id = places.number(id_bytes)? as u32;
        let method = if version == 0 { 0 } else { places.number(2)? & 0xf };
        places.number(2)?;
        let from = places.number(base)?;
        for _ in 0..places.number(2)? {
            extents += 1;
            if extents > EXTENTS_MAX {
                return Err(broken());
            }
            if version > 0 {
                places.number(index)?;
            }
            let begin = from.checked_add(places.number(offset)?).ok_or_else(broken)?;
            let end = begin.checked_add(places.number(length)?).ok_or_else(broken)?;
            if told.contains(&id) {
                found.push((method == 1, begin..end));
            }
        }
    }
    Ok(found)
}

/// Numbers one after another, the largest byte first.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self, bytes: usize) -> io::Result<u64> {
        let (head, rest) = self.0.split_at_checked(bytes).filter(|_| bytes <= 8).ok_or_else(broken)?;
        self.0 = rest;
        Ok(head.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// A file of TIFF.
struct Tiff<'a> {
    file: &'a File,
    zeros: Zeros<'a>,
    is_big_endian: bool,
    directories: usize,
    entries: u64,
}

impl<'a> Tiff<'a> {
    fn open(file: &'a File) -> io::Result<Self> {
        let mut head = [0; 4];
        file.read_exact_at(&mut head, 0)?;
        let is_big_endian = match &head {
            b"II\x2a\0" => false,
            b"MM\0\x2a" => true,
            _ => return Err(broken()),
        };
        Ok(Self { file, zeros: Zeros::of(file)?, is_big_endian, directories: 0, entries: 0 })
    }

    fn blank(mut self) -> io::Result<()> {
        let mut next = u64::from(self.number32(4)?);
        while next != 0 {
            next = self.blank_directory(next, false)?;
        }
        Ok(())
    }

    /// Overwrites what a directory tells, or all of it; where the next one is.
    fn blank_directory(&mut self, at: u64, is_told: bool) -> io::Result<u64> {
        let count = u64::from(self.number16(at)?);
        self.directories += 1;
        self.entries += count;
        if self.directories > DIRECTORIES_MAX || self.entries > ENTRIES_MAX {
            return Err(broken());
        }
        let end = at + 2 + count * 12;
        let next = u64::from(self.number32(end)?);
        for index in 0..count {
            let entry = at + 2 + index * 12;
            let tag = self.number16(entry)?;
            if SUB_DIRECTORIES.contains(&tag) {
                let sub = u64::from(self.number32(entry + 8)?);
                self.blank_directory(sub, true)?;
            } else if tag == PROFILE && !is_told {
                let profile = self.value(entry)?;
                self.zeros.write_colours(profile)?;
            } else if is_told || TOLD.contains(&tag) {
                self.blank_value(entry)?;
            }
        }
        if is_told {
            // It is a directory without entries from now on.
            self.zeros.write(at..end + 4)?;
        }
        Ok(next)
    }

    fn blank_value(&mut self, entry: u64) -> io::Result<()> {
        let value = self.value(entry)?;
        self.zeros.write(value)
    }

    /// Where the value of an entry stands.
    fn value(&self, entry: u64) -> io::Result<Range<u64>> {
        let unit: u64 = match self.number16(entry + 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 => 8,
            _ => 1,
        };
        let bytes = unit * u64::from(self.number32(entry + 4)?);
        let begin = if bytes <= 4 { entry + 8 } else { u64::from(self.number32(entry + 8)?) };
        Ok(begin..begin + bytes)
    }

    fn number16(&self, at: u64) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn number32(&self, at: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

/// Overwrites parts of a file, no more of them than it is long: what a file tells of stands in it once.
struct Zeros<'a> {
    file: &'a File,
    length: u64,
    left: u64,
}

impl<'a> Zeros<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, left: length })
    }

    /// Overwrites what of these bytes the file has.
    fn write(&mut self, bytes: Range<u64>) -> io::Result<()> {
        const ZEROS: [u8; 4_096] = [0; 4_096];
        let end = bytes.end.min(self.length);
        self.left = self.left.checked_sub(end.saturating_sub(bytes.start)).ok_or_else(broken)?;
        let mut at = bytes.start;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }

    /// Leaves of a profile what its colours need, if it has any and they find room in its place.
    fn write_colours(&mut self, profile: Range<u64>) -> io::Result<()> {
        let is_looked_at = profile.end <= self.length && profile.end - profile.start <= PROFILE_BYTES_MAX as u64;
        let mut colours = None;
        if is_looked_at {
            let mut bytes = vec![0; (profile.end - profile.start) as usize];
            self.file.read_exact_at(&mut bytes, profile.start)?;
            colours = colours_of(&bytes).filter(|colours| colours.len() <= bytes.len());
        }
        self.write(profile.clone())?;
        colours.map_or(Ok(()), |colours| self.file.write_all_at(&colours, profile.start))
    }
}

fn bytes_of(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let length = range.end - range.start;
    if length > META_BYTES_MAX {
        return Err(broken());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn first<const N: usize>(bytes: &[u8]) -> io::Result<&[u8; N]> {
    bytes.first_chunk().ok_or_else(broken)
}

fn broken() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is no picture of its kind")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{super::metadata::display_p3, *};

    fn blanked(kind: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        blank(kind, &file)?;
        let mut read = vec![0; bytes.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        Ok(read)
    }

    fn of_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len() + 8).unwrap().to_be_bytes()[..], kind, content].concat()
    }

    /// A picture of two items, pixels and EXIF, of which the second is at `exif_at`.
    fn heif(exif_at: u32, is_in_data: bool, exif: &[u8]) -> Vec<u8> {
        let info = |id: u8, kind: &[u8; 4]| of_box(b"infe", &[&[2, 0, 0, 0, 0, id, 0, 0][..], kind, b"\0"].concat());
        let infos = [&[0, 0, 0, 0, 0, 2][..], &info(1, b"hvc1"), &info(2, b"Exif")].concat();
        let item = |id: u8, method: u8, at: u32, length: u32| {
            [&[0, id, 0, method, 0, 0, 0, 1][..], &at.to_be_bytes(), &length.to_be_bytes()].concat()
        };
        let length = u32::try_from(exif.len()).unwrap();
        let places =
            [&[1, 0, 0, 0, 0x44, 0, 0, 2][..], &item(1, 0, 0, 4), &item(2, is_in_data.into(), exif_at, length)]
                .concat();
        let data = if is_in_data { of_box(b"idat", exif) } else { Vec::new() };
        let meta = [&[0; 4][..], &of_box(b"iinf", &infos), &of_box(b"iloc", &places), &data].concat();
        let told = if is_in_data { &b"pixels"[..] } else { exif };
        [of_box(b"ftyp", b"heic\0\0\0\0"), of_box(b"meta", &meta), of_box(b"mdat", told)].concat()
    }

    #[test]
    fn heif_loses_its_exif_wherever_that_stands() {
        let exif = b"\0\0\0\0MM\0\x2aGPS 48.8584 N";
        let length = heif(0, false, exif).len() - exif.len();
        let picture = heif(u32::try_from(length).unwrap(), false, exif);
        let clean = blanked("image/heif", &picture).unwrap();
        assert_eq!(clean, [&picture[..length], &[0; 21]].concat());
        let clean = blanked("image/avif", &heif(0, true, exif)).unwrap();
        assert_eq!(clean, heif(0, true, &[0; 21]));
    }

    #[test]
    fn a_tiff_loses_its_texts_and_places_and_keeps_its_size() {
        for is_big in [false, true] {
            let n16 = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            let n32 = |number: u32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            let entry = |tag, kind, count, value| [&n16(tag)[..], &n16(kind), &n32(count), &n32(value)].concat();
            let tiff = |text: &[u8], inner: &[u8]| {
                let head = [if is_big { b"MM" } else { b"II" }, &n16(42)[..], &n32(8)].concat();
                let entries = [entry(0x0100, 3, 1, 7), entry(0x0110, 2, 11, 50), entry(0x8825, 4, 1, 61)].concat();
                [&head[..], &n16(3), &entries, &n32(0), text, inner].concat()
            };
            let places = [&n16(1)[..], &entry(0x0002, 2, 9, 79), &n32(0), b"48.8584 N"].concat();
            let clean = blanked("image/tiff", &tiff(b"Camera 5000", &places)).unwrap();
            assert_eq!(clean, tiff(&[0; 11], &[0; 27]), "{is_big}");
        }
    }

    #[test]
    fn what_is_cut_or_runs_in_circles_ends() {
        for kind in BLANKED {
            for bytes in [&b""[..], b"II\x2a\0\x08", b"\xff\xff\xff\xffmeta", b"\0\0\0\x0cmeta\0\0\0\0"] {
                let told = blanked(kind, bytes);
                assert!(told.is_err() || kind != "image/tiff", "{kind} {bytes:?}");
            }
        }
        let circle = [&b"II\x2a\0\x08\0\0\0"[..], &[0, 0], &8_u32.to_le_bytes()].concat();
        blanked("image/tiff", &circle).unwrap_err();
    }

    /// A box of HEIF.
    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    #[test]
    fn a_file_that_tells_of_the_same_bytes_again_and_again_is_given_up() {
        // One item of EXIF; 65,535 items of as many parts, none of which takes a byte to be told of.
        let info = boxed(b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0][..], b"Exif"].concat());
        let infos = boxed(b"iinf", &[&[0, 0, 0, 0, 0, 1][..], &info].concat());
        let item = [0, 1, 0, 0, 0xff, 0xff];
        let endless = [&[0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &item.repeat(0xffff)].concat();
        // Two parts of one item, each of which is the whole file.
        let whole =
            [&[0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 2][..], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].repeat(2)];
        for places in [endless, whole.concat()] {
            let meta = [&[0; 4][..], &infos, &boxed(b"iloc", &places)].concat();
            let error = blanked("image/heif", &boxed(b"meta", &meta)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        // A directory of texts, each of which is the same one behind it.
        let behind = 8_u32 + 2 + 0xffff * 12 + 4;
        let entry = [&[0x0e, 0x01, 2, 0, 0, 0x20, 0, 0][..], &behind.to_le_bytes()].concat();
        let directory = [&[0xff, 0xff][..], &entry.repeat(0xffff), &[0; 4], &[b'a'; 0x2000]].concat();
        let error = blanked("image/tiff", &[&b"II\x2a\0\x08\0\0\0"[..], &directory].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_profile_keeps_its_colours_in_its_place() {
        let (told, mut kept) = (display_p3(), colours_of(&display_p3()).unwrap());
        kept.resize(told.len(), 0);
        for (told, kept) in [(&told, &kept), (&b"GPS: no profile at all".to_vec(), &vec![0; 22])] {
            let heif = |profile: &[u8]| {
                let colours = boxed(b"colr", &[b"prof", profile].concat());
                let named = boxed(b"colr", b"nclx\0\x01\0\x0d\0\x06\x80");
                let properties = boxed(b"ipco", &[named, colours].concat());
                boxed(b"meta", &[&[0; 4][..], &boxed(b"iprp", &properties)].concat())
            };
            assert_eq!(blanked("image/avif", &heif(told)).unwrap(), heif(kept));
            let tiff = |profile: &[u8]| {
                let entry = [&b"\x73\x87\x07\0"[..], &(profile.len() as u32).to_le_bytes(), &[26, 0, 0, 0]].concat();
                [&b"II\x2a\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4], profile].concat()
            };
            assert_eq!(blanked("image/tiff", &tiff(told)).unwrap(), tiff(kept));
        }
    }
}
