//! The server under test: its addresses, and calls of it with deadlines.
//!
//! Owns the Tokio runtime on which gRPC runs, one worker thread; [`Target::call`] blocks the thread of the scenario.

use std::{
    cell::Cell,
    error::Error,
    fs,
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow, ensure};
use gim_proto::{ResultCode, client::Client, metadata};
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::swarm::{
    DEADLINE,
    older::Dialect,
    transport::{ServerEndpoint, Transport},
};

const HOST: &str = "127.0.0.1";
const TCP_PORT: u16 = 8002;
const WS_PORT: u16 = 8003;
const TLS_PORT: u16 = 8004;
const WSS_PORT: u16 = 8005;
const LOGIC_PORT: u16 = 8010;
const CLIENTS_PORT: u16 = 8012;
const BUSINESS_PORT: u16 = 8020;
const FILES_PORT: u16 = 8023;
/// The listeners of the newest dialect for TCP and WebSocket, and how far from them those of the one before are.
const OLDER_PORTS: (u16, u16) = (8102, 8103);
const OLDER_STEP: u16 = 10;

/// Where the server is.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetArguments {
    /// Long connections over TCP, or TLS; several for several conn nodes [default: 127.0.0.1:8002, with TLS 8004]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    tcp: Vec<String>,
    /// Long connections over WebSocket; several likewise [default: ws://127.0.0.1:8003/ws, or wss://127.0.0.1:8005/ws]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    ws: Vec<String>,
    /// How clients connect
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// Where clients of the older dialect of a scenario connect; several likewise [default: 8102 on loopback for 2025-08, 8112 for
    /// 2024-01, 8122 for 2020-12; a WebSocket one above]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    older: Vec<String>,
    /// gRPC of logic [default: http://127.0.0.1:8010]
    #[arg(long, value_name = "URL")]
    logic: Option<String>,
    /// The clients' listener of logic [default: http://127.0.0.1:8012]
    #[arg(long, value_name = "URL")]
    clients: Option<String>,
    /// gRPC of business [default: http://127.0.0.1:8020]
    #[arg(long, value_name = "URL")]
    business: Option<String>,
    /// The app that the users are of: the app_id of their sign-ins
    #[arg(long, value_name = "ID", default_value_t = 0)]
    app: u32,
    /// Added to the default ports, as in `scripts/up --port-offset`
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=(u16::MAX - FILES_PORT) as i64))]
    port_offset: u16,
    /// What internal services beyond loopback ask their callers for
    #[arg(long, value_name = "TOKEN", env = "GIM_BENCH_INTERNAL_TOKEN", hide_env_values = true, default_value = "")]
    internal_token: String,
    /// PEM file of the authority that is believed, where services are called by https://
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to services that ask their callers for one
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl TargetArguments {
    /// The addresses of conn for plain TCP, as `host:port`.
    fn tcp(&self) -> Vec<String> {
        if self.tcp.is_empty() { vec![format!("{HOST}:{}", TCP_PORT + self.port_offset)] } else { self.tcp.clone() }
    }

    /// What people call the doors that clients use, with this transport.
    fn endpoint_names(&self) -> Vec<String> {
        let (given, default) = match self.transport {
            Transport::Tcp => return self.tcp(),
            Transport::Tls => (&self.tcp, format!("{HOST}:{}", TLS_PORT + self.port_offset)),
            Transport::Ws => (&self.ws, format!("ws://{HOST}:{}/ws", WS_PORT + self.port_offset)),
            Transport::Wss => (&self.ws, format!("wss://{HOST}:{}/ws", WSS_PORT + self.port_offset)),
        };
        if given.is_empty() { vec![default] } else { given.clone() }
    }

    fn endpoints(&self) -> anyhow::Result<Vec<ServerEndpoint>> {
        let endpoint = |name: String| ServerEndpoint::new(self.transport, resolve(&name)?, &name);
        self.endpoint_names().into_iter().map(endpoint).collect()
    }

    /// The doors for clients of a dialect, with this transport.
    fn older_endpoints(&self, dialect: Dialect) -> anyhow::Result<Vec<ServerEndpoint>> {
        ensure!(!self.transport.is_encrypted(), "--dialect: the listeners of older clients speak no TLS by themselves");
        let (tcp, web) = OLDER_PORTS;
        let port = if self.transport == Transport::Tcp { tcp } else { web };
        let default = format!("{HOST}:{}", port + OLDER_STEP * dialect.place() + self.port_offset);
        let names = if self.older.is_empty() { vec![default] } else { self.older.clone() };
        let endpoint = |name: String| ServerEndpoint::new(self.transport, resolve(&name)?, &name);
        names.into_iter().map(|name| Ok(endpoint(name)?.speaking(dialect))).collect()
    }

    /// How clients connect.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// For scenarios whose clients connect by TCP alone, or not at all: fails where they are asked for anything else.
    pub fn ensure_tcp(&self) -> anyhow::Result<()> {
        ensure!(
            self.transport == Transport::Tcp,
            "--transport {}: nobody connects so in this scenario",
            self.transport
        );
        Ok(())
    }

    /// Whether people said where conn is.
    pub fn has_endpoints(&self) -> bool {
        !self.tcp.is_empty() || !self.ws.is_empty()
    }

    /// The URL of logic.
    pub fn logic(&self) -> String {
        self.logic.clone().unwrap_or_else(|| format!("http://{HOST}:{}", LOGIC_PORT + self.port_offset))
    }

    fn clients(&self) -> String {
        self.clients.clone().unwrap_or_else(|| format!("http://{HOST}:{}", CLIENTS_PORT + self.port_offset))
    }

    fn business(&self) -> String {
        self.business.clone().unwrap_or_else(|| format!("http://{HOST}:{}", BUSINESS_PORT + self.port_offset))
    }

    /// Where business takes files on this machine.
    pub fn files(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, FILES_PORT + self.port_offset))
    }

    /// What trusted callers show; empty for nothing.
    pub fn internal_token(&self) -> &str {
        &self.internal_token
    }

    /// What is shown and believed where services are called by https://.
    fn tls(&self) -> anyhow::Result<ClientTlsConfig> {
        let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }

    /// The addresses, for the report.
    pub fn to_json(&self) -> Value {
        json!({
            "transport": self.transport.to_string(),
            "endpoints": self.endpoint_names(),
            "logic": self.logic(),
            "clients": self.clients(),
            "business": self.business(),
            "app": self.app,
        })
    }
}

/// The server, reached.
#[derive(Debug)]
pub struct Target {
    arguments: TargetArguments,
    endpoints: Vec<ServerEndpoint>,
    tcp_names: Vec<String>,
    logic: Channel,
    business: Channel,
    logic_url: String,
    clients_url: String,
    business_url: String,
    tls: ClientTlsConfig,
    internal_token: String,
    app_id: u32,
    /// Names this run in the server's logs.
    run: String,
    calls: Cell<u64>,
    connects: Cell<usize>,
    runtime: Runtime,
}

impl Target {
    /// Connects to all three services; the error names the one that cannot be reached.
    pub fn reach(arguments: &TargetArguments, run: &str) -> anyhow::Result<Self> {
        Self::reach_those(arguments, run, true)
    }

    /// The same of a deployment in which something else may have taken the place of business, and nobody asks it.
    pub fn reach_without_business(arguments: &TargetArguments, run: &str) -> anyhow::Result<Self> {
        Self::reach_those(arguments, run, false)
    }

    fn reach_those(arguments: &TargetArguments, run: &str, with_business: bool) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (endpoints, tls) = (arguments.endpoints()?, arguments.tls()?);
        let logic = runtime.block_on(channel("logic", &arguments.logic(), &tls))?;
        let business = match with_business {
            true => runtime.block_on(channel("business", &arguments.business(), &tls))?,
            false => logic.clone(),
        };
        let target = Self {
            arguments: arguments.clone(),
            tcp_names: arguments.tcp(),
            endpoints,
            logic,
            business,
            logic_url: arguments.logic(),
            clients_url: arguments.clients(),
            business_url: arguments.business(),
            tls,
            internal_token: arguments.internal_token.clone(),
            app_id: arguments.app,
            run: run.to_owned(),
            calls: Cell::new(0),
            connects: Cell::new(0),
            runtime,
        };
        for (endpoint, name) in target.endpoints.iter().zip(arguments.endpoint_names()) {
            let connected = TcpStream::connect_timeout(&endpoint.address, DEADLINE);
            connected.with_context(|| format!("cannot reach conn at {name}"))?;
        }
        Ok(target)
    }

    /// Where the clients of a swarm connect, by turns.
    pub fn endpoints(&self) -> &[ServerEndpoint] {
        &self.endpoints
    }

    /// Where the clients of a swarm connect that speak a dialect, by turns.
    pub fn older_endpoints(&self, dialect: Dialect) -> anyhow::Result<Vec<ServerEndpoint>> {
        self.arguments.older_endpoints(dialect)
    }

    /// What trusted callers show; empty for nothing.
    pub fn internal_token(&self) -> &str {
        &self.internal_token
    }

    /// Where one of the conn nodes takes clients by TCP.
    pub fn tcp_url(&self) -> String {
        format!("tcp://{}", self.next_tcp_name())
    }

    /// Where clients ask which node to connect to.
    pub fn locate_url(&self) -> String {
        format!("{}/locate", self.clients_url)
    }

    /// The app that sign-ins name.
    pub fn app_id(&self) -> u32 {
        self.app_id
    }

    /// The runtime of gRPC, for work beside the scenario's thread.
    pub fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Opens one more long connection, over TCP; with several conn nodes by turns.
    pub fn connect(&self) -> anyhow::Result<Client> {
        let name = self.next_tcp_name();
        let client = Client::connect(resolve(name)?, DEADLINE);
        Ok(client.with_context(|| format!("cannot reach conn at {name}"))?.of_app(self.app_id))
    }

    fn next_tcp_name(&self) -> &str {
        let turn = self.connects.get();
        self.connects.set(turn + 1);
        &self.tcp_names[turn % self.tcp_names.len()]
    }

    /// The channel to logic.
    pub fn logic(&self) -> Channel {
        self.logic.clone()
    }

    /// The channel to business.
    pub fn business(&self) -> Channel {
        self.business.clone()
    }

    /// Another channel to logic, over a connection of its own.
    pub fn another_logic(&self) -> anyhow::Result<Channel> {
        self.runtime.block_on(channel("logic", &self.logic_url, &self.tls))
    }

    /// A channel to the clients' listener, over a connection of its own.
    pub fn another_of_clients(&self) -> anyhow::Result<Channel> {
        self.runtime.block_on(channel("the clients' listener", &self.clients_url, &self.tls))
    }

    /// Another channel to business, over a connection of its own.
    pub fn another_business(&self) -> anyhow::Result<Channel> {
        self.runtime.block_on(channel("business", &self.business_url, &self.tls))
    }

    /// A request of a trusted service.
    pub fn internal<T>(&self, message: T) -> Request<T> {
        let mut request = self.named(Request::new(message));
        if !self.internal_token.is_empty() {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, &self.internal_token);
        }
        request
    }

    /// Gives a request an id, so that it can be found in the server's logs.
    pub fn named<T>(&self, mut request: Request<T>) -> Request<T> {
        self.calls.set(self.calls.get() + 1);
        metadata::put(&mut request, metadata::REQUEST_ID, &format!("bench-{}-{}", self.run, self.calls.get()));
        request
    }

    /// Waits for an answer; the error says what was asked and what the server said.
    pub fn call<T>(&self, what: &str, answer: impl Future<Output = Result<Response<T>, Status>>) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, answer).await });
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refused(what, &status)),
            Err(_) => Err(anyhow!("{what} was not answered within {DEADLINE:?}")),
        }
    }
}

/// Says what was asked and what the server said.
pub fn refused(what: &str, status: &Status) -> anyhow::Error {
    let code = ResultCode::of_status(status).number();
    // gRPC itself says some things in its code only, such as that a service does not exist.
    let why = if status.message().is_empty() { status.code().description() } else { status.message() };
    let hint = match ResultCode::is_untrusted(status) {
        true => " (name the token by GIM_BENCH_INTERNAL_TOKEN or --internal-token)",
        false => "",
    };
    anyhow!("{what} was refused with code {code}: {why}{hint}")
}

/// The address in `host:port`, or in a URL.
fn resolve(name: &str) -> anyhow::Result<SocketAddr> {
    let without_scheme = name.split_once("://").map_or(name, |(_, rest)| rest);
    let authority = without_scheme.split('/').next().unwrap_or_default();
    let addresses = authority.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| anyhow!("cannot reach conn at {name}: {error}"))?;
    addresses.next().ok_or_else(|| anyhow!("cannot reach conn at {name}: the name has no address"))
}

async fn channel(service: &str, url: &str, tls: &ClientTlsConfig) -> anyhow::Result<Channel> {
    let fail = |error: &tonic::transport::Error| anyhow!("cannot reach {service} at {url}: {}", root_cause(error));
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| fail(&error))?;
    if url.starts_with("https://") {
        endpoint = endpoint.tls_config(tls.clone()).map_err(|error| fail(&error))?;
    }
    endpoint.connect_timeout(DEADLINE).tcp_nodelay(true).connect().await.map_err(|error| fail(&error))
}

/// tonic says "transport error"; the reason stands underneath.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
