//! Removes what is left of uploads that were given up, and bytes that belong to no file: one task of Tokio, once a minute.
//!
//! Always holds: nothing is removed that somebody writes to, or that is whole.

use std::{io, time::Duration};

use super::{
    Files,
    contents::Contents,
    upload::{DAY_MS, WRITTEN_TO_FOR_MS},
};
use crate::{
    clock,
    metrics::FILE_UPLOADS_EXPIRED_TOTAL,
    store::{FoundFile, Store},
};

/// How often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Uploads that are looked at in one go.
const STEP_MAX: u32 = 256;

/// An upload of which there is no file here may be written to at another node, which prolongs it once a minute: it is given up after so long.
const ELSEWHERE_FOR_MS: i64 = 600_000;

/// A file of an upload of which the database knows nothing is removed after so long: its row may be about to be written.
const ORPHAN_AFTER: Duration = Duration::from_secs(3_600);

/// Whole bytes of which the database knows nothing, for the same reason. A part of them is looked at each time, so all are within hours.
const ORPHANED_CONTENT_AFTER: Duration = Duration::from_secs(86_400);

/// Sweeps until it is aborted.
pub(super) async fn run(files: Files) {
    for part in (0..=u8::MAX).cycle() {
        let swept = async {
            sweep(&files, clock::now_ms(), ORPHAN_AFTER).await?;
            sweep_contents(&files.store, &files.contents, part, ORPHANED_CONTENT_AFTER).await
        };
        if let Err(error) = swept.await {
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
    files.store.forget_given_up(now_ms - DAY_MS).await?;
    let long_expired = files.store.expired_uploads(now_ms - ELSEWHERE_FOR_MS, STEP_MAX).await?;
    for file_id in files.store.expired_uploads(now_ms, STEP_MAX).await? {
        // Its writer's place is held until it is gone, so that nobody begins to write meanwhile.
        match files.staged_if_free(file_id).await {
            Err(refusal) if refusal.is_of_writer() => {
                files.store.extend_upload(file_id, now_ms + WRITTEN_TO_FOR_MS).await?;
            }
            Err(refusal) if !refusal.is_of_absence() => {
                tracing::warn!(%file_id, ?refusal, "an upload that was given up cannot be looked at; it is tried again");
                // After others, which would never be looked at if as many as are in one go stood before them.
                files.store.extend_upload(file_id, now_ms + WRITTEN_TO_FOR_MS).await?;
            }
            Err(_) if !long_expired.contains(&file_id) => {}
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
        files.remove_upload(file_id).await?;
    }
    Ok(())
}

/// Removes bytes that belong to nothing: a process ended before it could, say.
async fn sweep_contents(store: &Store, contents: &Contents, part: u8, age: Duration) -> Result<(), SweepError> {
    let older = contents.older(part, age).await?;
    let known = store.known_contents(&older).await?;
    for content_id in older.into_iter().filter(|content_id| !known.contains(content_id)) {
        // An upload that is about to be a file has a row until it is one; it may have become one meanwhile.
        let is_upload = matches!(store.file(content_id).await?, Some(FoundFile::Upload(_)));
        if is_upload || store.known_contents(&[content_id]).await?.contains(&content_id) {
            continue;
        }
        contents.remove(content_id).await?;
        tracing::info!(%content_id, "bytes that belonged to no file were removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::Path, sync::Arc};

    use gim_config::{grpc::GrpcSettings, places::Places, request_shares::RequestShares};

    use super::*;
    use crate::{
        domain::file::{FileHash, FileId},
        files::{contents::NewContent, disk::Disk, folder::Folder, signed_url::Variant, threads, threads::Threads},
        logic::Logic,
        rpc::Callers,
        settings::{FilesSettings, Limits, LogicSettings},
        store::{Content, ContentState, Upload, UploadEnd, UploadQuota, testing},
        usecase::tokens::Tokens,
    };

    const AT_ONCE: Duration = Duration::ZERO;
    const NOW_MS: i64 = 10_000_000;
    const QUOTA: UploadQuota = UploadQuota { uploads_max: 9, files_max: 9, bytes_max: 99, since_ms: 0 };

    async fn files(data: &Path, store: &Store, threads: &Threads) -> Files {
        let settings = FilesSettings { folder_free_bytes_min: 0, ..FilesSettings::default() };
        let logic = Logic::new(&LogicSettings::default(), &GrpcSettings::default()).unwrap();
        let (reads, shares) = (Places::new(1, 1, AT_ONCE), Arc::new(RequestShares::new(0, 0)));
        let callers = Callers::new(Tokens::new(store.clone(), logic), &Limits::default(), reads, shares);
        Files::open(&settings, data, 0, store.clone(), callers, threads).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn uploads_that_expired_are_given_up_unless_somebody_writes_to_them() {
        let (data, store) = testing::temporary().await;
        let (threads, _running) = threads::start().unwrap();
        let files = files(data.path(), &store, &threads).await;
        let user_id = testing::user(&store, "1").await;
        let begin = async |expires_at_ms, is_here| {
            let upload = Upload { file_id: FileId::random(), user_id, name: "a".into(), size_bytes: 5, expires_at_ms };
            store.begin_upload(&upload, None, QUOTA, 100).await.unwrap().unwrap();
            if is_here {
                files.folder.create_upload(upload.file_id).unwrap().write_all(b"hell").unwrap();
            }
            upload.file_id
        };
        let [resting, going_on] = [begin(NOW_MS, true).await, begin(NOW_MS + 1, true).await];
        let [here, by_another] = [begin(NOW_MS, true).await, begin(NOW_MS, true).await];
        let writer = files.staged(here).await.unwrap();
        // Another process has it open.
        let locked = files.folder.open_upload(by_another).unwrap();
        locked.try_lock().unwrap();
        // Another node may have their files.
        let at_once_ms = NOW_MS - ELSEWHERE_FOR_MS;
        let [elsewhere, nowhere] = [begin(at_once_ms + 1, false).await, begin(at_once_ms, false).await];
        let orphan = FileId::random();
        files.folder.create_upload(orphan).unwrap();
        fs::write(files.folder.sent(orphan), "a\nb\nc\n").unwrap();

        sweep(&files, NOW_MS, AT_ONCE).await.unwrap();
        let is_there =
            async |file_id| (store.file(file_id).await.unwrap().is_some(), files.folder.upload(file_id).exists());
        for gone in [resting, nowhere, orphan] {
            assert_eq!(is_there(gone).await, (false, false));
        }
        assert!(!files.folder.sent(orphan).exists());
        for kept in [going_on, here, by_another] {
            assert_eq!(is_there(kept).await, (true, true));
        }
        assert_eq!(is_there(elsewhere).await, (true, false));
        let expired = store.expired_uploads(NOW_MS + WRITTEN_TO_FOR_MS - 1, 9).await.unwrap();
        assert_eq!(expired, [elsewhere, going_on], "who writes has more time");
        assert_eq!(
            store.bytes_since(user_id, 0).await.unwrap(),
            5 * 4 + 4,
            "what had come of one that was given up counts"
        );

        drop((writer, locked));
        sweep(&files, NOW_MS + WRITTEN_TO_FOR_MS, AT_ONCE).await.unwrap();
        for gone in [going_on, here, by_another] {
            assert_eq!(is_there(gone).await, (false, false));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_that_belong_to_no_file_are_removed_after_a_while() {
        let (data, store) = testing::temporary().await;
        let folder = Folder::open(data.path(), 0).unwrap();
        let (threads, _running) = threads::start().unwrap();
        let contents = Contents::Folder(folder.clone(), Disk::new(1, threads));
        let [lost, stored, whole] = [FileId::random(), FileId::random(), FileId::random()];
        for content_id in [lost, stored, whole] {
            fs::write(data.path().join("bytes"), b"bytes").unwrap();
            for variant in [Variant::Whole, Variant::Thumbnail] {
                let (from, note) = (data.path().join("bytes"), data.path().join("note"));
                let new = NewContent { user_id: 1, from, content_id, variant, hash: FileHash([1; 32]), note };
                contents.keep(new).await.unwrap();
            }
        }
        let user_id = testing::user(&store, "1").await;
        for file_id in [stored, whole] {
            let upload = Upload { file_id, user_id, name: "a".into(), size_bytes: 5, expires_at_ms: 500 };
            store.begin_upload(&upload, None, QUOTA, 100).await.unwrap().unwrap();
        }
        let content = Content {
            hash: FileHash([1; 32]),
            content_id: stored,
            size_bytes: 5,
            kind: "text/plain".into(),
            state: ContentState::Good,
            width: 0,
            height: 0,
            thumbnail_bytes: 0,
        };
        let end = UploadEnd {
            file_id: stored,
            uploaded_bytes: 5,
            content,
            is_known: false,
            is_kept_anew: false,
            now_ms: 200,
        };
        store.finish_upload(end).await.unwrap().unwrap();
        let left = |content_id| folder.has_content(content_id, Variant::Whole, 5);
        for (age, is_left) in [(ORPHANED_CONTENT_AFTER, true), (AT_ONCE, false)] {
            for part in 0..=u8::MAX {
                sweep_contents(&store, &contents, part, age).await.unwrap();
            }
            assert_eq!([lost, stored, whole].map(left), [is_left, true, true], "a file, and one that is about to be");
        }
        folder.open_content(lost, Variant::Thumbnail).unwrap_err();
    }
}
