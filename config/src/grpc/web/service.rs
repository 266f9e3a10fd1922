//! Around a service of gRPC: what is spoken outside becomes one frame of gRPC with one message, and the answer goes back the same way.
//!
//! On the tasks of calls. Always holds: only methods with one message each way are called so, because an answer is whole before it is
//! written.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use gim_proto::{ResultCode, metadata};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use prost_reflect::MethodDescriptor;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{
    connect, grpc_web,
    gzip::{self, Encoding},
    json::{self, Schema},
    protocol::{Codec, Protocol, RefusedWith},
};
use crate::grpc::{
    retry_after,
    unary::{self, gather, whole},
};

/// What is answered to those who speak none of the protocols.
pub type Page = Response<Bytes>;

/// The pages of a listener: what is answered to a request, if anything is.
pub type Pages = Arc<dyn Fn(&request::Parts) -> Option<Page> + Send + Sync>;

/// What describes the message and its way, and is written anew.
const OF_THE_WAY: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::ACCEPT_ENCODING,
    header::TRAILER,
];

/// Puts [`WebService`] around services.
#[derive(Clone)]
pub(in crate::grpc) struct WebLayer {
    schema: Schema,
    pages: Pages,
}

/// See the module.
#[derive(Clone)]
pub(in crate::grpc) struct WebService<S> {
    inner: S,
    layer: WebLayer,
}

/// What a service of gRPC answered.
struct Answer {
    headers: HeaderMap,
    result: Result<(Bytes, HeaderMap), Status>,
}

impl WebLayer {
    /// Over these services; what is no call is answered by `pages`.
    pub(in crate::grpc) fn new(schema: Schema, pages: Pages) -> Self {
        Self { schema, pages }
    }
}

impl<S> Layer<S> for WebLayer {
    type Service = WebService<S>;

    fn layer(&self, inner: S) -> WebService<S> {
        WebService { inner, layer: self.clone() }
    }
}

impl<S> Service<Request<Body>> for WebService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let protocol = Protocol::of(request.method(), request.headers());
        match protocol {
            Protocol::Grpc => match Encoding::of(request.headers()) {
                Encoding::Plain => Box::pin(self.inner.call(request)),
                // What has several messages, the library refuses.
                Encoding::Gzip if self.layer.schema.unary(request.uri().path()).is_none() => {
                    Box::pin(self.inner.call(request))
                }
                Encoding::Gzip => {
                    // The clone was not polled for readiness; the service that was is the one to call.
                    let clone = self.inner.clone();
                    Box::pin(gzip::call(std::mem::replace(&mut self.inner, clone), request))
                }
                Encoding::Unknown => Box::pin(ready(Ok(gzip::refuse_unknown(request.headers())))),
            },
            Protocol::Plain => {
                let (parts, body) = request.into_parts();
                let layer = self.layer.clone();
                Box::pin(async move {
                    // Who writes a whole request before he reads hears what is wrong with it.
                    let _is_received = gather(body).await.is_ok();
                    Ok(layer.page(&parts))
                })
            }
            Protocol::GrpcWeb { .. } | Protocol::Connect(_) => {
                // The clone was not polled for readiness; the service that was is the one to call.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let method = self.layer.schema.unary(request.uri().path());
                Box::pin(translate(inner, protocol, method, request))
            }
        }
    }
}

impl WebLayer {
    fn page(&self, request: &request::Parts) -> Response<Body> {
        if let Some(page) = (self.pages)(request) {
            return if request.method == Method::HEAD { head_of(page) } else { page.map(whole) };
        }
        let (status, name, value, sentence) = if request.method == Method::POST {
            let accepted = "application/json, application/proto, application/grpc, application/grpc-web, application/grpc-web-text";
            let name = HeaderName::from_static("accept-post");
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, name, accepted, "content-type: is none that is taken here")
        } else {
            (StatusCode::METHOD_NOT_ALLOWED, header::ALLOW, "POST", "calls are made by POST, and there is no such page")
        };
        let refusal = ResultCode::BadRequest.status(sentence);
        let mut answer = Protocol::Plain.refuse(refusal, "");
        *answer.status_mut() = status;
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
        answer
    }
}

/// What is said of a page, without it.
fn head_of(mut page: Page) -> Response<Body> {
    let length = page.body().len().into();
    page.headers_mut().insert(header::CONTENT_LENGTH, length);
    page.map(|_| Body::empty())
}

async fn translate<S>(
    mut inner: S,
    protocol: Protocol,
    method: Option<MethodDescriptor>,
    request: Request<Body>,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let (mut parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    let refuse = |status| Ok(protocol.refuse(status, &request_id));
    let Some(method) = method else {
        let _is_received = gather(body).await.is_ok();
        return refuse(ResultCode::UnknownCommand.status("there is no such method with one message each way"));
    };
    let wait = match connect::timeout(&parts.headers) {
        Ok(wait) => wait.filter(|_| matches!(protocol, Protocol::Connect(_))),
        Err(status) => {
            let _is_received = gather(body).await.is_ok();
            return refuse(status);
        }
    };
    let answered = async {
        let message = match receive(protocol, &method, &parts.headers, body).await {
            Ok(message) => message,
            Err(status) => return Ok(Answer { headers: HeaderMap::new(), result: Err(status) }),
        };
        speak_grpc(&mut parts.headers);
        if let Some(wait) = wait {
            connect::put_grpc_timeout(&mut parts.headers, wait);
        }
        let call = Request::from_parts(parts, whole(unary::frame(&message)));
        Ok(read(inner.call(call).await?).await)
    };
    let answer = match wait {
        None => answered.await?,
        Some(wait) => match tokio::time::timeout(wait, answered).await {
            Ok(answer) => answer?,
            Err(_) => return refuse(connect::late()),
        },
    };
    Ok(write(protocol, &method, answer, &request_id))
}

/// The one message of a request, in binary.
async fn receive(
    protocol: Protocol,
    method: &MethodDescriptor,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Status> {
    let bytes = gather(body).await?.0;
    let is_plain = |value: &HeaderValue| value == "identity" || value.is_empty();
    if !headers.get(header::CONTENT_ENCODING).is_none_or(is_plain) {
        let problem = "content-encoding: compressed requests are not taken, only `identity`";
        return Err(ResultCode::UnknownCommand.status(problem));
    }
    if !headers.get(grpc_web::ENCODING).is_none_or(is_plain) {
        let problem = "grpc-encoding: compressed messages are not taken, only `identity`";
        return Err(ResultCode::UnknownCommand.status(problem));
    }
    if headers.get(connect::VERSION).is_some_and(|version| version != "1") {
        return Err(ResultCode::BadRequest.status("connect-protocol-version: must be 1"));
    }
    match protocol {
        Protocol::GrpcWeb { is_text: false } => unary::only_message(bytes),
        Protocol::GrpcWeb { is_text: true } => unary::only_message(grpc_web::from_text(&bytes)?),
        Protocol::Connect(Codec::Json) => {
            let message = json::to_binary(&method.input(), &bytes);
            message.map(Bytes::from).map_err(|error| ResultCode::BadRequest.status(error.to_string()))
        }
        Protocol::Connect(Codec::Proto) | Protocol::Grpc | Protocol::Plain => Ok(bytes),
    }
}

/// The headers of the same call by gRPC.
fn speak_grpc(headers: &mut HeaderMap) {
    for name in OF_THE_WAY {
        headers.remove(name);
    }
    headers.remove(connect::TIMEOUT);
    headers.remove(connect::VERSION);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

async fn read(mut answer: Response<Body>) -> Answer {
    for name in OF_THE_WAY {
        answer.headers_mut().remove(name);
    }
    // Where there are but trailers, all that is said beside the status is in it.
    let is_refused = Status::from_header_map(answer.headers()).is_some();
    let headers = if is_refused { HeaderMap::new() } else { std::mem::take(answer.headers_mut()) };
    Answer { headers, result: unary::message_of(answer).await }
}

fn write(protocol: Protocol, method: &MethodDescriptor, answer: Answer, request_id: &str) -> Response<Body> {
    let Answer { headers, result } = answer;
    let (message, mut trailers) = match result {
        Ok(answered) => answered,
        Err(status) => return refuse_with(protocol, headers, status, request_id),
    };
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response.headers_mut().insert(header::CONTENT_TYPE, protocol.content_type());
    let body = match protocol {
        Protocol::GrpcWeb { is_text } => {
            trailers.entry(Status::GRPC_STATUS).or_insert(HeaderValue::from_static("0"));
            let bytes = grpc_web::answer(Some(&message), &trailers);
            if is_text { grpc_web::to_text(&bytes) } else { bytes }
        }
        Protocol::Connect(codec) => {
            put_trailers(response.headers_mut(), trailers);
            match codec {
                Codec::Proto => message,
                Codec::Json => match json::to_json(&method.output(), &message) {
                    Ok(json) => json.into(),
                    Err(error) => {
                        tracing::error!(%error, "an answer cannot be written in JSON");
                        return protocol.refuse(ResultCode::Internal.into(), request_id);
                    }
                },
            }
        }
        Protocol::Grpc | Protocol::Plain => message,
    };
    response.map(|()| whole(body))
}

/// A refusal that came after the headers of an answer.
fn refuse_with(protocol: Protocol, headers: HeaderMap, mut status: Status, request_id: &str) -> Response<Body> {
    if headers.is_empty() {
        return protocol.refuse(status, request_id);
    }
    if let Protocol::GrpcWeb { is_text } = protocol {
        return refuse_in_body(protocol, is_text, headers, status);
    }
    // What stood in the trailers is told apart.
    let trailers = std::mem::take(status.metadata_mut()).into_headers();
    let mut answer = protocol.refuse(status, request_id);
    let own = std::mem::replace(answer.headers_mut(), headers);
    answer.headers_mut().extend(own);
    put_trailers(answer.headers_mut(), trailers);
    answer
}

/// With the trailers in their place, as there are headers already.
fn refuse_in_body(protocol: Protocol, is_text: bool, headers: HeaderMap, status: Status) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    let code = status.code();
    if let Err(error) = status.add_header(&mut trailers) {
        trailers.insert(Status::GRPC_STATUS, (error.code() as i32).into());
    }
    let bytes = grpc_web::answer(None, &trailers);
    let mut answer = Response::new(whole(if is_text { grpc_web::to_text(&bytes) } else { bytes }));
    *answer.headers_mut() = headers;
    answer.headers_mut().insert(header::CONTENT_TYPE, protocol.content_type());
    retry_after::put(answer.headers_mut(), &status);
    answer.extensions_mut().insert(RefusedWith(code));
    answer
}

fn put_trailers(headers: &mut HeaderMap, mut trailers: HeaderMap) {
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS] {
        trailers.remove(name);
    }
    for (name, value) in &trailers {
        if let Ok(name) = HeaderName::try_from(format!("{}{name}", connect::TRAILER_PREFIX)) {
            headers.append(name, value.clone());
        }
    }
}

fn request_id(headers: &HeaderMap) -> String {
    headers.get(metadata::REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}
