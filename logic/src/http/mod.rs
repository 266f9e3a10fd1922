//! `GET /locate`: what [`crate::usecase::directory`] answers, as plain HTTP and JSON, for clients without gRPC. A listener of
//! its own, off by default, which shows nothing else.
//!
//! One request per connection, with a deadline, and a bounded number of them: one beyond takes the place of the oldest that is
//! silent, or else waits, with those behind it in the kernel's queue.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use gim_config::listen::ListenError;
use gim_proto::{
    ResultCode,
    logic::{ConnNode, LocateReply, LocateRequest},
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinHandle},
};

use crate::{settings::GatewaySettings, usecase::UseCases};

/// Bytes of a request line and headers; hyper takes nothing smaller.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// How long accepting pauses when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Browsers may ask from any page: the answer is nobody's secret.
const ANY_ORIGIN: (HeaderName, &str) = (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// What was asked is of this moment.
const NOT_STORED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// The running listener.
#[derive(Debug)]
pub struct Gateway {
    address: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

/// Others may stand beside these, such as what keeps a cache from answering.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocateQuery {
    platform: String,
    room_id: u64,
}

#[derive(Debug, Serialize)]
struct Answer {
    nodes: Vec<Node>,
    heartbeat_s: u32,
    backoff: Waits,
}

#[derive(Debug, Serialize)]
struct Node {
    tcp: String,
    ws: String,
    tls: String,
    wss: String,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct Waits {
    first_ms: u32,
    max_ms: u32,
}

#[derive(Debug, Serialize)]
struct Problem {
    code: i32,
    message: String,
}

/// Starts the listener, where the settings have one.
pub async fn start(settings: &GatewaySettings, use_cases: Arc<UseCases>) -> Result<Gateway, ListenError> {
    if settings.listen.is_off() {
        return Ok(Gateway { address: None, task: None });
    }
    let listener = settings.listen.listen().await?;
    let address = listener.local_addr().ok();
    let routes = Router::new().route("/locate", get(locate)).route("/locate/", get(locate)).with_state(use_cases);
    let task = tokio::spawn(serve(listener, routes, settings.clone()));
    Ok(Gateway { address, task: Some(task) })
}

impl Gateway {
    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops it; the address is free afterwards.
    pub async fn stop(self) {
        let Some(task) = self.task else { return };
        task.abort();
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the gateway failed");
        }
    }
}

async fn serve(listener: TcpListener, routes: Router, settings: GatewaySettings) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let timeout = Duration::from_millis(settings.connection_timeout_ms);
    let (mut is_failing, mut silent) = (false, SilentOnes::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => {
                is_failing = false;
                stream
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the gateway cannot accept connections; tried again and again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            silent.end_oldest();
        }
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let has_spoken = Arc::new(AtomicBool::new(false));
        let answered = answer(stream, routes.clone(), has_spoken.clone(), place);
        let limited = async move {
            if tokio::time::timeout(timeout, answered).await.is_err() {
                tracing::debug!("a question to the gateway took too long");
            }
        };
        silent.push(has_spoken, tokio::spawn(limited).abort_handle());
    }
}

/// Answers one question; the place is given back after it.
async fn answer(stream: TcpStream, routes: Router, has_spoken: Arc<AtomicBool>, _place: OwnedSemaphorePermit) {
    if !matches!(stream.peek(&mut [0]).await, Ok(1)) {
        return;
    }
    has_spoken.store(true, Relaxed);
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a question to the gateway broke off");
    }
}

/// Connections, the oldest first, with whether their first byte came. No more than have places.
#[derive(Debug, Default)]
struct SilentOnes(VecDeque<(Arc<AtomicBool>, AbortHandle)>);

impl SilentOnes {
    fn push(&mut self, has_spoken: Arc<AtomicBool>, task: AbortHandle) {
        self.0.retain(|(has_spoken, task)| !has_spoken.load(Relaxed) && !task.is_finished());
        self.0.push_back((has_spoken, task));
    }

    fn end_oldest(&mut self) {
        while let Some((has_spoken, task)) = self.0.pop_front() {
            if !has_spoken.load(Relaxed) && !task.is_finished() {
                return task.abort();
            }
        }
    }
}

async fn locate(State(use_cases): State<Arc<UseCases>>, query: Result<Query<LocateQuery>, QueryRejection>) -> Response {
    let headers = [ANY_ORIGIN, NOT_STORED];
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            let problem = Problem { code: ResultCode::BadRequest.number(), message: rejection.body_text() };
            return (StatusCode::BAD_REQUEST, headers, Json(problem)).into_response();
        }
    };
    match use_cases.directory.locate(&LocateRequest { platform: query.platform, room_id: query.room_id }) {
        Ok(reply) => (headers, Json(Answer::from(reply))).into_response(),
        Err(error) => {
            let reply = error.into_reply();
            let is_for_later = reply.code == ResultCode::TryAgainLater.number();
            let status = if is_for_later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
            (status, headers, Json(Problem { code: reply.code, message: reply.message })).into_response()
        }
    }
}

impl From<LocateReply> for Answer {
    fn from(reply: LocateReply) -> Self {
        let node = |ConnNode { tcp, ws, tls, wss, weight }: ConnNode| Node { tcp, ws, tls, wss, weight };
        let backoff = reply.backoff.unwrap_or_default();
        Self {
            nodes: reply.nodes.into_iter().map(node).collect(),
            heartbeat_s: reply.heartbeat_s,
            backoff: Waits { first_ms: backoff.first_ms, max_ms: backoff.max_ms },
        }
    }
}
