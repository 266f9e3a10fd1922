//! gRPC, as all three services serve and call it.
//!
//! Serving adds health, reflection, a span with the request id, a metric per method, and the internal token to what a
//! service registers. Calling goes over lazily connected channels, so that services may start in any order.

mod peer_tls;
mod settings;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task,
    time::Duration,
};

use gim_proto::{ResultCode, metadata};
use subtle::ConstantTimeEq as _;
use tokio::{sync::watch, task::JoinHandle};
use tonic::{
    Request, Status,
    body::Body,
    service::{Interceptor, RoutesBuilder, interceptor::InterceptedService},
    transport::{Channel, Endpoint as TonicEndpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    bodies::Bodies,
    listen::{Endpoint, ListenError},
    refused_peers::RefusedPeers,
};

pub use settings::GrpcSettings;

/// How long a connection attempt of a channel may last; the next call tries again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls that a caller may have under way on one connection; its further ones wait.
pub const CALLS_PER_CONNECTION_MAX: u32 = 2048;
/// What may be on its way, or wait unread, of one call.
const CALL_WINDOW_BYTES: u32 = 256 * 1024;
/// The same of all calls of a connection, and more: half of it is the budget of h2 for unread frames of less than 256 bytes, each
/// of which costs what it lacks to that, and beyond the budget the connection is ended. Nobody must get there who waits for
/// windows: a stream full of the smallest messages (5 bytes) costs 256 KiB / 5 x 251 = 12.6 MiB, and a frame in every other
/// call 0.5 MiB. One that means harm takes the window and the budget, 48 MiB.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Request metadata beyond this is refused by HTTP/2 itself.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

const WRONG_TOKEN: &str =
    "the internal token is missing or wrong: grpc.internal_token has to be the same in the settings of all services";

/// A running gRPC server.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl GrpcServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new calls from now on; those under way go on.
    pub fn refuse(&self) {
        self.stop.send_replace(true);
    }

    /// Refuses new calls and waits for those under way, `deadline` at most.
    pub async fn stop(mut self, deadline: Duration) {
        self.refuse();
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            tracing::warn!(?deadline, "gRPC calls were cut off at the deadline");
            self.task.abort();
        }
    }

    /// Waits until the server ends by itself, which a healthy one does not.
    pub async fn failed(&mut self) -> String {
        match (&mut self.task).await {
            Ok(()) => "the gRPC server ended".to_owned(),
            Err(error) => format!("the gRPC server failed: {error}"),
        }
    }
}

/// Serves `routes` with health and reflection on the settings' listener. `service_names` are reported healthy.
pub async fn serve(
    settings: &GrpcSettings,
    mut routes: RoutesBuilder,
    service_names: &[&str],
) -> Result<GrpcServer, ListenError> {
    let tls = peer_tls::server(settings).map_err(ListenError::Settings)?;
    let listener = settings.listen.listen().await?;
    let address = listener
        .local_addr()
        .map_err(|source| ListenError::Refused { address: settings.listen.to_string(), source })?;
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in service_names {
        health.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    routes.add_service(health_service);
    add_reflection(&mut routes);
    let (stop, mut stopped) = watch::channel(false);
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server
            .tls_config(tls)
            .map_err(|error| ListenError::Settings(format!("grpc.certificate: {}", root_cause(&error))))?;
    }
    let needs_certificate = !settings.client_ca.as_os_str().is_empty();
    let server = server
        .http2_keepalive_interval(Some(settings.keep_alive_interval()))
        .http2_keepalive_timeout(Some(settings.keep_alive_timeout()))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        // Whoever waited for a server that stood still may give all of them up at once.
        .http2_max_pending_accept_reset_streams(Some(CALLS_PER_CONNECTION_MAX as usize))
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .layer(CallLayer {
            internal_token: settings.internal_token.as_str().into(),
            needs_certificate,
            refused_peers: Arc::default(),
            bodies: Bodies::default(),
        })
        .add_routes(routes.routes());
    let task = tokio::spawn(async move {
        let stop = async move {
            let _sender_gone = stopped.wait_for(|stop| *stop).await.is_err();
        };
        // With Nagle's algorithm an answer can wait 40 ms for the peer's delayed acknowledgement.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop).await {
            tracing::error!(%error, "the gRPC server ended");
        }
    });
    Ok(GrpcServer { address, stop, task })
}

/// A channel to a peer. It connects at the first call and again whenever the connection is gone.
pub fn channel(
    peer: &Endpoint,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<PeerChannel, String> {
    named_channel(peer, None, settings, call_timeout)
}

/// [`channel`] to a peer whose certificate has to be for `server_name`, where that is not what `peer` says.
pub fn named_channel(
    peer: &Endpoint,
    server_name: Option<&str>,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<PeerChannel, String> {
    let endpoint = TonicEndpoint::from_shared(peer.to_string()).map_err(|error| format!("{peer}: {error}"))?;
    let mut endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(settings.keep_alive_interval())
        .keep_alive_timeout(settings.keep_alive_timeout())
        .keep_alive_while_idle(true)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if let Some(timeout) = call_timeout {
        endpoint = endpoint.timeout(timeout);
    }
    if peer.to_string().starts_with("https://") {
        let mut tls = peer_tls::client(settings)?;
        if let Some(name) = server_name {
            tls = tls.domain_name(name);
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| format!("{peer}: {}", root_cause(&error)))?;
    }
    Ok(InterceptedService::new(endpoint.connect_lazy(), ShowToken(settings.internal_token.as_str().into())))
}

/// tonic says "transport error"; the reason stands underneath.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A channel that shows the internal token on every call.
pub type PeerChannel = InterceptedService<Channel, ShowToken>;

/// Puts the internal token on outgoing calls.
#[derive(Debug, Clone)]
pub struct ShowToken(Arc<str>);

impl Interceptor for ShowToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, &self.0);
        }
        Ok(request)
    }
}

fn add_reflection(routes: &mut RoutesBuilder) {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(gim_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1().expect("the descriptors come from our own build");
    let v1alpha = builder().build_v1alpha().expect("the descriptors come from our own build");
    routes.add_service(v1).add_service(v1alpha);
}

/// Around every call: the internal token, a span with the request id, and a metric.
#[derive(Debug, Clone)]
struct CallLayer {
    internal_token: Arc<str>,
    needs_certificate: bool,
    refused_peers: Arc<RefusedPeers<Option<IpAddr>>>,
    /// Requests of strangers; services are trusted with theirs, whose streams last.
    bodies: Bodies,
}

impl CallLayer {
    /// Counts a call without trust, and says of each address once why its calls are refused.
    fn note_refusal(&self, request: &http::Request<Body>, problem: &str) {
        metrics::counter!("grpc_refused_total").increment(1);
        let caller = peer_tls::address(request).map(|address| address.ip());
        if self.refused_peers.is_news(caller, problem) {
            let caller = caller.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
            tracing::warn!(caller, problem, "calls of an internal service are refused; said once for each address");
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
struct CallService<S> {
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
        if let Err(status) = check_trust(&request, &self.layer.internal_token, self.layer.needs_certificate) {
            self.layer.note_refusal(&request, status.message());
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        if !is_internal(request.uri().path()) {
            request = request.map(|body| self.layer.bodies.count(body));
        }
        let method = request.uri().path().to_owned();
        let span = tracing::info_span!("grpc", %method, request_id = request_id(&mut request));
        // The clone was not polled for readiness; the service that was is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let call = async move {
            let started = std::time::Instant::now();
            let result = inner.call(request).await;
            record(method, &result, started.elapsed());
            result
        };
        Box::pin(call.instrument(span))
    }
}

fn record<E>(method: String, result: &Result<http::Response<Body>, E>, elapsed: Duration) {
    // An unknown path is the caller's text: it must not become a label.
    let status = result.as_ref().ok().and_then(|response| response.headers().get("grpc-status"));
    let code = status.and_then(|value| value.to_str().ok()).unwrap_or("0").to_owned();
    let method = if code == "12" { "unimplemented".to_owned() } else { method };
    metrics::counter!("grpc_calls_total", "method" => method.clone(), "code" => code).increment(1);
    metrics::histogram!("grpc_call_seconds", "method" => method).record(elapsed.as_secs_f64());
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
fn check_trust(request: &http::Request<Body>, expected: &str, needs_certificate: bool) -> Result<(), Status> {
    if !is_internal(request.uri().path()) {
        return Ok(());
    }
    if needs_certificate && !peer_tls::is_certified(request) {
        return Err(ResultCode::untrusted("this service needs a certificate of its caller"));
    }
    if expected.is_empty() {
        return Ok(());
    }
    let shown = request.headers().get(metadata::INTERNAL_TOKEN).map_or(&b""[..], |value| value.as_bytes());
    if shown.ct_eq(expected.as_bytes()).into() {
        return Ok(());
    }
    Err(ResultCode::untrusted(WRONG_TOKEN))
}

/// `/package.Service/Method` of a trusted service.
fn is_internal(path: &str) -> bool {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or("");
    service.ends_with("IntService") || service.ends_with("LinkService")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            check_trust(&builder.body(Body::empty()).unwrap(), "secret", false).is_ok()
        };
        assert!(!call("/logic.MessageIntService/PushToUsers", None));
        assert!(!call("/logic.MessageIntService/PushToUsers", Some("secreT")));
        assert!(!call("/logic.LinkService/Attach", Some("")));
        assert!(call("/logic.MessageIntService/PushToUsers", Some("secret")));
        assert!(call("/logic.MessageExtService/Sync", None));
    }
}
