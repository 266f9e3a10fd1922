//! What a browser may do at a listener: everything from pages that are listed, at the door of clients; nothing at that of services.
//!
//! On the tasks of calls, before anything else is looked at. Always holds: whatever comes from a page says so (`Origin`), and a page
//! that made a name its own does not reach a listener that is not called so (`Host`).

use std::{
    future::{Ready, ready},
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use futures_util::future::Either;
use gim_proto::{ResultCode, metadata};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::body::Body;
use tower::{Layer, Service};

use super::protocol::Protocol;
use crate::metrics as metric;

/// What pages may say with their calls.
const ALLOWED_HEADERS: &str = "content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, x-user-agent, \
                               user_id, device_id, token, request_id, traceparent";
/// What pages may read of an answer.
const EXPOSED_HEADERS: &str = "grpc-status, grpc-message, grpc-status-details-bin, retry-after";
/// How long, in seconds, a browser remembers what it may do.
const ALLOWED_FOR_S: &str = "7200";
const BEARER: &str = "Bearer";

/// Whose door a listener is.
#[derive(Debug, Clone)]
pub(in crate::grpc) enum Door {
    /// Of apps, and of the pages of these origins.
    Clients {
        /// As browsers write them.
        origins: Origins,
    },
    /// Of backends and of our own services.
    Services {
        /// What it is called beside `localhost` and addresses.
        names: Arc<[String]>,
    },
}

/// Pages, which may become others while the listener is open. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Origins(Arc<RwLock<Arc<[String]>>>);

impl Origins {
    /// These.
    pub(in crate::grpc) fn new(origins: &[String]) -> Self {
        Self(Arc::new(RwLock::new(origins.into())))
    }

    /// Others from now on.
    pub(in crate::grpc) fn set(&self, origins: &[String]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = origins.into();
    }

    fn now(&self) -> Arc<[String]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts a [`DoorService`] around services.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct DoorLayer(pub(in crate::grpc) Door);

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct DoorService<S> {
    inner: S,
    door: Door,
}

impl<S> Layer<S> for DoorLayer {
    type Service = DoorService<S>;

    fn layer(&self, inner: S) -> DoorService<S> {
        DoorService { inner, door: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for DoorService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, Allowed<S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let allowed = match &self.door {
            Door::Clients { origins } => let_client_in(&request, &origins.now()),
            Door::Services { names } => let_service_in(&mut request, names).map(|()| None),
        };
        let origin = match allowed {
            Ok(origin) => origin,
            Err(answer) => return Either::Left(ready(Ok(*answer))),
        };
        if request.method() == Method::OPTIONS && origin.is_some() {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            allow(answer.headers_mut(), origin);
            let allowed = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, ALLOWED_FOR_S),
            ];
            answer.headers_mut().extend(allowed.map(|(name, value)| (name, HeaderValue::from_static(value))));
            return Either::Left(ready(Ok(answer)));
        }
        Either::Right(Allowed { answered: self.inner.call(request), origin })
    }
}

/// An answer that a page of this origin may read.
pub(in crate::grpc) struct Allowed<F> {
    answered: F,
    origin: Option<HeaderValue>,
}

impl<F, E> Future for Allowed<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut answer = std::task::ready!(std::pin::Pin::new(&mut self.answered).poll(context))?;
        allow(answer.headers_mut(), self.origin.take());
        Poll::Ready(Ok(answer))
    }
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// The origin of the page that asks, if one does; a page that is not listed is refused.
fn let_client_in(request: &Request<Body>, origins: &[String]) -> Result<Option<HeaderValue>, Box<Response<Body>>> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(None) };
    let is_listed = origins.iter().any(|listed| origin == listed.as_str());
    // Of a name alone it cannot be told whether it is ours: anybody may have a name that leads here.
    let is_own = || {
        let page = origin.to_str().ok()?.split_once("://")?.1;
        Some(page == host_of(request)? && is_ours(page, &[]))
    };
    // What is open to all pages is nobody's secret.
    let is_open = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_listed || is_open || is_own().unwrap_or(false) {
        return Ok(Some(origin.clone()));
    }
    Err(refuse(request, "origin: this page is not listed in clients.origins"))
}

/// Lets in what no page can have sent. A bearer is the internal token.
fn let_service_in(request: &mut Request<Body>, names: &[String]) -> Result<(), Box<Response<Body>>> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(refuse(request, "origin: pages of browsers may not call services"));
    }
    if Protocol::of(request.method(), request.headers()) == Protocol::Grpc {
        return Ok(());
    }
    if !host_of(request).is_some_and(|host| is_ours(host, names)) {
        return Err(refuse(request, "host: is no address or name of this service; names stand in grpc.names"));
    }
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
        .and_then(|(_, token)| token.trim().parse().ok());
    let headers = request.headers_mut();
    headers.remove(header::AUTHORIZATION);
    if let Some(token) = bearer {
        headers.entry(HeaderName::from_static(metadata::INTERNAL_TOKEN)).or_insert(token);
    }
    Ok(())
}

/// As whom the caller addresses us.
fn host_of(request: &Request<Body>) -> Option<&str> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    authority.or_else(|| request.headers().get(header::HOST)?.to_str().ok())
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_name = |ours: &str| name.eq_ignore_ascii_case(ours);
    bare.parse::<IpAddr>().is_ok() || is_name("localhost") || names.iter().any(|ours| is_name(ours))
}

fn refuse(request: &Request<Body>, sentence: &str) -> Box<Response<Body>> {
    metrics::counter!(metric::GRPC_CALLS_REFUSED, "why" => "page").increment(1);
    let protocol = Protocol::of(request.method(), request.headers());
    Box::new(protocol.refuse(ResultCode::NotAllowed.status(sentence), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::post("/logic.MessageIntService/PushToUsers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_page_reaches_clients_services_only_from_a_listed_origin_or_our_own() {
        let origins = ["https://app.example.com".to_owned()];
        let let_in = |headers: &[_]| let_client_in(&request(headers), &origins).map(|origin| origin.is_some()).ok();
        assert_eq!(let_in(&[]), Some(false));
        assert_eq!(let_in(&[("origin", "https://app.example.com")]), Some(true));
        assert_eq!(let_in(&[("origin", "http://localhost:8012"), ("host", "localhost:8012")]), Some(true));
        for origin in ["https://app.example.com.evil.test", "http://app.example.com", "null", "https://evil.test"] {
            assert_eq!(let_in(&[("origin", origin), ("host", "localhost:8012")]), None, "{origin}");
        }
        let rebound = [("origin", "http://rebound.evil.test:8012"), ("host", "rebound.evil.test:8012")];
        assert_eq!(let_in(&rebound), None, "a name that leads here makes no page ours");
    }

    #[test]
    fn no_page_reaches_the_services_of_backends() {
        let names = ["logic.internal".to_owned()];
        let json = ("content-type", "application/json");
        let let_in = |headers: &[_]| let_service_in(&mut request(headers), &names).is_ok();
        for host in ["127.0.0.1:8010", "[::1]:8010", "[::1]", "localhost", "LOCALHOST:8010", "logic.internal:8010"] {
            assert!(let_in(&[json, ("host", host)]), "{host}");
            assert!(!let_in(&[json, ("host", host), ("origin", "http://localhost:8010")]), "{host}");
        }
        for host in ["rebound.evil.test:8010", "logic.internal.evil.test", ""] {
            assert!(!let_in(&[json, ("host", host)]), "{host}");
        }
        assert!(let_in(&[("content-type", "application/grpc"), ("host", "logic:8010")]), "no browser speaks it");
    }

    #[test]
    fn a_bearer_is_the_internal_token_and_goes_no_further() {
        let mut request = request(&[
            ("content-type", "application/json"),
            ("host", "127.0.0.1:8010"),
            ("authorization", "bearer secret"),
        ]);
        let_service_in(&mut request, &[]).unwrap();
        assert_eq!(request.headers()[metadata::INTERNAL_TOKEN], "secret");
        assert!(!request.headers().contains_key(header::AUTHORIZATION));
    }
}
