//! The scenarios that measure, each in small against a whole server: they end well, and their results have the keys that
//! README.md and scripts rely on. And against what is no such server: one sentence, exit code 1.
//!
//! A binary of its own, for the reason that `smoke.rs` gives.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/server.rs"]
mod server;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use server::Server;

fn gim_bench(server: &Server, scenario: &str, options: &[&str]) -> Output {
    start(server, scenario, options).wait_with_output().unwrap()
}

fn start(server: &Server, scenario: &str, options: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-bench"));
    command.args(arguments(server, scenario, options));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Measures for a second, unless the options say otherwise.
fn arguments(server: &Server, scenario: &str, options: &[&str]) -> Vec<String> {
    let [_, (_, logic, _), (_, business, _)] = server.services();
    let (tcp, logic) = (server.tcp_address().to_string(), format!("http://{logic}"));
    let business = format!("http://{business}");
    let seconds: &[&str] = if options.contains(&"--seconds") { &[] } else { &["--seconds", "1"] };
    let clients = format!("http://{}", server.clients_address());
    let usual = ["--json", scenario, "--tcp", &tcp, "--logic", &logic, "--clients", &clients, "--business", &business];
    usual.iter().chain(seconds).chain(options).map(|&argument| argument.to_owned()).collect()
}

/// Connections that a listener of this machine has.
fn established(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { panic!("tests use version 4") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 3 && row[1] == local && row[3] == "01").count()
}

/// The result of a run that ended well, after a look at what every result has.
fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(result["passed"] == true && result["config"]["seconds"] == 1, "{result:#}");
    assert!(result["host"]["cores"].is_u64() && result["commit"].is_string(), "{result:#}");
    result
}

/// What every result of a scenario has to tell, beside `scenario`, `config`, `host` and `commit`: measures, which are above 0
/// here, and counts of what must not happen.
const KEYS: [(&str, &str, &str); 13] = [
    (
        "idle",
        "connections server_rss_bytes_per_connection server_own_bytes_per_connection kernel_bytes_per_connection server_cpu_cores \
         connects_per_second heartbeats",
        "",
    ),
    ("signin", "sign_ins_per_second p50_ms p99_ms client_cpu_us_per_operation", "failed"),
    ("call", "calls_per_second p50_ms p99_ms client_cpu_us_per_operation", ""),
    ("conversations", "p50_ms p99_ms bare_p50_ms bare_p99_ms ratio lists", ""),
    ("echo", "per_second p50_us p99_us p999_us baseline_per_second ratio p99_ratio client_cpu_us_per_operation", ""),
    (
        "room",
        "deliveries_per_second baseline_writes_per_second ratio p50_ms p99_ms client_cpu_us_per_operation",
        "lost reordered",
    ),
    ("send", SENDS, "lost duplicates reordered"),
    ("group", SENDS, "lost duplicates reordered"),
    ("sync", "messages_per_second baseline_rows_per_second ratio p99_ms client_cpu_us_per_operation", "lost reordered"),
    ("slow", "p99_ms_with p99_ms_without with_to_without stuck_behind achieved_per_second", "lost reordered"),
    (
        "fairness",
        "p50_ms_alone p50_ms_beside p99_ms_alone p99_ms_beside p99_ratio achieved_per_second aggressor_per_second",
        "lost duplicates reordered unanswered",
    ),
    (
        "restart",
        "connections offered_per_second achieved_per_second p50_ms p99_ms max_ms arrival_p99_ms",
        "away failed lost duplicates reordered unanswered",
    ),
    (
        "mixed",
        "connections server_rss_bytes_per_connection kernel_bytes_per_connection connects_per_second \
         sign_ins_per_second heartbeats_per_second p50_us p99_us p999_us deliveries_per_second room_p99_ms \
         sends_per_second inbox_rows_per_second p50_ms p99_ms offered_per_second achieved_per_second",
        "failed lost duplicates reordered",
    ),
];

const SENDS: &str =
    "sends_per_second inbox_rows_per_second baseline_rows_per_second ratio p50_ms p99_ms client_cpu_us_per_operation";

/// Measures that a run this small may find to be nothing.
const SMALL: [&str; 5] = [
    "server_rss_bytes_per_connection",
    "server_own_bytes_per_connection",
    "kernel_bytes_per_connection",
    "server_cpu_cores",
    "client_cpu_us_per_operation",
];

/// Runs a scenario in small, which has to end well and to have its keys.
fn measure(server: &Server, scenario: &str, options: &[&str]) -> Value {
    let result = result(&gim_bench(server, scenario, options));
    let (_, measures, faults) = KEYS.iter().find(|(name, ..)| *name == scenario).unwrap();
    for key in measures.split_whitespace() {
        let value = result[key].as_f64();
        assert!(value.is_some_and(|value| value > 0.0 || SMALL.contains(&key)), "{key}: {result:#}");
    }
    faults.split_whitespace().for_each(|key| assert_eq!(result[key], 0, "{key}: {result:#}"));
    result
}

#[test]
fn clients_of_a_dialect_are_measured_beside_those_of_today() {
    let server = Server::start_for_older_clients();
    for dialect in ["2025-08", "2024-01", "2020-12"] {
        for (transport, is_web_socket) in [("tcp", false), ("ws", true)] {
            let older = server.older_address(dialect, is_web_socket).to_string();
            let todays = format!("ws://{older}/ws");
            let options = ["--dialect", dialect, "--older", &older, "--transport", transport, "--ws", &todays];
            let few = ["--connections", "20", "--heartbeat", "1"];
            let idle = result(&gim_bench(&server, "idle", &[&options[..], &few].concat()));
            assert!(idle["connections"] == 20 && idle["config"]["dialect"] == dialect, "{idle:#}");
            assert!(idle["heartbeats"].as_u64().is_some_and(|beats| beats > 0), "{idle:#}");
        }
    }
    for dialect in ["2025-08", "2024-01"] {
        let older = server.older_address(dialect, false).to_string();
        let room = result(&gim_bench(&server, "room", &["--dialect", dialect, "--older", &older, "--members", "20"]));
        for key in ["deliveries_per_second", "todays_deliveries_per_second", "ratio", "p99_ms", "todays_p99_ms"] {
            assert!(room[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {room:#}");
        }
        assert!(room["lost"] == 0 && room["reordered"] == 0, "{room:#}");
    }
    let refused = gim_bench(&server, "room", &["--dialect", "2020-12"]);
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && problem.contains("there were no rooms then"), "{problem}");
}

#[test]
fn echo_has_its_keys() {
    measure(&Server::start(), "echo", &["--connections", "128"]);
}

#[test]
fn idle_has_its_keys() {
    measure(&Server::start(), "idle", &["--connections", "64", "--heartbeat", "1"]);
}

#[test]
fn room_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    measure(&server, "room", &["--members", "16", "--burst", "4"]);
    let on_time = measure(&server, "room", &["--members", "16", "--rate", "50", "--size", "5000"]);
    assert!(on_time["offered_per_second"] == 800.0 && on_time["achieved_per_second"].is_f64(), "{on_time:#}");
}

#[test]
fn signin_has_its_keys() {
    let server = Server::start();
    measure(&server, "signin", &["--devices", "32", "--in-flight", "8", "--sign-ins", "100"]);
    measure(&server, "signin", &["--devices", "32", "--in-flight", "8", "--connected"]);
}

#[test]
fn conversations_has_its_keys() {
    measure(&Server::start(), "conversations", &["--messages", "600", "--conversations", "60", "--limit", "20"]);
}

#[test]
fn call_has_its_keys() {
    let server = Server::start();
    measure(&server, "call", &["--callers", "8"]);
    measure(&server, "call", &["--callers", "8", "--method", "sync"]);
    let ways = [("friend-send", "connection"), ("sync", "connection"), ("friend-send", "json"), ("sync", "json")];
    for (method, way) in ways {
        let paired = measure(&server, "call", &["--callers", "8", "--method", method, "--via", way]);
        for key in ["grpc_per_second", "grpc_p99_ms", "ratio"] {
            assert!(paired[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {paired:#}");
        }
    }
}

#[test]
fn send_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    measure(&server, "send", &["--senders", "8"]);
    let on_time = result(&gim_bench(&server, "send", &["--senders", "8", "--rate", "50"]));
    assert!(on_time["offered_per_second"] == 50.0 && on_time["achieved_per_second"].is_f64(), "{on_time:#}");
    assert!(on_time["p99_ms"].is_f64() && on_time["lost"] == 0, "{on_time:#}");
    assert!(on_time["baseline_rows_per_second"].is_null(), "nothing else writes meanwhile: {on_time:#}");
}

#[test]
fn group_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    measure(&server, "group", &["--members", "10", "--senders", "4"]);
    let on_time = result(&gim_bench(&server, "group", &["--members", "10", "--senders", "4", "--rate", "20"]));
    assert!(on_time["p99_ms"].is_f64() && on_time["baseline_rows_per_second"].is_null(), "{on_time:#}");
}

#[test]
fn sync_has_its_keys_and_loses_nothing() {
    measure(&Server::start(), "sync", &["--users", "4", "--backlog", "120"]);
}

#[test]
fn mixed_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    for processes in ["1", "2"] {
        let result = measure(&server, "mixed", &[&MIXED_IN_SMALL[..], &["--processes", processes]].concat());
        assert!(result["connections"] == 60 && result["timeline"].is_array(), "{result:#}");
    }
}

#[test]
fn mixed_follows_a_drain_as_clients_do_and_loses_nothing() {
    let mut server = Server::start();
    let child = start(&server, "mixed", &[&MIXED_IN_SMALL[..], &["--seconds", "5"]].concat());
    let address = server.tcp_address();
    server::eventually("all clients are connected", || established(address) >= 60);
    server.restart_conn();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["sent_away"].as_f64().is_some_and(|sent_away| sent_away >= 60.0), "{result:#}");
    for fault in ["still_away", "failed", "lost", "duplicates", "reordered", "unanswered"] {
        assert_eq!(result[fault], 0, "{fault}: {result:#}");
    }
}

const MIXED_IN_SMALL: [&str; 8] = ["--connections", "60", "--chatting", "20", "--members", "10", "--heartbeat", "1"];

#[test]
fn restart_tells_who_was_away_and_loses_nothing() {
    let mut server = Server::start();
    let quiet = measure(&server, "restart", &[&RESTART_IN_SMALL[..], &["--locate"]].concat());
    assert!(quiet["left"] == 0 && quiet["sign_ins_per_second"].is_null(), "{quiet:#}");

    let folder = tempfile::tempdir().unwrap();
    let paths = ["asked", "done"].map(|name| folder.path().join(name));
    let [asked, mut done] = paths.each_ref().map(|path| pipe(path));
    let command = format!("echo now >{} && read -r _ <{}", paths[0].display(), paths[1].display());
    let child = start(&server, "restart", &[&RESTART_IN_SMALL[..], &["--command", &command]].concat());
    let child = await_line(asked, child);
    server.restart();
    done.write_all(b"restarted\n").unwrap();
    let result = result(&child.wait_with_output().unwrap());
    assert!(result["left"].as_u64().is_some_and(|left| left >= 20) && result["gap_returns"].is_number(), "{result:#}");
    assert!(result["command_seconds"].is_number() && result["unanswered"] == 0, "{result:#}");
}

/// A named pipe, open both ways: neither opening it nor writing to it waits for somebody at the other end.
fn pipe(path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    File::options().read(true).write(true).open(path).unwrap()
}

/// Waits until a child writes a line to a pipe; fails where it ends before, or takes too long.
fn await_line(pipe: File, mut child: Child) -> Child {
    let (teller, line) = mpsc::channel();
    thread::spawn(move || teller.send(BufReader::new(pipe).read_line(&mut String::new()).is_ok()));
    let deadline = Instant::now() + server::DEADLINE;
    while line.recv_timeout(LOOK_INTERVAL).is_err() {
        let has_ended = child.try_wait().unwrap().is_some();
        if has_ended || Instant::now() > deadline {
            // One that has ended by itself is gone already.
            let _ended = child.kill();
            panic!("no line came (it ended by itself: {has_ended}): {:?}", child.wait_with_output());
        }
    }
    child
}

/// Between two looks at a child.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const RESTART_IN_SMALL: [&str; 6] = ["--connections", "20", "--chatting", "10", "--chat-rate", "50"];

#[test]
fn slow_has_its_keys_and_costs_the_others_nothing() {
    let result = measure(&Server::start(), "slow", &["--members", "8", "--stuck", "2"]);
    assert!(result["stuck_closed"].is_u64(), "{result:#}");
}

#[test]
fn fairness_has_its_keys_and_refuses_no_victim() {
    let server = Server::start();
    for aggression in ["groups", "reads", "calls", "connection-calls", "flood", "strangers-flood", "connections", "all"]
    {
        let result = measure(&server, "fairness", &[&FAIRNESS_IN_SMALL[..], &["--aggression", aggression]].concat());
        assert!(result["aggressor_refused"].is_u64() && result["aggressor_closed"].is_u64(), "{result:#}");
    }
}

const FAIRNESS_IN_SMALL: [&str; 10] =
    ["--victims", "10", "--rate", "100", "--connections", "8", "--members", "20", "--under-way", "4"];

#[test]
fn processes_share_a_run_and_their_counts_add_up() {
    let server = Server::start();
    let run = |scenario, options: &[&str]| measure(&server, scenario, &[options, &["--processes", "3"]].concat());
    let idle = run("idle", &["--connections", "50", "--heartbeat", "1"]);
    assert_eq!(idle["connections"], 50);
    assert!(idle["timeline"].as_array().unwrap().iter().any(|moment| moment["connections"] == 50), "{idle:#}");
    let send = run("send", &["--senders", "10"]);
    assert!(send["latency_curves_ms"]["durable"].as_array().unwrap().len() > 3, "{send:#}");
    let on_time = ["--senders", "10", "--rate", "60", "--processes", "3"];
    let on_time = result(&gim_bench(&server, "send", &on_time));
    assert!(on_time["offered_per_second"] == 60.0 && on_time["unanswered"] == 0, "{on_time:#}");
    let room = run("room", &["--members", "9"]);
    assert!(room["messages"].as_u64().unwrap() >= 3, "{room:#}");
}

/// The one sentence of a run that ended with exit code 1; notes about the machine and lines of progress may stand beside it.
#[track_caller]
fn sentence(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let sentences = text.lines().filter_map(|line| line.strip_prefix("gim-bench: "));
    let errors: Vec<_> = sentences.filter(|line| !line.starts_with("note: ")).collect();
    assert!(errors.len() == 1 && !text.contains("panicked"), "{text}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["passed"] == false && result["error"] == errors[0], "{result:#}");
    errors[0].to_owned()
}

#[test]
fn a_server_that_ends_in_mid_run_is_told_with_what_was_measured() {
    for (scenario, options, clients) in [
        ("idle", &["--connections", "10", "--hold", "60"][..], 10),
        ("idle", &["--connections", "10", "--hold", "60", "--processes", "2"], 10),
        ("signin", &["--devices", "20", "--in-flight", "5"], 1),
        ("signin", &["--devices", "20", "--in-flight", "5", "--connected"], 1),
        ("echo", &["--connections", "10"], 10),
        ("room", &["--members", "10"], 10),
        ("send", &["--senders", "10"], 10),
        ("send", &["--senders", "10", "--rate", "100"], 10),
        ("group", &["--members", "10", "--senders", "4"], 10),
        ("sync", &["--users", "4", "--backlog", "60"], 4),
        ("slow", &["--members", "8", "--stuck", "2"], 8),
        ("fairness", &FAIRNESS_IN_SMALL, 18),
        ("mixed", &MIXED_IN_SMALL, 60),
        ("mixed", &[&MIXED_IN_SMALL[..], &["--processes", "2"]].concat(), 60),
    ] {
        let server = Server::start();
        let child = start(&server, scenario, &[options, &["--seconds", "60"]].concat());
        let address = server.tcp_address();
        server::eventually("all clients are connected", || established(address) >= clients);
        drop(server);
        let output = child.wait_with_output().unwrap();
        let told = sentence(&output);
        assert!(!told.is_empty(), "{scenario}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["lost"].is_null(), "what was under way is not lost: {result:#}");
        if scenario == "idle" {
            assert!(result["connections"].is_u64(), "{result:#}");
            assert!(result["server_rss_bytes_per_connection"].is_null(), "nothing was measured of it: {result:#}");
        }
    }
}

#[test]
fn sign_ins_that_are_refused_are_told_at_once() {
    let server = Server::start();
    for (scenario, options) in [
        ("signin", &["--devices", "20", "--in-flight", "5"][..]),
        ("signin", &["--devices", "20", "--in-flight", "5", "--connected"]),
        ("echo", &["--connections", "10"]),
        ("idle", &["--connections", "10", "--processes", "2"]),
    ] {
        // Nobody here lets users in that are made up.
        let told = sentence(&gim_bench(&server, scenario, &[options, &["--token", "backend"]].concat()));
        assert!(told.starts_with("a sign-in was refused with code "), "{scenario}: {told}");
    }
}

#[test]
fn a_file_limit_that_is_too_low_is_one_sentence() {
    let server = Server::start();
    for (files, told) in [
        (40, "gim-bench needs a file limit of 100, and that of a process is 40 here"),
        (150, "64 connections need a file limit of 164, and that of a process is 150 here"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_gim-bench")]);
        command.args(arguments(&server, "idle", &["--connections", "64"]));
        let output = command.output().unwrap();
        assert!(sentence(&output).starts_with(told), "{}", sentence(&output));
    }
}

#[test]
fn what_cannot_be_done_is_one_sentence_and_exit_code_1() {
    let server = Server::start();
    for (scenario, options, told) in [
        ("idle", &["--connections", "9999999"][..], "9999999 connections need a file limit of 10000099"),
        ("idle", &["--server-pid", "4194304"], "there is no process 4194304"),
        ("signin", &["--devices", "1"], "--in-flight 128 sign-ins need as many --devices, which are 1"),
        ("signin", &["--connected", "--processes", "2"], "--connected counts the time of sign-ins alone"),
        ("echo", &["--code", "wrong"], "business.UserExtService/SignIn was refused with code 10300"),
        ("send", &["--senders", "3"], "--senders must be even"),
        (
            "send",
            &["--database", "postgres://127.0.0.1"],
            "cannot make a database to compare with: --database postgres",
        ),
        (
            "send",
            &["--database", "mysql://root@127.0.0.99:1"],
            "cannot make a database to compare with: --database mysql",
        ),
        ("room", &["--rate", "0"], "--rate must be from 0.001 to 1000000 per second"),
        ("room", &["--rate", "-5"], "--rate must be from"),
        ("room", &["--rate", "nan"], "--rate must be from"),
        ("send", &["--rate", "1e-300"], "--rate must be from"),
        ("mixed", &["--reconnects", "0"], "--reconnects must be from"),
        ("files", &["--transport", "ws"], "--transport ws: nobody connects so in this scenario"),
        ("conversations", &["--transport", "ws"], "--transport ws: nobody connects so in this scenario"),
        ("restart", &["--chatting", "3"], "--chatting must be even, as they write in pairs"),
        ("restart", &["--processes", "2"], "--processes: all people are in one"),
        (
            "restart",
            &["--connections", "20", "--command", "exit 3"],
            "--chatting 200 people need as many --connections",
        ),
        (
            "restart",
            &[&RESTART_IN_SMALL[..], &["--command", "exit 3"]].concat(),
            "--command did not end well: exit status: 3",
        ),
        ("room", &["--members", "1", "--processes", "2"], "--processes 2 need as many --members, which are 1"),
        (
            "send",
            &["--senders", "2", "--processes", "2", "--rate", "9"],
            "--processes 2 need as many pairs of --senders",
        ),
        ("group", &["--processes", "2"], "--processes 2 need as many --groups, which are 1"),
        ("group", &["--members", "9000", "--senders", "9000"], "--members 9000 who look out for --senders 9000"),
        ("slow", &["--stuck", "1", "--processes", "2"], "--processes 2 need as many --stuck, which are 1"),
        ("fairness", &["--victims", "3"], "--victims must be even, as they write in pairs"),
        ("sync", &["--users", "99999", "--backlog", "999999"], "--users 99999 with a --backlog of 999999 are"),
        ("mixed", &["--connections", "401", "--processes", "2"], "--processes 2 need as many --connections of others"),
        ("idle", &["--servers", "2"], "--servers starts conn nodes of its own: --tcp and --ws name others"),
        ("idle", &["--connections", "0"], "invalid value '0' for '--connections <N>': 0 is not in 1..=10000000"),
        ("idle", &["--connections", "-5"], "invalid value '-5' for '--connections <N>': -5 is not in 1..=10000000"),
        ("idle", &["--heartbeat", "99999999999"], "invalid value '99999999999' for '--heartbeat <N>'"),
        ("idle", &["--servers", "2", "--server-pid", "1"], "the argument '--servers <N>' cannot be used with"),
        ("idle", &["--transport", "pigeon"], "invalid value 'pigeon' for '--transport <TRANSPORT>' [possible values: "),
    ] {
        let output = gim_bench(&server, scenario, options);
        assert!(sentence(&output).starts_with(told), "{}", sentence(&output));
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_one_sentence_for_every_scenario() {
    for (scenario, ..) in KEYS {
        // One user cannot be shared between processes, nor is what all together notice.
        let processes: &[&str] = if ["conversations", "restart"].contains(&scenario) { &["1"] } else { &["1", "2"] };
        for processes in processes {
            let mut command = Command::new(env!("CARGO_BIN_EXE_gim-bench"));
            command.args(["--json", scenario, "--tcp", "127.0.0.99:1", "--processes", processes]);
            command.args(["--logic", "http://127.0.0.99:1", "--business", "http://127.0.0.99:1"]);
            if scenario == "group" {
                command.args(["--groups", "2"]);
            }
            let told = sentence(&command.output().unwrap());
            assert_eq!(told, "cannot reach logic at http://127.0.0.99:1: Connection refused (os error 111)");
        }
    }
}
