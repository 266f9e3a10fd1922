//! The layers of a crate, read from its sources: which module names which, and whether that goes downwards.
//!
//! The sources are read as tokens, so neither spaces nor comments hide a path. Tests (`#[cfg(test)]`) are passed over. Always
//! holds: whatever cannot be told to go downwards is found, also a module that the order does not know.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Modules of a crate, the lowest layer first. A module names its own layer's never, lower ones at will.
pub type Order<'a> = [&'a [&'a str]];

/// Fails where a source below `folder` (the `src` of a crate) names a module that is not below its own, and says which and where.
/// `lib.rs` and `main.rs` name all.
///
/// # Panics
/// There is such a source, or one that cannot be read.
pub fn assert_layers(folder: &Path, order: &Order<'_>) {
    let mut problems = Vec::new();
    for (place, source) in sources(folder) {
        if is_root(&place) {
            continue;
        }
        let found = upwards(&place, &source, order);
        problems.extend(found.into_iter().map(|name| format!("{} names {name}", place.join("::"))));
    }
    assert!(problems.is_empty(), "these go upwards, or to the side:\n{}", problems.join("\n"));
}

fn is_root(place: &[String]) -> bool {
    place.is_empty() || place == ["main"]
}

/// The sources below a folder that are no tests, each with the path of its module.
///
/// # Panics
/// One cannot be read.
pub fn sources(folder: &Path) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder of sources") {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let place = place_of(path.strip_prefix(folder).expect("a path below the folder"));
                if !place.iter().any(|part| part == "tests") {
                    found.push((place, fs::read_to_string(&path).expect("a source")));
                }
            }
        }
    }
    found.sort();
    found
}

/// `a/mod.rs` is `a`, `a/b.rs` is `a::b`, `lib.rs` nothing.
fn place_of(path: &Path) -> Vec<String> {
    let path: PathBuf = path.with_extension("");
    let mut place: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if place.last().is_some_and(|last| last == "mod" || last == "lib") {
        place.pop();
    }
    place
}

/// What a source in `place` names that is not below it: modules, or whatever else hides from the question.
pub fn upwards(place: &[String], source: &str, order: &Order<'_>) -> Vec<String> {
    let Some(own) = place.first() else { return Vec::new() };
    let layer_of = |module: &str| order.iter().position(|layer| layer.contains(&module));
    let Some(own_layer) = layer_of(own) else { return vec![format!("nothing yet: {own} has no layer")] };
    let mut found = named(place, source);
    found.retain(|module| module != own && layer_of(module).is_none_or(|layer| layer >= own_layer));
    found
}

/// The modules of the crate that a source in `place` names.
pub fn named(place: &[String], source: &str) -> Vec<String> {
    let tokens: TokenStream = source.parse().expect("a source that compiles");
    let mut walk = Walk { place: place.to_vec(), named: Vec::new() };
    walk.look(&tokens.into_iter().collect::<Vec<_>>());
    walk.named.sort();
    walk.named.dedup();
    walk.named
}

/// Every word of a source, comments, texts and tests aside.
pub fn words(source: &str) -> Vec<String> {
    let tokens: TokenStream = source.parse().expect("a source that compiles");
    let mut words = Vec::new();
    gather_words(&tokens.into_iter().collect::<Vec<_>>(), &mut words);
    words
}

fn gather_words(tokens: &[TokenTree], words: &mut Vec<String>) {
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        index += 1 + item_of_test(&tokens[index..]);
        match token {
            TokenTree::Group(group) => gather_words(&inside(group), words),
            TokenTree::Ident(word) => words.push(bare(word)),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

struct Walk {
    /// The module that the tokens stand in.
    place: Vec<String>,
    named: Vec<String>,
}

impl Walk {
    fn look(&mut self, tokens: &[TokenTree]) {
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            let skipped = item_of_test(&tokens[index..]);
            if skipped > 0 {
                index += skipped + 1;
                continue;
            }
            index += 1;
            match token {
                TokenTree::Group(group) => self.look(&inside(group)),
                TokenTree::Ident(word) => {
                    let after = &tokens[index..];
                    match bare(word).as_str() {
                        "crate" => self.path(&[], after),
                        "self" => self.path(&self.place.clone(), after),
                        "super" => self.path(&above(&self.place), after),
                        "mod" => index += self.module(after),
                        // What stands there is in no source of this folder, or in one of another place.
                        "include" if matches!(after, [TokenTree::Punct(mark), ..] if mark.as_char() == '!') => {
                            self.named.push("include!".into());
                        }
                        "path" if matches!(after, [TokenTree::Punct(mark), TokenTree::Literal(_)] if mark.as_char() == '=') =>
                        {
                            self.named.push("#[path]".into());
                        }
                        _ => {}
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// A module in braces: what it names, it names from one place further down. Returns how many tokens that were.
    fn module(&mut self, after: &[TokenTree]) -> usize {
        let [TokenTree::Ident(name), TokenTree::Group(body), ..] = after else { return 0 };
        self.place.push(bare(name));
        self.look(&inside(body));
        self.place.pop();
        2
    }

    /// What follows the `crate`, `self` or `super` that stands for the module `from`.
    fn path(&mut self, from: &[String], after: &[TokenTree]) {
        let Some(rest) = after_colons(after) else {
            // `use crate as other` and `extern crate self as other`, from where on the way is not seen; `pub(crate)` and
            // `pub(in crate)` end here.
            if from.is_empty() && matches!(after, [TokenTree::Ident(word), ..] if word == "as" || word == "self") {
                self.named.push("crate as".into());
            }
            return;
        };
        self.step(from, rest);
    }

    /// What stands after `from::`.
    fn step(&mut self, from: &[String], rest: &[TokenTree]) {
        match rest {
            [TokenTree::Ident(word), after @ ..] if word == "super" => self.path(&above(from), after),
            [TokenTree::Ident(word), after @ ..] if word == "self" => self.path(from, after),
            [TokenTree::Ident(word), ..] => self.named.push(from.first().cloned().unwrap_or_else(|| bare(word))),
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
                inside(group).split(is_comma).for_each(|part| self.step(from, part));
            }
            [TokenTree::Punct(mark), ..] if mark.as_char() == '*' => {
                self.named.push(from.first().cloned().unwrap_or_else(|| "crate::*".into()));
            }
            // As in `self::<T>`, which names nothing.
            _ => {}
        }
    }
}

fn above(place: &[String]) -> Vec<String> {
    place[..place.len().saturating_sub(1)].to_vec()
}

fn bare(word: &proc_macro2::Ident) -> String {
    let word = word.to_string();
    word.strip_prefix("r#").map(str::to_owned).unwrap_or(word)
}

fn inside(group: &proc_macro2::Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')
}

fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(one), TokenTree::Punct(two), rest @ ..] if one.as_char() == ':' && two.as_char() == ':' => {
            Some(rest)
        }
        _ => None,
    }
}

/// How many tokens follow a `#` that begins an item for tests, its attribute included; 0 for anything else.
fn item_of_test(tokens: &[TokenTree]) -> usize {
    let [TokenTree::Punct(mark), attribute, rest @ ..] = tokens else { return 0 };
    if mark.as_char() != '#' || attribute.to_string().replace(' ', "") != "[cfg(test)]" {
        return 0;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    rest.iter().position(ends).map_or(tokens.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: [&[&str]; 3] = [&["low"], &["left", "right"], &["high"]];

    fn found(place: &[&str], source: &str) -> Vec<String> {
        let place: Vec<String> = place.iter().map(|&part| part.to_owned()).collect();
        upwards(&place, source, &ORDER)
    }

    #[test]
    fn no_way_upwards_goes_unseen() {
        for source in [
            "use crate::high;",
            "use crate :: high :: thing;",
            "pub use crate::high::thing as innocent;",
            "use crate::{low, high::thing};",
            "use crate::{low::{a, b}, high};",
            "use {crate::low, crate::high};",
            "use crate::{self as all};",
            "use crate as all;",
            "extern crate self as all;",
            "use crate::*;",
            "use crate::r#high::thing;",
            "fn f(x: crate::high::Thing) {}",
            "fn f() { g(|| vec![crate::high::thing()]) }",
            "fn f() -> Vec<crate::high::Thing> { a }",
            "macro_rules! m { () => { $crate::high::thing() } }",
            "use super::super::high;",
            "use super::super::{low, high};",
            "use self::super::super::high::thing;",
            "fn f() { super::super::high::thing() }",
            "mod inner { use super::super::super::high; }",
            "mod inner { fn f() { super::super::super::high::thing() } }",
            "use crate::right;",
            "use crate::unheard_of;",
            "include!(\"../high.rs\");",
            "#[path = \"../high.rs\"] mod innocent;",
            "#[cfg(not(test))] mod x { use crate::high; }",
            "#[cfg(test)] mod tests { } use crate::high;",
            "#[cfg(test)] use crate::low; use crate::high;",
        ] {
            assert!(!found(&["left", "inside"], source).is_empty(), "not seen: {source}");
        }
        assert!(!found(&["left"], "use super::high;").is_empty());
        assert!(!found(&["left"], "use super::*;").is_empty());
        assert!(!found(&["unheard_of"], "").is_empty());
    }

    #[test]
    fn what_goes_downwards_or_stays_inside_is_let_through() {
        for source in [
            "use crate::low;",
            "use crate::{low::{a, b}, left::c};",
            "use super::{sibling, self as own};",
            "use super::super::low::thing;",
            "use super::super::left::thing;",
            "mod inner { use super::super::sibling; use super::thing; }",
            "pub(crate) fn f() {} pub(in crate::left) struct S; pub(super) struct T;",
            "use tokio::high; use high_level::thing; fn high() { self::high(); self.high(); }",
            "/// [`crate::high`]\n// crate::high\n/* crate::high */ fn f() { g(\"crate::high\", r#\"crate::high\"#) }",
            "#[cfg(test)] mod tests { use crate::high; }",
            "#[cfg(test)] use crate::high; #[cfg(test)] mod tests;",
        ] {
            assert_eq!(found(&["left", "inside"], source), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn words_are_those_of_the_code() {
        let source =
            "// one\n/// two\nfn three() { four::five(\"six\") } #[cfg(test)] mod tests { use seven; } struct Eight;";
        assert_eq!(words(source), ["doc", "fn", "three", "four", "five", "struct", "Eight"]);
    }

    #[test]
    fn a_module_has_its_place_from_its_file() {
        let place = |path: &str| place_of(Path::new(path)).join("::");
        assert_eq!(["lib.rs", "main.rs", "a.rs", "a/mod.rs", "a/b.rs"].map(place), ["", "main", "a", "a", "a::b"]);
    }
}
