//! Somebody on this host asks a service to read its settings again, as SIGHUP does, and is told what came of it: `POST /reload` at the admin
//! listener. The question comes on the task of a connection and is answered by that of [`crate::service`].
//!
//! Always holds: one question waits at most; and no page in a browser can ask: those of other origins must not send
//! our header, and whatever a browser posts says its origin.

use std::net::IpAddr;

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::bounded_http::PeerAddress;

/// A header that a question has to have.
pub const HEADER: &str = "gim-reload";

/// What came of reading settings again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadOutcome {
    /// Settings that are others than before, and hold now.
    pub applied: Vec<String>,
    /// Settings that are others than those that hold, and wait for a restart.
    pub waiting: Vec<String>,
    /// What stays as it was, and why.
    pub problem: Option<String>,
}

/// Whom the service answers. None are there where nobody listens.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<ReloadReply>);

/// Where the answer to a question goes.
pub type ReloadReply = oneshot::Sender<ReloadOutcome>;

/// The end of whoever asks. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ReloadDoor(mpsc::Sender<ReloadReply>);

/// Both ends.
pub(crate) fn channel() -> (ReloadDoor, ReloadRequests) {
    let (sender, receiver) = mpsc::channel(1);
    (ReloadDoor(sender), ReloadRequests(receiver))
}

impl ReloadRequests {
    /// The next one; for ever, where nobody can ask.
    pub async fn next(&mut self) -> ReloadReply {
        match self.0.recv().await {
            Some(reply) => reply,
            None => std::future::pending().await,
        }
    }
}

impl ReloadDoor {
    /// Asks, and waits for the answer.
    pub(crate) async fn ask(self, request: Request) -> Response {
        let is_here = request.extensions().get().is_some_and(|PeerAddress(ip): &PeerAddress| is_loopback(*ip));
        let is_of_browser = request.headers().contains_key(header::ORIGIN);
        if !is_here || is_of_browser || !request.headers().contains_key(HEADER) {
            return answer(StatusCode::FORBIDDEN, format!("only this host may ask, with the header {HEADER}\n"));
        }
        let (reply, outcome) = oneshot::channel();
        if self.0.try_send(reply).is_err() {
            return answer(StatusCode::SERVICE_UNAVAILABLE, "the service does not read its settings just now\n".into());
        }
        match outcome.await.ok().and_then(|outcome| serde_json::to_string(&outcome).ok()) {
            Some(told) => answer(StatusCode::OK, told),
            None => answer(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping\n".into()),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn answer(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
