//! Where whole files are kept: in the folder, or in a bucket of S3. What is on its way is in the folder in any case.
//!
//! Always holds: what is kept is there before the call returns, and the same may be kept again.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};

#[cfg(feature = "s3")]
use super::bucket::Bucket;
use super::{disk::Disk, folder::Folder, signed_url::Variant};
use crate::{domain::file::FileId, settings::FilesSettings};

/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 64 * 1_024;

/// The bytes of a file, as they are taken.
pub type FileBytes = BoxStream<'static, io::Result<Bytes>>;

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
    pub fn open(settings: &FilesSettings, folder: &Folder, disk: &Disk) -> Result<Self, String> {
        if settings.bucket.is_empty() {
            return Ok(Self::Folder(folder.clone(), disk.clone()));
        }
        Ok(Self::Bucket(Bucket::open(settings, disk)?))
    }

    /// The place that the settings name.
    ///
    /// # Errors
    /// A sentence that names the key.
    #[cfg(not(feature = "s3"))]
    pub fn open(settings: &FilesSettings, folder: &Folder, disk: &Disk) -> Result<Self, String> {
        if settings.bucket.is_empty() {
            return Ok(Self::Folder(folder.clone(), disk.clone()));
        }
        Err("files.bucket: this program was built without S3 (the feature `s3`, which packages have)".into())
    }

    /// Keeps the bytes of a file that is on the disk.
    pub async fn keep(&self, from: PathBuf, content_id: FileId, variant: Variant) -> io::Result<()> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                disk.run(move || folder.keep(&from, content_id, variant)).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.keep(from, content_id, variant).await,
        }
    }

    /// Whether a file that was kept is still there; of a bucket that is believed.
    pub async fn has(&self, content_id: FileId, size_bytes: u64) -> io::Result<bool> {
        match self {
            Self::Folder(folder, disk) => {
                let folder = folder.clone();
                disk.run(move || Ok(folder.has_content(content_id, size_bytes))).await
            }
            #[cfg(feature = "s3")]
            Self::Bucket(_) => Ok(true),
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
                Ok(bytes_of_file(disk.clone(), file, bytes))
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

fn bytes_of_file(disk: Disk, file: File, bytes: Range<u64>) -> FileBytes {
    stream::try_unfold((disk, file, bytes), async |(disk, file, left)| {
        if left.is_empty() {
            return Ok(None);
        }
        let count = CHUNK_BYTES.min(left.end - left.start);
        // Made here and not on one of the many threads that may wait, or an allocator would keep memory for each of these.
        let mut chunk = vec![0; count as usize];
        let read = move || {
            file.read_exact_at(&mut chunk, left.start)?;
            Ok((file, Bytes::from(chunk)))
        };
        let (file, chunk) = disk.run(read).await?;
        Ok(Some((chunk, (disk, file, left.start + count..left.end))))
    })
    .boxed()
}
