//! conn and a product's backend in this process, and logic as processes that can be killed.

use std::{
    io,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use gim_config::{listen::Endpoint, service::Running as _, testing};
use gim_conn::{Conn, ConnSettings};
use gim_logic::LogicSettings;
use gim_proto::{
    business::{
        AuthRequest, GetUserReply, GetUserRequest, GetUsersReply, GetUsersRequest, MayWriteReply, MayWriteRequest,
        RevokeTokensRequest,
        user_int_service_server::{UserIntService, UserIntServiceServer},
    },
    logic::{Group, GroupCreateRequest, GroupKind, GroupMember, group_int_service_client::GroupIntServiceClient},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, async_trait};

const DEADLINE: Duration = Duration::from_secs(20);
const CONN_TCP: u16 = 8002;
const CONN_GRPC: u16 = 8000;
const LOGIC_GRPC: u16 = 8010;
const BUSINESS_GRPC: u16 = 8020;

/// What logic stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, shared state in the process, one logic node.
    Embedded,
    /// MariaDB, Redis, two logic nodes.
    Servers,
}

pub struct World {
    host: String,
    data: TempDir,
    environment: Vec<(String, String)>,
    logic: Vec<Mutex<Child>>,
    conn: Option<Conn>,
    runtime: Runtime,
}

impl World {
    pub fn start(backend: Backend) -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(1);
        let (process, number) = (std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let (nodes, environment) = match backend {
            Backend::Embedded => (1, Vec::new()),
            Backend::Servers => (2, on_servers()),
        };
        let mut world = Self {
            // An address of its own, not of the tests of the whole system either.
            host: format!("127.{}.{}.{}", 1 + (process >> 8) % 250, process % 256, 100 + number),
            data: TempDir::new().unwrap(),
            environment,
            logic: Vec::new(),
            conn: None,
            runtime: Runtime::new().unwrap(),
        };
        let business = world.address(BUSINESS_GRPC);
        world.runtime.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(UserIntServiceServer::new(LetsAllIn));
            server.serve(business).await.unwrap();
        });
        world.logic = (0..nodes).map(|node| Mutex::new(world.spawn(node))).collect();
        world.start_conn(nodes);
        world
    }

    pub fn tcp_address(&self) -> SocketAddr {
        self.address(CONN_TCP)
    }

    pub fn logic_nodes(&self) -> usize {
        self.logic.len()
    }

    /// Makes a normal group of these users.
    pub fn create_group(&self, user_ids: &[u64]) -> u64 {
        let group = Group { name: "checked".into(), kind: GroupKind::GkNormal as i32, ..Group::default() };
        let member = |&user_id: &u64| GroupMember { user_id, ..GroupMember::default() };
        let request = GroupCreateRequest { group: Some(group), members: user_ids.iter().map(member).collect() };
        let logic = format!("http://{}", self.address(logic_port(0)));
        let deadline = Instant::now() + DEADLINE;
        self.runtime.block_on(async {
            // Conn is content with one node; this one may still be starting.
            let mut client = loop {
                match GroupIntServiceClient::connect(logic.clone()).await {
                    Ok(client) => break client,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
            };
            client.create(request).await.unwrap().into_inner().group_id
        })
    }

    /// Kills a logic process as a power cut would, and starts it again.
    pub fn kill_logic(&self, node: usize) {
        let mut process = self.logic[node].lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        *process = self.spawn(node);
    }

    fn spawn(&self, node: usize) -> Child {
        let mut command = logic_command();
        let grpc = self.address(logic_port(node));
        let business = self.address(BUSINESS_GRPC);
        command
            .env("GIM_LOGIC_NODE", format!("logic-{node}"))
            .env("GIM_LOGIC_NODE_NUMBER", (node + 1).to_string())
            .env("GIM_LOGIC_DATA_DIR", self.data.path())
            .env("GIM_LOGIC_GRPC__LISTEN", grpc.to_string())
            .env("GIM_LOGIC_ADMIN__LISTEN", "")
            .env("GIM_LOGIC_BUSINESS__ENDPOINT", format!("http://{business}"))
            .env("GIM_LOGIC_LINK__LEASE_MS", "1000")
            .env("GIM_LOGIC_LOG__FILTER", "error")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    }

    fn start_conn(&mut self, nodes: usize) {
        let logic = (0..nodes).map(|node| Endpoint::new(&format!("http://{}", self.address(logic_port(node)))));
        let mut settings = ConnSettings { logic: logic.collect(), ..ConnSettings::default() };
        settings.tcp.listen = self.address(CONN_TCP).into();
        settings.websocket.listen = Endpoint::default();
        settings.grpc.listen = self.address(CONN_GRPC).into();
        settings.admin.listen = Endpoint::default();
        let conn = self.runtime.block_on(async {
            let conn = gim_conn::start(settings).await.unwrap();
            tokio::time::timeout(DEADLINE, conn.readiness().wait()).await.expect("logic is there within the deadline");
            conn
        });
        self.conn = Some(conn);
    }

    fn address(&self, port: u16) -> SocketAddr {
        format!("{}:{port}", self.host).parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for process in &self.logic {
            let mut process = process.lock().unwrap();
            process.kill().unwrap();
            process.wait().unwrap();
        }
        if let Some(conn) = self.conn.take()
            && !std::thread::panicking()
        {
            self.runtime.block_on(async { tokio::time::timeout(DEADLINE, conn.stop()).await }).unwrap();
        }
    }
}

fn logic_port(node: usize) -> u16 {
    LOGIC_GRPC + 100 * u16::try_from(node).unwrap()
}

fn on_servers() -> Vec<(String, String)> {
    let (redis, prefix) = testing::redis();
    let settings = [
        ("GIM_LOGIC_DATABASE__URL", testing::mysql_database()),
        ("GIM_LOGIC_SHARED_STATE__URL", redis),
        ("GIM_LOGIC_SHARED_STATE__KEY_PREFIX", prefix),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A logic process is this binary once more, told to run [`logic_process`] alone.
fn logic_command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "world::logic_process", "--ignored", "--nocapture"]);
    command
}

#[test]
#[ignore = "not a test: the logic process that the checker starts and kills"]
fn logic_process() {
    // However the checker ends, this ends with it.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    let settings: LogicSettings = gim_config::settings::load(None, std::env::vars()).unwrap();
    Runtime::new().unwrap().block_on(async {
        let mut logic = gim_logic::start(settings).await.unwrap();
        panic!("{}", logic.failed().await);
    });
}

/// A product's backend that knows everybody.
struct LetsAllIn;

#[async_trait]
impl UserIntService for LetsAllIn {
    async fn auth(&self, _: Request<AuthRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        Err(Status::unimplemented("only Auth here"))
    }

    async fn get_users(&self, _: Request<GetUsersRequest>) -> Result<Response<GetUsersReply>, Status> {
        Err(Status::unimplemented("only Auth here"))
    }
    async fn may_write(&self, _: Request<MayWriteRequest>) -> Result<Response<MayWriteReply>, Status> {
        Err(Status::unimplemented("only Auth here"))
    }

    async fn revoke_tokens(&self, _: Request<RevokeTokensRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("only Auth here"))
    }
}
