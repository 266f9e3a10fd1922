//! Where whole files are kept: in the folder, or in a bucket of S3. What is on its way is in the folder in any case.
//!
//! Always holds: what is kept is there before the call returns, and the same may be kept again.

use std::{io, ops::Range, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;

#[cfg(feature = "s3")]
use super::bucket::Bucket;
use super::{disk::Disk, folder::Folder, reading, signed_url::Variant, threads::Threads};
use crate::{
    domain::file::{FileHash, FileId},
    settings::FilesSettings,
    store::Content,
};

/// The bytes of a file, as they are taken.
pub type FileBytes = BoxStream<'static, io::Result<Bytes>>;

/// A file on the disk that is to be kept.
#[derive(Debug)]
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "a bucket is told all of it"))]
pub struct NewContent {
    /// Whose turn it takes.
    pub user_id: u64,
    pub from: PathBuf,
    pub content_id: FileId,
    pub variant: Variant,
    /// Of the whole file.
    pub hash: FileHash,
    /// Where it may be noted how much of it was sent.
    pub note: PathBuf,
}

/// How a browser is to take a file that it reads straight from the bucket.
#[derive(Debug)]
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "a bucket is told so"))]
pub struct ReadAs<'a> {
    pub kind: &'a str,
    pub disposition: &'a str,
    pub good_for: Duration,
}

/// See the module's documentation. Clones mean the same place.
#[derive(Debug, Clone)]
pub enum Contents {
    Folder(Folder, Disk),
    #[cfg(feature = "s3")]
    Bucket(Bucket),
}

impl Contents {
    /// The place that the settings name.
    ///
    /// # Errors
    /// A sentence that names the key.
    #[cfg(feature = "s3")]
    pub fn open(settings: &FilesSettings, folder: &Folder, disk: &Disk, threads: &Threads) -> Result<Self, String> {
        if settings.bucket.is_empty() {
            return Ok(Self::Folder(folder.clone(), disk.clone()));
        }
        Ok(Self::Bucket(Bucket::open(settings, disk, threads)?))
    }

    /// The place that the settings name.
    ///
    /// # Errors
    /// A sentence that names the key.
    #[cfg(not(feature = "s3"))]
    pub fn open(settings: &FilesSettings, folder: &Folder, disk: &Disk, threads: &Threads) -> Result<Self, String> {
        if settings.bucket.is_empty() {
            return Ok(Self::Folder(folder.clone(), disk.clone()));
        }
        let _of_a_bucket = threads;
        Err("files.bucket: this program was built without S3 (the feature `s3`, which packages have)".into())
    }

    /// Keeps the bytes of a file.
    pub async fn keep(&self, new: NewContent) -> io::Result<()> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                disk.run(move || folder.keep(&new.from, new.content_id, new.variant)).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.keep(new).await,
        }
    }

    /// Has a bucket forget the parts of an upload that were noted there: they become no file.
    #[cfg_attr(not(feature = "s3"), expect(clippy::unused_async, reason = "a bucket is told so"))]
    pub async fn forget_sent(&self, note: PathBuf) -> io::Result<()> {
        match self {
            Self::Folder(..) => {
                let _ = note;
                Ok(())
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.forget_sent(note).await,
        }
    }

    /// Whether a file that was kept is still there, with its thumbnail.
    pub async fn has(&self, content: &Content) -> io::Result<bool> {
        let mut parts = vec![(Variant::Whole, content.size_bytes)];
        if content.thumbnail_bytes > 0 {
            parts.push((Variant::Thumbnail, content.thumbnail_bytes));
        }
        let content_id = content.content_id;
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                let has = move |(variant, bytes)| folder.has_content(content_id, variant, bytes);
                disk.run(move || Ok(parts.into_iter().all(has))).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => {
                for (variant, bytes) in parts {
                    if !bucket.has(content_id, variant, bytes).await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Those that came into this part of all of them so long ago (a part for each value of the first byte of an id).
    pub async fn older(&self, part: u8, age: Duration) -> io::Result<Vec<FileId>> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                disk.run(move || folder.older_contents(part, age)).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.older(part, age).await,
        }
    }

    /// Reads a part of a file.
    pub async fn read(&self, content_id: FileId, variant: Variant, bytes: Range<u64>) -> io::Result<FileBytes> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                let file = disk.run(move || folder.open_content(content_id, variant)).await?;
                Ok(reading::bytes_of_file(disk.clone(), file, bytes))
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.read(content_id, variant, bytes).await,
        }
    }

    /// Where a client reads the file itself, if that is meant.
    #[cfg_attr(not(feature = "s3"), expect(clippy::unused_async, reason = "a bucket is asked for it"))]
    pub async fn redirect(
        &self,
        content_id: FileId,
        variant: Variant,
        read_as: &ReadAs<'_>,
    ) -> io::Result<Option<String>> {
        match self {
            Self::Folder(..) => {
                let _ = (content_id, variant, read_as);
                Ok(None)
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.redirect(content_id, variant, read_as).await,
        }
    }

    /// Removes what may have come of an upload that ends. Of a bucket it is removed later, with all else there that belongs to nothing: it may
    /// be why the upload ends.
    pub async fn remove_of_upload(&self, file_id: FileId) -> io::Result<()> {
        match self {
            Self::Folder(..) => self.remove(file_id).await,
            #[cfg(feature = "s3")]
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Removes a file with its thumbnail, if it is there.
    pub async fn remove(&self, content_id: FileId) -> io::Result<()> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                disk.run(move || folder.remove_content(content_id)).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.remove(content_id).await,
        }
    }
}
