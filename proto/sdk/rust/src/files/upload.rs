//! Uploads, by tus 1.0.

use std::io::SeekFrom;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::Method;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeek, AsyncSeekExt as _};

use super::{
    Files,
    http::{Ask, Failure},
    info::{BAD_REQUEST, FileInfo, file_id_of},
};
use crate::{core::local_code, error::GimError};

/// Hears of bytes that are there, and of all that there are to be.
type OnProgress<'a> = Box<dyn FnMut(u64, u64) + Send + 'a>;

/// Hears the URL of an upload.
type OnBegun<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// What an app says of an upload, and hears of it.
#[derive(Default)]
pub struct UploadOptions<'a> {
    name: String,
    resume: Option<String>,
    on_begun: Option<OnBegun<'a>>,
    on_progress: Option<OnProgress<'a>>,
}

impl<'a> UploadOptions<'a> {
    /// How the file is called.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Goes on with an upload of the same file that was begun before, by its URL.
    #[must_use]
    pub fn resume(self, upload_url: impl Into<String>) -> Self {
        Self { resume: Some(upload_url.into()), ..self }
    }

    /// Told the URL of the upload before any byte is sent: an app that keeps it can go on after a restart.
    #[must_use]
    pub fn on_begun(self, told: impl FnMut(&str) + Send + 'a) -> Self {
        Self { on_begun: Some(Box::new(told)), ..self }
    }

    /// Told how many bytes the server has, and how many there are.
    #[must_use]
    pub fn on_progress(self, told: impl FnMut(u64, u64) + Send + 'a) -> Self {
        Self { on_progress: Some(Box::new(told)), ..self }
    }

    fn tell(&mut self, sent: u64, total: u64) {
        if let Some(told) = &mut self.on_progress {
            told(sent, total);
        }
    }
}

impl Files {
    /// Uploads a file, over as many breaks as it takes. Dropping the call stops it; the server keeps what came for a while, so that
    /// [`UploadOptions::resume`] can go on.
    ///
    /// # Errors
    /// The server refuses it, the file cannot be read, or nobody answers for too long.
    pub async fn upload<S>(&self, mut file: S, mut options: UploadOptions<'_>) -> Result<FileInfo, GimError>
    where
        S: AsyncRead + AsyncSeek + Unpin + Send,
    {
        let total = file.seek(SeekFrom::End(0)).await.map_err(unreadable_file)?;
        if total == 0 {
            return Err(GimError::new(BAD_REQUEST, "a file needs at least one byte"));
        }
        let (path, mut offset) = match &options.resume {
            Some(url) => {
                let path = self.path(&format!("/uploads/{}", file_id_of(url)?));
                let offset = self.persistently(async || self.resumed(&path, total).await).await?;
                (path, offset)
            }
            None => (self.persistently(async || self.begin(total, &options.name).await).await?, 0),
        };
        if options.resume.is_none()
            && let Some(told) = &mut options.on_begun
        {
            told(&format!("{}://{}{path}", self.scheme(), self.0.base.authority));
        }
        options.tell(offset, total);
        while offset < total {
            let part = self.read_part(&mut file, offset, total).await?;
            let (begin, mut is_first) = (offset, true);
            offset = self
                .persistently(async || {
                    // After a break the server says what it has.
                    let at = if is_first { begin } else { self.offset(&path).await? };
                    is_first = false;
                    let sent = at.checked_sub(begin).and_then(|sent| part.get(sent as usize..));
                    match sent {
                        Some([]) => Ok(at),
                        Some(rest) => self.append(&path, at, part.slice_ref(rest)).await,
                        // Another writer was here: what stands there is read anew.
                        None => Ok(at),
                    }
                })
                .await?;
            options.tell(offset, total);
        }
        self.about(&path).await
    }

    async fn read_part<S>(&self, file: &mut S, offset: u64, total: u64) -> Result<Bytes, GimError>
    where
        S: AsyncRead + AsyncSeek + Unpin + Send,
    {
        let length = (total - offset).min(self.0.part_bytes as u64);
        let mut part = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset)).await.map_err(unreadable_file)?;
        file.read_exact(&mut part).await.map_err(unreadable_file)?;
        Ok(part.into())
    }

    /// Begins an upload; its path.
    async fn begin(&self, length: u64, name: &str) -> Result<String, Failure> {
        let metadata = format!("filename {}", BASE64_STANDARD.encode(name));
        let ask = Ask::new(Method::POST, &self.path("/uploads"));
        let answer = self.ask(ask.header("upload-length", length).header("upload-metadata", metadata)).await?;
        let location = answer.header("location").ok_or_else(GimError::unreadable)?;
        // Where a proxy stands before the server it is the address of the options that leads there.
        Ok(self.path(&format!("/uploads/{}", file_id_of(location)?)))
    }

    async fn offset(&self, path: &str) -> Result<u64, Failure> {
        let answer = self.ask(Ask::new(Method::HEAD, path)).await?;
        Ok(answer.number("upload-offset")?)
    }

    /// The same of an upload that was begun before, which has to be of a file of this length.
    async fn resumed(&self, path: &str, length: u64) -> Result<u64, Failure> {
        let answer = self.ask(Ask::new(Method::HEAD, path)).await?;
        if answer.number("upload-length")? != length {
            return Err(GimError::new(BAD_REQUEST, "the upload is that of another file").into());
        }
        Ok(answer.number("upload-offset")?)
    }

    async fn append(&self, path: &str, offset: u64, part: Bytes) -> Result<u64, Failure> {
        let ask = Ask::new(Method::PATCH, path).header("upload-offset", offset);
        let ask = ask.header("content-type", "application/offset+octet-stream");
        let answer = self.ask(ask.body(part)).await?;
        Ok(answer.number("upload-offset")?)
    }

    fn scheme(&self) -> &'static str {
        if self.0.base.scheme.is_in_tls() { "https" } else { "http" }
    }
}

fn unreadable_file(error: std::io::Error) -> GimError {
    GimError::new(local_code::UNREADABLE, &format!("the file cannot be read: {error}"))
}
