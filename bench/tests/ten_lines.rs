//! The ten lines in Rust of the page of the SDKs: they are those of the example, which prints what the page says.
//!
//! A binary of its own, because it starts processes, as `smoke.rs` says.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/server.rs"]
mod server;
#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/ticket_backend.rs"]
mod ticket_backend;

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use server::{DEADLINE, Server};
use ticket_backend::serve_own_users;

/// Ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/sdk").join(path)).unwrap()
}

/// The program of the example. Whoever tests the whole workspace has it already; where this test runs alone it may have to be built.
fn example() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_gim-bench")).parent().unwrap().join("examples/first_message");
    if !program.exists() {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut build = Command::new(env::var_os("CARGO").unwrap());
        // What cargo tells a test of its package makes build scripts run again, and all that depends on them.
        let is_told = |name: &str| ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in env::vars().filter(|(name, _)| is_told(name)) {
            build.env_remove(name);
        }
        build.args(["build", "--locked", "--workspace", "--example", "first_message", "--profile", profile]);
        let status = build.status();
        assert!(status.unwrap().success(), "the example does not build");
    }
    Command::new(program)
}

#[test]
fn the_ten_lines_of_the_page_print_what_the_page_says() {
    let (page, source) = (read("README.md"), read("rust/examples/first_message.rs"));
    let lines = &source[source.find("use gim_client").unwrap()..];
    assert!(page.contains(&format!("```rust\n{lines}```\n")), "the page has other lines than the example:\n{lines}");

    let server = Server::start_with_business(serve_own_users);
    let mut client = example();
    client.env("GIM_URL", format!("tcp://{}", server.tcp_address())).stdout(Stdio::piped());
    let mut client = Process(client.spawn().unwrap());
    let output = BufReader::new(client.0.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), "7 hello");
}
