//! The bytes of a file of the folder, as they are taken.
//!
//! On the task of the download: what the system has in memory is copied there, and for the rest a thread of [`Disk`] waits. Always holds: one
//! chunk is read at a time, and only when it is asked for.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use rustix::io::ReadWriteFlags;

use super::{contents::FileBytes, disk::Disk};

/// Bytes that are read at once, and go to the socket at once: half of what a transfer may take of memory.
const CHUNK_BYTES: u64 = 128 * 1_024;

/// Reads a part of a file.
pub fn bytes_of_file(disk: Disk, file: File, part: Range<u64>) -> FileBytes {
    let reading = Reading { disk, file: Arc::new(file), left: part, sent: Bytes::new() };
    stream::try_unfold(reading, async |mut reading| {
        let chunk = reading.next().await?;
        Ok(chunk.map(|chunk| (chunk, reading)))
    })
    .boxed()
}

struct Reading {
    disk: Disk,
    file: Arc<File>,
    left: Range<u64>,
    /// The chunk before. Once it has gone its memory is used again, as it is: filling it with zeros first was a twentieth of a download.
    sent: Bytes,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let count = CHUNK_BYTES.min(self.left.end - self.left.start) as usize;
        // Made here and not on one of the many threads that may wait, or an allocator would keep memory for each of these.
        let mut chunk = std::mem::take(&mut self.sent).try_into_mut().unwrap_or_default();
        chunk.resize(count, 0);
        match read_at_once(&self.file, &mut chunk, self.left.start) {
            Some(count) => chunk.truncate(count),
            None => chunk = self.read_from_disk(chunk).await?,
        }
        self.left.start += chunk.len() as u64;
        self.sent = chunk.freeze();
        Ok(Some(self.sent.clone()))
    }

    async fn read_from_disk(&self, mut chunk: BytesMut) -> io::Result<BytesMut> {
        let (file, offset) = (self.file.clone(), self.left.start);
        self.disk.run(move || file.read_exact_at(&mut chunk, offset).map(|()| chunk)).await
    }
}

/// What is there without waiting for the disk; nothing where that is nothing, or nobody knows.
fn read_at_once(file: &File, chunk: &mut [u8], offset: u64) -> Option<usize> {
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(chunk)], offset, ReadWriteFlags::NOWAIT);
    read.ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{super::threads, *};

    async fn read(file: &File, part: Range<u64>) -> io::Result<Vec<u8>> {
        let (threads, _running) = threads::start()?;
        let mut bytes = bytes_of_file(Disk::new(1, threads), file.try_clone().unwrap(), part);
        let mut all = Vec::new();
        while let Some(chunk) = bytes.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_part_is_read_whether_the_system_has_it_in_memory_or_not() {
        let content: Vec<u8> = (0..3 * CHUNK_BYTES + 5).map(|index| (index % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        let length = content.len() as u64;
        for part in [0..length, 0..0, 1..2, length - 1..length, CHUNK_BYTES - 1..CHUNK_BYTES + 1] {
            let expected = &content[part.start as usize..part.end as usize];
            assert_eq!(read(&file, part.clone()).await.unwrap(), expected, "{part:?}");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            assert_eq!(read(&file, part.clone()).await.unwrap(), expected, "{part:?} from the disk");
        }
        read(&file, 0..length + 1).await.unwrap_err();
    }
}
