//! What a backup holds, in a file beside it: written last, so that a backup without it is none.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Its name in the folder of the backup.
pub const FILE: &str = "backup.json";

/// How much of a file is read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was begun, Unix seconds.
    pub begun_s: u64,
    /// The version of gim that made it.
    pub version: String,
    /// By the service.
    pub files: BTreeMap<String, Copied>,
}

/// The copy of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// In the same folder.
    pub file: String,
    /// How long it is.
    pub bytes: u64,
    /// Of all of it.
    pub sha256: String,
    /// The newest migration of its tables.
    pub migration: i64,
}

/// Why a backup is none.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It was stopped, or is something else.
    #[error("{} is no whole backup: there is no {FILE} in it", .0.display())]
    Missing(PathBuf),
    /// What stands there cannot be understood.
    #[error("{} is no whole backup: {FILE} cannot be read: {problem}", .folder.display())]
    Unreadable {
        /// Of the backup.
        folder: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file is shorter than it was.
    #[error("{} is cut: it has {bytes} bytes, and {wanted} were backed up", .path.display())]
    Cut {
        /// Which.
        path: PathBuf,
        /// How many there are.
        bytes: u64,
        /// How many there were.
        wanted: u64,
    },
    /// A file is not what it was.
    #[error("{} is not what was backed up: its checksum is another one", .0.display())]
    Changed(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Manifest {
    /// That of a backup.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Missing(folder.to_owned()));
            }
            text => text.map_err(|source| ManifestError::Read { path, source })?,
        };
        let unreadable = |error: serde_json::Error| ManifestError::Unreadable {
            folder: folder.to_owned(),
            problem: error.to_string(),
        };
        serde_json::from_str(&text).map_err(unreadable)
    }

    /// Writes it, and lets it reach the disk.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(FILE);
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        File::open(&path)?.sync_all()?;
        File::open(folder)?.sync_all()
    }
}

impl Copied {
    /// Of a file that was just written.
    pub fn of(folder: &Path, file: &str, migration: i64) -> io::Result<Self> {
        let path = folder.join(file);
        let bytes = fs::metadata(&path)?.len();
        Ok(Self { file: file.to_owned(), bytes, sha256: sha256(&path)?, migration })
    }

    /// Whether it still is what it was.
    pub fn check(&self, folder: &Path) -> Result<(), ManifestError> {
        let path = folder.join(&self.file);
        let fail = |source| ManifestError::Read { path: path.clone(), source };
        let bytes = fs::metadata(&path).map_err(fail)?.len();
        if bytes < self.bytes {
            return Err(ManifestError::Cut { path, bytes, wanted: self.bytes });
        }
        match sha256(&path).map_err(fail)? == self.sha256 {
            true => Ok(()),
            false => Err(ManifestError::Changed(path)),
        }
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut block) = (File::open(path)?, Sha256::new(), vec![0; BLOCK_BYTES]);
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hash.update(&block[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
