//! What the source itself promises: a dialect is its folder and a line that names it, so that both can be taken away.
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
        assert_eq!(list.matches(&module).count(), 2, "its module, and its place in the list");
    }
}
