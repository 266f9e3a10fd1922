//! What the source itself promises: a dialect is its folder and its place in a list, so that both can be taken away (which
//! `scripts/test-dialects` tries); and of dialects at all only the seams know.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use gim_legacy::Dialect;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_but_its_folder_and_the_list_of_dialects_names_a_dialect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = Vec::new();
    for name in ["config", "proto", "conn", "logic", "business", "proto/legacy"] {
        sources(&root.join(name).join("src"), &mut files);
    }
    for dialect in Dialect::all() {
        let module = format!("d{}", dialect.name().replace('-', "_"));
        let names = |file: &PathBuf| {
            let text = fs::read_to_string(file).unwrap();
            text.contains(&module) || text.contains(&format!("\"{}\"", dialect.name()))
        };
        let inside = root.join("proto/legacy/src").join(&module);
        let others: Vec<_> = files.iter().filter(|file| !file.starts_with(&inside) && names(file)).collect();
        assert_eq!(others, [&root.join("proto/legacy/src/lib.rs")], "{module}");
        let list = fs::read_to_string(root.join("proto/legacy/src/lib.rs")).unwrap();
        assert_eq!(list.matches(&module).count(), 4, "its module, and its place in the list");
    }
}

/// Where a client's dialect is known: at the seams, on the connection, and on the way from a listener to it. Not in sessions, the bridge,
/// use cases, delivery, or the store.
const SEAMS: [&str; 11] = [
    "conn/src/connection.rs",
    "conn/src/metrics.rs",
    "conn/src/reactor/accept.rs",
    "conn/src/reactor/catching_up.rs",
    "conn/src/reactor/mod.rs",
    "conn/src/reactor/renditions.rs",
    "conn/src/settings/legacy.rs",
    "conn/src/start.rs",
    "conn/src/wire/packet.rs",
    "logic/src/legacy.rs",
    "logic/src/settings/legacy.rs",
];

#[test]
fn only_the_seams_know_that_there_are_dialects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut files = Vec::new();
    for name in ["config", "proto", "conn", "logic", "business"] {
        sources(&root.join(name).join("src"), &mut files);
    }
    let is_test = |file: &PathBuf| file.iter().any(|part| part == "tests" || part == "tests.rs");
    let names = |file: &&PathBuf| fs::read_to_string(file).unwrap().contains("gim_legacy");
    let mut found: Vec<_> = files.iter().filter(|file| !is_test(file)).filter(names).collect();
    found.sort();
    let seams = SEAMS.map(|seam| root.join(seam));
    assert_eq!(found, seams.iter().collect::<Vec<_>>());
}
