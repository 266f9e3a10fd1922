//! The clients' listener: every call of an app or a page goes through [`crate::dispatch`], and what is no call is a page: `/locate`,
//! which is what [`crate::usecase::directory`] answers for clients without gRPC, and `/openapi.json`, which describes the calls.
//!
//! On the tasks of calls. Bounds, protocols and TLS are those of `gim_config::grpc`.

use std::sync::Arc;

use axum::{Router, extract::Query};
use bytes::Bytes;
use gim_config::{
    grpc::{ClientListeners, ClientsSettings, GrpcServer, Page, Pages},
    listen::ListenError,
    page_json::{LocateAnswer, Problem},
};
use gim_proto::{ResultCode, logic::LocateRequest};
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

/// Opens the listener, where the settings have one.
pub async fn start(
    clients: &ClientsSettings,
    listeners: &ClientListeners<'_>,
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
    listeners.serve(RoutesBuilder::from(calls), pages).await.map(Some)
}

fn page(request: &request::Parts, use_cases: &UseCases) -> Option<Page> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    match request.uri.path() {
        "/locate" | "/locate/" => Some(locate(&request.uri, use_cases)),
        "/openapi.json" => Some(answer(StatusCode::OK, Bytes::from_static(gim_proto::OPENAPI.as_bytes()))),
        _ => Some(json(StatusCode::NOT_FOUND, &Problem::new(ResultCode::BadRequest.number(), "there is no such page"))),
    }
}

fn locate(uri: &http::Uri, use_cases: &UseCases) -> Page {
    let Query(LocateQuery { platform, room_id }) = match Query::try_from_uri(uri) {
        Ok(query) => query,
        Err(rejection) => return refuse(&Problem::new(ResultCode::BadRequest.number(), rejection.body_text())),
    };
    match use_cases.directory.locate(&LocateRequest { platform, room_id }) {
        Ok(reply) => json(StatusCode::OK, &LocateAnswer::from(reply)),
        Err(error) => {
            let reply = error.into_reply();
            refuse(&Problem::new(reply.code, reply.message))
        }
    }
}

fn refuse(problem: &Problem) -> Page {
    json(problem.status(), problem)
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
