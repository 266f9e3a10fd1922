//! Around every call: who may call, the place of the call, a span with the request id, and a metric.
//!
//! On the tasks of calls. Always holds: a call has a place from its headers until its answer was taken, and what a stranger's call costs
//! beside that is counted by [`super::bodies`] and [`super::answers`].

use std::{net::IpAddr, pin::Pin, sync::Arc, task, time::Instant};

use bytes::Bytes;
use gim_proto::{ResultCode, check, metadata, methods, trace::TraceContext};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    answers, bodies,
    connection::{CallPlace, Connection},
    costs::cost_of,
    older_methods::OlderMethods,
    peers::Address,
    record::record,
    retry_after,
    settings::GrpcSettings,
    share::{CallShare, too_many},
    unary,
    web::Protocol,
    wrong_port::{self, WrongPort},
};
use crate::{
    metrics as names,
    refused_peers::RefusedPeers,
    slow,
    traces::{self, Span},
};

/// Whose streams live as long as the nodes.
const LINK_SERVICE: &str = "/logic.LinkService/";

/// What a line of metadata counts beside its text, as in HTTP/2, which bounds it before a call begins.
const LINE_BYTES: usize = 32;

const WRONG_TOKEN: &str =
    "the internal token is missing or wrong: grpc.internal_token has to be the same in the settings of all services";

/// Where a call comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallerAddress(pub(super) IpAddr);

/// In the extensions of a call for whose user a trusted service vouches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vouched;

/// Around every call.
#[derive(Debug, Clone)]
pub(super) struct CallLayer {
    settings: Arc<GrpcSettings>,
    /// Where there are others than today's.
    older: Option<OlderMethods>,
    /// Whether only services of clients are here, for whoever calls.
    is_for_clients: bool,
    wrong_port: Arc<WrongPort>,
    refused_peers: Arc<RefusedPeers<IpAddr>>,
}

impl CallLayer {
    pub(super) fn new(
        settings: &GrpcSettings,
        is_for_clients: bool,
        older: Option<OlderMethods>,
        wrong_port: Arc<WrongPort>,
    ) -> Self {
        Self { settings: Arc::new(settings.clone()), older, is_for_clients, wrong_port, refused_peers: Arc::default() }
    }

    /// The method by which a call is judged: an older client's counts as today's.
    fn judged_as<'a>(&self, path: &'a str) -> &'a str {
        self.older.and_then(|older| older.of_today(path)).unwrap_or(path)
    }

    /// The place of a call that may begin, or the refusal.
    fn admit(
        &self,
        request: &http::Request<Body>,
        connection: &Arc<Connection>,
        client: Option<Arc<Address>>,
    ) -> Result<CallPlace, Status> {
        let now = Instant::now();
        let path = self.judged_as(request.uri().path());
        if self.is_for_clients && is_internal(path) {
            return Err(refusal("internal", ResultCode::UnknownCommand, "there is no such method for clients"));
        }
        let is_vouched = self.is_vouched_for(request);
        let is_counted = is_external(path) && !is_vouched && self.has_strangers();
        if is_counted && (client.is_some() || !self.is_of_service(request, connection, now)) {
            let address = client.as_ref().unwrap_or(&connection.address);
            let cost = cost_of(path.trim_start_matches('/'));
            address.take_calls(cost, &self.settings, now).map_err(too_many)?;
        }
        if is_external(path) && !self.is_for_clients && !self.settings.serves_clients {
            // Our own services still do for clients what these ask of them.
            check_trust(request, connection.is_certified(), &self.settings)?;
        }
        if is_internal(path) || is_vouched {
            if let Err(status) = check_trust(request, connection.is_certified(), &self.settings) {
                let is_shown = request.headers().contains_key(metadata::INTERNAL_TOKEN);
                self.note_refusal(connection, is_shown, status.message());
                if is_shown {
                    connection.on_wrong_token(now);
                }
                return Err(status);
            }
            connection.admit_as_service();
        } else if let Some(problem) = self.wrong_port.of_missing(request.uri().path()) {
            return Err(wrong_port::refuse_missing(&problem));
        } else if let Some(older) = self.older.filter(|older| older.of_today(request.uri().path()).is_none()) {
            let problem = format!("there is no such method for clients of {}", older.dialect);
            return Err(refusal("unknown", ResultCode::UnknownCommand, &problem));
        } else {
            check_headers(request, path, &self.settings)?;
        }
        let user_id = (!is_internal(request.uri().path())).then(|| user_of(request));
        connection
            .begin(user_id, client, now)
            .ok_or_else(|| refusal("calls", ResultCode::TryAgainLater, "too many calls are under way, try again later"))
    }

    /// Whether some who reach the listener are less trusted than others: where services show nothing, anybody can be one.
    fn has_strangers(&self) -> bool {
        self.is_for_clients || self.settings.asks_for_proof()
    }

    /// Whether a trusted service calls for itself what is for clients: its connection is known, or it shows now that it is one.
    fn is_of_service(&self, request: &http::Request<Body>, connection: &Arc<Connection>, now: Instant) -> bool {
        if connection.is_trusted() {
            return true;
        }
        if self.is_for_clients || !request.headers().contains_key(metadata::INTERNAL_TOKEN) {
            return false;
        }
        let is_trusted = check_trust(request, connection.is_certified(), &self.settings).is_ok();
        if is_trusted {
            connection.admit_as_service();
        } else {
            // Or who guesses it would see by the bound whether it is right.
            connection.on_wrong_token(now);
        }
        is_trusted
    }

    /// Whether the caller says that it may speak for a user, which only trusted services may. Strangers are not listened to.
    fn is_vouched_for(&self, request: &http::Request<Body>) -> bool {
        !self.is_for_clients && is_external(request.uri().path()) && request.headers().contains_key(metadata::VOUCHED)
    }

    /// For whom a call is made: as a proxy tells, or a trusted service that hands it on. To others nobody listens.
    fn client(
        &self,
        request: &http::Request<Body>,
        connection: &Arc<Connection>,
        now: Instant,
    ) -> Option<Arc<Address>> {
        let headers = request.headers();
        let told = headers.get(metadata::CLIENT_ADDRESS);
        let is_heard = !self.is_for_clients && is_external(request.uri().path()) && !self.is_vouched_for(request);
        let Some(told) = told.filter(|_| is_heard) else { return connection.client(headers, now) };
        if check_trust(request, connection.is_certified(), &self.settings).is_err() {
            if headers.contains_key(metadata::INTERNAL_TOKEN) {
                // Or who guesses it would see here whether it is right.
                connection.on_wrong_token(now);
            }
            return None;
        }
        connection.admit_as_service();
        Some(connection.told_by_service(told.to_str().ok()?.parse().ok()?, now))
    }

    /// Counts a call without trust, and says of each address once why its calls are refused.
    fn note_refusal(&self, connection: &Connection, is_shown: bool, problem: &str) {
        let why = match problem {
            WRONG_TOKEN if is_shown => "wrong",
            WRONG_TOKEN => "absent",
            _ => "uncertified",
        };
        metrics::counter!(names::GRPC_REFUSED, "why" => why).increment(1);
        let caller = connection.address.ip;
        if let Some(left_out) = self.refused_peers.due(&caller, problem, Instant::now()) {
            tracing::warn!(%caller, problem, left_out, "calls of an internal service are refused; said once for each address");
        }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<http::Request<Body>> for CallService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let codes = self.layer.settings.status_codes;
        let protocol = Protocol::of(request.method(), request.headers());
        let id = request_id(&mut request).to_owned();
        let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
            let status = ResultCode::TryAgainLater.status("the connection is gone");
            return Box::pin(std::future::ready(Ok(codes.write(protocol.refuse(status, &id)))));
        };
        let client = self.layer.client(&request, &connection, Instant::now());
        let address = client.as_ref().unwrap_or(&connection.address).ip;
        request.extensions_mut().insert(CallerAddress(address));
        if self.layer.older.is_some() {
            let address = client.as_ref().unwrap_or(&connection.address).clone();
            request.extensions_mut().insert(CallShare::new(address, self.layer.settings.clone()));
        }
        let place = match self.layer.admit(&request, &connection, client) {
            Ok(place) => place,
            Err(status) => return Box::pin(std::future::ready(Ok(codes.write(protocol.refuse(status, &id))))),
        };
        // Who may not vouch for others was not admitted.
        if self.layer.is_vouched_for(&request) {
            request.extensions_mut().insert(Vouched);
        }
        let is_counted = is_counted(request.uri().path(), &connection);
        let mut room = None;
        if is_counted {
            let settings = &self.layer.settings;
            let is_internal = is_internal(request.uri().path());
            let bytes_max =
                if is_internal { settings.requests_per_connection_bytes_max } else { settings.request_bytes_max };
            request = request.map(|body| {
                let (body, counted) = bodies::count(body, &place, bytes_max, settings);
                room = Some(counted);
                body
            });
            if let Some(room) = &room {
                request.extensions_mut().insert(room.clone());
            }
        }
        let path = request.uri().path();
        let (method, dialect) = (path.to_owned(), self.layer.older.map(|older| older.dialect));
        let is_trusted = is_internal(&method) || connection.is_trusted();
        let mut trace = trace(&request, &id, is_trusted);
        let span = tracing::info_span!("grpc", %method, request_id = %id, trace_id = trace.trace_id());
        // The clone was not polled for readiness; the service that was is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let call = async move {
            let started = std::time::Instant::now();
            let answered = traces::working_for(trace.context(), inner.call(request)).await;
            let result = answered.map(|answer| refine(protocol, answer, &id));
            // How long a stranger takes to send his request is nothing to tell of.
            if let Some(whole_at) = room.as_ref().map_or(Some(started), bodies::RequestRoom::whole_at) {
                slow::tell("call", &id, whole_at.elapsed());
            }
            drop(room);
            let code = record(protocol, method, dialect, &result, started.elapsed());
            trace.note("rpc.response.status_code", code);
            drop(trace);
            let answer = result?;
            let answer = if is_counted {
                answers::hold(answer, place).await.unwrap_or_else(|status| protocol.refuse(status, &id))
            } else {
                keep_place(answer, place)
            };
            Ok(codes.write(answer))
        };
        Box::pin(call.instrument(span))
    }
}

/// The same answer; a refusal by gRPC has the result code and the wait that callers know it by.
fn refine(protocol: Protocol, mut answer: http::Response<Body>, request_id: &str) -> http::Response<Body> {
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    if protocol == Protocol::Grpc
        && let Some(refined) = unary::refined(&status)
    {
        return protocol.refuse(refined, request_id);
    }
    retry_after::put(answer.headers_mut(), &status);
    answer
}

/// The trace of a call begins here, or goes on: streams of conn nodes have one for each packet. What strangers say is kept is kept as often
/// as of those who say nothing.
fn trace(request: &http::Request<Body>, id: &str, is_trusted: bool) -> Span {
    let path = request.uri().path();
    if path.starts_with(LINK_SERVICE) {
        return Span::default();
    }
    let caller = request.headers().get(metadata::TRACE_PARENT).and_then(|text| text.to_str().ok());
    let mut span = traces::request("call", caller.and_then(TraceContext::from_traceparent), is_trusted);
    if span.context().is_sampled {
        span.note("rpc.method", path.trim_start_matches('/').to_owned());
        span.note("gim.request_id", id.to_owned());
    }
    span
}

/// The id under which the call is found in every log: the caller's, or a new one that the handler passes on like the caller's.
fn request_id(request: &mut http::Request<Body>) -> &str {
    let is_given = request.headers().get(metadata::REQUEST_ID).is_some_and(|value| !value.is_empty());
    if !is_given {
        let id =
            http::HeaderValue::from_str(&format!("{:016x}", rand::random::<u64>())).expect("hex digits fit a header");
        request.headers_mut().insert(metadata::REQUEST_ID, id);
    }
    let id = request.headers().get(metadata::REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or("");
    id.get(..metadata::REQUEST_ID_BYTES_MAX).unwrap_or(id)
}

/// Callers of trusted services show everything that the settings ask for.
pub(super) fn check_trust(
    request: &http::Request<Body>,
    is_certified: bool,
    settings: &GrpcSettings,
) -> Result<(), Status> {
    if !settings.client_ca.as_os_str().is_empty() && !is_certified {
        return Err(ResultCode::untrusted("this service needs a certificate of its caller"));
    }
    let shown = request.headers().get(metadata::INTERNAL_TOKEN).map_or(&b""[..], |value| value.as_bytes());
    if settings.accepts(shown) { Ok(()) } else { Err(ResultCode::untrusted(WRONG_TOKEN)) }
}

/// What can be said of a stranger's call before its request is received.
fn check_headers(request: &http::Request<Body>, path: &str, settings: &GrpcSettings) -> Result<(), Status> {
    let headers = request.headers();
    if headers.len() > settings.header_lines_max {
        let problem = format!("the metadata has more than {} lines", settings.header_lines_max);
        return Err(refusal("headers", ResultCode::TooLarge, &problem));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE_BYTES).sum();
    if bytes > settings.header_bytes_max as usize {
        let problem = format!("the metadata has more than {} bytes", settings.header_bytes_max);
        return Err(refusal("headers", ResultCode::TooLarge, &problem));
    }
    if !is_external(path) || methods::OPEN.contains(&path.trim_start_matches('/')) {
        return Ok(());
    }
    for name in [metadata::USER_ID, metadata::DEVICE_ID, metadata::TOKEN] {
        if !headers.contains_key(name) {
            count_refusal("unsigned");
            return Err(check::invalid(name, "is missing in the metadata").into());
        }
    }
    Ok(())
}

fn refusal(why: &'static str, code: ResultCode, problem: &str) -> Status {
    count_refusal(why);
    code.status(problem)
}

pub(super) fn count_refusal(why: &'static str) {
    metrics::counter!(names::GRPC_CALLS_REFUSED, "why" => why).increment(1);
}

/// The same answer; the call counts until it is sent.
fn keep_place(answer: http::Response<Body>, place: CallPlace) -> http::Response<Body> {
    answer.map(|body| Body::new(Placed { body, _place: place }))
}

struct Placed {
    body: Body,
    _place: CallPlace,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `/package.Service/Method` of a trusted service.
fn is_internal(path: &str) -> bool {
    service_of(path).ends_with("IntService") || service_of(path).ends_with("LinkService")
}

/// The same of a service of clients.
fn is_external(path: &str) -> bool {
    service_of(path).ends_with("ExtService")
}

/// Whether requests and answers have bounds: not what trusted services ask for themselves, nor the endless stream of a link.
fn is_counted(path: &str, connection: &Connection) -> bool {
    !is_internal(path) || !connection.is_trusted() && !service_of(path).ends_with("LinkService")
}

/// For whom a call is, as the caller says; 0 for nobody yet.
fn user_of(request: &http::Request<Body>) -> u64 {
    let user_id = request.headers().get(metadata::USER_ID).and_then(|value| value.to_str().ok());
    user_id.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn service_of(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_cannot_be_right_is_refused_by_its_headers() {
        let settings = GrpcSettings { header_lines_max: 3, ..GrpcSettings::default() };
        let problem = |path: &str, names: &[&'static str]| {
            let mut builder = http::Request::builder().uri(path);
            for name in names {
                builder = builder.header(*name, "1");
            }
            let request = builder.body(Body::empty()).unwrap();
            check_headers(&request, request.uri().path(), &settings).err().map(|status| status.message().to_owned())
        };
        let send = "/logic.MessageExtService/Send";
        assert_eq!(problem(send, &["user_id", "device_id"]).unwrap(), "token: is missing in the metadata");
        assert_eq!(problem(send, &["user_id", "device_id", "token"]), None);
        assert_eq!(problem(send, &["a", "b", "c", "d"]).unwrap(), "the metadata has more than 3 lines");
        assert_eq!(problem("/business.UserExtService/SignIn", &[]), None);
    }

    #[test]
    fn a_call_without_a_request_id_gets_one() {
        let mut request = http::Request::new(Body::empty());
        let made = request_id(&mut request).to_owned();
        assert_eq!(made.len(), 16);
        assert_eq!(request.headers()[metadata::REQUEST_ID], made);
        request.headers_mut().insert(metadata::REQUEST_ID, http::HeaderValue::from_static("given"));
        assert_eq!(request_id(&mut request), "given");
        request.headers_mut().insert(metadata::REQUEST_ID, "x".repeat(200).parse().unwrap());
        assert_eq!(request_id(&mut request).len(), metadata::REQUEST_ID_BYTES_MAX);
    }

    #[test]
    fn a_call_of_an_internal_service_without_the_token_is_refused() {
        let call = |path: &str, token: Option<&str>| {
            let mut builder = http::Request::builder().uri(path);
            if let Some(token) = token {
                builder = builder.header(metadata::INTERNAL_TOKEN, token);
            }
            let settings = GrpcSettings {
                internal_token: "secret".into(),
                accepted_tokens: vec!["next".into()],
                ..GrpcSettings::default()
            };
            !is_internal(path) || check_trust(&builder.body(Body::empty()).unwrap(), false, &settings).is_ok()
        };
        assert!(!call("/logic.MessageIntService/PushToUsers", None));
        assert!(!call("/logic.MessageIntService/PushToUsers", Some("")));
        assert!(call("/logic.MessageIntService/PushToUsers", Some("next")));
        assert!(!call("/logic.MessageIntService/PushToUsers", Some("secreT")));
        assert!(!call("/logic.LinkService/Attach", Some("")));
        assert!(call("/logic.MessageIntService/PushToUsers", Some("secret")));
        assert!(call("/logic.MessageExtService/Sync", None));
    }
}
