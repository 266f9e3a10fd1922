//! A whole gim in this process.
//!
//! Each server has an address of 127.0.0.0/8 to itself, so that it can have the well-known ports, come back on them after
//! a restart, and never meet another test. The services run on the server's own runtime; the test blocks with deadlines. What they are
//! started with is in `server/settings.rs`, what tests ask of them in `server/calls.rs`.

#[path = "server/calls.rs"]
mod calls;
#[path = "server/settings.rs"]
mod settings;

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use gim_business::{Business, BusinessSettings};
use gim_config::{listen::Endpoint, service::Running};
use gim_conn::{Conn, ConnSettings};
use gim_legacy::Dialect;
use gim_logic::Logic;
use gim_proto::{
    client::Client,
    connect::{Message, PacketCommand},
};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use self::settings::older_ports;

pub const DEADLINE: Duration = Duration::from_secs(20);

const CONN_TCP: u16 = 8002;
const CONN_WEB_SOCKET: u16 = 8003;
const CONN_TLS: u16 = 8004;
const CONN_TLS_WEB_SOCKET: u16 = 8005;
const CONN_GRPC: u16 = 8000;
const CONN_ADMIN: u16 = 8001;
const LOGIC_GRPC: u16 = 8010;
const LOGIC_ADMIN: u16 = 8011;
const LOGIC_CLIENTS: u16 = 8012;
const BUSINESS_GRPC: u16 = 8020;
const BUSINESS_ADMIN: u16 = 8021;
const BUSINESS_FILES: u16 = 8023;
/// TCP, WebSocket and gRPC of the first dialect; those of each further one are [`OLDER_STEP`] above.
const OLDER: [u16; 3] = [8102, 8103, 8104];
const OLDER_STEP: u16 = 10;

/// Starts everything on one host name.
pub struct Server {
    host: String,
    data: TempDir,
    /// A setting that a test needs otherwise than by default.
    sign_in_timeout_ms: u64,
    has_business: bool,
    /// What services show each other; empty for nothing.
    internal_token: &'static str,
    wrong_codes_per_address_max: u32,
    /// Whether every older dialect is spoken, too.
    has_older_clients: bool,
    bounds: Bounds,
    /// Where services show each other certificates.
    pub certificates: Option<CertificateFiles>,
    services: Option<Services>,
    pub runtime: Runtime,
}

/// How much there may be at once, with one more in each second; where nothing is said, what the settings say by default.
#[derive(Debug, Clone, Copy, Default)]
#[allow(dead_code, reason = "only the system tests have older clients")]
pub struct Bounds {
    /// Calls of an address at one of logic's listeners.
    pub address_calls: Option<u32>,
    /// Requests of a user.
    pub user_requests: Option<u32>,
    /// Packets of a connection.
    pub packets: Option<u32>,
}

/// An authority, and a certificate and key of its making for this server's address.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

struct Services {
    conn: Conn,
    logic: Logic,
    business: Option<Business>,
}

impl Server {
    /// All three services.
    pub fn start() -> Self {
        let mut server = Self::prepare();
        server.up();
        server
    }

    /// conn and logic; `business` serves in the place of ours.
    pub fn start_with_business(serve: impl AsyncFnOnce(SocketAddr)) -> Self {
        let mut server = Self::prepare();
        server.has_business = false;
        server.runtime.block_on(serve(server.address(BUSINESS_GRPC)));
        server.up();
        server
    }

    /// All three services; a connection has to sign in within `timeout`.
    pub fn start_impatient(timeout: Duration) -> Self {
        let mut server = Self::prepare();
        server.sign_in_timeout_ms = timeout.as_millis() as u64;
        server.up();
        server
    }

    /// All three services, which show each other this token; so many wrong codes may come from an address.
    #[allow(dead_code, reason = "only the system tests guess codes")]
    pub fn start_guarded(internal_token: &'static str, wrong_codes_per_address_max: u32) -> Self {
        let mut server = Self::prepare();
        (server.internal_token, server.wrong_codes_per_address_max) = (internal_token, wrong_codes_per_address_max);
        server.up();
        server
    }

    /// All three services, which speak every older dialect as well.
    #[allow(dead_code, reason = "only the system tests have older clients")]
    pub fn start_for_older_clients() -> Self {
        let mut server = Self::prepare();
        server.has_older_clients = true;
        server.up();
        server
    }

    /// The same within these bounds.
    #[allow(dead_code, reason = "only the system tests have older clients")]
    pub fn start_for_older_clients_within(bounds: Bounds) -> Self {
        let mut server = Self::prepare();
        (server.has_older_clients, server.bounds) = (true, bounds);
        server.up();
        server
    }

    /// All three services, which speak TLS with each other and show their certificates; clients may come in TLS, too.
    pub fn start_certified() -> Self {
        let mut server = Self::prepare();
        server.certificates = Some(server.make_certificates());
        server.up();
        server
    }

    /// All three services, after a restore that passed over so many numbers.
    #[allow(dead_code, reason = "only the tests of smoke ask for it")]
    pub fn start_restored(passed_over: u64) -> Self {
        let mut server = Self::prepare();
        let settings = server.logic_settings();
        server.runtime.block_on(async {
            gim_logic::open_offline(settings.clone()).await.unwrap().close().await;
            gim_logic::raise_seqs(settings, passed_over).await.unwrap();
        });
        server.up();
        server
    }

    fn make_certificates(&self) -> CertificateFiles {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![self.host.clone()]).unwrap().signed_by(&key, &authority).unwrap();
        let file = |name: &str, content: String| {
            let path = self.data.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        CertificateFiles {
            ca: file("ca.pem", authority.pem()),
            certificate: file("own.pem", certificate.pem()),
            key: file("own.key", key.serialize_pem()),
        }
    }

    fn prepare() -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(1);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        Self {
            host: format!("127.{}.{}.{number}", 1 + (process >> 8) % 250, process % 256),
            data: TempDir::new().unwrap(),
            sign_in_timeout_ms: ConnSettings::default().session.sign_in_timeout_ms,
            has_business: true,
            internal_token: "",
            wrong_codes_per_address_max: BusinessSettings::default().sign_in.wrong_codes_per_address_max,
            has_older_clients: false,
            bounds: Bounds::default(),
            certificates: None,
            services: None,
            runtime: Runtime::new().unwrap(),
        }
    }

    /// Stops all and starts them again on the same data.
    pub fn restart(&mut self) {
        self.down();
        self.up();
    }

    /// conn alone, as at a rolling restart: it drains, and its clients come back to it.
    #[allow(dead_code, reason = "only the tests of loads ask for it")]
    pub fn restart_conn(&mut self) {
        let settings = self.conn_settings();
        let Services { conn, logic, business } = self.services.take().expect("it is up");
        let again = async {
            conn.stop().await;
            let conn = gim_conn::start(settings).await.unwrap();
            conn.readiness().wait().await;
            conn
        };
        let again = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, again).await });
        self.services = Some(Services { conn: again.expect("ready within the deadline"), logic, business });
    }

    fn up(&mut self) {
        let (conn, logic, business) = (self.conn_settings(), self.logic_settings(), self.business_settings());
        let has_business = self.has_business;
        self.services = Some(self.runtime.block_on(async {
            let business = if has_business { Some(gim_business::start(business).await.unwrap()) } else { None };
            let logic = gim_logic::start(logic).await.unwrap();
            let conn = gim_conn::start(conn).await.unwrap();
            let ready = async {
                conn.readiness().wait().await;
                logic.readiness().wait().await;
            };
            tokio::time::timeout(DEADLINE, ready).await.expect("ready within the deadline");
            Services { conn, logic, business }
        }));
    }

    fn down(&mut self) {
        let Some(Services { conn, logic, business }) = self.services.take() else { return };
        let stop = async {
            conn.stop().await;
            logic.stop().await;
            if let Some(business) = business {
                business.stop().await;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, stop).await }).expect("stops within the deadline");
    }

    /// Where clients of a dialect connect.
    #[allow(dead_code, reason = "only the system tests have older clients")]
    pub fn older_address(&self, dialect: &str, is_web_socket: bool) -> SocketAddr {
        self.address(older_ports(Dialect::named(dialect).unwrap())[usize::from(is_web_socket)])
    }

    /// Where they call.
    #[allow(dead_code, reason = "only the system tests have older clients")]
    pub fn older_channel(&self, dialect: &str) -> Channel {
        self.channel(self.address(older_ports(Dialect::named(dialect).unwrap())[2]))
    }

    fn address(&self, port: u16) -> SocketAddr {
        format!("{}:{port}", self.host).parse().unwrap()
    }

    fn endpoint(&self, port: u16) -> Endpoint {
        self.address(port).into()
    }

    fn url(&self, port: u16) -> Endpoint {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        Endpoint::new(&format!("{scheme}://{}", self.address(port)))
    }

    /// Where clients connect.
    pub fn tcp_address(&self) -> SocketAddr {
        self.address(CONN_TCP)
    }

    /// The same by WebSocket.
    #[allow(dead_code, reason = "only the system tests have older clients")]
    pub fn web_socket_address(&self) -> SocketAddr {
        self.address(CONN_WEB_SOCKET)
    }

    /// Where clients connect in TLS, by TCP and by WebSocket; of a server with certificates.
    #[allow(dead_code, reason = "only the system tests have certificates")]
    pub fn tls_urls(&self) -> [String; 2] {
        [format!("tls://{}", self.address(CONN_TLS)), format!("wss://{}/ws", self.address(CONN_TLS_WEB_SOCKET))]
    }

    /// The clients' listener of logic.
    #[allow(dead_code, reason = "only load.rs calls there")]
    pub fn clients_address(&self) -> SocketAddr {
        self.address(LOGIC_CLIENTS)
    }

    /// Where files are.
    #[allow(dead_code, reason = "only the system tests have files")]
    pub fn files_url(&self) -> String {
        format!("http://{}", self.address(BUSINESS_FILES))
    }

    /// gRPC and admin address of each service.
    pub fn services(&self) -> [(&'static str, SocketAddr, SocketAddr); 3] {
        [
            ("conn", self.address(CONN_GRPC), self.address(CONN_ADMIN)),
            ("logic", self.address(LOGIC_GRPC), self.address(LOGIC_ADMIN)),
            ("business", self.address(BUSINESS_GRPC), self.address(BUSINESS_ADMIN)),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.down();
        }
    }
}

/// The next message of a connection.
pub fn receive_message(client: &mut Client) -> Message {
    let packet = client.receive().unwrap();
    assert_eq!(packet.command, PacketCommand::PcMessage as i32);
    Message::decode(packet.content).unwrap()
}

/// Asks again and again until the answer is right; what is asked for has no event to wait for.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
