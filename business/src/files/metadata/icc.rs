//! Colour profiles (ICC.1): of each the numbers that colours need are written into a new one. Names of devices and of their owners, texts,
//! times, and what programs put beside them stay behind. Pure.
//!
//! Always holds: nothing of the old profile is in the new one but numbers in the form of their type, in tags that are known. What numbers
//! say is not looked at: a curve or a table may have any.

/// A profile of a screen has some hundred bytes, one of a printing press some hundred thousand. A larger one is dropped.
pub const PROFILE_BYTES_MAX: usize = 1 << 20;

const HEADER_BYTES: usize = 128;
const ENTRY_BYTES: usize = 12;
const TAGS_MAX: usize = 100;

/// Of the header: all classes of devices whose profiles pictures have, and all spaces.
const CLASSES: [&[u8; 4]; 4] = [b"mntr", b"scnr", b"prtr", b"spac"];
const SPACES: [&[u8; 4]; 3] = [b"RGB ", b"GRAY", b"CMYK"];
const CONNECTING_SPACES: [&[u8; 4]; 2] = [b"XYZ ", b"Lab "];
/// The light to which all profiles refer.
const D50: [u8; 12] = [0, 0, 0xf6, 0xd6, 0, 1, 0, 0, 0, 0, 0xd3, 0x2d];

/// Tags of colours.
const KEPT: [&[u8; 4]; 17] = [
    b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"bkpt", b"chad", b"cicp", b"A2B0",
    b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2",
];
const DESCRIPTION: &[u8; 4] = b"desc";
/// What a profile has to have for anybody to use it: one of these.
const ENOUGH: [&[&[u8; 4]]; 3] = [&[b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"], &[b"kTRC"], &[b"A2B0"]];

/// A profile with the same colours that tells nothing else; none where it is broken, or too large, or has no colours.
pub fn colours_of(profile: &[u8]) -> Option<Vec<u8>> {
    if profile.len() > PROFILE_BYTES_MAX {
        return None;
    }
    let header: &[u8; HEADER_BYTES] = profile.first_chunk()?;
    let new_header = header_of(header)?;
    let count = number(profile, HEADER_BYTES).filter(|count| *count <= TAGS_MAX)?;
    let description = description(header[8]);
    let mut tags: Vec<(&[u8; 4], &[u8])> = vec![(DESCRIPTION, &description)];
    for index in 0..count {
        let entry = HEADER_BYTES + 4 + index * ENTRY_BYTES;
        let name: &[u8; 4] = profile.get(entry..)?.first_chunk()?;
        let (at, length) = (number(profile, entry + 4)?, number(profile, entry + 8)?);
        let data = profile.get(at..at.checked_add(length)?)?;
        let is_there = tags.iter().any(|(there, _)| *there == name);
        if KEPT.contains(&name) && !is_there {
            tags.extend(numbers_of(name, data).map(|numbers| (name, numbers)));
        }
    }
    let has = |name: &&[u8; 4]| tags.iter().any(|(there, _)| there == name);
    let is_enough = ENOUGH.iter().any(|names| names.iter().all(has));
    is_enough.then(|| joined(new_header, &tags)).filter(|joined| joined.len() <= PROFILE_BYTES_MAX)
}

/// The same header without maker, model, program and time.
fn header_of(header: &[u8; HEADER_BYTES]) -> Option<[u8; HEADER_BYTES]> {
    let field = |at: usize| header[at..].first_chunk::<4>();
    let is_known =
        CLASSES.contains(&field(12)?) && SPACES.contains(&field(16)?) && CONNECTING_SPACES.contains(&field(20)?);
    if field(36)? != b"acsp" || !is_known {
        return None;
    }
    let mut kept = [0; HEADER_BYTES];
    // The version; class and spaces; how colours that a device has not are shown.
    for range in [8..10, 12..24, 36..40, 67..68] {
        kept[range.clone()].copy_from_slice(&header[range]);
    }
    kept[67] &= 3;
    kept[68..80].copy_from_slice(&D50);
    Some(kept)
}

/// What every profile has to say of itself, in the form of its version: three letters.
fn description(version: u8) -> Vec<u8> {
    if version >= 4 {
        return b"mluc\0\0\0\0\0\0\0\x01\0\0\0\x0cenUS\0\0\0\x06\0\0\0\x1c\0I\0C\0C".to_vec();
    }
    let mut text = b"desc\0\0\0\0\0\0\0\x04ICC\0".to_vec();
    // Neither in Unicode nor in the script of an old system.
    text.resize(94, 0);
    text
}

/// As many bytes of a tag as its type has, where that is one that such a tag may have.
fn numbers_of<'a>(name: &[u8; 4], data: &'a [u8]) -> Option<&'a [u8]> {
    let kind: &[u8; 4] = data.first_chunk()?;
    let length = match (name, kind) {
        (b"wtpt" | b"bkpt" | [_, b'X', b'Y', b'Z'], b"XYZ ") => 20,
        (b"chad", b"sf32") => 44,
        (b"cicp", b"cicp") => 12,
        ([_, b'T', b'R', b'C'], b"curv") => number(data, 8)?.checked_mul(2)?.checked_add(12)?,
        ([_, b'T', b'R', b'C'], b"para") => 12 + 4 * [1, 3, 4, 5, 7].get(usize::from(data.get(9).copied()?))?,
        ([_, b'2', ..], b"mft1" | b"mft2") => table_bytes(kind, data)?,
        ([b'A', b'2', ..], b"mAB ") | ([b'B', b'2', ..], b"mBA ") => data.len(),
        _ => return None,
    };
    // Four bytes behind the type are reserved.
    data.get(..length).filter(|data| length >= 8 && data[4..8] == [0; 4])
}

/// How long a table of one or two bytes for each number is.
fn table_bytes(kind: &[u8; 4], data: &[u8]) -> Option<usize> {
    let [inputs, outputs, points] = [8, 9, 10].map(|at| data.get(at).copied().map(usize::from));
    let (inputs, outputs, points) = (inputs?, outputs?, points?);
    let colours = points.checked_pow(u32::try_from(inputs).ok()?)?.checked_mul(outputs)?;
    if kind == b"mft1" {
        return colours.checked_add(48 + 256 * (inputs + outputs));
    }
    let entries = |at: usize| Some(usize::from(u16::from_be_bytes(*data.get(at..)?.first_chunk()?)));
    let numbers = colours.checked_add(inputs * entries(48)? + outputs * entries(50)?)?;
    numbers.checked_mul(2)?.checked_add(52)
}

/// A profile of these tags; equal ones stand in it once.
fn joined(mut header: [u8; HEADER_BYTES], tags: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let begin = HEADER_BYTES + 4 + tags.len() * ENTRY_BYTES;
    let (mut entries, mut data): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut written: Vec<(&[u8], usize)> = Vec::new();
    for (name, numbers) in tags {
        let known = written.iter().find(|(there, _)| there == numbers).map(|(_, at)| *at);
        let at = known.unwrap_or_else(|| {
            let at = begin + data.len();
            data.extend_from_slice(numbers);
            data.resize(data.len().next_multiple_of(4), 0);
            written.push((numbers, at));
            at
        });
        entries.extend_from_slice(&name[..]);
        entries.extend_from_slice(&(at as u32).to_be_bytes());
        entries.extend_from_slice(&(numbers.len() as u32).to_be_bytes());
    }
    let length = (begin + data.len()) as u32;
    header[..4].copy_from_slice(&length.to_be_bytes());
    [&header[..], &(tags.len() as u32).to_be_bytes(), &entries, &data].concat()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A profile with these tags, one behind the other.
    pub fn profile(class: &[u8; 4], space: &[u8; 4], tags: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut header = [0; HEADER_BYTES];
        header[4..12].copy_from_slice(b"appl\x04\0\0\0");
        header[12..16].copy_from_slice(class);
        header[16..20].copy_from_slice(space);
        header[20..24].copy_from_slice(b"XYZ ");
        header[24..48].copy_from_slice(b"\x07\xe6\0\x01\0\x01\0\0\0\0\0\0acspAPPL\0\0\0\0");
        header[48..52].copy_from_slice(b"GPS!");
        header[68..80].copy_from_slice(&D50);
        header[80..128].copy_from_slice(&b"GPS!".repeat(12));
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        let begin = HEADER_BYTES + 4 + tags.len() * ENTRY_BYTES;
        for (name, bytes) in tags {
            let [at, length] = [begin + data.len(), bytes.len()].map(|number| (number as u32).to_be_bytes());
            entries.extend([&name[..], &at, &length].concat());
            data.extend(bytes);
        }
        header[..4].copy_from_slice(&((begin + data.len()) as u32).to_be_bytes());
        [&header[..], &(tags.len() as u32).to_be_bytes(), &entries, &data].concat()
    }

    fn xyz(number: u32) -> Vec<u8> {
        [&b"XYZ \0\0\0\0"[..], &number.to_be_bytes(), &[0; 8]].concat()
    }

    /// As phones have it: Display P3, whose curves are the same bytes; with texts, a name and a number of the device.
    pub fn display_p3() -> Vec<u8> {
        let curve = [&b"para\0\0\0\0\0\x03\0\0"[..], &[7; 20]].concat();
        let text = |text: &str| [&b"mluc\0\0\0\0"[..], text.as_bytes()].concat();
        let tags = [
            (b"desc", text("GPS: the phone of Ann")),
            (b"cprt", text("GPS: Ann, 2026")),
            (b"rXYZ", [xyz(1), b"GPS behind it".to_vec()].concat()),
            (b"gXYZ", xyz(2)),
            (b"bXYZ", xyz(3)),
            (b"rTRC", curve.clone()),
            (b"gTRC", curve.clone()),
            (b"bTRC", curve),
            (b"wtpt", xyz(4)),
            (b"chad", [&b"sf32\0\0\0\0"[..], &[9; 36]].concat()),
            (b"mmod", b"mmod\0\0\0\0GPS: 4711".to_vec()),
            (b"bkpt", b"text\0\0\0\0GPS".to_vec()),
        ];
        profile(b"mntr", b"RGB ", &tags)
    }

    /// The data of a tag.
    fn tag<'a>(profile: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
        let entries = profile[HEADER_BYTES + 4..].chunks_exact(ENTRY_BYTES).take(number(profile, HEADER_BYTES)?);
        let entry = entries.into_iter().find(|entry| entry.starts_with(name))?;
        let (at, length) = (number(entry, 4)?, number(entry, 8)?);
        Some(&profile[at..at + length])
    }

    fn holds(bytes: &[u8], text: &[u8]) -> bool {
        bytes.windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn a_profile_keeps_its_colours_and_loses_whose_they_are() {
        let told = display_p3();
        let clean = colours_of(&told).unwrap();
        assert!(holds(&told, b"GPS") && !holds(&clean, b"GPS"));
        assert_eq!(number(&clean, 0), Some(clean.len()));
        assert_eq!(clean[12..24], told[12..24], "class and spaces");
        for name in [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"wtpt", b"chad"] {
            let kept = tag(&clean, name).unwrap();
            assert!(tag(&told, name).unwrap().starts_with(kept) && kept.len() >= 20, "{name:?}");
        }
        for name in [b"cprt", b"mmod", b"bkpt"] {
            assert_eq!(tag(&clean, name), None);
        }
        assert_eq!(tag(&clean, b"desc").unwrap().len(), 34, "every profile has one");
        assert_eq!(tag(&clean, b"rTRC").unwrap().as_ptr(), tag(&clean, b"bTRC").unwrap().as_ptr());
        assert_eq!(colours_of(&clean).unwrap(), clean, "there is nothing left");
    }

    #[test]
    fn a_profile_of_a_press_keeps_its_tables() {
        // Of four colours at two points each; three numbers at each of them.
        let table = [&b"mft1\0\0\0\0\x04\x03\x02\0"[..], &[0; 36], &vec![5; 256 * 7 + 16 * 3]].concat();
        let longer = [&table[..], b"GPS"].concat();
        let clean = colours_of(&profile(b"prtr", b"CMYK", &[(b"A2B0", longer)])).unwrap();
        assert_eq!(tag(&clean, b"A2B0").unwrap(), table);
        let wide = [&b"mft2\0\0\0\0\x04\x03\x02\0"[..], &[0; 36], &[0, 2, 0, 2], &[5; 2 * (2 * 7 + 16 * 3)]].concat();
        let clean = colours_of(&profile(b"prtr", b"CMYK", &[(b"A2B0", [&wide[..], b"GPS"].concat())])).unwrap();
        assert_eq!(tag(&clean, b"A2B0").unwrap(), wide);
        assert_eq!(colours_of(&profile(b"prtr", b"CMYK", &[(b"A2B0", table[..table.len() - 1].to_vec())])), None);
    }

    #[test]
    fn what_is_no_profile_or_has_no_colours_is_dropped() {
        let good = display_p3();
        for length in 0..good.len() {
            colours_of(&good[..length]).map(|kept| colours_of(&kept).unwrap());
        }
        for (at, byte) in [(12, b'x'), (16, b'x'), (20, b'x'), (36, b'x'), (HEADER_BYTES, 1), (HEADER_BYTES + 8, 0xff)]
        {
            let mut wrong = good.clone();
            wrong[at] = byte;
            assert_eq!(colours_of(&wrong), None, "{at}");
        }
        assert_eq!(colours_of(&[&good[..], &vec![0; PROFILE_BYTES_MAX]].concat()), None, "it is too large");
        let texts = profile(b"mntr", b"RGB ", &[(b"desc", b"desc\0\0\0\0GPS".to_vec())]);
        assert_eq!(colours_of(&texts), None);
        let wrong_curve = profile(b"mntr", b"GRAY", &[(b"kTRC", b"curv\0\0\0\0\xff\xff\xff\xff".to_vec())]);
        assert_eq!(colours_of(&wrong_curve), None);
        let curve = profile(b"mntr", b"GRAY", &[(b"kTRC", b"curv\0\0\0\0\0\0\0\x01\x02\x33".to_vec())]);
        assert!(colours_of(&curve).is_some());
    }
}
