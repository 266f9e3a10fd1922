//! A request of HTTP/1.1, on a connection of its own, and its answer.
//!
//! Always holds: an answer of the server's that refuses is a [`GimError`] with the server's code and sentence; a connection that breaks,
//! and a server that is away or busy, are tried again, with pauses that grow.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_LENGTH, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{Files, info::BAD_REQUEST};
use crate::{
    core::local_code,
    error::GimError,
    options::TokenRequest,
    transport::{Address, open},
};

const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The slowest line on which parts go through.
const BYTES_PER_S_MIN: u64 = 8 * 1024;

const TRIES_MAX: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// While the server makes a file of what came (it sends it to a bucket, say), which takes as long as the file is large.
const LOCKED_PAUSE_MAX: Duration = Duration::from_secs(1);
const LOCKED_TRIES_MAX: u32 = 1_000;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Of the server of the options; with `address`, of that one.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// Another server, which is told nothing of who asks.
    pub(super) address: Option<Address>,
}

/// What came back; what it has to say can be read.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    connection: AbortOnDrop,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke, or the server is away or busy.
    ForNow(GimError),
    /// The server is at work on what came before.
    Locked(GimError),
    ForGood(GimError, StatusCode),
}

/// A connection, which ends with it.
pub(super) struct AbortOnDrop(AbortHandle);

impl Ask {
    pub(super) fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Bytes::new(), address: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }
}

impl Answer {
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// A number in a header, as it has to be.
    pub(super) fn number(&self, name: &str) -> Result<u64, GimError> {
        self.header(name).and_then(|text| text.parse().ok()).ok_or_else(GimError::unreadable)
    }

    /// What it says, as it comes, as long as the connection is held.
    pub(super) fn into_parts(self) -> (Incoming, AbortOnDrop) {
        (self.response.into_body(), self.connection)
    }

    /// All that it says, where that is not much.
    pub(super) async fn body(self) -> Result<Bytes, GimError> {
        let body = Limited::new(self.response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(|_| GimError::unreadable())?.to_bytes())
    }
}

impl Files {
    /// Asks, with a token; with another one where that is refused.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        match self.ask_once(&ask, false).await {
            Err(Failure::ForGood(_, StatusCode::UNAUTHORIZED)) => self.ask_once(&ask, true).await,
            answered => answered,
        }
    }

    /// Asks until there is an answer that is for good.
    pub(super) async fn persistently<T>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, GimError> {
        let (mut pause, mut tries, mut locked_tries) = (FIRST_PAUSE, 0, 0);
        loop {
            let (error, is_last, pause_max) = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::ForGood(error, _)) => return Err(error),
                Err(Failure::ForNow(error)) => {
                    tries += 1;
                    (error, tries == TRIES_MAX, PAUSE_MAX)
                }
                Err(Failure::Locked(error)) => {
                    (tries, locked_tries) = (0, locked_tries + 1);
                    (error, locked_tries == LOCKED_TRIES_MAX, LOCKED_PAUSE_MAX)
                }
            };
            if is_last {
                return Err(error);
            }
            pause = pause.min(pause_max);
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause *= 2;
        }
    }

    async fn ask_once(&self, ask: &Ask, was_refused: bool) -> Result<Answer, Failure> {
        let headers = if ask.address.is_some() { Vec::new() } else { self.who(was_refused).await? };
        let in_time = self.0.answer_timeout + Duration::from_secs(ask.body.len() as u64 / BYTES_PER_S_MIN);
        let answered = timeout(in_time, self.send(ask, headers)).await;
        let answer = answered.map_err(|_| {
            Failure::ForNow(GimError::new(local_code::TIMEOUT, "the server of files did not answer in time"))
        })??;
        let status = answer.response.status();
        if status.is_success() || matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::RANGE_NOT_SATISFIABLE) {
            return Ok(answer);
        }
        // Of an answer to HEAD there is nothing else.
        let told = answer.body().await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&told).unwrap_or_default();
        let code = problem["code"].as_i64().and_then(|code| code.try_into().ok()).unwrap_or(BAD_REQUEST);
        let message = problem["message"].as_str().map_or_else(|| format!("the server answers {status}"), str::to_owned);
        let error = GimError { code, message };
        Err(match status.as_u16() {
            423 => Failure::Locked(error),
            // Another offset, broken bytes, or a server that is away. (The quota of a day is for good.)
            409 | 460 | 502 | 503 | 504 => Failure::ForNow(error),
            _ => Failure::ForGood(error, status),
        })
    }

    async fn who(&self, was_refused: bool) -> Result<Vec<(&'static str, String)>, Failure> {
        let token = (self.0.token_provider)(TokenRequest { was_refused }).await;
        let token = token.map_err(|error| {
            Failure::ForNow(GimError::new(local_code::CONNECTION_LOST, &format!("there is no token: {error}")))
        })?;
        let token = token.ok_or_else(|| Failure::ForGood(GimError::stopped(), StatusCode::UNAUTHORIZED))?;
        let (user_id, device_id) = (self.0.user_id.to_string(), self.0.device_id.to_string());
        Ok(vec![("user_id", user_id), ("device_id", device_id), ("token", token), ("tus-resumable", "1.0.0".into())])
    }

    async fn send(&self, ask: &Ask, who: Vec<(&'static str, String)>) -> Result<Answer, Failure> {
        let lost = |error: &dyn std::fmt::Display| {
            Failure::ForNow(GimError::new(local_code::CONNECTION_LOST, &format!("the server of files: {error}")))
        };
        let address = ask.address.as_ref().unwrap_or(&self.0.base);
        let stream = open(address, &self.0.tls).await.map_err(|error| lost(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
        let connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
        let mut request = Request::builder().method(&ask.method).uri(&ask.path).header(HOST, &address.authority);
        if matches!(ask.method, Method::POST | Method::PATCH) {
            request = request.header(CONTENT_LENGTH, ask.body.len());
        }
        for (name, value) in who.into_iter().chain(ask.headers.clone()) {
            request = request.header(name, HeaderValue::try_from(value).map_err(|error| lost(&error))?);
        }
        let request = request.body(Full::new(ask.body.clone())).map_err(|error| lost(&error))?;
        let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
        Ok(Answer { response, connection })
    }
}

impl From<Failure> for GimError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ForNow(error) | Failure::Locked(error) | Failure::ForGood(error, _) => error,
        }
    }
}

impl From<GimError> for Failure {
    fn from(error: GimError) -> Self {
        Self::ForGood(error, StatusCode::OK)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
