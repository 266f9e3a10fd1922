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

/// Bytes that are written at once.
pub const CHUNK_BYTES: usize = 64 * 1_024;
/// What one read of a connection brings at most.
pub const READ_BYTES: usize = 32 * 1_024;

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
    let mut writing = Writing { chunk: Vec::with_capacity(CHUNK_BYTES), digest: checksum.map(Checksum::digest) };
    let came_bytes = metrics::counter!(FILE_BYTES_TOTAL, "direction" => "up");
    let mut end = begin;
    let outcome = 'body: loop {
        let next = tokio::select! {
            next = body.next() => next,
            () = progress.displaced() => break Err(ReceiveError::Displaced),
        };
        let mut bytes = match next {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => break Err(ReceiveError::BrokenOff(error)),
            None => break Ok(()),
        };
        progress.note(clock::now_ms());
        end += bytes.len() as u64;
        if end > length_max {
            break Err(ReceiveError::TooLong);
        }
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - writing.chunk.len();
            writing.chunk.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if writing.chunk.len() == CHUNK_BYTES {
                let written;
                (staged, writing, written) = write_chunk(disk, staged, writing).await?;
                if let Err(error) = written {
                    break 'body Err(error.into());
                }
                came_bytes.increment(CHUNK_BYTES as u64);
            }
        }
    };
    let left_bytes = writing.chunk.len() as u64;
    let (mut staged, writing, written) = write_chunk(disk, staged, writing).await?;
    came_bytes.increment(left_bytes);
    let outcome = written.map_err(ReceiveError::from).and(outcome);
    // A part of what a checksum is for may be anything.
    let is_right = match (checksum, writing.digest) {
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

/// What is written next, and what all that was is.
struct Writing {
    chunk: Vec<u8>,
    digest: Option<Digest>,
}

async fn write_chunk(
    disk: &Disk,
    mut staged: Staged,
    mut writing: Writing,
) -> io::Result<(Staged, Writing, io::Result<()>)> {
    disk.run_here(move || {
        let written = staged.write(&writing.chunk);
        if let Some(digest) = &mut writing.digest {
            digest.update(&writing.chunk);
        }
        writing.chunk.clear();
        Ok((staged, writing, written))
    })
    .await
}
