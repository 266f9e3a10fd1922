//! Files: uploads that go on where they broke off (tus 1.0), downloads that do, and URLs by which files are read. Over HTTP, beside the
//! connection of [`Client`](crate::Client), which they do not need.
//!
//! On the task of whoever calls. Always holds: of a file no more than one part is in memory; whoever drops a call stops it, and what the server
//! has by then it keeps for a while.

mod download;
mod http;
mod info;
mod upload;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use hyper::Method;

use self::{http::Ask, info::file_id_of};
pub use self::{
    info::{FileInfo, FileState},
    upload::UploadOptions,
};
use crate::{
    error::GimError,
    options::{TokenError, TokenProvider, TokenRequest, token_provider},
    transport::{Address, Scheme, Tls},
};

/// Bytes of one request of an upload: after a break so many at most are sent again.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// How long the server may take for an answer; a part may take longer by what it has.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Who uploads and reads, where, and with what.
pub struct FilesOptions {
    url: String,
    user_id: u64,
    device_id: u64,
    token_provider: Option<TokenProvider>,
    part_bytes: usize,
    answer_timeout: Duration,
    tls: Tls,
}

/// Uploads and reads files. Clones share the options.
#[derive(Clone)]
pub struct Files(Arc<Shared>);

struct Shared {
    base: Address,
    user_id: u64,
    device_id: u64,
    token_provider: TokenProvider,
    part_bytes: usize,
    answer_timeout: Duration,
    tls: Tls,
}

impl FilesOptions {
    /// Where files are, as in `https://files.example.com`, and who asks there.
    pub fn new(url: impl Into<String>, user_id: u64, device_id: u64) -> Self {
        Self {
            url: url.into(),
            user_id,
            device_id,
            token_provider: None,
            part_bytes: PART_BYTES,
            answer_timeout: ANSWER_TIMEOUT,
            tls: Tls::default(),
        }
    }

    /// As that of [`Options`](crate::Options). `Ok(None)`: there is none, and the call fails.
    #[must_use]
    pub fn get_token<F, Answer>(self, provider: F) -> Self
    where
        F: Fn(TokenRequest) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<Option<String>, TokenError>> + Send + 'static,
    {
        Self { token_provider: Some(token_provider(provider)), ..self }
    }

    /// Bytes of one request of an upload: 4 MiB, unless this says otherwise.
    #[must_use]
    pub fn part_bytes(self, bytes: usize) -> Self {
        Self { part_bytes: bytes.max(1), ..self }
    }

    /// How long an answer may take: 20 seconds, unless this says otherwise.
    #[must_use]
    pub fn answer_timeout(self, timeout: Duration) -> Self {
        Self { answer_timeout: timeout, ..self }
    }

    /// Whom to believe in TLS, instead of the authorities that this host trusts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_config(self, config: Arc<rustls::ClientConfig>) -> Self {
        Self { tls: Tls::new(config), ..self }
    }
}

impl Files {
    /// Connects when it is asked for something.
    ///
    /// # Errors
    /// The URL is none, or there is no `get_token`.
    pub fn new(options: FilesOptions) -> Result<Self, FilesOptionsError> {
        let FilesOptions { url, user_id, device_id, token_provider, part_bytes, answer_timeout, tls } = options;
        let base = Address::parse(url.trim_end_matches('/')).ok();
        let base = base.filter(|base| matches!(base.scheme, Scheme::Http | Scheme::Https));
        let base = base.ok_or(FilesOptionsError::Url)?;
        let token_provider = token_provider.ok_or(FilesOptionsError::Token)?;
        Ok(Self(Arc::new(Shared { base, user_id, device_id, token_provider, part_bytes, answer_timeout, tls })))
    }

    /// What a file is, with URLs that are good from now on. By its id, or by any URL of it, also one that has expired.
    pub async fn about(&self, id_or_url: &str) -> Result<FileInfo, GimError> {
        let path = self.path(&format!("/files/{}/about", file_id_of(id_or_url)?));
        let answer = self.persistently(async || self.ask(Ask::new(Method::GET, &path)).await).await?;
        FileInfo::of_json(&answer.body().await?).ok_or_else(GimError::unreadable)
    }

    /// Gives up an upload; one that is a file by now is taken back: nobody can read it any more. By its id, or any URL of it.
    pub async fn give_up(&self, id_or_url: &str) -> Result<(), GimError> {
        let path = self.path(&format!("/uploads/{}", file_id_of(id_or_url)?));
        self.ask(Ask::new(Method::DELETE, &path)).await?;
        Ok(())
    }

    /// A path under that of the URL of the options.
    fn path(&self, below: &str) -> String {
        format!("{}{below}", self.0.base.path.trim_end_matches('/'))
    }
}

impl fmt::Debug for FilesOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {}, device {}, at {}", self.user_id, self.device_id, self.url)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {}, device {}, at {}", self.0.user_id, self.0.device_id, self.0.base.authority)
    }
}

/// Options with which no file goes anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilesOptionsError {
    /// It begins with neither `http://` nor `https://`.
    #[error("url must be as in https://files.example.com")]
    Url,
    /// `get_token` is not set.
    #[error("get_token must be set")]
    Token,
}
