//! The end of an upload: its bytes are on the disk, it is known what they are, and they are a file.
//!
//! Always holds: until the row says so nothing was changed but the folder, and the upload is still there; so the same may be done again.

use std::io;

use super::{
    Files,
    kind::{HEAD_BYTES, kind_of},
    refusal::FileRefusal,
    signed_url::Variant,
    staged::Staged,
};
use crate::{
    clock,
    domain::file::{FileHash, FileId},
    store::{Content, ContentState, StoredFile, Upload},
};

impl Files {
    /// Makes an upload of which all bytes came a file.
    pub(super) async fn finish(&self, upload: &Upload, mut staged: Staged) -> Result<StoredFile, FileRefusal> {
        let file_id = upload.file_id;
        let sealed = move || {
            staged.sync()?;
            let (hash, head) = (staged.hash()?, staged.head(HEAD_BYTES)?);
            Ok((staged, hash, kind_of(&head)))
        };
        let (staged, hash, kind) = self.disk.run(sealed).await?;
        let content = match self.store.content(hash).await? {
            Some(known) => known,
            None => self.keep(file_id, hash, staged.length(), kind).await?,
        };
        let finished = self.store.finish_upload(file_id, staged.length(), &content, clock::now_ms()).await?;
        let Some(kept) = finished else {
            self.discard(file_id).await?;
            return Err(FileRefusal::not_found());
        };
        if kept.content_id != content.content_id {
            self.discard(file_id).await?;
        }
        let (folder, uploaded_bytes) = (self.folder.clone(), staged.length());
        self.disk.run(move || folder.remove_upload(file_id)).await?;
        drop(staged);
        if kept.state == ContentState::Refused {
            return Err(FileRefusal::refused_content());
        }
        Ok(StoredFile { user_id: upload.user_id, name: upload.name.clone(), uploaded_bytes, content: kept })
    }

    async fn keep(&self, file_id: FileId, hash: FileHash, size_bytes: u64, kind: &str) -> Result<Content, FileRefusal> {
        let folder = self.folder.clone();
        self.disk.run(move || folder.keep(&folder.upload(file_id), file_id, Variant::Whole)).await?;
        Ok(Content {
            hash,
            content_id: file_id,
            size_bytes,
            kind: kind.to_owned(),
            state: ContentState::Good,
            width: 0,
            height: 0,
            thumbnail_bytes: 0,
        })
    }

    /// Removes bytes that were kept for nothing.
    async fn discard(&self, file_id: FileId) -> io::Result<()> {
        let folder = self.folder.clone();
        self.disk.run(move || folder.remove_content(file_id)).await
    }
}
