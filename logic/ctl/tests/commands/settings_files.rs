//! Settings files: all mistakes at once, and nothing secret in what is shown.

use std::fs;

use tempfile::TempDir;

use crate::server::{Done, ctl, done, refusal};

/// Ten mistakes, and what is right around them.
const TEN_MISTAKES: &str = r#"nod = "logic-1"
node_number = 2000
[grpc]
listn = "0.0.0.0:8010"
internal_token = 5
[gateway]
listen = "127.0.0.1:1"
nodes_max = 9
[limit]
content_bytes_max = 1
[database]
url = "sqlite:/tmp/x.db"
connections_max = "many"
[log]
format = "yaml"
[limits]
content_bytes_max = 0
broken = = 1
[retention]
keep_s = 60
"#;

fn run(arguments: &[&str]) -> Done {
    done(ctl(arguments).output().unwrap())
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn ten_mistakes_are_told_at_once_each_with_its_line() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "logic.toml", TEN_MISTAKES);
    let checked = run(&["config", "check", &path]);
    assert_eq!((checked.code, checked.err.as_str()), (1, ""), "{}", checked.out);
    let place = format!("{path}:");
    let lines: Vec<_> = checked.out.lines().map(|line| line.strip_prefix(&place).unwrap_or(line)).collect();
    let expected = [
        "1: there is no setting `nod`; do you mean `node`?",
        "2: node_number: must be at most 1023",
        "4: there is no setting `grpc.listn`; do you mean `grpc.listen`?",
        "5: grpc.internal_token: invalid type",
        "7: `gateway.listen` is now `clients.listen`",
        "9: there is no section [limit]; do you mean [limits]?",
        "13: database.connections_max: invalid type",
        "15: log.format: unknown variant `yaml`",
        "17: limits.content_bytes_max: must be between 1 and 1048576",
        "18: ",
        "20: retention.keep_s: must be 0, or at least 3600",
    ];
    for expected in expected {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\n{}", checked.out);
    }
    assert_eq!(lines.len(), expected.len() + 1, "{}", checked.out);
    assert_eq!(lines[expected.len()], format!("{} problems", expected.len()));
    let json: serde_json::Value = serde_json::from_str(&run(&["config", "check", &path, "--json"]).out).unwrap();
    assert_eq!(json["files"][0]["problems"][0]["line"], 1);
}

#[test]
fn the_files_of_the_repository_have_no_mistakes() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let files = ["conn", "logic", "business"].map(|service| format!("{config}/{service}.toml"));
    let checked = run(&["config", "check", &files[0], &files[1], &files[2]]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "nothing is wrong\n"), "{}", checked.err);
}

#[test]
fn two_listeners_at_one_address_are_a_mistake() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "logic.toml", "[admin]\nlisten = \"127.0.0.1:8010\"\n");
    let checked = run(&["config", "check", &path]);
    let expected = format!("{path}:2: grpc.listen: `127.0.0.1:8010` is the address of admin.listen, too\n1 problem\n");
    assert_eq!((checked.code, checked.out), (1, expected));
    let path = file(&folder, "logic.toml", "[admin]\nlisten = \"127.0.0.1:0\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(run(&["config", "check", &path]).code, 0);
}

#[test]
fn variables_count_and_are_judged_like_the_file() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "conn.toml", "[[apps]]\nid = 7\nlogc = []\n");
    let checked = done(
        ctl(&["config", "check", &path]).env("GIM_CONN_NODE", "").env("GIM_CONN_LIMITS__SIZE", "1").output().unwrap(),
    );
    for expected in [
        ":3: apps: unknown field `logc`",
        "environment variable GIM_CONN_LIMITS__SIZE: there is no setting `size`",
        ": node: must",
    ] {
        assert!(checked.out.contains(expected), "{expected}\n{}", checked.out);
    }
}

#[test]
fn what_is_shown_holds_no_secret() {
    let folder = TempDir::new().unwrap();
    let text =
        "[grpc]\ninternal_token = 'sixteen-bytes-and-more'\n[database]\nurl = 'mysql://gim:s3cret@db:3306/gim'\n";
    let path = file(&folder, "logic.toml", text);
    let shown = run(&["config", "show", &path, "--changed"]);
    assert_eq!(
        shown.out,
        "[database]\nurl = \"mysql://gim:(hidden)@db:3306/gim\"\n\n[grpc]\ninternal_token = \"(hidden)\"\n"
    );
    let shown = done(
        ctl(&["config", "show", "--service", "business"])
            .env("GIM_BUSINESS_SIGN_IN__DEVELOPMENT_CODE", "4711")
            .output()
            .unwrap(),
    );
    assert!(shown.out.contains("development_code = \"(hidden)\"") && !shown.out.contains("4711"), "{}", shown.out);
}

#[test]
fn files_that_cannot_be_looked_at_are_one_sentence() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "settings.toml", "");
    let said = refusal(&run(&["config", "check", &path]));
    assert!(said.ends_with("its name tells no service; say --service conn, logic or business"), "{said}");
    assert_eq!(run(&["config", "check", &path, "--service", "conn"]).code, 0);
    let said = refusal(&run(&["config", "check", "/nonexistent/conn.toml"]));
    assert!(said.starts_with("cannot read /nonexistent/conn.toml: "), "{said}");
}

#[test]
fn shells_and_man_get_what_they_read() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.code == 0 && script.out.contains("revoke"), "{shell}");
    }
    let page = run(&["man"]).out;
    for part in [".TH gim-ctl", "GIM-CTL USERS REVOKE", "internal\\-token\\-file", "GIM-CTL PUSH"] {
        assert!(page.contains(part), "{part}");
    }
}
