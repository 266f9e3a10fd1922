//! The folder in which files are kept: `uploads/ID` grows as bytes come (beside it stand `ID.clean` and `ID.thumbnail`, while a picture is
//! prepared, and `ID.sent`, while a bucket gets it in parts), `contents/xx/ID` is whole and never changes.
//!
//! Blocking; called on the threads of [`Disk`](super::disk::Disk). Always holds: what is under `contents` was written to the disk before
//! it got its name there; nobody else on this host can read any of it.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::sys::statvfs::statvfs;

use super::signed_url::Variant;
use crate::domain::file::FileId;

/// The folder. Clones mean the same one.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// What uploads leave to others on the file system.
    free_bytes_min: u64,
}

impl Folder {
    /// Makes the folder where it is not there, and tries to write into it.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(root: &Path, free_bytes_min: u64) -> Result<Self, String> {
        let folder = Self { root: root.to_owned(), free_bytes_min };
        let try_out = || {
            make_folder(&folder.uploads())?;
            make_folder(&folder.contents())?;
            // Of its own, as several nodes may have the folder.
            let probe = folder.uploads().join(format!("probe-{}", FileId::random()));
            private().create(true).truncate(true).write(true).open(&probe)?;
            fs::remove_file(probe)
        };
        try_out().map_err(|error| format!("files.folder: cannot write into {}: {error}", root.display()))?;
        Ok(folder)
    }

    /// Whether so many bytes more would leave enough to others.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where they would not.
    pub fn check_room(&self, bytes: u64) -> io::Result<()> {
        let found = statvfs(&self.uploads())?;
        let free_bytes = found.blocks_available().saturating_mul(found.fragment_size());
        if free_bytes >= self.free_bytes_min.saturating_add(bytes) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, format!("{free_bytes} bytes are free")))
    }

    /// Makes the file of a new upload.
    pub fn create_upload(&self, file_id: FileId) -> io::Result<File> {
        private().create_new(true).read(true).append(true).open(self.upload(file_id))
    }

    /// Opens the file of an upload that goes on.
    pub fn open_upload(&self, file_id: FileId) -> io::Result<File> {
        private().read(true).append(true).open(self.upload(file_id))
    }

    /// Where an upload grows.
    pub fn upload(&self, file_id: FileId) -> PathBuf {
        self.uploads().join(file_id.to_string())
    }

    /// Where the picture of an upload is written without what it tells.
    pub fn clean(&self, file_id: FileId) -> PathBuf {
        self.upload(file_id).with_extension("clean")
    }

    /// Where the small picture of an upload is written.
    pub fn thumbnail(&self, file_id: FileId) -> PathBuf {
        self.upload(file_id).with_extension("thumbnail")
    }

    /// Where it is noted what a bucket has of an upload.
    pub fn sent(&self, file_id: FileId) -> PathBuf {
        self.upload(file_id).with_extension("sent")
    }

    /// Gives bytes that are on the disk their place among the contents; where they were they are as well.
    pub fn keep(&self, from: &Path, content_id: FileId, variant: Variant) -> io::Result<()> {
        let path = self.content(content_id, variant);
        let parent = path.parent().expect("a content is in a folder");
        make_folder(parent)?;
        remove(&path)?;
        if fs::hard_link(from, &path).is_err() {
            // Not every file system has links. A copy has its name before it is whole, but the database does not know it yet.
            self.check_room(fs::metadata(from)?.len())?;
            fs::copy(from, &path)?;
            File::open(&path)?.sync_all()?;
        }
        File::open(parent)?.sync_all()
    }

    /// Whether a content is there, whole.
    pub fn has_content(&self, content_id: FileId, variant: Variant, size_bytes: u64) -> bool {
        fs::metadata(self.content(content_id, variant)).is_ok_and(|metadata| metadata.len() == size_bytes)
    }

    /// Opens a content for reading.
    pub fn open_content(&self, content_id: FileId, variant: Variant) -> io::Result<File> {
        File::open(self.content(content_id, variant))
    }

    /// How many bytes of an upload are there.
    pub fn upload_bytes(&self, file_id: FileId) -> io::Result<u64> {
        match fs::metadata(self.upload(file_id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            found => Ok(found?.len()),
        }
    }

    /// Removes an upload, if it is there, and what was made of it.
    pub fn remove_upload(&self, file_id: FileId) -> io::Result<()> {
        self.remove_copies(file_id)?;
        remove(&self.sent(file_id))?;
        remove(&self.upload(file_id))
    }

    /// Removes what was made of the picture of an upload.
    pub fn remove_copies(&self, file_id: FileId) -> io::Result<()> {
        remove(&self.clean(file_id))?;
        remove(&self.thumbnail(file_id))
    }

    /// Removes a content with all that belongs to it, if it is there.
    pub fn remove_content(&self, content_id: FileId) -> io::Result<()> {
        remove(&self.content(content_id, Variant::Thumbnail))?;
        remove(&self.content(content_id, Variant::Whole))
    }

    /// Uploads that nobody has written to for so long.
    pub fn resting_uploads(&self, rest: Duration) -> io::Result<Vec<FileId>> {
        let now = SystemTime::now();
        let mut resting = Vec::new();
        for entry in fs::read_dir(self.uploads())? {
            let entry = entry?;
            let Some(file_id) = id_of(&entry.file_name()) else { continue };
            let written_at = match entry.metadata().and_then(|metadata| metadata.modified()) {
                Ok(written_at) => written_at,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if now.duration_since(written_at).is_ok_and(|passed| passed >= rest) {
                resting.push(file_id);
            }
        }
        Ok(resting)
    }

    /// Contents that came into this part of the folder so long ago (a part for each value of the first byte of an id).
    pub fn older_contents(&self, part: u8, age: Duration) -> io::Result<Vec<FileId>> {
        let entries = match fs::read_dir(self.contents().join(format!("{part:02x}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let before_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(age);
        let mut older = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(file_id) = id_of(&entry.file_name()) else { continue };
            // Not when it was written: an upload may have been resting for long before it was whole.
            if entry.metadata()?.ctime() <= before_s.as_secs() as i64 {
                older.push(file_id);
            }
        }
        older.dedup();
        Ok(older)
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    fn contents(&self) -> PathBuf {
        self.root.join("contents")
    }

    fn content(&self, content_id: FileId, variant: Variant) -> PathBuf {
        let name = content_id.to_string();
        let folder = self.contents().join(&name[..2]);
        match variant {
            Variant::Whole | Variant::Check => folder.join(name),
            Variant::Thumbnail => folder.join(name + ".thumbnail"),
        }
    }
}

/// Whose a file is, with or without an ending.
fn id_of(name: &OsStr) -> Option<FileId> {
    let name = name.to_str()?;
    FileId::parse(name.split_once('.').map_or(name, |(id, _)| id))
}

/// What is made is for this user of the host alone.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// A folder that is not there yet has its own place in the one above synced, or its files could be gone with it after a loss of power.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
