//! Who writes to which upload now: one at a time.
//!
//! Any task. Always holds: an upload has one writer in this process, and by a lock on its file in all processes of this host. A writer from
//! whom nothing came for a while (its connection may be dead) has to go when another one asks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::domain::file::FileId;

/// A writer that brought nothing for so long gives its place to the next one.
const SILENCE_MAX_MS: i64 = 5_000;

/// The writers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<Mutex<HashMap<FileId, Arc<Writing>>>>);

#[derive(Debug)]
struct Writing {
    progress_at_ms: AtomicI64,
    displaced: Notify,
}

/// The right to write to an upload, until it is dropped.
#[derive(Debug)]
pub struct WriterPlace {
    writers: Writers,
    file_id: FileId,
    writing: Arc<Writing>,
}

/// Tells how a writer is getting on, and when it has to go.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Writing>);

/// Somebody else writes to the upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HasWriter;

impl Writers {
    /// The place of the writer of this upload.
    ///
    /// # Errors
    /// It is taken; whoever has it is sent away where nothing comes from there, so that a later try may succeed.
    pub fn take(&self, file_id: FileId, now_ms: i64) -> Result<WriterPlace, HasWriter> {
        let mut all = self.lock();
        if let Some(other) = all.get(&file_id) {
            if now_ms - other.progress_at_ms.load(Relaxed) > SILENCE_MAX_MS {
                other.displaced.notify_one();
            }
            return Err(HasWriter);
        }
        let writing = Arc::new(Writing { progress_at_ms: AtomicI64::new(now_ms), displaced: Notify::new() });
        all.insert(file_id, writing.clone());
        Ok(WriterPlace { writers: self.clone(), file_id, writing })
    }

    /// The same for who can wait: nobody is sent away.
    ///
    /// # Errors
    /// It is taken.
    pub fn take_if_free(&self, file_id: FileId, now_ms: i64) -> Result<WriterPlace, HasWriter> {
        let is_taken = self.lock().contains_key(&file_id);
        if is_taken { Err(HasWriter) } else { self.take(file_id, now_ms) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, Arc<Writing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterPlace {
    pub fn progress(&self) -> Progress {
        Progress(self.writing.clone())
    }
}

impl Drop for WriterPlace {
    fn drop(&mut self) {
        self.writers.lock().remove(&self.file_id);
    }
}

impl Progress {
    /// Something came.
    pub fn note(&self, now_ms: i64) {
        self.0.progress_at_ms.store(now_ms, Relaxed);
    }

    /// Ends when the writer has to go.
    pub async fn displaced(&self) {
        self.0.displaced.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_upload_has_one_writer_who_goes_when_silent_and_asked() {
        let (writers, file_id) = (Writers::default(), FileId::random());
        let place = writers.take(file_id, 0).unwrap();
        let progress = place.progress();
        progress.note(10_000);
        assert_eq!(writers.take(file_id, 15_000).err(), Some(HasWriter));
        assert!(progress.displaced().now_or_never().is_none());
        assert_eq!(writers.take(file_id, 15_001).err(), Some(HasWriter), "it has yet to go");
        assert!(progress.displaced().now_or_never().is_some());
        assert_eq!(writers.take_if_free(file_id, 90_000).err(), Some(HasWriter));
        assert!(progress.displaced().now_or_never().is_none(), "who can wait sends nobody away");
        writers.take_if_free(FileId::random(), 0).unwrap();
        writers.take(FileId::random(), 0).unwrap();
        drop(place);
        writers.take(file_id, 15_002).unwrap();
    }
}
