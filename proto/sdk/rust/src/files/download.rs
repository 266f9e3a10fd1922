//! Downloads, by `Range`, so that they go on where they broke off, and by a new URL where theirs has expired.

use std::fmt::Display;

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    Files,
    http::{Answer, Ask, Failure},
    info::file_id_of,
};
use crate::{core::local_code, error::GimError, transport::Address};

/// How far a download is.
struct Download {
    path: String,
    /// Bytes that are written, and those that there are in all.
    done: u64,
    total: Option<u64>,
    is_new_url: bool,
}

impl Files {
    /// Writes a file to `to`, over as many breaks as it takes; by its id, or by any URL of it. Returns how many bytes it has.
    ///
    /// # Errors
    /// The server refuses it, it cannot be written, or nobody answers for too long.
    pub async fn download<W>(
        &self,
        id_or_url: &str,
        to: &mut W,
        on_progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, GimError>
    where
        W: AsyncWrite + Unpin + Send,
    {
        self.download_from(id_or_url, 0, to, on_progress).await
    }

    /// The same behind so many bytes, which an earlier download has written.
    ///
    /// # Errors
    /// The server refuses it, it has fewer bytes, it cannot be written, or nobody answers for too long.
    pub async fn download_from<W>(
        &self,
        id_or_url: &str,
        from: u64,
        to: &mut W,
        mut on_progress: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, GimError>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let path = self.signed_path(id_or_url).await?;
        let mut download = Download { path, done: from, total: None, is_new_url: false };
        while download.total.is_none_or(|total| download.done < total) {
            // What is left after a break comes by another request, as if it were the first one.
            self.persistently(async || self.read_on(&mut download, to, &mut on_progress).await).await?;
        }
        Ok(download.done)
    }

    /// The path of a URL that says who may read; else of a new one.
    async fn signed_path(&self, id_or_url: &str) -> Result<String, GimError> {
        let file_id = file_id_of(id_or_url)?;
        match id_or_url.split_once('?') {
            // Whatever address it names, a proxy's say, it is this one that is asked.
            Some((_, query)) if query.contains("signature=") => {
                let query = query.split('#').next().unwrap_or_default();
                let thumbnail = if id_or_url.contains("/thumbnail?") { "/thumbnail" } else { "" };
                Ok(self.path(&format!("/files/{file_id}{thumbnail}?{query}")))
            }
            _ => self.new_path(file_id, false).await,
        }
    }

    async fn new_path(&self, file_id: &str, is_thumbnail: bool) -> Result<String, GimError> {
        let info = self.about(file_id).await?;
        let url = if is_thumbnail { info.thumbnail_url.unwrap_or(info.url) } else { info.url };
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let thumbnail = if is_thumbnail { "/thumbnail" } else { "" };
        Ok(self.path(&format!("/files/{file_id}{thumbnail}?{query}")))
    }

    /// Reads until the end, or a break after which something has come.
    async fn read_on<W>(
        &self,
        download: &mut Download,
        to: &mut W,
        on_progress: &mut (impl FnMut(u64, u64) + Send),
    ) -> Result<(), Failure>
    where
        W: AsyncWrite + Unpin + Send,
    {
        let answer = match self.get(&download.path, download.done).await {
            Err(Failure::ForGood(_, StatusCode::FORBIDDEN)) if !download.is_new_url => {
                let is_thumbnail = download.path.contains("/thumbnail?");
                let file_id = file_id_of(&download.path)?.to_owned();
                (download.path, download.is_new_url) = (self.new_path(&file_id, is_thumbnail).await?, true);
                self.get(&download.path, download.done).await?
            }
            answered => answered?,
        };
        download.is_new_url = false;
        let (begin, status) = (download.done, answer.response.status());
        if status == StatusCode::RANGE_NOT_SATISFIABLE
            && answer.header("content-range") == Some(format!("bytes */{begin}").as_str())
        {
            download.total = Some(begin);
            return Ok(());
        }
        if !status.is_success() || (begin > 0 && status != StatusCode::PARTIAL_CONTENT) {
            return Err(GimError::unreadable().into());
        }
        let total = begin + answer.number("content-length")?;
        download.total = Some(total);
        on_progress(download.done, total);
        let (mut body, _connection) = answer.into_parts();
        while let Ok(Some(Ok(frame))) = timeout(self.0.answer_timeout, body.frame()).await {
            let Ok(bytes) = frame.into_data() else { continue };
            to.write_all(&bytes).await.map_err(|error| unwritable(&error))?;
            download.done += bytes.len() as u64;
            on_progress(download.done, total);
        }
        to.flush().await.map_err(|error| unwritable(&error))?;
        if download.done == begin && begin < total {
            let problem = "the server of files: the download broke off";
            return Err(Failure::ForNow(GimError::new(local_code::CONNECTION_LOST, problem)));
        }
        Ok(())
    }

    /// Asks for a file from a byte on, at the place where the server says that it is.
    async fn get(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let range = |ask: Ask| if from == 0 { ask } else { ask.header("range", format!("bytes={from}-")) };
        let mut ask = Ask::new(Method::GET, path);
        // Whoever has the URL may read: nobody has to know who that is.
        ask.address = Some(self.0.base.clone());
        let answer = self.ask(range(ask.clone())).await?;
        if answer.response.status() != StatusCode::TEMPORARY_REDIRECT {
            return Ok(answer);
        }
        let location = answer.header("location").and_then(|url| Address::parse(url).ok());
        let address = location.ok_or_else(GimError::unreadable)?;
        let mut ask = Ask::new(Method::GET, &address.path);
        ask.address = Some(address);
        self.ask(range(ask)).await
    }
}

fn unwritable(error: &dyn Display) -> GimError {
    GimError::new(local_code::UNREADABLE, &format!("what was read cannot be written: {error}"))
}
