//! The clients' listener: every call of an app or a page goes through [`crate::dispatch`], and what is no call is a page: `/locate`,
//! which is what [`crate::usecase::directory`] answers for clients without gRPC, and `/openapi.json`, which describes the calls.
//!
//! On the tasks of calls. Bounds, protocols and TLS are those of `gim_config::grpc`.

use std::sync::Arc;

use axum::{Router, extract::Query};
use bytes::Bytes;
use gim_config::{
    grpc::{self, ClientsSettings, GrpcServer, GrpcSettings, Page, Pages},
    listen::ListenError,
};
use gim_proto::{
    ResultCode,
    logic::{ConnNode, LocateReply, LocateRequest},
};
use http::{HeaderValue, Method, StatusCode, header, request};
use serde::{Deserialize, Serialize};
use tonic::{body::Body, service::RoutesBuilder};

use crate::{dispatch::Dispatch, usecase::UseCases};

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

/// Opens the listener, where the settings have one.
pub async fn start(
    clients: &ClientsSettings,
    settings: &GrpcSettings,
    dispatch: Dispatch,
    use_cases: Arc<UseCases>,
) -> Result<Option<GrpcServer>, ListenError> {
    if clients.listen.is_off() {
        return Ok(None);
    }
    let calls = Router::new().fallback(async move |request: http::Request<axum::body::Body>| {
        dispatch.forward(request.map(Body::new)).await.map(axum::body::Body::new)
    });
    let pages: Pages = Arc::new(move |request| page(request, &use_cases));
    grpc::serve_clients(clients, settings, RoutesBuilder::from(calls), pages).await.map(Some)
}

fn page(request: &request::Parts, use_cases: &UseCases) -> Option<Page> {
    if request.method != Method::GET {
        return None;
    }
    match request.uri.path() {
        "/locate" | "/locate/" => Some(locate(&request.uri, use_cases)),
        "/openapi.json" => Some(answer(StatusCode::OK, Bytes::from_static(gim_proto::OPENAPI.as_bytes()))),
        _ => Some(json(StatusCode::NOT_FOUND, &problem(ResultCode::BadRequest, "there is no such page"))),
    }
}

fn locate(uri: &http::Uri, use_cases: &UseCases) -> Page {
    let Query(LocateQuery { platform, room_id }) = match Query::try_from_uri(uri) {
        Ok(query) => query,
        Err(rejection) => {
            return json(StatusCode::BAD_REQUEST, &problem(ResultCode::BadRequest, &rejection.body_text()));
        }
    };
    match use_cases.directory.locate(&LocateRequest { platform, room_id }) {
        Ok(reply) => json(StatusCode::OK, &Answer::from(reply)),
        Err(error) => {
            let reply = error.into_reply();
            let is_for_later = reply.code == ResultCode::TryAgainLater.number();
            let status = if is_for_later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
            json(status, &Problem { code: reply.code, message: reply.message })
        }
    }
}

fn problem(code: ResultCode, message: &str) -> Problem {
    Problem { code: code.number(), message: message.to_owned() }
}

fn json(status: StatusCode, content: &impl Serialize) -> Page {
    let (status, body) = match serde_json::to_vec(content) {
        Ok(body) => (status, body),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    };
    answer(status, body.into())
}

fn answer(status: StatusCode, body: Bytes) -> Page {
    let mut page = Page::new(body);
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // It is of this moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Any page may ask: the answer is nobody's secret.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    page
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
