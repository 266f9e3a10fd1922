//! What the source itself promises: the nine steps of a packet's path are marked, modules stand in an order, and reactors neither
//! lock nor await.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const PATH: [(u32, &str); 9] = [
    (1, "conn/src/reactor/accept.rs"),
    (2, "conn/src/reactor/read.rs"),
    (3, "conn/src/reactor/packets.rs"),
    (4, "conn/src/session/mod.rs"),
    (5, "conn/src/bridge/uplink.rs"),
    (6, "logic/src/store/writer.rs"),
    (7, "conn/src/bridge/downlink.rs"),
    (8, "conn/src/reactor/command_queue.rs"),
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
fn every_step_of_the_packet_path_is_marked_once_and_where_the_page_says() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let crates = ["conn", "logic", "business", "proto", "config", "bench"];
    let files: Vec<PathBuf> = crates.iter().flat_map(|name| sources(&root().join(name).join("src"))).collect();
    let texts: Vec<(&PathBuf, String)> = files.iter().map(|file| (file, fs::read_to_string(file).unwrap())).collect();
    for (step, file) in PATH {
        let marker = format!("path {step}/9");
        let marked = texts.iter().flat_map(|(file, text)| text.matches(&marker).map(move |_| file.as_path()));
        assert_eq!(marked.collect::<Vec<_>>(), [root().join(file)], "step {step}");
        let row = page.lines().find(|line| line.starts_with(&format!("| {step} |")));
        assert!(row.is_some_and(|row| row.contains(file)), "ARCHITECTURE.md does not name {file} as step {step}");
    }
}

/// The modules of this crate from the ground up. Each may name those before it, and no other: so nothing on a reactor's thread
/// reaches the bridge and its runtime, whichever way round.
const ORDER: [&str; 15] = [
    "clock",
    "ids",
    "metrics",
    "quota",
    "token_bucket",
    "affinity",
    "net",
    "wire",
    "session",
    "connection",
    "settings",
    "reactor",
    "certificates",
    "bridge",
    "start",
];

/// What runs on a reactor's thread, what connections are made of, and the settings of both.
const BELOW_THE_BRIDGE: [&str; 11] =
    ["clock", "ids", "metrics", "quota", "token_bucket", "net", "wire", "session", "connection", "settings", "reactor"];

/// The modules that a module may name.
fn modules_for(module: &str) -> &'static [&'static str] {
    let place = ORDER.iter().position(|known| *known == module).unwrap_or_else(|| panic!("{module} has no place"));
    &ORDER[..=place]
}

/// The files of a module, without its tests.
fn files_of(module: &str) -> Vec<PathBuf> {
    let folder = root().join("conn/src");
    let is_test = |file: &PathBuf| file.iter().any(|part| part == "tests" || part == "tests.rs");
    let files = match folder.join(module) {
        path if path.is_dir() => sources(&path),
        path => vec![path.with_extension("rs")],
    };
    files.into_iter().filter(|file| !is_test(file)).collect()
}

/// How many modules a file is below the root of its crate.
fn depth_of(file: &Path) -> usize {
    let inside = file.strip_prefix(root().join("conn/src")).unwrap();
    inside.iter().filter(|part| *part != "mod.rs" && *part != "lib.rs").count()
}

/// Where they may import from. None of these has a lock or a runtime to offer, but for what [`waits`] names.
const CRATES: [&str; 21] = [
    "std",
    "crate",
    "self",
    "super",
    "bytes",
    "crossbeam_channel",
    "foldhash",
    "gim_legacy",
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

/// What has no place in a file so many modules below the root, which may name these modules. Comments, texts and tests are
/// passed over.
fn findings(source: &str, module: &str, depth: usize) -> Vec<String> {
    let tokens: TokenStream = source.parse().unwrap();
    let words: Vec<String> = tokens.clone().into_iter().map(|token| token.to_string()).collect();
    let own_modules = words.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone());
    // Networks are plain data, which the upgrade of a WebSocket and the counts of addresses look at.
    let is_of_networks = source.matches("gim_config").count() == source.matches("gim_config::networks").count();
    let may_name_config = module == "settings" || (["wire", "quota"].contains(&module) && is_of_networks);
    let of_config = may_name_config.then(|| "gim_config".to_owned());
    let origins: Vec<String> = own_modules.chain(CRATES.map(str::to_owned)).chain(of_config).collect();
    let origins = BELOW_THE_BRIDGE.contains(&module).then_some(&origins[..]);
    let mut findings = Vec::new();
    look(tokens, ModulePath { origins, modules: modules_for(module), depth }, &mut findings);
    findings
}

/// Where the tokens stand that are looked at.
#[derive(Clone, Copy)]
struct ModulePath<'a> {
    /// Where they may import from; for those that may wait, from anywhere.
    origins: Option<&'a [String]>,
    /// The modules that they may name.
    modules: &'a [&'a str],
    /// How many modules they are below the root of the crate.
    depth: usize,
}

fn look(tokens: TokenStream, place: ModulePath<'_>, findings: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        let after = &tokens[index..];
        match token {
            TokenTree::Group(group) => look(group.stream(), place, findings),
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                if after.first().is_some_and(|attribute| attribute.to_string().replace(' ', "") == "[cfg(test)]") {
                    index += item_length(after);
                }
            }
            TokenTree::Ident(word) => match word.to_string().as_str() {
                "use" => {
                    let is_known = |root: &str| place.origins.is_none_or(|known| known.iter().any(|name| name == root));
                    check(roots(after), is_known, findings);
                }
                "mod" => {
                    if let [_, TokenTree::Group(group), ..] = after {
                        look(group.stream(), ModulePath { depth: place.depth + 1, ..place }, findings);
                        index += 2;
                    }
                }
                // Not as in `pub(crate)`, where nothing follows.
                "crate" if !after.is_empty() => check_root(after, place, findings),
                // Nor as in `pub(super)`.
                "super" if !after.is_empty() => index += look_above(after, place, findings),
                word if place.origins.is_some() && waits(word.trim_start_matches("r#")) => findings.push(word.into()),
                _ => {}
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Judges what follows `super`; returns how many tokens were looked at.
fn look_above(tokens: &[TokenTree], place: ModulePath<'_>, findings: &mut Vec<String>) -> usize {
    let (mut above, mut index) = (1, 0);
    while starts_a_path(&tokens[index..]) && tokens[index + 2].to_string() == "super" {
        above += 1;
        index += 3;
    }
    let depth = place.depth.saturating_sub(above);
    if depth == 0 {
        check_root(&tokens[index..], place, findings);
    }
    if starts_a_path(&tokens[index..])
        && let TokenTree::Group(group) = &tokens[index + 2]
    {
        look(group.stream(), ModulePath { depth, ..place }, findings);
        index += 3;
    }
    index
}

/// Judges what follows the root of the crate: a module that may be named, and not all of them or the root under another name.
fn check_root(after: &[TokenTree], place: ModulePath<'_>, findings: &mut Vec<String>) {
    let named = if starts_a_path(after) { roots(after) } else { Vec::new() };
    if named.is_empty() {
        findings.push("the root of the crate".into());
    }
    check(named, |root| place.modules.contains(&root), findings);
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
    for module in BELOW_THE_BRIDGE {
        for file in files_of(module) {
            let found = findings(&fs::read_to_string(&file).unwrap(), module, depth_of(&file));
            assert!(found.is_empty(), "{} has what has no place there: {found:?}", file.display());
        }
    }
}

#[test]
fn every_module_names_only_those_below_it() {
    let crate_root = fs::read_to_string(root().join("conn/src/lib.rs")).unwrap();
    let declared = crate_root.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    let mut declared: Vec<&str> = declared.map(|name| name.trim_end_matches(';')).collect();
    let mut ordered = ORDER;
    declared.sort_unstable();
    ordered.sort_unstable();
    assert_eq!(declared, ordered, "each has a place in the order");
    for module in ORDER {
        for file in files_of(module) {
            let found = findings(&fs::read_to_string(&file).unwrap(), module, depth_of(&file));
            assert!(found.is_empty(), "{} names what is above it: {found:?}", file.display());
        }
    }
}

#[test]
fn no_way_around_the_order_of_modules_goes_unseen() {
    for (module, depth, source) in [
        ("settings", 1, "use crate::bridge::discovery;"),
        ("settings", 2, "use super::super::bridge::discovery;"),
        ("settings", 2, "use super::{super::bridge, ConnSettings};"),
        ("settings", 1, "use super::bridge;"),
        ("settings", 1, "mod inner { use super::super::bridge; }"),
        ("settings", 1, "use tokio::sync::mpsc;"),
        ("reactor", 2, "use crate::start::Conn;"),
        ("reactor", 2, "use crate::Conn;"),
        ("reactor", 2, "use crate::*;"),
        ("reactor", 2, "use crate as innocent;"),
        ("reactor", 2, "use crate::{self as innocent};"),
        ("reactor", 2, "fn f() { crate::bridge::start() }"),
        ("reactor", 2, "fn f() { super::super::bridge::start() }"),
        ("session", 1, "use crate::reactor::wheel::TICK_MS;"),
        ("connection", 1, "use crate::reactor::quota::Share;"),
        ("wire", 3, "use crate::{session::Rules, wire::frame::Step};"),
        ("wire", 3, "use gim_config::{grpc, networks::Networks};"),
        ("ids", 1, "use crate::connection::Connection;"),
        ("bridge", 2, "use crate::start::Conn;"),
        ("certificates", 1, "use crate::bridge::Bridge;"),
    ] {
        assert!(!findings(source, module, depth).is_empty(), "not seen in {module}: {source}");
    }
    for (module, depth, source) in [
        ("reactor", 2, "use super::{Reactor, peer::Peer}; use crate::settings::TurnSettings;"),
        ("reactor", 3, "use super::super::Reactor;"),
        ("reactor", 1, "mod inner { use super::Reactor; }"),
        ("settings", 1, "use gim_config::listen::Endpoint; use crate::session::Rules;"),
        ("wire", 3, "use gim_config::networks::Networks;"),
        ("bridge", 2, "use tokio::sync::mpsc; use crate::{reactor::command_queue::Command, settings::App};"),
        ("start", 1, "pub(crate) async fn f() { crate::bridge::start().await }"),
    ] {
        assert_eq!(findings(source, module, depth), Vec::<String>::new(), "{module}: {source}");
    }
}

#[test]
fn no_way_around_the_rule_against_locks_and_runtimes_goes_unseen() {
    let findings = |source: &str| findings(source, "reactor", 2);
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
        "fn f() { let x = commands.recv(); }",
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
        "pub(crate) struct S; fn f() { commands.try_recv() }",
    ] {
        assert_eq!(findings(source), Vec::<String>::new(), "{source}");
    }
}
