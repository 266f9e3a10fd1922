//! GIF: pictures in blocks, between which programs say what they like. Pure.

use std::io::{self, BufRead, Read, Write};

use super::{array, byte, copy_exactly, no_picture};

/// What programs say that is kept: how often it is played.
const LOOPS: [&[u8; 11]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];
const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;
/// How the next picture is shown.
const CONTROL: u8 = 0xf9;
const PROGRAM: u8 = 0xff;

/// Copies a GIF without what is said in it and behind it.
pub fn strip(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let head: [u8; 13] = array(from)?;
    if !head.starts_with(b"GIF8") {
        return Err(no_picture());
    }
    to.write_all(&head)?;
    copy_colours(head[10], from, to)?;
    loop {
        // Many end without saying so.
        if from.fill_buf()?.is_empty() {
            return to.write_all(&[TRAILER]);
        }
        match byte(from)? {
            TRAILER => return to.write_all(&[TRAILER]),
            EXTENSION => copy_extension(from, to)?,
            IMAGE => {
                let place: [u8; 9] = array(from)?;
                to.write_all(&[IMAGE])?;
                to.write_all(&place)?;
                copy_colours(place[8], from, to)?;
                to.write_all(&[byte(from)?])?;
                copy_blocks(from, to)?;
            }
            // An empty block too many.
            0 => {}
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
    if label == CONTROL {
        to.write_all(&[EXTENSION, label])?;
        return copy_blocks(from, to);
    }
    if label != PROGRAM {
        return copy_blocks(from, &mut io::sink());
    }
    let length = byte(from)?;
    let mut program = vec![0; usize::from(length)];
    from.read_exact(&mut program)?;
    if length == 0 || !LOOPS.iter().any(|loops| loops[..] == program) {
        return if length == 0 { Ok(()) } else { copy_blocks(from, &mut io::sink()) };
    }
    to.write_all(&[EXTENSION, label, length])?;
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

#[cfg(test)]
mod tests {
    use super::super::tests::stripped;

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
        let [one_block_more, end] = [&clean[..clean.len() - 1], b"\0;"];
        assert_eq!(stripped("image/gif", &[one_block_more, end].concat()).unwrap(), clean);
        stripped("image/gif", b"GIF89a/*\x01\0\x01\0*/=1;alert(1)").unwrap_err();
    }
}
