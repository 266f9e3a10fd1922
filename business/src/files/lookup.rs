//! What downloads ask the database for: which file stands behind an id. Whoever has a URL may ask, and as often as she likes.
//!
//! Any task. Always holds: what is remembered never changes any more, but for what was lost and is kept anew, or is taken back; so many reads
//! of downloads are under way at once, by turns between files, and the other readers of the database are for everybody else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gim_config::places::Places;

use crate::{
    domain::file::FileId,
    store::{ContentState, FoundFile, Store, StoreError, StoredFile},
};

/// Files that are remembered, and for how long. A name has up to 1 KiB.
const REMEMBERED_MAX: usize = 2_048;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Reads of the database at once, those of one file that wait or are under way, and for how long one waits.
const READS_MAX: usize = 2;
const READS_PER_FILE_MAX: usize = 256;
const READ_WAIT: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub struct Lookup {
    store: Store,
    reads: Places,
    remembered: Mutex<HashMap<FileId, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    file: Arc<StoredFile>,
    until: Instant,
}

impl Lookup {
    pub fn new(store: Store) -> Self {
        let reads = Places::new(READS_MAX, READS_PER_FILE_MAX, READ_WAIT);
        Self { store, reads, remembered: Mutex::new(HashMap::new()) }
    }

    /// The file with this id, if it is whole.
    pub async fn stored(&self, file_id: FileId) -> Result<Option<Arc<StoredFile>>, StoreError> {
        if let Some(file) = self.remembered(file_id) {
            return Ok(Some(file));
        }
        let _read = self.reads.take(turn_of(file_id)).await?;
        // Those who asked for the same file meanwhile waited for one answer.
        if let Some(file) = self.remembered(file_id) {
            return Ok(Some(file));
        }
        let Some(FoundFile::Stored(file)) = self.store.file(file_id).await? else { return Ok(None) };
        let file = Arc::new(file);
        if file.content.state != ContentState::Unchecked {
            self.remember(file_id, file.clone());
        }
        Ok(Some(file))
    }

    /// What is told of this content has changed.
    pub fn forget(&self, content_id: FileId) {
        self.lock().retain(|_, remembered| remembered.file.content.content_id != content_id);
    }

    /// This file was taken back. Another node may remember it for as long as any.
    pub fn forget_file(&self, file_id: FileId) {
        self.lock().remove(&file_id);
    }

    fn remembered(&self, file_id: FileId) -> Option<Arc<StoredFile>> {
        let all = self.lock();
        all.get(&file_id)
            .filter(|remembered| remembered.until > Instant::now())
            .map(|remembered| remembered.file.clone())
    }

    fn remember(&self, file_id: FileId, file: Arc<StoredFile>) {
        let (mut all, now) = (self.lock(), Instant::now());
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, remembered| remembered.until > now);
        }
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(file_id, Remembered { file, until: now + REMEMBERED_FOR });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ids are random, so a part of one tells files apart.
fn turn_of(file_id: FileId) -> u64 {
    file_id.as_bytes().first_chunk().map_or(0, |first| u64::from_ne_bytes(*first))
}
