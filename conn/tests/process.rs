//! A node as a process: it runs out of file descriptors (REGRESSIONS 7), clients come and go (11), nobody reads its log, it is
//! asked to stop, once or twice.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use gim_config::{
    admin_page,
    reload_requests::{self, ReloadOutcome},
    testing::Authority,
};
use gim_proto::{
    CloseReason,
    client::{Client, ClientError},
    connect::PacketCommand,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running node, without a logic.
struct Node {
    child: Child,
    address: SocketAddr,
    log: std::io::Lines<BufReader<ChildStderr>>,
    /// What it said before it was ready.
    early: Vec<String>,
}

impl Node {
    fn start(files_max: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_with(files_max, settings, &[])
    }

    fn start_with(files_max: usize, settings: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {files_max}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_gim-conn")]).args(arguments).stderr(Stdio::piped());
        let own = [
            ("TCP__LISTEN", "127.0.0.1:0"),
            ("WEBSOCKET__LISTEN", "127.0.0.1:0"),
            ("GRPC__LISTEN", "127.0.0.1:0"),
            ("ADMIN__LISTEN", ""),
            ("LOGIC", "[\"http://127.0.0.1:9\"]"),
            ("REACTORS", "1"),
            ("SESSION__SIGN_IN_TIMEOUT_MS", "60000"),
        ];
        for (name, value) in own.iter().chain(settings) {
            command.env(format!("GIM_CONN_{name}"), value);
        }
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut early = Vec::new();
        let ready = loop {
            let line = log.next().expect("it ended before it was ready").unwrap();
            if line.contains("clients on tcp ") {
                break line;
            }
            early.push(line);
        };
        let after = ready.split("clients on tcp ").nth(1).unwrap();
        let address = after.split(',').next().unwrap().parse().unwrap();
        Self { child, address, log, early }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address, PATIENCE).unwrap()
    }

    fn await_log(&mut self, words: &str) {
        if !self.early.iter().any(|line| line.contains(words)) {
            find(&mut self.log, words);
        }
    }

    /// Memory that it occupies.
    fn resident_bytes(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    fn terminate(&self) {
        self.signal("TERM");
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }
}

fn find(log: &mut std::io::Lines<BufReader<ChildStderr>>, words: &str) -> String {
    log.map(Result::unwrap).find(|line| line.contains(words)).unwrap_or_else(|| panic!("it ended before: {words}"))
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().expect("the node is ours to end");
        self.child.wait().expect("it has ended");
    }
}

#[test]
fn running_out_of_files_never_ends_accepting() {
    let node = Node::start(64, &[("LIMITS__FILES_RESERVED", "0")]);
    // 64 files are not enough for 80 clients: of those who have not signed in, who came first gives way.
    let mut clients: Vec<Client> = (0..80).map(|_| node.connect()).collect();
    for client in &mut clients.split_off(70) {
        let reply = client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap();
        assert_eq!(reply.code, 10000, "accepted without another connect to remind it");
    }
}

#[test]
fn files_are_kept_in_reserve_for_everything_but_connections() {
    let node = Node::start(64, &[("LIMITS__FILES_RESERVED", "54")]);
    let mut held: Vec<Client> = (0..10).map(|_| node.connect()).collect();
    for client in &mut held {
        assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
    }
    let mut next = node.connect();
    assert_eq!(next.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
    let ended = held.remove(0).receive().unwrap_err();
    let ClientError::Closed(Some(notice)) = ended else { panic!("{ended}") };
    assert_eq!(notice.reason(), CloseReason::CrServerOverloaded);
}

#[test]
fn a_logic_that_cannot_be_attached_to_is_one_line_in_the_log() {
    let often =
        [("LINK__RECONNECT_FIRST_MS", "1"), ("LINK__RECONNECT_MAX_MS", "1"), ("LOG__FILTER", "info,gim_conn=debug")];
    let mut node = Node::start(256, &often);
    node.await_log("cannot attach; tried again and again");
    for _ in 0..20 {
        let line = find(&mut node.log, "cannot attach");
        assert!(line.contains("still cannot attach") && line.contains("DEBUG"), "{line}");
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_client() {
    const PIPE_BYTES: usize = 64 * 1024;
    const LINE_BYTES_MIN: usize = 64;
    let node = Node::start(256, &[("LOG__FILTER", "debug")]);
    // Each end is a line, and nobody takes them out of the pipe.
    churn(node.address, 2 * PIPE_BYTES / LINE_BYTES_MIN);
    assert_eq!(node.connect().request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
}

#[test]
fn lines_that_nobody_reads_are_counted_where_metrics_are() {
    let process = std::process::id();
    let admin = format!("127.1.{}.{}:8001", process / 250 % 250, 1 + process % 250);
    let _node = Node::start(
        256,
        &[
            ("ADMIN__LISTEN", &admin),
            ("LOG__FILTER", "trace"),
            // Attempts that fail are many lines of that level.
            ("LINK__RECONNECT_FIRST_MS", "1"),
            ("LINK__RECONNECT_MAX_MS", "1"),
        ],
    );
    let deadline = Instant::now() + PATIENCE;
    while dropped_lines(&admin) == 0 {
        assert!(Instant::now() < deadline, "nothing was dropped, or it was not counted");
    }
}

fn dropped_lines(admin: &str) -> u64 {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let count = page.lines().find_map(|line| line.strip_prefix("log_lines_dropped_total "));
    count.expect("it is always told").parse().unwrap()
}

#[test]
fn signals_that_mean_nothing_to_it_do_not_end_it() {
    let node = Node::start(256, &[]);
    let mut client = node.connect();
    for signal in ["USR1", "USR2", "ALRM", "HUP", "PIPE"] {
        node.signal(signal);
        assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000, "{signal}");
    }
}

#[test]
fn a_hangup_applies_the_log_filter_and_names_what_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conn.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[log]\nfilter = \"info\"\n");
    let often = [("LINK__RECONNECT_FIRST_MS", "1"), ("LINK__RECONNECT_MAX_MS", "1")];
    let mut node = Node::start_with(256, &often, &["--config", file.to_str().unwrap()]);
    node.await_log("cannot attach; tried again and again");
    write("node = \"conn-2\"\n[log]\nfilter = \"info,gim_conn=debug\"\n");
    node.signal("HUP");
    let line = find(&mut node.log, "the settings were read again");
    assert!(line.contains("applied=\"log.filter\""), "{line}");
    let line = find(&mut node.log, "changes of these settings need a restart");
    assert!(line.contains("settings=\"node\""), "{line}");
    find(&mut node.log, "still cannot attach");
    write("[log]\nfilter = \"warning\"\n");
    node.signal("HUP");
    let line = find(&mut node.log, "this stays as it was");
    assert!(line.contains("log.filter: `warning` is no level"), "{line}");
    find(&mut node.log, "still cannot attach");
}

#[test]
fn what_others_renew_is_read_again_by_itself() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let files = format!("[{{ certificate = {certificate:?}, key = {key:?} }}]");
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin_listen = admin.to_string();
    let settings = [
        ("TLS__LISTEN", "127.0.0.1:0"),
        ("TLS__WEBSOCKET_LISTEN", "127.0.0.1:0"),
        ("TLS__CERTIFICATES", &*files),
        ("ADMIN__LISTEN", &*admin_listen),
        ("ADMIN__FILES_INTERVAL_MS", "5"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conn.toml");
    let token = folder.path().join("token");
    std::fs::write(&token, "a-secret-of-sixteen-and-more").unwrap();
    let with_token = format!("[grpc]\ninternal_token_file = {token:?}\n");
    std::fs::write(&file, &with_token).unwrap();
    let mut node = Node::start_with(256, &settings, &["--config", file.to_str().unwrap()]);
    authority.issue();
    find(&mut node.log, "the certificates were read again");
    std::fs::write(&file, with_token + "[log]\nslow_ms = 7\n").unwrap();
    find(&mut node.log, "applied=\"log.slow_ms\"");
    std::fs::write(&token, "another-secret-of-sixteen-and-more").unwrap();
    find(&mut node.log, "applied=\"grpc.internal_token\"");
    std::fs::write(&token, "").unwrap();
    let line = find(&mut node.log, "this stays as it was");
    assert!(line.contains("grpc.internal_token_file: ") && line.contains(" is empty"), "{line}");
    // It is tried again at every look, of which the log says nothing.
    let looks = || {
        admin_page::get(admin, "/metrics")
            .unwrap()
            .1
            .split("gim_reloads_total{result=\"refused\"} ")
            .nth(1)
            .map_or(0, |rest| rest.lines().next().unwrap().parse::<u64>().unwrap())
    };
    let deadline = Instant::now() + PATIENCE;
    while looks() < 20 {
        assert!(Instant::now() < deadline, "it is never tried again");
    }
    let new = folder.path().join("new");
    std::fs::write(&new, "a-third-secret-of-sixteen-and-more").unwrap();
    std::fs::rename(&new, &token).unwrap();
    let silent =
        node.log.by_ref().map(Result::unwrap).take_while(|line| !line.contains("applied=\"grpc.internal_token\""));
    let said = silent.filter(|line| line.contains("reload") || line.contains("read again")).count();
    // A change that is seen in two parts is a line more.
    assert!(said < 10, "{said} lines of 20 looks");
    std::fs::write(key, "no key").unwrap();
    let line = find(&mut node.log, "this stays as it was");
    assert!(line.contains("tls.certificates: "), "{line}");
    // Nothing is said to be done before something is.
    let changed = folder.path().join("changed");
    std::fs::write(&changed, format!("[grpc]\ninternal_token_file = {token:?}\n[log]\nslow_ms = 8\n")).unwrap();
    std::fs::rename(&changed, &file).unwrap();
    let line = find(&mut node.log, "the settings were read again");
    assert!(line.contains("applied=\"log.slow_ms\""), "{line}");
}

#[test]
fn whoever_asks_for_a_reload_on_this_host_is_told_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conn.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("");
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let own = [("ADMIN__LISTEN", &*admin.to_string())];
    let _node = Node::start_with(256, &own, &["--config", file.to_str().unwrap()]);
    let ask = |header: &str| admin_page::post(admin, "/reload", header).unwrap();
    let outcome = || {
        let (status, told) = ask(reload_requests::HEADER);
        assert_eq!(status, 200, "{told}");
        serde_json::from_str::<ReloadOutcome>(&told).unwrap()
    };
    assert_eq!(outcome(), ReloadOutcome::default());
    write("node = \"conn-2\"\n[session]\npackets_per_s = 7\n");
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (applied, waiting) = (names(&["session.packets_per_s"]), names(&["node"]));
    assert_eq!(outcome(), ReloadOutcome { applied, waiting: waiting.clone(), problem: None });
    assert_eq!(outcome(), ReloadOutcome { waiting, ..ReloadOutcome::default() }, "what was applied holds");
    write("[session]\npackets_burst = 0\n");
    let refused = outcome();
    assert!(refused.problem.as_ref().unwrap().contains("session.packets_burst: must be at least 1"), "{refused:?}");
    assert!(refused.applied.is_empty() && refused.waiting.is_empty(), "{refused:?}");
    assert_eq!(ask("referer").0, 403, "as a page of a browser would ask");
    let (_, metrics) = admin_page::get(admin, "/metrics").unwrap();
    for line in ["gim_reloads_total{result=\"ok\"} 3", "gim_reloads_total{result=\"refused\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut node = Node::start(256, &[("SESSION__LINGER_MS", "60000")]);
    let mut client = node.connect();
    assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
    node.terminate();
    let goodbye = client.receive().unwrap_err();
    let ClientError::Closed(Some(notice)) = goodbye else { panic!("{goodbye}") };
    assert_eq!(notice.reason(), CloseReason::CrServerDraining);
    assert!(node.child.try_wait().unwrap().is_none(), "it waits for the client, which does not close");
    node.terminate();
    node.await_log("stopped at once");
    assert_eq!(node.child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_node_that_drains_says_so_to_whoever_asks_whether_it_is_ready() {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::start(256, &[("SESSION__LINGER_MS", "60000"), ("ADMIN__LISTEN", &admin.to_string())]);
    let mut client = node.connect();
    assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
    let ready = || admin_page::get(admin, "/readyz").unwrap();
    assert_eq!(ready(), (503, "waiting for: link to logic\n".to_owned()));
    node.terminate();
    let ClientError::Closed(Some(notice)) = client.receive().unwrap_err() else { panic!("it says goodbye") };
    assert_eq!(notice.reason(), CloseReason::CrServerDraining);
    assert_eq!(ready(), (503, "stopping\n".to_owned()));
    assert_eq!(
        admin_page::get(admin, "/healthz").unwrap().0,
        200,
        "whoever restarts what does not live leaves it alone"
    );
}

#[test]
fn a_signal_drains_the_node_which_then_ends_with_exit_code_0() {
    let mut node = Node::start(256, &[]);
    let mut client = node.connect();
    assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
    node.terminate();
    let ClientError::Closed(Some(notice)) = client.receive().unwrap_err() else { panic!("it says goodbye") };
    assert_eq!(notice.reason(), CloseReason::CrServerDraining);
    drop(client);
    node.await_log("stopped");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

/// Connects, says something, reads the answer and is gone, again and again. `GIM_CHURN=1000000` for as many as one likes.
#[test]
fn connects_and_disconnects_leave_memory_where_it_was() {
    const WARM_UP: usize = 4_000;
    const GROWTH_BYTES_MAX: usize = 512 * 1024;
    let count = std::env::var("GIM_CHURN").map_or(20_000, |count| count.parse().expect("a number"));
    let node = Node::start(1024, &[]);
    churn(node.address, WARM_UP);
    let before = node.resident_bytes();
    churn(node.address, count);
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes more after {count} connects");
}

fn churn(address: SocketAddr, count: usize) {
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..count / THREADS {
                    let mut client = Client::connect(address, PATIENCE).unwrap();
                    assert_eq!(client.request(PacketCommand::PcHeartbeat as i32, Vec::new()).unwrap().code, 10000);
                    // Without this, each would keep its port for a minute.
                    socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
        }
    });
}
