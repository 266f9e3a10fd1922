//! What the source itself promises: the modules of gim-bench stand on each other in one order, that of the documentation of
//! `main.rs`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules that the numbered lines of a documentation name, in their order.
fn order(source: &str) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//! "));
    let numbered = lines.filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit()));
    numbered
        .flat_map(|line| line.split("[`").skip(1).filter_map(|rest| rest.split('`').next()))
        .map(str::to_owned)
        .collect()
}

/// The module of the crate that a file belongs to, and how many times `super` leads from it to the root of the crate.
fn place(file: &Path) -> (String, usize) {
    let mut parts: Vec<_> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.retain(|part| part != "mod");
    (parts[0].clone(), parts.len())
}

/// The modules of the crate that a source names, outside of its tests.
fn named(tokens: TokenStream, depth: usize) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1;
        match token {
            TokenTree::Group(group) => found.extend(named(group.stream(), depth)),
            TokenTree::Punct(mark) if mark.as_char() == '#' && is_test(&tokens[index..]) => {
                index += item_length(&tokens[index..]);
            }
            TokenTree::Ident(word) if word == "crate" => found.extend(roots(after_colons(&tokens[index..]))),
            TokenTree::Ident(word) if word == "super" => {
                let mut rest = after_colons(&tokens[index..]);
                let mut steps = 1;
                while rest.first().is_some_and(|token| token.to_string() == "super") {
                    rest = after_colons(&rest[1..]);
                    steps += 1;
                }
                if steps == depth {
                    found.extend(roots(rest));
                }
                if !rest.is_empty() {
                    index = tokens.len() - rest.len();
                }
            }
            _ => {}
        }
    }
    found
}

fn is_test(tokens: &[TokenTree]) -> bool {
    tokens.first().is_some_and(|attribute| attribute.to_string().replace(' ', "") == "[cfg(test)]")
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

/// The rest of a path; nothing where there is none, as in `pub(crate)`.
fn after_colons(tokens: &[TokenTree]) -> &[TokenTree] {
    let is_path = tokens.len() > 2 && tokens[..2].iter().all(|token| token.to_string() == ":");
    if is_path { &tokens[2..] } else { &[] }
}

/// The first words of a path, or of each path in braces.
fn roots(tokens: &[TokenTree]) -> Vec<String> {
    match tokens.first() {
        Some(TokenTree::Ident(word)) => vec![word.to_string()],
        Some(TokenTree::Group(group)) => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner.split(|token| token.to_string() == ",").flat_map(roots).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn each_module_names_none_but_those_before_it() {
    let folder = source_folder();
    let order = order(&fs::read_to_string(folder.join("main.rs")).unwrap());
    assert!(order.len() > 10, "main.rs tells the order: {order:?}");
    for file in files(&folder) {
        let inner = file.strip_prefix(&folder).unwrap();
        let (module, depth) = place(inner);
        if module == "main" {
            continue;
        }
        let own = order.iter().position(|name| *name == module);
        let own = own.unwrap_or_else(|| panic!("the documentation of main.rs does not name {module}"));
        for name in named(fs::read_to_string(&file).unwrap().parse().unwrap(), depth) {
            let is_before = order[..=own].contains(&name);
            assert!(is_before, "{} names {name}, which does not stand before {module}", inner.display());
        }
    }
}

#[test]
fn no_way_to_name_a_module_goes_unseen() {
    for (source, depth) in [
        ("use crate::load::Run;", 2),
        ("use crate::{stats::median, load::{Run, OwnCpu}};", 2),
        ("use crate::{stats, load};", 2),
        ("pub use crate::load as innocent;", 2),
        ("fn f() { g(vec![crate::load::random_id()]) }", 2),
        ("fn f(run: &mut crate\n::load::Run<'_>) {}", 2),
        ("use super::load::Run;", 1),
        ("use super::super::{load::Run};", 2),
        ("#[cfg(not(test))] use crate::load::Run;", 2),
        ("#[cfg(test)] mod tests; use crate::load::Run;", 2),
    ] {
        let found = named(source.parse().unwrap(), depth);
        assert!(found.iter().any(|name| name == "load"), "not seen: {source}");
    }
    for (source, depth) in [
        ("/// See [`crate::load`].\n// crate::load\nfn f() { g(\"crate::load\") }", 2),
        ("#[cfg(test)] mod tests { use crate::load::Run; }", 2),
        ("pub(crate) struct S; use super::load::Run;", 2),
        ("use super::super::load::Run;", 3),
    ] {
        assert_eq!(named(source.parse().unwrap(), depth), Vec::<String>::new(), "{source}");
    }
}
