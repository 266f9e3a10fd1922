//! Runs the vectors of `proto/sdk/vectors` against the core. What their fields mean stands in the README there.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod vectors {
    pub mod json;
    pub mod run;
}

use std::{fs, path::Path};

use bytes::Bytes;
use gim_client::{Message, Sender, content_of, preview_of, proto::typed_content};
use serde_json::Value;
use vectors::run::Run;

/// Files of vectors; a new one has to be run as well.
const FILES_MIN: usize = 8;

/// What contents say is no sequence of steps.
const CONTENTS: &str = "contents.json";

fn from_hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|start| u8::from_str_radix(&text[start..start + 2], 16).unwrap()).collect()
}

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
        .filter(|path| path.extension().is_some_and(|ending| ending == "json") && !path.ends_with(CONTENTS))
        .map(|path| run_file(&path))
        .collect();
    assert!(counts.len() >= FILES_MIN && counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn contents_are_read_checked_and_shown_in_a_line_as_the_vectors_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(CONTENTS);
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let contents = file["contents"].as_array().unwrap();
    assert!(!contents.is_empty());
    for one in contents {
        let name = &one["name"];
        let content = from_hex(one["content"].as_str().unwrap());
        let command = i32::try_from(one["command"].as_i64().unwrap()).unwrap();
        let message =
            Message { command, content: content.clone(), from: Some(Sender::default()), ..Message::default() };
        assert_eq!(content_of(&message).is_some(), one["kind"].is_string(), "{name}");
        assert_eq!(preview_of(&message), one["preview"].as_str().unwrap(), "{name}");
        let refused = typed_content::check(command, &content).map_or_else(|problem| problem.field, |_| String::new());
        assert_eq!(refused.split(": ").next(), one["refused"].as_str(), "{name}");
    }
}
