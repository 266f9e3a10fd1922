//! Conn nodes of a run's own: `--servers N` starts so many gim-conn processes beside this binary, each on a loopback address
//! of its own with the usual ports, attached to the logic that the run is pointed at. They end with the run, also when it is
//! killed: setpriv has the kernel tell them.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};

use crate::host::Process;

/// Longest wait for all of them.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two questions whether a node is ready.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

const TCP_PORT: u16 = 8002;
const WEBSOCKET_PORT: u16 = 8003;
const GRPC_PORT: u16 = 8000;
const ADMIN_PORT: u16 = 8001;

/// The nodes.
#[derive(Debug)]
pub struct Servers(Vec<Node>);

#[derive(Debug)]
struct Node {
    child: Child,
    host: String,
}

impl Servers {
    /// Starts `count` nodes and waits until they are ready.
    pub fn start(count: usize, logic: &str, internal_token: &str) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find gim-bench itself")?.with_file_name("gim-conn");
        ensure!(program.exists(), "--servers starts {}, which does not exist: build it first", program.display());
        let start = |number: usize| {
            // Beside other runs on this machine.
            let process = std::process::id() as usize;
            let host = format!("127.{}.{}.{}", 100 + process % 100, number / 250, 1 + number % 250);
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]).arg(&program);
            command
                .env("GIM_CONN_NODE", format!("bench-{process}-{number}"))
                .env("GIM_CONN_LOGIC", format!("[{logic:?}]"));
            for (variable, port) in
                [("TCP", TCP_PORT), ("WEBSOCKET", WEBSOCKET_PORT), ("GRPC", GRPC_PORT), ("ADMIN", ADMIN_PORT)]
            {
                command.env(format!("GIM_CONN_{variable}__LISTEN"), format!("{host}:{port}"));
            }
            // The cores of one machine, shared by many nodes.
            let cores = thread::available_parallelism().map_or(1, usize::from);
            command.env("GIM_CONN_REACTORS", (cores / count).max(1).to_string());
            command.env("GIM_CONN_GRPC__INTERNAL_TOKEN", internal_token).env("GIM_CONN_LOG__FILTER", "error");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
            Ok(Node { child, host })
        };
        let mut servers = Self((0..count).map(start).collect::<anyhow::Result<_>>()?);
        let deadline = Instant::now() + READY_TIMEOUT;
        servers.0.iter_mut().try_for_each(|node| node.await_ready(deadline))?;
        Ok(servers)
    }

    /// Where clients connect, as options of a client process.
    pub fn options(&self) -> Vec<String> {
        let hosts: Vec<_> = self.0.iter().map(|node| node.host.as_str()).collect();
        options(&hosts)
    }

    /// The processes.
    pub fn processes(&self) -> anyhow::Result<Vec<Process>> {
        self.0.iter().map(|node| Process::with_id(node.child.id())).collect()
    }
}

fn options(hosts: &[&str]) -> Vec<String> {
    let all = |name: fn(&str) -> String| hosts.iter().map(|host| name(host)).collect::<Vec<_>>().join(",");
    let tcp = all(|host| format!("{host}:{TCP_PORT}"));
    let ws = all(|host| format!("ws://{host}:{WEBSOCKET_PORT}/ws"));
    ["--tcp".to_owned(), tcp, "--ws".to_owned(), ws].into()
}

impl Node {
    fn await_ready(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let admin: SocketAddr = format!("{}:{ADMIN_PORT}", self.host).parse().context("no address")?;
        while !is_ready(admin) {
            if let Some(status) = self.child.try_wait().context("cannot watch a conn node")? {
                return Err(anyhow!("a conn node ended before it was ready ({status})"));
            }
            ensure!(Instant::now() < deadline, "a conn node was not ready within {READY_TIMEOUT:?}");
            thread::sleep(ASK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It is gone already where either fails.
        let _is_gone = self.child.kill().and_then(|()| self.child.wait()).is_err();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&admin, ASK_INTERVAL) else { return false };
    let mut answer = String::new();
    let asked =
        stream.set_read_timeout(Some(READY_TIMEOUT)).and_then(|()| stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n"));
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains(" 200 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_these_nodes_whatever_they_speak() {
        let told = options(&["127.101.0.1", "127.101.0.2"]);
        let ws = "ws://127.101.0.1:8003/ws,ws://127.101.0.2:8003/ws";
        assert_eq!(told, ["--tcp", "127.101.0.1:8002,127.101.0.2:8002", "--ws", ws]);
    }
}
