//! A cluster of real processes on an address of its own, with a network that can be cut, and databases of its own.
//!
//! Everything is harmed and mended by the thread of the test. Always holds: what is not under a fault runs; where a check
//! fails, the logs stay.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use gim_config::testing::{PrivateServer, Proxy};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::{
    LEASE,
    plan::{Fault, Loss, Node, Shape},
    program::Program,
};

/// How long a healthy cluster may take for anything.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// Between two questions.
pub const ASK_INTERVAL: Duration = Duration::from_millis(50);

const CONN_TCP: u16 = 8002;
const CONN_GRPC: u16 = 8000;
const LOGIC_GRPC: u16 = 8010;
const LOGIC_CLIENTS: u16 = 8012;
const BUSINESS_GRPC: u16 = 8020;

pub struct Cluster {
    host: String,
    shape: Shape,
    conn: Vec<Program>,
    logic: Vec<Program>,
    business: Program,
    /// Between each conn node and each logic node.
    wires: Vec<Vec<Proxy>>,
    databases: Option<Databases>,
    data: TempDir,
    pub runtime: Runtime,
}

struct Databases {
    mysql: PrivateServer,
    redis: PrivateServer,
}

impl Cluster {
    /// Starts it, and waits until every node is ready.
    pub fn start(shape: Shape) -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(1);
        let (process, number) = (std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed));
        // An address of its own, not of the tests of the whole system either.
        let host = format!("127.{}.{}.{}", 1 + (process >> 8) % 250, process % 256, 100 + number);
        let data = TempDir::new().unwrap();
        let runtime = Runtime::new().unwrap();
        let databases =
            shape.has_databases.then(|| Databases { mysql: PrivateServer::mysql(), redis: PrivateServer::redis() });
        let layout = Layout { host: &host, data: &data, databases: databases.as_ref() };
        let wired = || {
            let logic = (0..shape.logic_nodes).map(|number| layout.at(LOGIC_GRPC, number));
            let mut urls: Vec<String> = logic.map(|address| format!("http://{address}")).collect();
            let wires: Vec<Proxy> = urls.iter_mut().map(|url| runtime.block_on(Proxy::before(url))).collect();
            (wires, urls)
        };
        let (wires, logic_urls): (Vec<_>, Vec<_>) = (0..shape.conn_nodes).map(|_| wired()).unzip();
        let mut cluster = Self {
            wires,
            conn: logic_urls.iter().enumerate().map(|(number, urls)| layout.conn(number, urls)).collect(),
            logic: (0..shape.logic_nodes).map(|number| layout.logic(number)).collect(),
            business: layout.business(),
            host: host.clone(),
            shape,
            databases,
            data,
            runtime,
        };
        cluster.programs().for_each(Program::start);
        cluster.await_ready();
        cluster
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where clients connect, each of the conn nodes.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        (0..self.shape.conn_nodes).map(|number| address(&self.host, CONN_TCP, number)).collect()
    }

    /// Where clients ask where to connect, each of the logic nodes.
    pub fn locate_urls(&self) -> Vec<String> {
        let clients = (0..self.shape.logic_nodes).map(|number| address(&self.host, LOGIC_CLIENTS, number));
        clients.map(|address| format!("http://{address}/locate")).collect()
    }

    pub fn logic(&self, number: usize) -> Channel {
        self.channel(address(&self.host, LOGIC_GRPC, number))
    }

    pub fn business(&self) -> Channel {
        self.channel(address(&self.host, BUSINESS_GRPC, 0))
    }

    fn channel(&self, address: SocketAddr) -> Channel {
        let _in_runtime = self.runtime.enter();
        Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(DEADLINE).connect_lazy()
    }

    /// Waits until every node says that it is ready.
    pub fn await_ready(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        let admin = |port| move |number| (port, number);
        let conn = (0..self.shape.conn_nodes).map(admin(CONN_GRPC));
        let logic = (0..self.shape.logic_nodes).map(admin(LOGIC_GRPC));
        let nodes: Vec<_> = conn.chain(logic).chain([(BUSINESS_GRPC, 0)]).collect();
        for (grpc, number) in nodes {
            while !is_ready(address(&self.host, grpc + 1, number)) {
                assert!(Instant::now() < deadline, "not ready within {DEADLINE:?}: node {number} at port {grpc}");
                self.check_alive();
                std::thread::sleep(ASK_INTERVAL);
            }
        }
    }

    /// Fails where a process ended that nobody killed.
    pub fn check_alive(&mut self) {
        self.programs().for_each(Program::check_alive);
    }

    /// Lets something go wrong.
    pub fn harm(&mut self, fault: Fault) {
        self.check_alive();
        match fault {
            Fault::Kill(node) => self.program(node).kill(),
            Fault::Restart(node) => self.program(node).stop(),
            Fault::Freeze(node) => self.program(node).freeze(),
            Fault::FlushRedis => self.databases().redis.empty(),
            Fault::RestartRedis => self.databases().redis.kill(),
            Fault::KillDatabase => self.databases().mysql.kill(),
            Fault::StopDatabase => self.databases().mysql.stop(),
            Fault::Partition { conn, logic, how } => self.wires_of(conn, logic).for_each(|wire| match how {
                Loss::Broken => wire.cut(),
                Loss::Silent => wire.hang(),
            }),
        }
    }

    /// Puts it right.
    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(node) | Fault::Restart(node) => {
                self.program(node).start();
                // It serves before the next fault comes.
                self.await_ready();
            }
            Fault::Freeze(node) => self.program(node).thaw(),
            Fault::FlushRedis => {}
            Fault::RestartRedis => self.databases().redis.start_again(),
            Fault::KillDatabase | Fault::StopDatabase => self.databases().mysql.start_again(),
            Fault::Partition { conn, logic, .. } => self.wires_of(conn, logic).for_each(Proxy::mend),
        }
    }

    fn wires_of(&self, conn: usize, logic: Option<usize>) -> impl Iterator<Item = &Proxy> {
        let wires = self.wires[conn].iter().enumerate();
        wires.filter(move |(number, _)| logic.is_none_or(|logic| logic == *number)).map(|(_, wire)| wire)
    }

    fn databases(&mut self) -> &mut Databases {
        self.databases.as_mut().expect("it has databases")
    }

    fn program(&mut self, node: Node) -> &mut Program {
        match node {
            Node::Conn(number) => &mut self.conn[number],
            Node::Logic(number) => &mut self.logic[number],
            Node::Business => &mut self.business,
        }
    }

    fn programs(&mut self) -> impl Iterator<Item = &mut Program> {
        self.logic.iter_mut().chain(&mut self.conn).chain([&mut self.business])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.data.disable_cleanup(true);
            println!("the logs are in {}", self.data.path().display());
        }
        // Before the databases, which they would miss.
        self.programs().for_each(Program::kill);
    }
}

/// Where everything is, while it is put together.
struct Layout<'a> {
    host: &'a str,
    data: &'a TempDir,
    databases: Option<&'a Databases>,
}

impl Layout<'_> {
    fn conn(&self, number: usize, logic_urls: &[String]) -> Program {
        let settings = [
            ("NODE", format!("conn-{number}")),
            ("LOGIC", format!("{logic_urls:?}")),
            ("TCP__LISTEN", self.at(CONN_TCP, number).to_string()),
            ("WEBSOCKET__LISTEN", String::new()),
        ];
        self.program("conn", number, CONN_GRPC, &settings)
    }

    fn logic(&self, number: usize) -> Program {
        let mut settings = vec![
            ("NODE", format!("logic-{number}")),
            ("NODE_NUMBER", (number + 1).to_string()),
            ("BUSINESS__ENDPOINT", format!("http://{}", self.at(BUSINESS_GRPC, 0))),
            ("LINK__LEASE_MS", LEASE.as_millis().to_string()),
            ("CLIENTS__LISTEN", self.at(LOGIC_CLIENTS, number).to_string()),
        ];
        match self.databases {
            Some(databases) => {
                settings.push(("DATABASE__URL", format!("{}/logic", databases.mysql.url)));
                settings.push(("SHARED_STATE__URL", databases.redis.url.clone()));
            }
            None => settings.push(("DATA_DIR", self.data.path().display().to_string())),
        }
        self.program("logic", number, LOGIC_GRPC, &settings)
    }

    fn business(&self) -> Program {
        let logic = format!("http://{}", self.at(LOGIC_GRPC, 0));
        let database = match self.databases {
            Some(databases) => ("DATABASE__URL", format!("{}/business", databases.mysql.url)),
            None => ("DATA_DIR", self.data.path().display().to_string()),
        };
        self.program("business", 0, BUSINESS_GRPC, &[("LOGIC__ENDPOINT", logic), database])
    }

    fn program(&self, service: &str, number: usize, grpc: u16, settings: &[(&str, String)]) -> Program {
        let common = [
            ("GRPC__LISTEN", self.at(grpc, number).to_string()),
            ("ADMIN__LISTEN", self.at(grpc + 1, number).to_string()),
            // Well within a lease, so that what is silent is found while its fault lasts.
            ("GRPC__KEEP_ALIVE_INTERVAL_MS", "250".to_owned()),
            ("GRPC__KEEP_ALIVE_TIMEOUT_MS", "500".to_owned()),
        ];
        Program::new(service, &format!("{service}-{number}"), self.data.path(), &[&common, settings].concat())
    }

    fn at(&self, port: u16, number: usize) -> SocketAddr {
        address(self.host, port, number)
    }
}

/// The n-th node of its kind has the usual ports and n times 100.
fn address(host: &str, port: u16, number: usize) -> SocketAddr {
    format!("{host}:{}", port + 100 * u16::try_from(number).unwrap()).parse().unwrap()
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&admin, DEADLINE) else { return false };
    let mut answer = String::new();
    let asked =
        stream.set_read_timeout(Some(DEADLINE)).and_then(|()| stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n"));
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains(" 200 ")
}
