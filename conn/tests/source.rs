//! What the source itself promises: the nine steps of a packet's path are marked, and reactors neither lock nor await.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

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

/// What runs on a reactor's thread, and what connections are made of.
const BELOW_THE_BRIDGE: [&str; 7] = ["reactor", "wire", "session", "net", "connection.rs", "ids.rs", "metrics.rs"];

/// The modules of this crate that these may name: whatever waits or is shared lives in others.
const MODULES: [&str; 8] = ["reactor", "wire", "session", "net", "connection", "ids", "metrics", "settings"];

/// Where they may import from. None of these has a lock or a runtime to offer, but for what [`waits`] names.
const CRATES: [&str; 20] = [
    "std",
    "crate",
    "self",
    "super",
    "bytes",
    "crossbeam_channel",
    "foldhash",
    "gim_proto",
    "hashbrown",
    "loom",
    "metrics",
    "mio",
    "ppp",
    "prost",
    "rustls",
    "serde",
    "slab",
    "socket2",
    "tracing",
    "tungstenite",
];

/// Whether a word means to wait for somebody else, or to share something that one has to wait for.
fn waits(word: &str) -> bool {
    const RUNTIMES: [&str; 5] = ["tokio", "tonic", "futures", "hyper", "async"];
    const LOCKS: [&str; 9] =
        ["Mutex", "RwLock", "Condvar", "Barrier", "Semaphore", "ReentrantLock", "OnceLock", "LazyLock", "parking_lot"];
    const CALLS: [&str; 16] = [
        "await",
        "block_on",
        "lock",
        "try_lock",
        "recv",
        "recv_timeout",
        "sleep",
        "park",
        "park_timeout",
        "spawn",
        "fs",
        "ToSocketAddrs",
        "to_socket_addrs",
        "unbounded",
        "println",
        "eprintln",
    ];
    RUNTIMES.iter().any(|runtime| word.starts_with(runtime))
        || LOCKS.iter().any(|lock| word.contains(lock))
        || CALLS.contains(&word)
}

/// What has no place below the bridge. Comments, texts and tests are passed over.
fn findings(source: &str) -> Vec<String> {
    let tokens: TokenStream = source.parse().unwrap();
    let words: Vec<String> = tokens.clone().into_iter().map(|token| token.to_string()).collect();
    let own_modules = words.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone());
    let origins: Vec<String> = own_modules.chain(CRATES.map(str::to_owned)).collect();
    let mut findings = Vec::new();
    look(tokens, &origins, &mut findings);
    findings
}

fn look(tokens: TokenStream, origins: &[String], findings: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        match token {
            TokenTree::Group(group) => look(group.stream(), origins, findings),
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                if tokens.get(index).is_some_and(|attribute| attribute.to_string().replace(' ', "") == "[cfg(test)]") {
                    index += item_length(&tokens[index..]);
                }
            }
            TokenTree::Ident(word) => {
                let word = word.to_string();
                let after = &tokens[index..];
                match word.as_str() {
                    "use" => check(roots(after), |root| origins.iter().any(|known| known == root), findings),
                    "crate" if starts_a_path(after) => {
                        check(roots(&after[2..]), |root| MODULES.contains(&root), findings)
                    }
                    _ if waits(word.trim_start_matches("r#")) => findings.push(word),
                    _ => {}
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// How many tokens an attribute and the item below it have.
fn item_length(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens.iter().position(ends).map_or(tokens.len(), |end| end + 1)
}

fn starts_a_path(tokens: &[TokenTree]) -> bool {
    tokens.iter().take(2).all(|token| token.to_string() == ":") && tokens.len() > 2
}

/// The first words of a path, or of each path in braces.
fn roots(tokens: &[TokenTree]) -> Vec<String> {
    let tokens = if starts_a_path(tokens) { &tokens[2..] } else { tokens };
    match tokens.first() {
        Some(TokenTree::Ident(word)) => vec![word.to_string()],
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner.split(|token| token.to_string() == ",").flat_map(roots).collect()
        }
        // As in `impl Iterator + use<>`.
        _ => Vec::new(),
    }
}

fn check(roots: Vec<String>, is_allowed: impl Fn(&str) -> bool, findings: &mut Vec<String>) {
    findings.extend(roots.into_iter().filter(|root| !is_allowed(root)));
}

#[test]
fn no_tokio_below_the_bridge_and_no_lock_in_the_reactor() {
    for place in BELOW_THE_BRIDGE {
        let path = root().join("conn/src").join(place);
        let files = if path.is_dir() { sources(&path) } else { vec![path] };
        let is_test = |file: &PathBuf| file.iter().any(|part| part == "tests" || part == "tests.rs");
        for file in files.into_iter().filter(|file| !is_test(file)) {
            let found = findings(&fs::read_to_string(&file).unwrap());
            assert!(found.is_empty(), "{} has what has no place there: {found:?}", file.display());
        }
    }
}

#[test]
fn no_way_around_the_rule_against_locks_and_runtimes_goes_unseen() {
    for source in [
        "use tokio::sync::mpsc;",
        "use tokio_util::sync as innocent;",
        "pub use ::tokio as clock;",
        "extern crate tokio;",
        "fn f() { tokio::spawn(g()) }",
        "async fn f() {}",
        "fn f() { g(async{ 1 }) }",
        "fn f() { g(async\nmove { 1 }) }",
        "fn f() { let x = g() .await; }",
        "use std::sync::Mutex;",
        "use std::{sync::{Arc, Mutex as Arcade}};",
        "fn f(x: &std::sync::RwLock<u8>) {}",
        "use parking_lot::FairMutex;",
        "use parking_lot as p;",
        "use spin::Spin;",
        "use arc_swap::ArcSwap;",
        "fn f() { x.lock().unwrap(); }",
        "fn f() { std::sync::Mutex::lock(&x); }",
        "fn f() { x\n.try_lock(); }",
        "static X: std::sync::OnceLock<u8> = g();",
        "fn f() { let x = inbox.recv(); }",
        "fn f() { std::thread::sleep(d) }",
        "fn f() { let x = std::fs::read(p); }",
        "fn f() { vec![x.lock()]; }",
        "use crate::bridge::Bridge;",
        "use crate::{ids::Source, bridge::Reactors};",
        "fn f(x: crate::start::Conn) {}",
        "use { std::sync::Arc, dashmap::DashMap };",
        "#[cfg(not(test))] mod x { use tokio::time; }",
        "#[cfg(test)] mod tests { } fn f() { x.lock() }",
    ] {
        assert!(!findings(source).is_empty(), "not seen: {source}");
    }
    for source in [
        "/// A tokio Mutex.\n// x.lock().await\n/* async */ fn f() { g(\"tokio\", unlock, r#\"Mutex\"#) }",
        "#[cfg(test)] mod tests { use tokio::time; fn f() { x.lock() } }",
        "#[cfg(test)] mod tests; use std::sync::{Arc, atomic::AtomicBool};",
        "fn f() -> impl Iterator<Item = usize> + use<> { crate::ids::slots() }",
        "pub(crate) struct S; fn f() { inbox.try_recv() }",
    ] {
        assert_eq!(findings(source), Vec::<String>::new(), "{source}");
    }
}
