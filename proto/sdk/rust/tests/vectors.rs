//! Runs the vectors of `proto/sdk/vectors` against the core. What their fields mean stands in the README there.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod vectors {
    pub mod json;
    pub mod run;
}

use std::{fs, path::Path};

use serde_json::Value;
use vectors::run::Run;

/// Files of vectors; a new one has to be run as well.
const FILES_MIN: usize = 8;

fn run_file(path: &Path) -> usize {
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        Run::new(vector).run(&format!("{}: {}", path.file_name().unwrap().to_string_lossy(), vector["name"]));
    }
    vectors.len()
}

#[test]
fn the_core_does_what_every_vector_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let counts: Vec<usize> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| run_file(&path))
        .collect();
    assert!(counts.len() >= FILES_MIN && counts.iter().all(|&count| count > 0), "{counts:?}");
}
