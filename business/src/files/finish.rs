//! The end of an upload: its bytes are on the disk, it is known what they are, and they are a file.
//!
//! Always holds: until the row says so nothing was changed but the folder, and the upload is still there; so the same may be done again.

use std::path::PathBuf;

use super::{
    Files,
    blank::BLANKED,
    contents::NewContent,
    kind::{HEAD_BYTES, PICTURES, UNKNOWN, kind_of},
    picture::{Picture, PictureProblem},
    refusal::FileRefusal,
    signed_url::Variant,
    staged::Staged,
};
use crate::{
    clock,
    store::{Content, ContentState, NotEnded, StoreError, StoredFile, Upload, UploadEnd},
};

/// How often it is tried to keep what somebody else takes back at the same time.
const COMMITS_MAX: u32 = 8;

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
        let whole = Content {
            hash,
            content_id: file_id,
            size_bytes: staged.length(),
            kind: kind.to_owned(),
            state: if self.scanner.is_some() { ContentState::Unchecked } else { ContentState::Good },
            width: 0,
            height: 0,
            thumbnail_bytes: 0,
        };
        let (content, path) = match self.picture(upload, kind, staged.length()).await {
            None => (whole, self.folder.upload(file_id)),
            Some(Ok(picture)) => (picture.content(whole), self.folder.clean(file_id)),
            Some(Err(PictureProblem::NotOne)) => {
                (Content { kind: UNKNOWN.to_owned(), ..whole }, self.folder.upload(file_id))
            }
            Some(Err(problem @ PictureProblem::TooManyPixels(_))) => {
                self.give_up(file_id).await;
                return Err(FileRefusal::too_many_pixels(&problem));
            }
            Some(Err(PictureProblem::NoTurn(why))) => return Err(StoreError::from(why).into()),
            Some(Err(PictureProblem::Disk(error))) => return Err(error.into()),
        };
        let kept = self.commit(upload, staged.length(), content, path).await?;
        let uploaded_bytes = staged.length();
        // It is a file: what is left is only lost space, until the sweep comes.
        if let Err(error) = self.remove_upload(file_id).await {
            tracing::warn!(%file_id, %error, "what a file was made of could not be removed; it will be later");
        }
        drop(staged);
        if let Some(scanner) = &self.scanner {
            scanner.wake();
        }
        if kept.state == ContentState::Refused {
            return Err(FileRefusal::refused_content());
        }
        Ok(StoredFile { user_id: upload.user_id, name: upload.name.clone(), uploaded_bytes, content: kept })
    }

    /// What a picture is, if it is one.
    async fn picture(
        &self,
        upload: &Upload,
        kind: &'static str,
        uploaded_bytes: u64,
    ) -> Option<Result<Picture, PictureProblem>> {
        if !PICTURES.contains(&kind) && !BLANKED.contains(&kind) {
            return None;
        }
        Some(self.pictures.prepare(upload.user_id, kind, &self.folder, upload.file_id, uploaded_bytes).await)
    }

    /// Keeps the bytes at `path` unless the same are kept, and writes the row; once more where those that were kept are taken back
    /// meanwhile.
    async fn commit(
        &self,
        upload: &Upload,
        uploaded_bytes: u64,
        content: Content,
        path: PathBuf,
    ) -> Result<Content, FileRefusal> {
        for _ in 0..COMMITS_MAX {
            if let Some(kept) = self.commit_once(upload, uploaded_bytes, content.clone(), path.clone()).await? {
                return Ok(kept);
            }
        }
        Err(FileRefusal::has_writer())
    }

    /// `None` where the content that was known is there no more. What was lost since (a folder that was restored from before, say), or its
    /// thumbnail, is kept anew under its own id.
    async fn commit_once(
        &self,
        upload: &Upload,
        uploaded_bytes: u64,
        content: Content,
        path: PathBuf,
    ) -> Result<Option<Content>, FileRefusal> {
        let (file_id, user_id) = (upload.file_id, upload.user_id);
        let known = self.store.content(content.hash).await?;
        let is_kept = match &known {
            Some(known) if known.state == ContentState::Refused => true,
            Some(known) => self.contents.has(known).await?,
            None => false,
        };
        let is_known = known.is_some();
        let is_kept_anew = is_known && !is_kept;
        let content = match known {
            Some(known) if is_kept_anew => Content { content_id: known.content_id, state: known.state, ..content },
            Some(known) => known,
            None => content,
        };
        if !is_kept {
            let (content_id, hash) = (content.content_id, content.hash);
            let note = self.folder.sent(file_id);
            let new = |from, variant| NewContent { user_id, from, content_id, variant, hash, note: note.clone() };
            if content.thumbnail_bytes > 0 {
                self.contents.keep(new(self.folder.thumbnail(file_id), Variant::Thumbnail)).await?;
            }
            self.contents.keep(new(path, Variant::Whole)).await?;
        }
        let content_id = content.content_id;
        let end = UploadEnd { file_id, uploaded_bytes, content, is_known, is_kept_anew, now_ms: clock::now_ms() };
        let finished = self.store.finish_upload(end).await?;
        if is_kept_anew {
            self.lookup.forget(content_id);
        }
        let kept = match finished {
            Ok(kept) => kept,
            Err(NotEnded::NoContent) => {
                // They were being removed when they were found to be lost; nothing else ever has this id.
                if is_kept_anew {
                    self.contents.remove(content_id).await?;
                }
                return Ok(None);
            }
            Err(NotEnded::NoUpload) => {
                self.contents.remove(file_id).await?;
                return Err(FileRefusal::not_found());
            }
        };
        if kept.content_id != content_id
            && let Err(error) = self.contents.remove(file_id).await
        {
            tracing::warn!(%file_id, %error, "bytes that were there before could not be removed; they will be later");
        }
        Ok(Some(kept))
    }
}

impl Picture {
    fn content(self, whole: Content) -> Content {
        let Self { kind, hash, size_bytes, width, height, thumbnail_bytes } = self;
        Content { kind: kind.to_owned(), hash, size_bytes, width, height, thumbnail_bytes, ..whole }
    }
}
