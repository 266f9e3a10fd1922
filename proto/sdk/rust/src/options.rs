//! What an app says of its client before it starts.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    core::StartAt,
    storage::{MemoryStore, Store},
    transport::Tls,
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no token for now: it counts as a bad network, and is tried again later.
pub type TokenError = Box<dyn Error + Send + Sync>;

pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<Option<String>, TokenError>> + Send>>;
pub(crate) type TokenProvider = Arc<dyn Fn(TokenRequest) -> TokenFuture + Send + Sync>;

/// What an app gives, as it is kept.
pub(crate) fn token_provider<F, Answer>(provider: F) -> TokenProvider
where
    F: Fn(TokenRequest) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<Option<String>, TokenError>> + Send + 'static,
{
    Arc::new(move |request| -> TokenFuture { Box::pin(provider(request)) })
}

/// What the client asks the app for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whether the server did not accept the last one.
    pub was_refused: bool,
}

/// Where to connect.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Url(String),
    Locate(String),
}

/// Who signs in, where, and with what.
pub struct Options {
    pub(crate) user_id: u64,
    pub(crate) device_id: u64,
    pub(crate) app_id: u32,
    pub(crate) way: Option<Way>,
    pub(crate) token_provider: Option<TokenProvider>,
    pub(crate) store: Box<dyn Store>,
    pub(crate) start_at: StartAt,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) answer_timeout: Duration,
    pub(crate) tls: Tls,
}

impl Options {
    /// Each device of a user has a number of its own, and keeps it.
    pub fn new(user_id: u64, device_id: u64) -> Self {
        Self {
            user_id,
            device_id,
            app_id: 0,
            way: None,
            token_provider: None,
            store: Box::new(MemoryStore),
            start_at: StartAt::default(),
            heartbeat: None,
            answer_timeout: ANSWER_TIMEOUT,
            tls: Tls::default(),
        }
    }

    /// Where to connect: `tcp://chat.example.com:8002`, `tls://…`, `ws://…/ws` or `wss://…/ws`.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { way: Some(Way::Url(url.into())), ..self }
    }

    /// Where to ask for the best server, as in `https://chat.example.com/locate`. Asked by HTTPS, it connects by TLS alone.
    #[must_use]
    pub fn locate(self, url: impl Into<String>) -> Self {
        Self { way: Some(Way::Locate(url.into())), ..self }
    }

    /// Asked at each sign-in, and when a token was refused. `Ok(None)`: there is none, the client ends.
    #[must_use]
    pub fn get_token<F, Answer>(self, provider: F) -> Self
    where
        F: Fn(TokenRequest) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<Option<String>, TokenError>> + Send + 'static,
    {
        Self { token_provider: Some(token_provider(provider)), ..self }
    }

    /// What the client remembers between two runs; nothing without it.
    #[must_use]
    pub fn store(self, store: impl Store + 'static) -> Self {
        Self { store: Box::new(store), ..self }
    }

    /// Where a device without a cursor begins: where the user's other devices are, unless this says otherwise.
    #[must_use]
    pub fn start_at(self, start_at: StartAt) -> Self {
        Self { start_at, ..self }
    }

    /// The app, where one server serves several.
    #[must_use]
    pub fn app_id(self, app_id: u32) -> Self {
        Self { app_id, ..self }
    }

    /// How often to send a heartbeat; without it as often as Locate says.
    #[must_use]
    pub fn heartbeat(self, interval: Duration) -> Self {
        Self { heartbeat: Some(interval), ..self }
    }

    /// How long an answer may take until the connection is taken for dead: 20 seconds, unless this says otherwise.
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

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user_id, device_id, app_id, way, .. } = self;
        write!(formatter, "user {user_id}, device {device_id}, app {app_id}, by {way:?}")
    }
}
