//! What was pushed already, in a file beside the list of users: who is stopped goes on where they were.
//!
//! Always holds: the first line names the push, and each further whole line stands for one batch that logic has answered. The line may be
//! lost that was being written; its batch is pushed again under the same key, by which logic knows it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Which push it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// What the keys of its batches begin with.
    key: String,
    /// Of everything that a repetition has to have in common.
    digest: String,
}

/// An open journal, which nobody else has meanwhile.
#[derive(Debug)]
pub struct Journal {
    file: File,
    key: String,
    /// Batches that were answered.
    pub done: usize,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process is at it.
    #[error("{} is in use: the same push is under way", .0.display())]
    InUse(PathBuf),
    /// It is of something else.
    #[error("{} is of another push (other users, content or --batch): remove it, or name another one by --journal", .0.display())]
    Other(PathBuf),
    /// It is something else.
    #[error("{} is no journal of a push: name another one by --journal", .0.display())]
    NoJournal(PathBuf),
}

impl Journal {
    /// Opens the journal of the push that `parts` describe; begins it where there is none.
    pub fn open(path: &Path, parts: &[&[u8]]) -> Result<Self, JournalError> {
        let fail = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|_| JournalError::NoJournal(path.to_owned()))?;
        let digest = digest(parts);
        let Some((head, rest)) = text.split_once('\n') else {
            let is_cut_head = text.is_empty() || text.starts_with("{\"key\":");
            if !is_cut_head {
                return Err(JournalError::NoJournal(path.to_owned()));
            }
            return Self::begin(file, digest).map_err(fail);
        };
        let head: Head = serde_json::from_str(head).map_err(|_| JournalError::NoJournal(path.to_owned()))?;
        if head.digest != digest {
            return Err(JournalError::Other(path.to_owned()));
        }
        let whole = rest.rfind('\n').map_or(0, |end| end + 1);
        // What is cut is written anew.
        file.set_len((text.len() - rest.len() + whole) as u64).map_err(fail)?;
        file.seek(io::SeekFrom::End(0)).map_err(fail)?;
        Ok(Self { file, key: head.key, done: rest[..whole].lines().count() })
    }

    fn begin(mut file: File, digest: String) -> io::Result<Self> {
        let head = Head { key: format!("{:032x}", rand::random::<u128>()), digest };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", serde_json::to_string(&head)?).as_bytes())?;
        file.sync_all()?;
        Ok(Self { file, key: head.key, done: 0 })
    }

    /// By which logic knows the next batch.
    pub fn key(&self) -> String {
        format!("{}-{}", self.key, self.done)
    }

    /// Logic has answered it.
    pub fn end_batch(&mut self) -> io::Result<()> {
        self.file.write_all(format!("{}\n", self.done).as_bytes())?;
        self.done += 1;
        Ok(())
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, &[b"a", b"b"]).unwrap();
        assert!(matches!(Journal::open(&path, &[b"a", b"b"]), Err(JournalError::InUse(_))));
        let first = journal.key();
        journal.end_batch().unwrap();
        let second = journal.key();
        journal.end_batch().unwrap();
        assert_ne!(first, second);
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 1]).unwrap();
        let journal = Journal::open(&path, &[b"a", b"b"]).unwrap();
        assert_eq!((journal.done, journal.key()), (1, second));
        drop(journal);
        assert!(matches!(Journal::open(&path, &[b"ab", b""]), Err(JournalError::Other(_))));
        std::fs::write(&path, "7\n8\n").unwrap();
        assert!(matches!(Journal::open(&path, &[b"a", b"b"]), Err(JournalError::NoJournal(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "7\n8\n", "it is left alone");
    }
}
