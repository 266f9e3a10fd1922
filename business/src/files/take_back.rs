//! A file is taken back by who uploaded it: `DELETE /files/ID`, or that of its upload. It can be read no more, and its bytes are removed
//! with the last file that has them.
//!
//! On tasks of Tokio. Always holds: what another file has stays.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};

use super::{Files, refusal::FileRefusal};
use crate::{
    domain::file::FileId,
    store::{FoundFile, StoredFile},
};

/// Answers `DELETE /files/ID`.
pub async fn take_back(
    State(files): State<Files>,
    Path(file_id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, FileRefusal> {
    let (caller, _turn) = files.reader(&headers).await?;
    let file_id = FileId::parse(&file_id).ok_or_else(FileRefusal::not_found)?;
    match files.store.file(file_id).await? {
        Some(found) if found.user_id() == caller.user_id => files.end(file_id, found).await?,
        Some(FoundFile::Stored(_)) => return Err(FileRefusal::not_uploader()),
        _ => return Err(FileRefusal::not_found()),
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Files {
    /// Gives up an upload, or takes back the file that it became.
    pub async fn end(&self, file_id: FileId, found: FoundFile) -> Result<(), FileRefusal> {
        match found {
            FoundFile::Upload(_) => {
                // Whoever writes to it would go on writing to nothing.
                let staged = self.staged(file_id).await?;
                self.give_up(file_id).await;
                drop(staged);
                Ok(())
            }
            FoundFile::Stored(file) => self.end_file(file_id, &file).await,
        }
    }

    async fn end_file(&self, file_id: FileId, file: &StoredFile) -> Result<(), FileRefusal> {
        let content = &file.content;
        let is_last = self.store.take_back_file(file_id, content.hash).await?;
        self.lookup.forget_file(file_id);
        if is_last && let Err(error) = self.contents.remove(content.content_id).await {
            tracing::warn!(%file_id, %error, "bytes of a file that was taken back could not be removed; they will be later");
        }
        Ok(())
    }
}
