//! The code of the guides is code: each block in Rust stands in the example of that name, which is compiled with the tests.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{fs, path::Path};

/// What a page says that has no code in Rust.
const NOT_YET: &str = "SDK in Rust has no part for this yet";

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Vec<&str>> {
    let blocks = page.split("\n```rust\n").skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().lines().map(str::trim).collect()).collect()
}

#[test]
fn each_block_in_rust_is_a_part_of_the_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = fs::read_to_string(folder.join("examples/guides.rs")).unwrap();
    let lines: Vec<&str> = example.lines().map(str::trim).collect();
    let mut count = 0;
    for page in fs::read_dir(folder.join("../guides")).unwrap() {
        let path = page.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        let blocks = blocks(&page);
        let is_not_yet = page.split_whitespace().collect::<Vec<_>>().join(" ").contains(NOT_YET);
        assert_eq!(blocks.is_empty(), is_not_yet, "{} has code in Rust, or says that there is none", path.display());
        for block in blocks {
            let is_there = lines.windows(block.len()).any(|window| window == block);
            assert!(is_there, "{}: not in the example:\n{}", path.display(), block.join("\n"));
            count += 1;
        }
    }
    assert!(count >= 8, "the guides have code: {count}");
}
