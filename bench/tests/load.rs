//! The scenarios that measure, each in small against a whole server: they end well, and their results have the keys that
//! README.md and scripts rely on. And against what is no such server: one sentence, exit code 1.
//!
//! A binary of its own, for the reason that `smoke.rs` gives.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/server.rs"]
mod server;

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use server::Server;

fn gim_bench(server: &Server, scenario: &str, options: &[&str]) -> Output {
    start(server, scenario, options).wait_with_output().unwrap()
}

fn start(server: &Server, scenario: &str, options: &[&str]) -> Child {
    let [_, (_, logic, _), (_, business, _)] = server.services();
    let (tcp, logic) = (server.tcp_address().to_string(), format!("http://{logic}"));
    let business = format!("http://{business}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-bench"));
    command.args(["--json", scenario, "--tcp", &tcp, "--logic", &logic, "--business", &business]);
    command.args(["--seconds", "1"]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
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

#[track_caller]
fn assert_positive(result: &Value, keys: &[&str]) {
    for key in keys {
        assert!(result[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {result:#}");
    }
}

#[test]
fn echo_has_its_keys() {
    let result = result(&gim_bench(&Server::start(), "echo", &["--connections", "128"]));
    let keys = ["per_second", "p50_us", "p99_us", "p999_us", "baseline_per_second", "ratio", "p99_ratio"];
    assert_positive(&result, &keys);
}

#[test]
fn idle_has_its_keys() {
    let result = result(&gim_bench(&Server::start(), "idle", &["--connections", "64", "--heartbeat", "1"]));
    assert_positive(&result, &["connections", "connects_per_second", "heartbeats"]);
    for key in ["server_rss_bytes_per_connection", "kernel_bytes_per_connection", "server_cpu_cores"] {
        assert!(result[key].is_f64(), "{key}: {result:#}");
    }
}

#[test]
fn room_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    for options in [&["--burst", "4"][..], &["--rate", "50", "--size", "5000"]] {
        let result = result(&gim_bench(&server, "room", &[&["--members", "16"], options].concat()));
        assert_positive(&result, &["deliveries_per_second", "baseline_writes_per_second", "ratio", "p50_ms", "p99_ms"]);
        assert_eq!((&result["lost"], &result["reordered"]), (&0.into(), &0.into()));
    }
}

#[test]
fn signin_has_its_keys() {
    let result =
        result(&gim_bench(&Server::start(), "signin", &["--devices", "32", "--in-flight", "8", "--sign-ins", "100"]));
    assert_positive(&result, &["sign_ins_per_second", "p50_ms", "p99_ms"]);
    assert_eq!(result["failed"], 0);
}

#[test]
fn send_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    for options in [&[][..], &["--rate", "50"]] {
        let result = result(&gim_bench(&server, "send", &[&["--senders", "8"], options].concat()));
        let keys =
            ["sends_per_second", "inbox_rows_per_second", "baseline_rows_per_second", "ratio", "p50_ms", "p99_ms"];
        assert_positive(&result, &keys);
        assert!(["lost", "duplicates", "reordered"].iter().all(|key| result[key] == 0), "{result:#}");
    }
}

#[test]
fn group_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    for options in [&[][..], &["--rate", "20"]] {
        let result = result(&gim_bench(&server, "group", &[&["--members", "10", "--senders", "4"], options].concat()));
        let keys =
            ["sends_per_second", "inbox_rows_per_second", "baseline_rows_per_second", "ratio", "p50_ms", "p99_ms"];
        assert_positive(&result, &keys);
        assert!(["lost", "duplicates", "reordered"].iter().all(|key| result[key] == 0), "{result:#}");
    }
}

#[test]
fn sync_has_its_keys_and_loses_nothing() {
    let result = result(&gim_bench(&Server::start(), "sync", &["--users", "4", "--backlog", "120"]));
    let keys = ["messages_per_second", "baseline_rows_per_second", "ratio", "p99_ms", "whole_p50_ms"];
    assert_positive(&result, &keys);
    assert!(result["lost"] == 0 && result["reordered"] == 0, "{result:#}");
}

#[test]
fn mixed_has_its_keys_and_loses_nothing() {
    let server = Server::start();
    for processes in ["1", "2"] {
        let few = [
            "--connections",
            "60",
            "--chatting",
            "20",
            "--members",
            "10",
            "--heartbeat",
            "1",
            "--processes",
            processes,
        ];
        let result = result(&gim_bench(&server, "mixed", &few));
        let keys = ["heartbeats_per_second", "heartbeat_p99_us", "sign_ins_per_second", "deliveries_per_second"];
        assert_positive(&result, &[&keys[..], &["sends_per_second", "p99_ms", "room_p99_ms"]].concat());
        assert!(["lost", "duplicates", "reordered"].iter().all(|key| result[key] == 0), "{result:#}");
        assert!(result["connections"] == 60 && result["timeline"].is_array(), "{result:#}");
    }
}

#[test]
fn slow_has_its_keys_and_costs_the_others_nothing() {
    let result = result(&gim_bench(&Server::start(), "slow", &["--members", "8", "--stuck", "2"]));
    assert_positive(&result, &["p99_ms_with", "p99_ms_without", "with_to_without", "stuck_behind"]);
    assert!(result["stuck_closed"].is_u64() && result["lost"] == 0, "{result:#}");
}

#[test]
fn processes_share_a_run_and_their_counts_add_up() {
    let server = Server::start();
    let run =
        |scenario, options: &[&str]| result(&gim_bench(&server, scenario, &[options, &["--processes", "3"]].concat()));
    let idle = run("idle", &["--connections", "50", "--heartbeat", "1"]);
    assert_eq!(idle["connections"], 50);
    assert_positive(&idle, &["connects_per_second", "heartbeats"]);
    assert!(idle["timeline"].as_array().unwrap().iter().any(|moment| moment["connections"] == 50), "{idle:#}");
    let send = run("send", &["--senders", "10", "--rate", "60"]);
    assert!(["lost", "duplicates", "reordered"].iter().all(|key| send[key] == 0), "{send:#}");
    assert_positive(&send, &["sends_per_second", "baseline_rows_per_second", "p99_ms"]);
    assert!(send["latency_curves_ms"]["durable"].as_array().unwrap().len() > 3, "{send:#}");
    let room = run("room", &["--members", "9"]);
    assert!(room["lost"] == 0 && room["messages"].as_u64().unwrap() >= 3, "{room:#}");
}

#[test]
fn a_server_that_ends_in_mid_run_is_told_with_what_was_measured() {
    for processes in ["1", "2"] {
        let server = Server::start();
        let child = start(&server, "idle", &["--connections", "10", "--hold", "60", "--processes", processes]);
        let address = server.tcp_address();
        server::eventually("all clients are connected", || established(address) == 10);
        drop(server);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains("the server closed a connection"), "{text}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["passed"] == false && result["connections"].is_u64(), "{result:#}");
    }
}

#[test]
fn what_cannot_be_done_is_one_sentence_and_exit_code_1() {
    let server = Server::start();
    for (scenario, options, sentence) in [
        ("idle", &["--connections", "9999999"][..], "9999999 connections need a file limit of 10000099"),
        ("idle", &["--server-pid", "4194304"], "there is no process 4194304"),
        ("signin", &["--devices", "1"], "--in-flight 128 sign-ins need as many --devices, which are 1"),
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
        ("room", &["--rate", "0"], "--rate must be above 0"),
    ] {
        let output = gim_bench(&server, scenario, options);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        // Notes about the machine may come before it.
        let errors: Vec<_> = text.lines().filter(|line| !line.starts_with("gim-bench: note: ")).collect();
        assert!(errors.len() == 1 && errors[0].starts_with(&format!("gim-bench: {sentence}")), "{text}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["passed"], false);
    }
}
