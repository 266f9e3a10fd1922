//! Starting and stopping a conn node, in order: listeners → reactors → bridge → gRPC and admin, and back.
//!
//! Runs on Tokio, and owns the threads of the reactors and the tasks beside them. Always holds: nobody is let in before everything that a
//! connection needs is there, and what was started last ends first.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::Sender;
use gim_config::{
    Readiness, ServiceArguments, admin, files,
    grpc::{self, GrpcServer, GrpcSettings},
    listen::ListenError,
    service::Running,
};
use gim_legacy::Dialect;
use gim_proto::logic::NodeAddresses;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::service::RoutesBuilder;

use crate::{
    affinity::{self, NoSuchCore},
    bridge::{
        self, Bridge, NodeState, PushCalls, ReactorHandle, Reactors, UpEnd,
        discovery::{Resolve, SystemResolver},
    },
    certificates::Certificates,
    metrics,
    net::listen,
    quota::{AppQuota, Quota},
    reactor::{
        self, LOG_LINES_PER_S_MAX, ListenerParts, Parts, Reactor,
        apps::AppParts,
        command_queue::Command,
        uplink::{UpBatch, Uplink},
        wake::WakeFlag,
    },
    settings::{App, ConnSettings, DrainSettings, LimitSettings, PublicSettings, PushAllSettings},
    wire::{transport::Entrance, ws::upgrade},
};

/// Batches that reactors may have handed over before the bridge took them.
const UP_BATCHES_MAX: usize = 1024;

/// Packets that one reactor keeps while the bridge is behind.
const UP_PACKETS_MAX: usize = 64 * 1024;

/// Bytes of packets that one reactor keeps while the bridge is behind.
const UP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long calls under way may take when the node stops.
const CALLS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a conn node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates are of no use.
    #[error("settings: tls: {0}")]
    Certificate(#[from] gim_config::certificate::CertificateError),
    /// TLS as such does not work.
    #[error("settings: tls: {0}")]
    Tls(#[from] rustls::Error),
    /// A reactor could not be made.
    #[error("cannot start a reactor: {0}")]
    Reactor(#[source] std::io::Error),
    /// The settings pin reactors to a core that is not there.
    #[error("settings: {0}")]
    Core(#[from] NoSuchCore),
    /// The address of a logic node is of no use.
    #[error("settings: logic: {0}")]
    Logic(String),
}

/// A running conn node.
#[derive(Debug)]
pub struct Conn {
    addresses: Vec<Open>,
    certificates: Option<Certificates>,
    admin: admin::Admin,
    grpc: GrpcServer,
    grpc_settings: GrpcSettings,
    quota: Arc<Quota>,
    node: NodeState,
    bridges: Vec<Bridge>,
    problems: mpsc::Receiver<String>,
    /// Those of the first app: what concerns whole reactors goes this way.
    reactors: Reactors,
    threads: Vec<thread::JoinHandle<()>>,
    ended: mpsc::Receiver<String>,
    readiness: Readiness,
}

/// Runs the service from its command line to its exit code.
///
/// It stands here, and `main` calls nothing else, because generic code is built where it is used: in the library, once, and not again
/// for the binary and for every test.
pub fn run(arguments: &ServiceArguments) -> ExitCode {
    gim_config::service::run(arguments, |settings: &ConnSettings| &settings.log, start)
}

/// Starts a conn node on the current Tokio runtime and on threads of its own.
pub async fn start(settings: ConnSettings) -> Result<Conn, StartError> {
    start_with(settings, Arc::new(SystemResolver)).await
}

/// [`start`] with a resolver of one's own for names among the logic nodes.
pub async fn start_with(settings: ConnSettings, resolver: Arc<dyn Resolve>) -> Result<Conn, StartError> {
    let readiness = Readiness::default();
    let link_ready = readiness.part("link to logic");
    let admin = admin::start(&settings.admin, metrics::DESCRIPTIONS, readiness.clone()).await?;
    affinity::check(&settings.reactor_cores)?;
    let limits = &settings.limits;
    let quota = Arc::new(Quota::new(connections_max(limits), limits.connections_per_ip_max));
    let mut certificates = Certificates::new(&settings.tls)?;
    let tls = certificates.as_mut().map(Certificates::load).transpose()?;
    let (addresses, listeners) = open_listeners(&settings)?;

    let mut ways: Vec<AppWay> = settings.all_apps().into_iter().map(AppWay::new).collect();
    let (ended_sender, ended) = mpsc::channel(settings.reactor_count());
    let mut reactors = Vec::new();
    let site = settings.site();
    for (index, listeners) in listeners.into_iter().enumerate() {
        let (poll, wake) = reactor::open_poll().map_err(StartError::Reactor)?;
        let parts = Parts {
            index,
            poll,
            listeners,
            apps: ways.iter_mut().map(|way| way.reactor_ends(&wake)).collect(),
            wake,
            rules: settings.rules(),
            site: site.clone(),
            tls: tls.clone(),
            handshake_timeout_ms: settings.session.handshake_timeout_ms,
            socket_options: settings.socket_options(),
            quota: quota.clone(),
            limits: share_limits(&settings),
            push_all: share_push_all(&settings),
            turn: settings.turn.clone(),
            busy_poll: Duration::from_micros(settings.busy_poll_us),
            drain: share_drain(&settings),
            log_lines_per_s: LOG_LINES_PER_S_MAX.div_ceil(settings.reactor_count() as u64),
        };
        reactors.push(Reactor::new(parts).map_err(StartError::Reactor)?);
    }
    let (apps, ends): (Vec<(App, Reactors)>, Vec<UpEnd>) = ways.into_iter().map(AppWay::into_ends).unzip();
    let handles = apps[0].1.clone();
    let mut routes = RoutesBuilder::default();
    let by_app = apps.iter().map(|(app, reactors)| (app.id, reactors.clone())).collect();
    routes.add_service(PushCalls::server(by_app, settings.limits.frame_bytes_max));
    let grpc = grpc::serve(&settings.grpc, routes, &["connect.ConnectIntService"]).await?;
    let public = public_addresses(&settings.public, &addresses);
    let node = NodeState::new(settings.node.clone(), public, &settings.limits, quota.clone());
    let (problem_sender, problems) = mpsc::channel(apps.len());
    let ready = link_ready.any_of(apps.len());
    let mut bridges = Vec::new();
    for (((app, reactors), up), ready) in apps.into_iter().zip(ends).zip(ready) {
        let (node, resolver, problems) = (node.clone(), resolver.clone(), problem_sender.clone());
        let parts = bridge::Parts { up, reactors, ready, node, resolver, problems };
        bridges.push(bridge::start(app, parts).await.map_err(StartError::Logic)?);
    }
    let threads = spawn_all(reactors, &settings.reactor_cores, &ended_sender)?;
    Ok(Conn {
        addresses,
        certificates,
        admin,
        grpc,
        grpc_settings: settings.grpc,
        quota,
        node,
        bridges,
        problems,
        reactors: handles,
        threads,
        ended,
        readiness,
    })
}

impl Conn {
    /// Where clients connect.
    pub fn tcp_address(&self) -> SocketAddr {
        self.address(Entrance::Tcp).expect("there is always one for TCP")
    }

    /// Where clients connect through an entrance, if it is open.
    pub fn address(&self, entrance: Entrance) -> Option<SocketAddr> {
        address_of(&self.addresses, entrance, None)
    }

    /// The same for those who speak an older dialect.
    pub fn legacy_address(&self, entrance: Entrance, dialect: Dialect) -> Option<SocketAddr> {
        address_of(&self.addresses, entrance, Some(dialect))
    }

    /// Where `ConnectIntService` is called.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Where the admin listener is, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Whether it can do its work.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Running for Conn {
    type Settings = ConnSettings;

    fn summary(&self) -> String {
        let entrances: Vec<_> = self.addresses.iter().map(|open| format!("{} {}", open.name(), open.address)).collect();
        let (clients, reactors) = (entrances.join(", "), self.threads.len());
        format!("clients on {clients}, gRPC on {}, {reactors} reactors", self.grpc_address())
    }

    fn check(&self, settings: &ConnSettings) -> Result<(), String> {
        self.grpc_settings.check_tokens(&settings.grpc)
    }

    async fn reload(&mut self, settings: Option<&ConnSettings>) -> Result<(), String> {
        if let Some(settings) = settings {
            self.grpc_settings.set_tokens(&settings.grpc);
            self.quota.set_connections_max(connections_max(&settings.limits));
            let (rules, origins) = (settings.rules(), &settings.websocket.origins);
            let outbound = settings.limits.outbound();
            self.reactors.send_all(|| Command::Rules { rules, outbound, origins: origins.clone() }).await;
        }
        let of_services = [self.grpc.reload(None), self.grpc_settings.reload_caller_tls()];
        let of_clients = match &mut self.certificates {
            Some(certificates) => certificates.load().map(Some).map_err(|error| format!("tls.certificates: {error}")),
            None => Ok(None),
        };
        if let Ok(Some(configs)) = &of_clients {
            self.reactors.send_all(|| Command::Tls(configs.clone())).await;
            tracing::info!("the certificates were read again");
        }
        grpc::all_of(of_services.into_iter().chain([of_clients.map(drop)]))
    }

    fn admin(&mut self) -> &mut admin::Admin {
        &mut self.admin
    }

    fn asked_to_stop(&self) -> impl Future<Output = ()> + Send + 'static {
        self.node.asked_to_drain()
    }

    async fn failed(&mut self) -> String {
        tokio::select! {
            problem = self.grpc.failed() => problem,
            problem = refused_everywhere(&mut self.problems, self.bridges.len()) => problem,
            ended = self.ended.recv() => ended.unwrap_or_else(|| "every reactor ended".to_owned()),
        }
    }

    async fn stop(mut self) {
        self.node.drain();
        self.reactors.send_all(|| Command::Drain).await;
        for _ in 0..self.threads.len() {
            // One message per reactor thread, sent as its last act.
            if self.ended.recv().await.is_none() {
                break;
            }
        }
        // At once, so that one whose logic hangs takes none of the others' time.
        let stops: JoinSet<()> = self.bridges.into_iter().map(Bridge::stop).collect();
        stops.join_all().await;
        self.grpc.stop(CALLS_TIMEOUT).await;
        self.admin.stop().await;
    }
}

/// The channels between the reactors and the bridge of one app, while they are handed out.
struct AppWay {
    app: App,
    quota: Arc<AppQuota>,
    up: Sender<UpBatch>,
    end: UpEnd,
    reactors: Vec<ReactorHandle>,
}

impl AppWay {
    fn new(app: App) -> Self {
        let (up, batches) = crossbeam_channel::bounded(UP_BATCHES_MAX);
        let quota = Arc::new(AppQuota::new(app.connections_max));
        Self { app, quota, up, end: UpEnd { batches, notify: Arc::default() }, reactors: Vec::new() }
    }

    /// One more reactor, and its ends.
    fn reactor_ends(&mut self, wake: &Arc<WakeFlag>) -> AppParts {
        let (sender, commands) = crossbeam_channel::bounded(self.app.link.commands_max);
        self.reactors.push(ReactorHandle::new(sender, wake.clone()));
        let waker = self.end.notify.clone();
        let wake_bridge = Arc::new(move || waker.notify_one());
        let uplink = Uplink::new(self.up.clone(), wake_bridge, UP_PACKETS_MAX, UP_BYTES_MAX);
        AppParts { id: self.app.id, commands, uplink, quota: self.quota.clone() }
    }

    /// The bridge's ends.
    fn into_ends(self) -> ((App, Reactors), UpEnd) {
        let reactors = Reactors::new(self.app.id, self.reactors);
        ((self.app, reactors), self.end)
    }
}

/// Ends with the reason why the last app's logic will not have this node. One of several may be wrong about it: that one is
/// not served, the others are.
async fn refused_everywhere(problems: &mut mpsc::Receiver<String>, mut served: usize) -> String {
    while let Some(problem) = problems.recv().await {
        served -= 1;
        if served == 0 {
            return problem;
        }
        tracing::error!(problem, "an app's logic will not have this node");
    }
    std::future::pending().await
}

/// A listener that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    entrance: Entrance,
    dialect: Option<Dialect>,
    address: SocketAddr,
}

/// One listener per reactor and entrance that is on, and where the entrances are.
type Listeners = (Vec<Open>, Vec<Vec<ListenerParts>>);

fn open_listeners(settings: &ConnSettings) -> Result<Listeners, StartError> {
    let backlog = i32::from(settings.tcp.backlog.min(i16::MAX as u16));
    let has_tls = !settings.tls.certificates.is_empty();
    let todays = [
        (Entrance::Tcp, None, &settings.tcp.listen, true),
        (Entrance::WebSocket, None, &settings.websocket.listen, true),
        (Entrance::Tls, None, &settings.tls.listen, has_tls),
        (Entrance::WebSocketTls, None, &settings.tls.websocket_listen, has_tls),
    ];
    let older = settings.legacy.iter().flat_map(|legacy| {
        let dialect = Some(legacy.dialect);
        [(Entrance::Tcp, dialect, &legacy.tcp, true), (Entrance::WebSocket, dialect, &legacy.websocket, true)]
    });
    let mut addresses = Vec::new();
    let mut listeners: Vec<Vec<_>> = (0..settings.reactor_count()).map(|_| Vec::new()).collect();
    for (entrance, dialect, endpoint, is_possible) in todays.into_iter().chain(older) {
        if !is_possible || endpoint.is_off() {
            continue;
        }
        let address = endpoint.socket_address()?;
        let opened = listen::open(address, listeners.len(), backlog);
        let opened = opened.map_err(|source| ListenError::new(address, source))?;
        let address = opened[0].local_addr().map_err(StartError::Reactor)?;
        addresses.push(Open { entrance, dialect, address });
        for (list, listener) in listeners.iter_mut().zip(opened) {
            list.push(ListenerParts { entrance, dialect, listener });
        }
    }
    Ok((addresses, listeners))
}

impl Open {
    fn name(&self) -> String {
        let entrance = match self.entrance {
            Entrance::Tcp => "tcp",
            Entrance::WebSocket => "ws",
            Entrance::Tls => "tls",
            Entrance::WebSocketTls => "wss",
        };
        self.dialect.map_or_else(|| entrance.to_owned(), |dialect| format!("{entrance} of {}", dialect.name()))
    }
}

fn address_of(all: &[Open], entrance: Entrance, dialect: Option<Dialect>) -> Option<SocketAddr> {
    all.iter().find(|open| open.entrance == entrance && open.dialect == dialect).map(|open| open.address)
}

/// Where clients are told to connect: as set, or where the listener is, unless that is every address of the host.
fn public_addresses(settings: &PublicSettings, listeners: &[Open]) -> NodeAddresses {
    let address = |set: &str, entrance: Entrance| {
        if !set.is_empty() {
            return set.to_owned();
        }
        let own = address_of(listeners, entrance, None);
        match (own.filter(|address| !address.ip().is_unspecified()), entrance) {
            (None, _) => String::new(),
            (Some(address), Entrance::Tcp | Entrance::Tls) => address.to_string(),
            (Some(address), Entrance::WebSocket) => format!("ws://{address}{}", upgrade::PATH),
            (Some(address), Entrance::WebSocketTls) => format!("wss://{address}{}", upgrade::PATH),
        }
    };
    let addresses = NodeAddresses {
        tcp: address(&settings.tcp, Entrance::Tcp),
        ws: address(&settings.ws, Entrance::WebSocket),
        tls: address(&settings.tls, Entrance::Tls),
        wss: address(&settings.wss, Entrance::WebSocketTls),
    };
    if addresses == NodeAddresses::default() {
        tracing::warn!("no client can be told of this node: [public] says no address, and the listeners have none");
    }
    addresses
}

fn spawn_all(
    reactors: Vec<Reactor>,
    cores: &[usize],
    ended: &mpsc::Sender<String>,
) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
    let threads = reactors.into_iter().enumerate();
    let threads = threads.map(|(index, reactor)| spawn(index, reactor, cores.to_vec(), ended.clone()));
    threads.collect::<Result<_, _>>().map_err(StartError::Reactor)
}

/// Runs a reactor on a thread of its own, which says how it ended.
fn spawn(
    index: usize,
    reactor: Reactor,
    cores: Vec<usize>,
    ended: mpsc::Sender<String>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(format!("reactor-{index}")).spawn(move || {
        /// Speaks also when the thread panics.
        struct LastWord(mpsc::Sender<String>, String);
        impl Drop for LastWord {
            fn drop(&mut self) {
                // Nobody listens when the node was dropped without being stopped.
                let _nobody_listens = self.0.try_send(std::mem::take(&mut self.1)).is_err();
            }
        }
        let mut last_word = LastWord(ended, format!("reactor {index} panicked"));
        if let Err(error) = affinity::pin(index, &cores) {
            tracing::warn!(reactor = index, %error, "a reactor could not be pinned to its core");
        }
        last_word.1 = match reactor.run() {
            Ok(()) => format!("reactor {index} ended"),
            Err(error) => format!("reactor {index} failed: {error}"),
        };
    })
}

/// What was wanted when the log said that there may be fewer.
static TOLD_CONNECTIONS_MAX: AtomicUsize = AtomicUsize::new(0);

/// As many connections as the process may have, after it took as many files as it can get.
fn connections_max(limits: &LimitSettings) -> usize {
    let files = files::raise_limit();
    let possible = files.saturating_sub(limits.files_reserved).max(1);
    // Once, and not whenever settings are read again.
    let is_news = || TOLD_CONNECTIONS_MAX.swap(limits.connections_max, Ordering::Relaxed) != limits.connections_max;
    if possible < limits.connections_max && is_news() {
        tracing::warn!(
            files,
            connections_max = possible,
            wanted = limits.connections_max,
            "the file limit of this process allows fewer connections than limits.connections_max"
        );
    }
    let connections_max = limits.connections_max.min(possible);
    ::metrics::gauge!(metrics::CONNECTIONS_MAX).set(connections_max as f64);
    connections_max
}

/// What one reactor may hold.
fn share_limits(settings: &ConnSettings) -> LimitSettings {
    let share = |max: usize| max.div_ceil(settings.reactor_count());
    let handshakes_max = share(settings.limits.handshakes_max);
    let handshakes_per_address_max = share(settings.limits.handshakes_per_address_max);
    LimitSettings { handshakes_max, handshakes_per_address_max, ..settings.limits.clone() }
}

fn share_push_all(settings: &ConnSettings) -> PushAllSettings {
    let connections_per_s = settings.push_all.connections_per_s.div_ceil(settings.reactor_count() as u64);
    PushAllSettings { connections_per_s, ..settings.push_all.clone() }
}

fn share_drain(settings: &ConnSettings) -> DrainSettings {
    let reactors = settings.reactor_count() as u64;
    DrainSettings { closes_per_s: settings.drain.closes_per_s.div_ceil(reactors), ..settings.drain.clone() }
}
