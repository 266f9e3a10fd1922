//! The lock on what a service keeps in its data folder, or wherever the file of its database is: held from before anything there is
//! opened until the process ends, so that a second service, or a command that works offline, cannot come between. Taken at start-up.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// The folder is ours as long as this lives; the system gives it back even where the process is killed.
#[derive(Debug)]
pub struct DataFolder {
    lock: File,
}

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Somebody else has it.
    #[error("the data folder {} is in use by another gim-{service}{}", folder.display(), of_process(holder))]
    InUse {
        /// Which.
        folder: PathBuf,
        /// Whose part of it.
        service: &'static str,
        /// The process that has it, as far as that is known.
        holder: String,
    },
    /// It cannot be made or written.
    #[error("cannot write to the data folder {}: {source}", folder.display())]
    Write {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataFolder {
    /// Makes the folder where it is not there, and takes what `service` keeps in it: several services share a folder.
    pub fn take(folder: &Path, service: &'static str) -> Result<Self, DataFolderError> {
        let refuse = |source| DataFolderError::Write { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(refuse)?;
        let path = lock_of(folder, service);
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, service, lock)),
            Err(TryLockError::Error(source)) => return Err(refuse(source)),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(refuse)?;
        lock.write_all(std::process::id().to_string().as_bytes()).map_err(refuse)?;
        Ok(Self { lock })
    }

    /// Fails where somebody has what `service` keeps in a folder, which need not be there; nothing is written, nor kept.
    pub fn check_free(folder: &Path, service: &'static str) -> Result<(), DataFolderError> {
        let Ok(lock) = File::open(lock_of(folder, service)) else { return Ok(()) };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(in_use(folder, service, lock)),
            // What else may be wrong, whoever takes it hears.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        }
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Closing it is not enough where a child process that begins just now has it open as well.
        drop(self.lock.unlock());
    }
}

fn lock_of(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.lock"))
}

fn in_use(folder: &Path, service: &'static str, mut lock: File) -> DataFolderError {
    let mut holder = String::new();
    // Whose it is helps; that it is somebody's is what counts.
    drop(lock.read_to_string(&mut holder));
    DataFolderError::InUse { folder: folder.to_owned(), service, holder }
}

fn of_process(holder: &str) -> String {
    holder.parse::<u32>().map(|process| format!(" (process {process})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_the_folder_and_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let first = DataFolder::take(&data, "logic").unwrap();
        let _other_service = DataFolder::take(&data, "business").unwrap();
        let refused = DataFolder::take(&data, "logic").unwrap_err().to_string();
        let expected = format!(
            "the data folder {} is in use by another gim-logic (process {})",
            data.display(),
            std::process::id()
        );
        assert_eq!(refused, expected);
        assert_eq!(DataFolder::check_free(&data, "logic").unwrap_err().to_string(), expected);
        drop(first);
        DataFolder::check_free(&data, "logic").unwrap();
        DataFolder::check_free(&folder.path().join("none"), "logic").unwrap();
        DataFolder::take(&data, "logic").unwrap();
    }
}
