//! gRPC, as all three services serve and call it.
//!
//! Serving adds health, reflection, a span with the request id, a metric per method, and the internal token to what a
//! service registers. Calling goes over lazily connected channels, so that services may start in any order.

mod answers;
mod bodies;
mod called_peer;
mod calls;
mod clients;
mod connection;
mod costs;
mod frames;
mod incoming;
mod nodes;
mod older_methods;
mod peer_tls;
mod peers;
mod record;
mod reflection;
mod rests;
mod retry_after;
mod settings;
mod share;
mod status_codes;
mod tls_way;
mod tokens;
pub mod unary;
mod web;
mod wrong_port;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use gim_proto::metadata;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tonic::{
    Request, Status,
    service::{Interceptor, RoutesBuilder, interceptor::InterceptedService},
    transport::{Channel, Endpoint as TonicEndpoint, Server},
};

use self::{
    calls::{CallLayer, CallerAddress},
    nodes::NodesChannel,
    peer_tls::ListenerTls,
    peers::Peers,
    rests::RestLayer,
    share::CallShare,
    status_codes::ReadResultCodes,
    tls_way::TlsWay,
    web::{Door, DoorLayer, Origins, WebLayer},
    wrong_port::{Speakers, WrongPort, WrongPortLayer},
};
use crate::{
    endpoints::Endpoints,
    files,
    listen::{Endpoint, ListenError},
    networks::Networks,
    traces,
};

pub use clients::{ClientListeners, ClientsSettings};
pub use costs::cost_of;
pub use older_methods::OlderMethods;
pub use settings::GrpcSettings;
pub use status_codes::StatusCodes;
pub use tls_way::CallerTls;
pub use web::{Page, Pages, Schema, SchemaError};

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
/// How often it is looked for connections that have to be ended.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// A running gRPC server.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    peers: Arc<Peers>,
    /// What may be read again.
    tls: Option<Arc<ListenerTls>>,
    /// Which pages may call, at a clients' listener.
    origins: Option<Origins>,
    task: JoinHandle<()>,
}

impl GrpcServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the files of its certificate again, and lets these pages call, where `origins` are given for a clients' listener.
    ///
    /// # Errors
    /// Why the certificate stays as it was.
    pub fn reload(&self, origins: Option<&[String]>) -> Result<(), String> {
        if let (Some(shown), Some(origins)) = (&self.origins, origins) {
            shown.set(origins);
        }
        let Some(tls) = &self.tls else { return Ok(()) };
        tls.load()?;
        tracing::info!(listener = %self.address, "the certificate of a gRPC listener was read again");
        Ok(())
    }

    /// Refuses new calls from now on; those under way go on.
    pub fn refuse(&self) {
        self.stop.send_replace(true);
        self.peers.stop(Instant::now());
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

/// Serves `routes` with health and reflection on the settings' listener, to services and, where the settings say so, to clients.
/// `service_names` are reported healthy.
pub async fn serve(
    settings: &GrpcSettings,
    routes: RoutesBuilder,
    service_names: &[&str],
) -> Result<GrpcServer, ListenError> {
    serve_telling(settings, routes, service_names, &[]).await
}

/// [`serve`], which tells older clients that they came to the wrong port.
pub async fn serve_telling(
    settings: &GrpcSettings,
    mut routes: RoutesBuilder,
    service_names: &[&str],
    older: &[OlderMethods],
) -> Result<GrpcServer, ListenError> {
    let tls = ListenerTls::of_services(settings).map_err(ListenError::Settings)?;
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in service_names {
        health.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    routes.add_service(health_service);
    reflection::add(&mut routes, settings);
    let descriptors = gim_proto::FILE_DESCRIPTOR_SET;
    let others = older.iter().map(|methods| Speakers::from(*methods));
    let wrong_port = WrongPort::new(Speakers::of_today(descriptors), others).map_err(problem_of_descriptors)?;
    Entrance { tls, wrong_port, ..Entrance::of_services(settings, descriptors) }.open(routes).await
}

/// Serves `routes`, and nothing beside them, behind the door of services; their methods are those of an encoded `FileDescriptorSet`.
pub async fn serve_described(
    settings: &GrpcSettings,
    routes: RoutesBuilder,
    descriptors: &[u8],
) -> Result<GrpcServer, ListenError> {
    Entrance::of_services(settings, descriptors).open(routes).await
}

/// A listener that is not open yet.
struct Entrance<'a> {
    listen: &'a Endpoint,
    settings: &'a GrpcSettings,
    tls: Option<Arc<ListenerTls>>,
    door: Door,
    pages: Pages,
    descriptors: &'a [u8],
    /// Where the methods are those of older clients.
    older: Option<OlderMethods>,
    wrong_port: WrongPort,
    peers: Arc<Peers>,
}

impl<'a> Entrance<'a> {
    /// Without TLS.
    fn of_services(settings: &'a GrpcSettings, descriptors: &'a [u8]) -> Self {
        Self {
            listen: &settings.listen,
            settings,
            tls: None,
            door: Door::Services { names: settings.names.clone().into() },
            pages: Arc::new(|_| None),
            descriptors,
            older: None,
            wrong_port: WrongPort::default(),
            peers: Arc::new(Peers::new(settings, Networks::default(), files::raise_limit())),
        }
    }

    async fn open(self, routes: RoutesBuilder) -> Result<GrpcServer, ListenError> {
        let settings = self.settings;
        let schema = Schema::new(self.descriptors).map_err(problem_of_descriptors)?;
        let listener = self.listen.listen().await?;
        let address = listener
            .local_addr()
            .map_err(|source| ListenError::Refused { address: self.listen.to_string(), source })?;
        let (peers, wrong_port) = (self.peers, Arc::new(self.wrong_port));
        let (stop, mut stopped) = watch::channel(false);
        let origins = match &self.door {
            Door::Clients { origins } => Some(origins.clone()),
            Door::Services { .. } => None,
        };
        let is_for_clients = origins.is_some();
        let server = Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(settings.keep_alive_interval()))
            .http2_keepalive_timeout(Some(settings.keep_alive_timeout()))
            .http2_max_header_list_size(settings.header_bytes_max)
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            // Whoever waited for a server that stood still may give all of them up at once.
            .http2_max_pending_accept_reset_streams(Some(CALLS_PER_CONNECTION_MAX as usize))
            .initial_stream_window_size(CALL_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .layer(RestLayer { bytes_max: settings.header_bytes_max as usize })
            .layer(DoorLayer(self.door))
            .layer(CallLayer::new(settings, is_for_clients, self.older, wrong_port.clone()))
            .layer(WebLayer::new(schema, self.pages))
            .layer(WrongPortLayer(wrong_port))
            .add_routes(routes.routes());
        let incoming = incoming::accept(listener, peers.clone(), self.tls.clone());
        let swept = peers.clone();
        let task = tokio::spawn(async move {
            let stop = async move {
                let _sender_gone = stopped.wait_for(|stop| *stop).await.is_err();
            };
            let serving = server.serve_with_incoming_shutdown(incoming, stop);
            tokio::select! {
                result = serving => if let Err(error) = result {
                    tracing::error!(%error, "the gRPC server ended");
                },
                () = sweep(&swept) => {}
            }
        });
        Ok(GrpcServer { address, stop, peers, tls: self.tls, origins, task })
    }
}

fn problem_of_descriptors(error: impl std::fmt::Display) -> ListenError {
    ListenError::Settings(error.to_string())
}

/// Without end.
async fn sweep(peers: &Peers) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        peers.sweep(Instant::now());
    }
}

/// Where a call that is served comes from, or for whom it is made, as a proxy or a trusted service tells; of IPv6, the network of 64 bits.
pub fn caller_address<T>(request: &Request<T>) -> Option<IpAddr> {
    address_in(request.extensions())
}

/// [`caller_address`] by the extensions of a request that is not read yet.
pub fn address_in(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get().map(|CallerAddress(ip)| *ip)
}

/// Takes one more call, of a method of today's, from the share of an older client whose call takes it. Others have no such share.
pub fn take_share(extensions: &http::Extensions, method: &str) -> Result<(), Status> {
    extensions.get().map_or(Ok(()), |share: &CallShare| share.take(method))
}

/// Whether a trusted service vouches for the user and the device in the metadata of a call: it showed what callers of internal
/// services have to show.
pub fn is_vouched<T>(request: &Request<T>) -> bool {
    request.extensions().get::<calls::Vouched>().is_some()
}

/// A channel to a peer. It connects at the first call and again whenever the connection is gone.
pub fn channel(
    peer: &Endpoint,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<PeerChannel, String> {
    named_channel(peer, None, settings, call_timeout)
}

/// [`channel`] to a service of several nodes, of which those that are away are passed over. Calls have one message, not a stream of them.
/// Must be called on a Tokio runtime.
pub fn channel_to_any(
    peers: &Endpoints,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<PeerChannel, String> {
    let of_all = settings.clone();
    let connect = move |peer: &Endpoint, server_name: Option<&str>| connect(peer, server_name, &of_all, call_timeout);
    Ok(showing_token(NodesChannel::several(peers.all(), Arc::new(connect))?, settings))
}

/// [`channel`] to a peer whose certificate has to be for `server_name`, where that is not what `peer` says.
pub fn named_channel(
    peer: &Endpoint,
    server_name: Option<&str>,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<PeerChannel, String> {
    Ok(showing_token(NodesChannel::one(peer, connect(peer, server_name, settings, call_timeout)?), settings))
}

/// Connects at the first call.
fn connect(
    peer: &Endpoint,
    server_name: Option<&str>,
    settings: &GrpcSettings,
    call_timeout: Option<Duration>,
) -> Result<Channel, String> {
    let named = |error: tonic::transport::Error| format!("{peer}: {}", root_cause(&error));
    let text = peer.to_string();
    let in_tls = text.strip_prefix("https://");
    // What goes through [`TlsWay`] is no business of the library's.
    let called = in_tls.map_or_else(|| text.clone(), |address| format!("http://{address}"));
    let mut endpoint = TonicEndpoint::from_shared(called)
        .map_err(named)?
        .http2_keep_alive_interval(settings.keep_alive_interval())
        .keep_alive_timeout(settings.keep_alive_timeout())
        .keep_alive_while_idle(true)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if let Some(timeout) = call_timeout {
        endpoint = endpoint.timeout(timeout);
    }
    if in_tls.is_none() {
        return Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect_lazy());
    }
    let way = TlsWay::new(peer, server_name, settings)?;
    let origin = text.parse().map_err(|error| format!("{peer}: {error}"))?;
    Ok(endpoint.origin(origin).connect_with_connector_lazy(way))
}

fn showing_token(channel: NodesChannel, settings: &GrpcSettings) -> PeerChannel {
    InterceptedService::new(ReadResultCodes::new(channel), ShowToken(settings.clone().into()))
}

/// Does each part of a reload, whatever became of those before it; an error says what stays as it was.
pub fn all_of(parts: impl IntoIterator<Item = Result<(), String>>) -> Result<(), String> {
    let problems: Vec<String> = parts.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// tonic says "transport error"; the reason stands underneath.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A channel that shows the internal token on every call, and reads result codes whichever way they come.
pub type PeerChannel = InterceptedService<ReadResultCodes<NodesChannel>, ShowToken>;

/// Puts the internal token on outgoing calls, and where in a trace they are made.
#[derive(Debug, Clone)]
pub struct ShowToken(Arc<GrpcSettings>);

impl Interceptor for ShowToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.0.shown_token(|token| {
            if !token.is_empty() {
                metadata::put(&mut request, metadata::INTERNAL_TOKEN, token);
            }
        });
        if let Some(trace) = traces::told_to_others(metadata::text(&request, metadata::TRACE_PARENT)) {
            metadata::put(&mut request, metadata::TRACE_PARENT, &trace.to_string());
        }
        Ok(request)
    }
}
