//! A gim in this process, which the program is run against, as an operator would.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use gim_business::{Business, BusinessSettings};
use gim_config::{grpc::GrpcSettings, listen::Endpoint, service::Running as _, testing::Proxy};
use gim_conn::{Conn, ConnSettings};
use gim_logic::{Logic, LogicSettings};
use gim_proto::{
    business::{SignInReply, SignInRequest, user_ext_service_client::UserExtServiceClient},
    client::Client,
    logic::{Device, DeviceType},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TOKEN: &str = "what-services-show-each-other";

/// The three services, each on a port of its own; the services speak with whoever shows [`TOKEN`].
pub struct Server {
    business: Option<Business>,
    logic: Option<Logic>,
    conn: Option<Conn>,
    /// Between conn and logic.
    wire: Option<Proxy>,
    ip: Ipv4Addr,
    pub folder: TempDir,
    pub runtime: Runtime,
}

/// What the program did.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Server {
    pub fn start() -> Self {
        Self::start_in(TempDir::new().unwrap())
    }

    /// With what an earlier one kept.
    pub fn start_in(folder: TempDir) -> Self {
        Self::start_with(folder, None)
    }

    /// And a conn that waits so long for clients that do not close.
    pub fn start_with(folder: TempDir, linger_ms: Option<u64>) -> Self {
        static SERVERS: AtomicU8 = AtomicU8::new(1);
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 1 + high.wrapping_add(middle) % 250, low, SERVERS.fetch_add(1, Ordering::Relaxed));
        let runtime = Runtime::new().unwrap();
        let server = Self { business: None, logic: None, conn: None, wire: None, ip, folder, runtime };
        server.up(linger_ms)
    }

    fn up(mut self, linger_ms: Option<u64>) -> Self {
        let at = |port: u16| Endpoint::from(SocketAddr::from((self.ip, port)));
        let http = |port: u16| Endpoint::new(&format!("http://{}", at(port)));
        let grpc = |port| GrpcSettings { listen: at(port), internal_token: TOKEN.into(), ..GrpcSettings::default() };
        let (mut business, mut logic, mut conn) =
            (BusinessSettings::default(), LogicSettings::default(), ConnSettings::default());
        self.folder.path().clone_into(&mut business.data_dir);
        (business.grpc, business.admin.listen, business.logic.endpoint) = (grpc(8020), at(8021), http(8010).into());
        self.folder.path().clone_into(&mut logic.data_dir);
        (logic.grpc, logic.admin.listen, logic.business.endpoint) = (grpc(8010), at(8011), http(8020).into());
        logic.clients.listen = Endpoint::default();
        (conn.grpc, conn.admin.listen) = (grpc(8000), at(8001));
        conn.session.linger_ms = linger_ms.unwrap_or(conn.session.linger_ms);
        (conn.tcp.listen, conn.websocket.listen) = (at(8002), Endpoint::default());
        self.runtime.block_on(async {
            self.business = Some(gim_business::start(business).await.unwrap());
            let logic = self.logic.insert(gim_logic::start(logic).await.unwrap());
            let mut to_logic = http(8010).to_string();
            self.wire = Some(Proxy::before(&mut to_logic).await);
            conn.logic = vec![Endpoint::new(&to_logic)];
            let conn = self.conn.insert(gim_conn::start(conn).await.unwrap());
            let ready = async {
                conn.readiness().wait().await;
                logic.readiness().wait().await;
            };
            tokio::time::timeout(DEADLINE, ready).await.expect("ready within the deadline");
        });
        self
    }

    /// What leads from conn to logic.
    pub fn wire(&self) -> &Proxy {
        self.wire.as_ref().unwrap()
    }

    /// As its process does.
    pub fn stop_conn_when_asked(&mut self) {
        let conn = self.conn.take().unwrap();
        self.runtime.spawn(async move {
            conn.asked_to_stop().await;
            conn.stop().await;
        });
    }

    /// Returns what it kept.
    pub fn stop(mut self) -> TempDir {
        std::mem::replace(&mut self.folder, TempDir::new().unwrap())
    }

    pub fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.ip)
    }

    /// The program with the token of the services, asking these.
    pub fn ctl(&self, arguments: &[&str]) -> Done {
        done(self.command(arguments).output().unwrap())
    }

    /// The same, which is not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ctl(arguments);
        command.env("GIM_CTL_LOGIC", format!("http://{}", self.address(8010)));
        command.env("GIM_CTL_BUSINESS", format!("http://{}", self.address(8020)));
        command.env("GIM_CTL_INTERNAL_TOKEN", TOKEN);
        command
    }

    /// The same with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let done = self.ctl(&[arguments, &["--json"]].concat());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{arguments:?}");
        serde_json::from_str(&done.out).unwrap()
    }

    pub fn sign_up(&self, phone_number: &str) -> SignInReply {
        let device = Some(Device { r#type: DeviceType::DtWeb as i32, ..Device::default() });
        let request = SignInRequest {
            phone_number: phone_number.into(),
            code: "123456".into(),
            device,
            ..SignInRequest::default()
        };
        let address = format!("http://{}", self.address(8020));
        self.runtime.block_on(async {
            let mut client = UserExtServiceClient::connect(address).await.unwrap();
            client.sign_in(request).await.unwrap().into_inner()
        })
    }

    /// A connection that is signed in.
    pub fn connect(&self, user: &SignInReply) -> Client {
        let mut client = Client::connect(self.address(8002).parse().unwrap(), DEADLINE).unwrap();
        assert_eq!(client.sign_in(user.user_id, user.device_id, &user.token).unwrap().code, 0);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (conn, logic, business) = (self.conn.take(), self.logic.take(), self.business.take());
        self.runtime.block_on(async {
            if let Some(conn) = conn {
                conn.stop().await;
            }
            if let Some(logic) = logic {
                logic.stop().await;
            }
            if let Some(business) = business {
                business.stop().await;
            }
        });
    }
}

/// The program, with nothing in its environment that speaks of gim.
pub fn ctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-ctl"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIM_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

pub fn done(output: Output) -> Done {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// The one sentence of a command that fails, and does nothing else.
pub fn refusal(done: &Done) -> String {
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{}", done.err);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    done.err.strip_prefix("gim-ctl: ").unwrap().trim_end().to_owned()
}
