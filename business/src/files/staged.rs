//! An upload as it comes in: its file, how long that is, and the hash of what stands in it.
//!
//! [`receive`] runs on a task of Tokio, writes on the threads of [`Disk`]. Always holds: a transfer keeps at most [`CHUNK_BYTES`] and what
//! one read of its connection brought; the length is that of the file.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
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

/// Bytes that are written at once, or a few more: what one read of the connection brings is not cut.
pub const CHUNK_BYTES: usize = 64 * 1_024;
/// What it brings at most.
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
    WrongChecksum { taken_back_bytes: u64 },
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

/// Writes a body to the end of an upload, which may grow to `length_max`.
pub async fn receive(
    disk: &Disk,
    body: Body,
    staged: Staged,
    length_max: u64,
    checksum: Option<&Checksum>,
) -> Result<(Staged, Result<(), ReceiveError>), io::Error> {
    let (begin, progress) = (staged.length, staged.place.progress());
    let mut digest = checksum.map(Checksum::digest);
    let (mut staged, mut body) = (staged, body.into_data_stream());
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + READ_BYTES);
    let outcome = loop {
        let next = tokio::select! {
            next = body.next() => next,
            () = progress.displaced() => break Err(ReceiveError::Displaced),
        };
        match next {
            Some(Ok(bytes)) => {
                progress.note(clock::now_ms());
                let beyond = staged.length + (chunk.len() + bytes.len()) as u64 > length_max;
                if beyond {
                    break Err(ReceiveError::TooLong);
                }
                chunk.extend_from_slice(&bytes);
            }
            Some(Err(error)) => break Err(ReceiveError::BrokenOff(error)),
            None => break Ok(()),
        }
        if chunk.len() >= CHUNK_BYTES {
            let written;
            (staged, chunk, digest, written) = write_chunk(disk, staged, chunk, digest).await?;
            if let Err(error) = written {
                break Err(error.into());
            }
        }
    };
    let (mut staged, _, digest, written) = write_chunk(disk, staged, chunk, digest).await?;
    let outcome = written.map_err(ReceiveError::from).and(outcome);
    // A part of what a checksum is for may be anything.
    let is_right = match (checksum, digest) {
        (Some(checksum), Some(digest)) => outcome.is_ok() && checksum.is_of(digest),
        _ => return Ok((staged, outcome)),
    };
    if is_right {
        return Ok((staged, outcome));
    }
    let taken_back_bytes = staged.length - begin;
    let cut = disk.run(move || staged.cut(begin).map(|()| staged)).await?;
    Ok((cut, outcome.and(Err(ReceiveError::WrongChecksum { taken_back_bytes }))))
}

type Written = (Staged, Vec<u8>, Option<Digest>, io::Result<()>);

async fn write_chunk(
    disk: &Disk,
    mut staged: Staged,
    mut chunk: Vec<u8>,
    mut digest: Option<Digest>,
) -> io::Result<Written> {
    disk.run(move || {
        let written = staged.write(&chunk);
        if let Some(digest) = &mut digest {
            digest.update(&chunk);
        }
        metrics::counter!(FILE_BYTES_TOTAL, "direction" => "up").increment(chunk.len() as u64);
        chunk.clear();
        Ok((staged, chunk, digest, written))
    })
    .await
}
