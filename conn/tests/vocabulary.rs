//! One name per thing, in the whole workspace: names that were given up do not come back, and some are given once only. Names of
//! functions stay short enough to be read.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};

/// Longest name of a function, tests included.
const FUNCTION_NAME_MAX: usize = 69;

/// Types of which there is one at most.
const UNIQUE_TYPES: [&str; 13] = [
    "RoomOrder",
    "Lookup",
    "Lookups",
    "Pending",
    "Numbered",
    "Held",
    "Batch",
    "Link",
    "Lane",
    "Bench",
    "Refusal",
    "Place",
    "Payer",
];

/// Words that no identifier has as a part, in any case, and that no comment and no page uses.
const RETIRED_WORDS: [&str; 10] =
    ["placement", "keeper", "duel", "contest", "seat", "seats", "reseat", "farewell", "farewells", "crew"];

/// Names that nothing has.
const RETIRED_NAMES: [&str; 8] =
    ["GroupNews", "GroupSeats", "Pace", "LoudLines", "loud_lines", "Concern", "Loser", "Company"];

/// Every source of the workspace, with all that its tokens name.
fn sources() -> Vec<(PathBuf, Vec<String>)> {
    let sources = files(&["rs"]).into_iter();
    sources.map(|file| (file.clone(), identifiers(&fs::read_to_string(file).unwrap()))).collect()
}

/// Every file of the workspace whose name ends in one of these, in order.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for name in ["conn", "logic", "business", "proto", "config", "bench"] {
        find(&root.join(name), extensions, &mut files);
    }
    let pages = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.extend(pages.filter(|path| has_extension(path, extensions)));
    files.sort();
    files
}

fn find(folder: &Path, extensions: &[&str], files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            find(&path, extensions, files);
        } else if has_extension(&path, extensions) {
            files.push(path);
        }
    }
}

/// The scripts, whose names have no ending.
fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scripts");
    let mut files = Vec::new();
    find(&folder, &["py", "html"], &mut files);
    for folder in [folder.join("lib"), folder] {
        let files_of_folder = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(files_of_folder.filter(|path| path.is_file() && path.extension().is_none()));
    }
    files
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
}

/// The identifiers of a source in order, without comments and texts.
fn identifiers(source: &str) -> Vec<String> {
    fn collect(tokens: TokenStream, all: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => collect(group.stream(), all),
                TokenTree::Ident(word) => all.push(word.to_string()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    let mut all = Vec::new();
    collect(source.parse().unwrap(), &mut all);
    all
}

/// The words of which an identifier is made, in lower case.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for letter in identifier.chars() {
        if letter == '_' || letter.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        before = letter;
    }
    words
}

fn is_retired(identifier: &str) -> bool {
    RETIRED_NAMES.contains(&identifier) || words(identifier).iter().any(|word| RETIRED_WORDS.contains(&word.as_str()))
}

#[test]
fn the_names_of_functions_are_short_enough_to_be_read() {
    for (file, identifiers) in sources() {
        let functions = identifiers.windows(2).filter(|pair| pair[0] == "fn").map(|pair| &pair[1]);
        let long: Vec<_> = functions.filter(|name| name.len() > FUNCTION_NAME_MAX).collect();
        assert!(long.is_empty(), "{}: {long:?}", file.display());
    }
}

#[test]
fn names_that_were_given_up_do_not_come_back() {
    for (file, identifiers) in sources() {
        let found: Vec<_> = identifiers.iter().filter(|identifier| is_retired(identifier)).collect();
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
    for name in ["Seat", "group_seats", "Placement", "core_placement", "LeaseKeeper", "run_duel", "loud_lines"] {
        assert!(is_retired(name), "{name}");
    }
    for name in ["membership", "affinity", "log_limiter", "replacement", "lease_renewal"] {
        assert!(!is_retired(name), "{name}");
    }
}

#[test]
fn words_that_were_given_up_stand_on_no_page_and_in_no_comment() {
    for file in files(&["rs", "md", "proto", "toml"]).into_iter().chain(scripts()) {
        if file.ends_with(file!()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        let found: Vec<_> = text.split(|letter: char| !letter.is_alphanumeric()).filter(is_retired_word).collect();
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

fn is_retired_word(word: &&str) -> bool {
    RETIRED_WORDS.contains(word)
}

#[test]
fn some_names_are_given_to_one_type_at_most() {
    let mut declared: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (file, identifiers) in sources() {
        for pair in identifiers.windows(2) {
            if ["struct", "enum", "union", "trait", "type"].contains(&pair[0].as_str())
                && UNIQUE_TYPES.contains(&pair[1].as_str())
            {
                declared.entry(pair[1].clone()).or_default().push(file.clone());
            }
        }
    }
    let several: Vec<_> = declared.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(several.is_empty(), "{several:?}");
}
