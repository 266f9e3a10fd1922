//! An upload as it comes in: its file, how long that is, and the hash of what stands in it.
//!
//! [`receive`] runs on a task of Tokio, and writes there or on the threads of [`Disk`]. Always holds: a transfer keeps at most [`CHUNK_BYTES`]
//! and what one read of its connection brought; the length is that of the file.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    time::{Duration, SystemTime},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use ring::digest::{Context, SHA256};

use super::{
    checksum::{Checksum, Digest},
    disk::Disk,
    folder::Folder,
    writers::WriterPlace,
};
use crate::{
    clock,
    domain::file::{FileHash, FileId},
    metrics::FILE_BYTES_TOTAL,
};

/// Bytes that are gathered to be written at once.
pub const CHUNK_BYTES: usize = 64 * 1_024;
/// What one read of a connection brings at most.
pub const READ_BYTES: usize = 32 * 1_024;
/// So many are written as they came: to gather them would be to copy them once more.
const DIRECT_BYTES: usize = 16 * 1_024;

/// See the module's documentation.
pub struct Staged {
    folder: Folder,
    file: File,
    length: u64,
    /// Of all bytes; nothing where some of them were written earlier.
    hash: Option<Context>,
    place: WriterPlace,
}

/// Why not all of a body is in the file. What came before is.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// More came than was announced, or is allowed.
    #[error("more bytes came than were announced")]
    TooLong,
    /// The client went away.
    #[error("the upload broke off: {0}")]
    BrokenOff(axum::Error),
    /// Another writer came while nothing did from this one.
    #[error("another writer took over")]
    Displaced,
    /// Other bytes came than those of the checksum, and were taken back.
    #[error("the checksum is that of other bytes")]
    WrongChecksum,
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Staged {
    /// Goes on with a file, from whatever is in it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process writes to it.
    pub fn open(folder: Folder, file_id: FileId, place: WriterPlace) -> io::Result<Self> {
        let file = folder.open_upload(file_id)?;
        file.try_lock().map_err(io::Error::from)?;
        let length = file.metadata()?.len();
        let hash = (length == 0).then(|| Context::new(&SHA256));
        Ok(Self { folder, file, length, hash, place })
    }

    /// How many bytes are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether nobody has written to it for so long.
    pub fn has_rested(&self, rest: Duration) -> bool {
        let written_at = self.file.metadata().and_then(|metadata| metadata.modified());
        written_at.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed >= rest))
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The first bytes.
    pub fn head(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut head = Vec::with_capacity(bytes_max);
        (&self.file).take(bytes_max as u64).read_to_end(&mut head)?;
        Ok(head)
    }

    /// The hash of all of it, for which it is read once more where it came in several parts.
    pub fn hash(&mut self) -> io::Result<FileHash> {
        let whole = match &self.hash {
            Some(hash) => hash.clone(),
            None => hash_of(&mut self.file)?,
        };
        Ok(FileHash::of(whole))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let has_room = self.folder.check_room(bytes.len() as u64);
        let written = has_room.and_then(|()| self.file.write_all(bytes));
        if written.is_err() {
            // Of a disk that became full a part may be there.
            self.length = self.file.metadata()?.len();
            self.hash = None;
            return written;
        }
        self.length += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        (self.length, self.hash) = (length, None);
        Ok(())
    }
}

/// The hash of a file from its beginning.
pub fn hash_of(file: &mut File) -> io::Result<Context> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut chunk) = (Context::new(&SHA256), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hash),
            Ok(count) => hash.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What came of a body.
pub struct Received {
    pub staged: Staged,
    /// Bytes that were written and are gone, as nobody knows whether they are the ones that were meant.
    pub taken_back_bytes: u64,
    pub outcome: Result<(), ReceiveError>,
}

/// Writes a body to the end of an upload, which may grow to `length_max`.
pub async fn receive(
    disk: &Disk,
    body: Body,
    mut staged: Staged,
    length_max: u64,
    checksum: Option<&Checksum>,
) -> io::Result<Received> {
    let (begin, progress) = (staged.length, staged.place.progress());
    let mut body = body.into_data_stream();
    let (mut chunk, mut digest) = (BytesMut::new(), checksum.map(Checksum::digest));
    let mut end = begin;
    let mut outcome = 'body: loop {
        let next = tokio::select! {
            next = body.next() => next,
            () = progress.displaced() => break Err(ReceiveError::Displaced),
        };
        let bytes = match next {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => break Err(ReceiveError::BrokenOff(error)),
            None => break Ok(()),
        };
        progress.note(clock::now_ms());
        end += bytes.len() as u64;
        if end > length_max {
            break Err(ReceiveError::TooLong);
        }
        for bytes in gathered(&mut chunk, bytes) {
            let written;
            (staged, digest, written) = write(disk, staged, digest, bytes).await?;
            if let Err(error) = written {
                break 'body Err(error.into());
            }
        }
    };
    let (mut staged, digest, written) = write(disk, staged, digest, chunk.freeze()).await?;
    if let Err(error) = written {
        outcome = Err(error.into());
    }
    // A part of what a checksum is for may be anything.
    let is_right = match (checksum, digest) {
        (Some(checksum), Some(digest)) => outcome.is_ok() && checksum.is_of(digest),
        _ => true,
    };
    if is_right {
        return Ok(Received { staged, taken_back_bytes: 0, outcome });
    }
    let taken_back_bytes = staged.length - begin;
    let staged = disk.run(move || staged.cut(begin).map(|()| staged)).await?;
    Ok(Received { staged, taken_back_bytes, outcome: outcome.and(Err(ReceiveError::WrongChecksum)) })
}

/// What of these bytes, and of those that are gathered, is to be written now: what is large is not copied.
fn gathered(chunk: &mut BytesMut, mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let is_large = bytes.len() >= DIRECT_BYTES;
    let mut before = None;
    if !is_large {
        let room = CHUNK_BYTES - chunk.len();
        let fits = bytes.split_to(room.min(bytes.len()));
        chunk.reserve(room);
        chunk.extend_from_slice(&fits);
    }
    if is_large || chunk.len() == CHUNK_BYTES {
        before = Some(chunk.split().freeze());
    }
    if !is_large {
        chunk.extend_from_slice(&bytes);
        bytes.clear();
    }
    before.into_iter().chain([bytes]).filter(|bytes| !bytes.is_empty())
}

async fn write(
    disk: &Disk,
    mut staged: Staged,
    mut digest: Option<Digest>,
    bytes: Bytes,
) -> io::Result<(Staged, Option<Digest>, io::Result<()>)> {
    metrics::counter!(FILE_BYTES_TOTAL, "direction" => "up").increment(bytes.len() as u64);
    disk.run_here(move || {
        let written = staged.write(&bytes);
        if let Some(digest) = &mut digest {
            digest.update(&bytes);
        }
        Ok((staged, digest, written))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_gathered_in_their_order_and_never_more_than_a_chunk() {
        let all: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
        for sizes in
            [&[1_000][..], &[DIRECT_BYTES - 1], &[DIRECT_BYTES, 1], &[7, CHUNK_BYTES, 40_000], &[CHUNK_BYTES + 9]]
        {
            let (mut chunk, mut written, mut left) = (BytesMut::new(), Vec::new(), &all[..]);
            for size in sizes.iter().cycle() {
                let (bytes, rest) = left.split_at((*size).min(left.len()));
                if bytes.is_empty() {
                    break;
                }
                left = rest;
                let bytes = Bytes::copy_from_slice(bytes);
                let begin = bytes.as_ptr();
                let is_direct = bytes.len() >= DIRECT_BYTES;
                let now: Vec<Bytes> = gathered(&mut chunk, bytes).collect();
                assert!(!is_direct || now.last().unwrap().as_ptr() == begin, "{sizes:?}: it was copied");
                now.iter().for_each(|bytes| written.extend_from_slice(bytes));
                assert!(chunk.len() < CHUNK_BYTES && chunk.capacity() <= 2 * CHUNK_BYTES, "{sizes:?}");
            }
            written.extend_from_slice(&chunk);
            assert!(written == all, "{sizes:?}");
        }
    }
}
