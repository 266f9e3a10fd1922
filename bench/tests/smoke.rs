//! `gim-bench smoke` itself: passes against a whole server, also when run at the same time as another, and says in one
//! sentence where a server cannot be reached.
//!
//! A binary of its own: a child shares every listener of this process from its fork to its exec, and a server that is
//! restarted in that moment would find its ports taken.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the system tests use the rest")]
#[path = "system/server.rs"]
mod server;

use std::{
    process::{Child, Command, Output, Stdio},
    thread,
};

use server::Server;

fn gim_bench(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-bench"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn smoke(server: &Server, global: &[&str], options: &[&str]) -> Child {
    let [_, (_, logic, _), (_, business, _)] = server.services();
    let scheme = if server.certificates.is_some() { "https" } else { "http" };
    let (tcp, logic) = (server.tcp_address().to_string(), format!("{scheme}://{logic}"));
    let business = format!("{scheme}://{business}");
    let addresses = ["smoke", "--tcp", &tcp, "--logic", &logic, "--business", &business];
    gim_bench(&[global, &addresses, options].concat())
}

#[test]
fn the_smoke_run_passes_twice_at_the_same_time() {
    let server = Server::start();
    let children = [smoke(&server, &[], &[]), smoke(&server, &["--json"], &[])];
    let [table, json]: [Output; 2] =
        children.map(|child| thread::spawn(|| child.wait_with_output().unwrap())).map(|thread| thread.join().unwrap());
    assert!(table.status.success(), "{}{}", text(&table.stdout), text(&table.stderr));
    assert!(text(&table.stdout).lines().last().unwrap().contains("checks passed"));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["scenario"], &json["passed"]), (&"smoke".into(), &true.into()), "{json:#}");
    assert!(json["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true));
}

#[test]
fn the_smoke_run_passes_after_a_restore_that_passed_over_numbers() {
    let server = Server::start_restored(100_000_000);
    let output = smoke(&server, &[], &[]).wait_with_output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn services_that_ask_for_certificates_are_shown_one() {
    let server = Server::start_certified();
    let files = server.certificates.clone().unwrap();
    let run = |names: &[&str]| {
        let files = [&files.ca, &files.certificate, &files.key].map(|path| path.to_str().unwrap());
        let options = names.iter().zip(files).flat_map(|(name, file)| [*name, file]).collect::<Vec<_>>();
        smoke(&server, &[], &options).wait_with_output().unwrap()
    };
    let output = run(&["--ca", "--certificate", "--key"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let output = run(&["--ca"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("this service needs a certificate of its caller"), "{said}");
    let output = run(&[]);
    let said = text(&output.stderr);
    assert!(said.starts_with("gim-bench: cannot reach logic at https://"), "{said}");
}

#[test]
fn a_deployment_is_checked_with_tokens_of_users_who_are_there() {
    let server = Server::start();
    let of_ada = [0; 3].map(|_| server.business_sign_in("+1"));
    let of_bob = [0; 2].map(|_| server.business_sign_in("+2"));
    server.push_to_users(&[of_ada[0].user_id, of_bob[0].user_id], "before");
    server.push_to_users(&[of_bob[0].user_id], "and more for one of them");
    let line = |one: &gim_proto::business::SignInReply| format!("{} {} {}\n", one.user_id, one.device_id, one.token);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), of_ada.iter().chain(&of_bob).map(line).collect::<String>()).unwrap();
    // Nobody is there as business, and the tokens are still good afterwards.
    for _ in 0..2 {
        let options = ["--tokens", file.path().to_str().unwrap(), "--business", "http://127.0.0.99:1"];
        let [_, (_, logic, _), _] = server.services();
        let (tcp, logic) = (server.tcp_address().to_string(), format!("http://{logic}"));
        let output = gim_bench(&[&["smoke", "--tcp", &tcp, "--logic", &logic], &options[..]].concat());
        let output = output.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    let output = gim_bench(&["smoke", "--tokens", "/nowhere"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("gim-bench: cannot read /nowhere: No such file"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_server_that_cannot_be_reached_is_one_sentence_and_exit_code_1() {
    // Nobody listens on the ports of this address.
    let addresses = ["--logic", "http://127.0.0.99:1", "--business", "http://127.0.0.99:1", "--tcp", "127.0.0.99:1"];
    let output = gim_bench(&[&["smoke"], &addresses[..]].concat()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "gim-bench: cannot reach logic at http://127.0.0.99:1: Connection refused (os error 111)\n"
    );
    let output = gim_bench(&[&["--json", "smoke"], &addresses[..]].concat()).wait_with_output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["passed"]), (Some(1), &false.into()));
}

#[test]
fn a_transport_that_nobody_would_use_is_refused() {
    for scenario in ["smoke", "push", "events"] {
        let output = gim_bench(&[scenario, "--transport", "wss"]).wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{scenario}: {said}");
        assert!(
            said.ends_with("gim-bench: --transport wss: nobody connects so in this scenario\n"),
            "{scenario}: {said}"
        );
    }
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    for arguments in [&["no-such-scenario"][..], &["smoke", "--port-offset", "60000"], &[]] {
        let output = gim_bench(arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
