//! What the source itself promises: the modules of gim-bench stand on each other in one order, that of the documentation of
//! `main.rs`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{fs, path::Path};

use gim_config::testing::layers::{assert_layers, upwards};

fn source_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The modules that the numbered lines of a documentation name, in their order.
fn order(source: &str) -> Vec<&str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//! "));
    let numbered = lines.filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit()));
    numbered.flat_map(|line| line.split("[`").skip(1).filter_map(|rest| rest.split('`').next())).collect()
}

#[test]
fn each_module_names_none_but_those_before_it() {
    let main = fs::read_to_string(source_folder().join("main.rs")).unwrap();
    let modules = order(&main);
    assert!(modules.len() > 10, "main.rs tells the order: {modules:?}");
    let layers: Vec<&[&str]> = modules.chunks(1).collect();
    assert_layers(source_folder(), &layers);

    let counts = ["counts".to_owned()];
    assert_eq!(upwards(&counts, "use crate::stats::median;", &layers), Vec::<String>::new());
    assert_eq!(upwards(&counts, "use crate::load::Run;", &layers), ["load"], "what goes upwards is found");
}
