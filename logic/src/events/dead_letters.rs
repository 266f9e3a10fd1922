//! The file of what nobody took: a line of JSON for each call that was given up, with the body that it had. Written by the task that hands
//! events out, and synced before the walk goes on; bounded, and where it is full nothing is given up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

/// The file. Its name is that of nobody else in the data folder.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    path: PathBuf,
    bytes_max: u64,
}

impl DeadLetters {
    /// In a folder, of at most so many bytes.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { path: folder.join("events-dead-letters.jsonl"), bytes_max }
    }

    /// Where it is.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether it can be written, which has to be known before the day on which somebody takes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn check(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let is_there = self.path.exists();
        OpenOptions::new().create(true).append(true).open(&self.path)?;
        if is_there { Ok(()) } else { fs::remove_file(&self.path) }
    }

    /// Adds a line, which is on the disk when this returns.
    ///
    /// # Errors
    /// Where the file would be longer than it may be, or cannot be written.
    pub async fn add(&self, line: String) -> io::Result<()> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.add_now(&line))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn add_now(&self, line: &str) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
        let length = file.metadata()?.len();
        // A line that a power cut left half written stays for itself.
        let before = if ends_within_a_line(&file, length)? { "\n" } else { "" };
        if length + (before.len() + line.len()) as u64 + 1 > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the dead-letter file has events.dead_letter_bytes_max",
            ));
        }
        let written = file.write_all(format!("{before}{line}\n").as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a line would be taken for the beginning of the next one.
            file.set_len(length)?;
        }
        written
    }
}

fn ends_within_a_line(file: &File, length: u64) -> io::Result<bool> {
    let Some(last_at) = length.checked_sub(1) else { return Ok(false) };
    let mut last = [0];
    file.read_exact_at(&mut last, last_at)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_a_power_cut_left_half_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().to_owned(), 100);
        std::fs::write(letters.path(), "whole\nhal").unwrap();
        letters.add("next".into()).await.unwrap();
        assert_eq!(std::fs::read_to_string(letters.path()).unwrap(), "whole\nhal\nnext\n");
    }

    #[tokio::test]
    async fn lines_are_added_until_the_file_is_as_long_as_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().to_owned(), 10);
        letters.check().unwrap();
        assert!(!letters.path().exists(), "there is no dead letter yet");
        letters.add("1234".into()).await.unwrap();
        letters.add("5678".into()).await.unwrap();
        assert_eq!(letters.add(String::new()).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        letters.check().unwrap();
        assert_eq!(std::fs::read_to_string(letters.path()).unwrap(), "1234\n5678\n");
        let nowhere = DeadLetters::new(letters.path().join("folder"), 10);
        assert_eq!(nowhere.check().unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }
}
