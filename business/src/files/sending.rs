//! What a bucket has of a file that is sent to it in parts: noted beside the upload, so that a send that broke off, or whose process was
//! killed, goes on behind it.
//!
//! Blocking; on the threads of [`Disk`](super::disk::Disk). Always holds: the bucket had what is noted; a note whose beginning is cut is none.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::folder::private;

/// See the module's documentation. The note has a line for each: the path, the bytes, the id, and then the parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Sending {
    note: PathBuf,
    /// Where the file will be in the bucket.
    pub path: String,
    /// What is sent.
    pub bytes: String,
    /// As the bucket calls it.
    pub multipart_id: String,
    /// As the bucket calls those that it has, from the first one on.
    pub part_ids: Vec<String>,
}

impl Sending {
    /// Notes that nothing was sent yet.
    pub fn begin(note: PathBuf, path: String, bytes: String, multipart_id: String) -> io::Result<Self> {
        let mut file = private().create(true).truncate(true).write(true).open(&note)?;
        file.write_all(format!("{path}\n{bytes}\n{multipart_id}\n").as_bytes())?;
        Ok(Self { note, path, bytes, multipart_id, part_ids: Vec::new() })
    }

    /// What was noted, if anything was.
    pub fn read(note: PathBuf) -> io::Result<Option<Self>> {
        let mut text = match fs::read_to_string(&note) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                return Ok(None);
            }
            read => read?,
        };
        // A process that is killed may leave half a line, behind which nothing may be written.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            private().write(true).open(&note)?.set_len(whole as u64)?;
            text.truncate(whole);
        }
        let mut lines = text.lines().map(str::to_owned);
        let (Some(path), Some(bytes), Some(multipart_id)) = (lines.next(), lines.next(), lines.next()) else {
            return Ok(None);
        };
        let part_ids = lines.collect();
        Ok(Some(Self { note, path, bytes, multipart_id, part_ids }))
    }

    /// Notes that the bucket has one part more.
    pub fn with_part(mut self, part_id: String) -> io::Result<Self> {
        let mut file = private().append(true).open(&self.note)?;
        file.write_all(format!("{part_id}\n").as_bytes())?;
        self.part_ids.push(part_id);
        Ok(self)
    }

    /// The bucket has all of it, or nothing that is of use.
    pub fn end(self) -> io::Result<()> {
        remove(&self.note)
    }
}

fn remove(note: &Path) -> io::Result<()> {
    match fs::remove_file(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_goes_on_behind_the_last_part_that_was_noted_whole() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let read = || Sending::read(note.clone()).unwrap();
        assert_eq!(read(), None);
        let begun = Sending::begin(note.clone(), "contents/a".into(), "hash 9".into(), "id".into()).unwrap();
        let sent = begun.with_part("\"one\"".into()).unwrap();
        assert_eq!(read().unwrap(), sent);
        assert_eq!(sent.part_ids, ["\"one\""]);

        // The process was killed while it noted the next one.
        private().append(true).open(&note).unwrap().write_all(b"\"tw").unwrap();
        let sent = read().unwrap().with_part("\"two\"".into()).unwrap();
        assert_eq!(sent.part_ids, ["\"one\"", "\"two\""]);
        assert_eq!(read().unwrap(), sent);
        sent.end().unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn a_note_whose_beginning_is_cut_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        for cut in [&b""[..], b"contents/a", b"contents/a\nhash 9\ni", b"\xff\n\xff\n\xff\n"] {
            fs::write(&note, cut).unwrap();
            assert_eq!(Sending::read(note.clone()).unwrap(), None, "{cut:?}");
        }
        let begun = Sending::begin(note.clone(), "b".into(), "c".into(), "d".into()).unwrap();
        assert_eq!(Sending::read(note).unwrap(), Some(begun));
    }
}
