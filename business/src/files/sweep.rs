//! Removes what is left of uploads that were given up: one task of Tokio, once a minute.
//!
//! Always holds: nothing is removed that somebody writes to, or that is whole.

use std::{io, time::Duration};

use super::{Files, upload::WRITTEN_TO_FOR_MS};
use crate::{clock, metrics::FILE_UPLOADS_EXPIRED_TOTAL, store::FoundFile};

/// How often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Uploads that are looked at in one go.
const STEP_MAX: u32 = 256;

/// A file of an upload of which the database knows nothing is removed after so long: its row may be about to be written.
const ORPHAN_AFTER: Duration = Duration::from_secs(3_600);

/// Sweeps until it is aborted.
pub(super) async fn run(files: Files) {
    loop {
        if let Err(error) = sweep(&files, clock::now_ms(), ORPHAN_AFTER).await {
            tracing::warn!(%error, "uploads that were given up could not be removed; it is tried again");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Why not everything was removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Removes uploads that expired, and files that belong to none.
pub(super) async fn sweep(files: &Files, now_ms: i64, orphan_after: Duration) -> Result<(), SweepError> {
    for file_id in files.store.expired_uploads(now_ms, STEP_MAX).await? {
        // Its writer's place is held until it is gone, so that nobody begins to write meanwhile.
        match files.staged_if_free(file_id).await {
            Err(refusal) if refusal.is_of_writer() => {
                files.store.extend_upload(file_id, now_ms + WRITTEN_TO_FOR_MS).await?;
            }
            Err(refusal) if !refusal.is_of_absence() => {
                tracing::warn!(%file_id, ?refusal, "an upload that was given up cannot be looked at; it is tried again");
            }
            _held_or_absent => {
                files.give_up(file_id).await;
                metrics::counter!(FILE_UPLOADS_EXPIRED_TOTAL).increment(1);
            }
        }
    }
    let folder = files.folder.clone();
    let resting = files.disk.run(move || folder.resting_uploads(orphan_after)).await?;
    for file_id in resting {
        if matches!(files.store.file(file_id).await?, Some(FoundFile::Upload(_))) {
            continue;
        }
        let folder = files.folder.clone();
        files.disk.run(move || folder.remove_upload(file_id)).await?;
    }
    Ok(())
}
