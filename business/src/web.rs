//! The chat page: what browsers load of it, and by HTTP what they cannot ask by gRPC, where to connect and the sign-in. Everything else
//! goes over the page's long connection. A listener of its own, off by default.
//!
//! One request per connection, with a deadline, and a bounded number of them: one beyond waits, with those behind it in the
//! kernel's queue. Pages of other origins cannot sign in: no answer allows them to, and to send JSON they have to be allowed.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gim_config::listen::ListenError;
use gim_proto::{
    ResultCode,
    business::SignInRequest,
    logic::{ConnNode, Device, DeviceType, LocateRequest},
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tonic::Status;

use crate::{error::UseCaseError, logic::Logic, rpc::UserExt, settings::WebSettings, usecase::sign_in::Origin};

/// Bytes of a request line and headers; hyper takes nothing smaller.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Bytes of what is posted.
const SIGN_IN_BYTES_MAX: usize = 4 * 1024;

/// How long accepting pauses when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Only what is served here runs in the page, and it may connect to whatever node Locate names.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page is a part of the program, and may be another one after the next start.
const CHECKED_EACH_TIME: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

const NOT_STORED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

const INDEX: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/index.html"));
const SCRIPT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/app.js"));
const STYLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/app.css"));

/// The running listener.
#[derive(Debug)]
pub struct Web {
    address: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Services {
    users: UserExt,
    logic: Logic,
}

#[derive(Debug, Clone, Copy)]
struct Caller(IpAddr);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    phone_number: String,
    code: String,
    /// In decimal, as all ids in JSON; empty asks for a new one.
    #[serde(default)]
    device_id: String,
}

#[derive(Debug, Serialize)]
struct SignedIn {
    user_id: String,
    device_id: String,
    token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocateQuery {
    room_id: u64,
}

#[derive(Debug, Serialize)]
struct Located {
    nodes: Vec<Node>,
    heartbeat_s: u32,
    backoff: Waits,
}

#[derive(Debug, Serialize)]
struct Node {
    ws: String,
    wss: String,
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
pub async fn start(settings: &WebSettings, users: UserExt, logic: Logic) -> Result<Web, ListenError> {
    if settings.listen.is_off() {
        return Ok(Web { address: None, task: None });
    }
    let listener = settings.listen.listen().await?;
    let address = listener.local_addr().ok();
    let task = tokio::spawn(serve(listener, routes(Services { users, logic }), settings.clone()));
    Ok(Web { address, task: Some(task) })
}

impl Web {
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
            tracing::error!(%error, "the chat page failed");
        }
    }
}

fn routes(services: Services) -> Router {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", INDEX)))
        .route("/app.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/app.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/locate", get(locate))
        .route("/sign-in", post(sign_in))
        .layer(DefaultBodyLimit::max(SIGN_IN_BYTES_MAX))
        .with_state(services)
}

async fn serve(listener: TcpListener, routes: Router, settings: WebSettings) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let timeout = Duration::from_millis(settings.connection_timeout_ms);
    let mut is_failing = false;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the chat page cannot accept connections; tried again and again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        let routes = routes.clone().layer(Extension(Caller(address.ip())));
        tokio::spawn(tokio::time::timeout(timeout, answer(stream, routes, place)));
    }
}

/// Answers one request; the place is given back after it.
async fn answer(stream: TcpStream, routes: Router, _place: OwnedSemaphorePermit) {
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a request of the chat page broke off");
    }
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        CHECKED_EACH_TIME,
    ];
    (headers, text).into_response()
}

async fn sign_in(
    State(services): State<Services>,
    Extension(Caller(address)): Extension<Caller>,
    Json(asked): Json<SignIn>,
) -> Response {
    let SignIn { phone_number, code, device_id } = asked;
    let device_id = if device_id.is_empty() { Ok(0) } else { device_id.parse() };
    let Ok(id) = device_id else { return refusal(ResultCode::BadRequest.number(), "device_id: must be a number") };
    let device = Device { id, r#type: DeviceType::DtWeb.into(), ..Device::default() };
    let request = SignInRequest { phone_number, code, device: Some(device) };
    match services.users.sign_in_from(Some(Origin::Address(address)), request, "").await {
        Ok(reply) => {
            let (user_id, device_id) = (reply.user_id.to_string(), reply.device_id.to_string());
            ([NOT_STORED], Json(SignedIn { user_id, device_id, token: reply.token })).into_response()
        }
        Err(status) => refused(&status),
    }
}

async fn locate(State(services): State<Services>, Query(query): Query<LocateQuery>) -> Response {
    let request = LocateRequest { platform: "web".into(), room_id: query.room_id };
    match services.logic.locate(request).await {
        Ok(reply) => {
            let waits = reply.backoff.unwrap_or_default();
            let located = Located {
                nodes: reply.nodes.into_iter().map(|ConnNode { ws, wss, .. }| Node { ws, wss }).collect(),
                heartbeat_s: reply.heartbeat_s,
                backoff: Waits { first_ms: waits.first_ms, max_ms: waits.max_ms },
            };
            ([NOT_STORED], Json(located)).into_response()
        }
        Err(error) => refused(&Status::from(UseCaseError::from(error))),
    }
}

fn refused(status: &Status) -> Response {
    refusal(ResultCode::number_of_status(status), status.message())
}

fn refusal(code: i32, message: &str) -> Response {
    let is_for_later = code == ResultCode::TryAgainLater.number();
    let status = if is_for_later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
    (status, [NOT_STORED], Json(Problem { code, message: message.to_owned() })).into_response()
}
