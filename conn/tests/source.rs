//! What the source itself promises: the nine steps of a packet's path are marked, and reactors neither lock nor await.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

const PATH: [(u32, &str); 9] = [
    (1, "conn/src/reactor/accept.rs"),
    (2, "conn/src/session/mod.rs"),
    (3, "conn/src/reactor/read.rs"),
    (4, "conn/src/reactor/packets.rs"),
    (5, "conn/src/bridge/uplink.rs"),
    (6, "logic/src/store/writer.rs"),
    (7, "conn/src/bridge/downlink.rs"),
    (8, "conn/src/reactor/inbox.rs"),
    (9, "conn/src/reactor/flush.rs"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_step_of_the_packet_path_is_marked_where_the_architecture_page_says() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (step, file) in PATH {
        let source = fs::read_to_string(root().join(file)).unwrap();
        assert!(source.contains(&format!("path {step}/9")), "{file} lacks the marker of step {step}");
        assert!(page.contains(file), "ARCHITECTURE.md does not name {file}");
    }
}

#[test]
fn no_tokio_below_the_bridge_and_no_lock_in_the_reactor() {
    let forbidden = [
        "tokio",
        "async ",
        ".await",
        "Mutex",
        "RwLock",
        "Condvar",
        "thread::sleep",
        "std::fs",
        "ToSocketAddrs",
        "unbounded",
    ];
    for folder in ["reactor", "wire", "session", "net"] {
        for file in sources(&root().join("conn/src").join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for word in forbidden {
                    assert!(!line.contains(word), "{} line {number}: {word} has no place here: {line}", file.display());
                }
            }
        }
    }
}
