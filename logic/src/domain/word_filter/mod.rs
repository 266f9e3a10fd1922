//! Words that users may not say. Made from lists when the settings are read, and from then on unchanged; may be used on any thread.
//!
//! A text is folded ([`fold`]) into what is left of it without all that stands between words, and searched for all words at once. What
//! is found counts where it was written as a word: of scripts with spaces whole words, or words whose letters stand alone
//! (`b a d`, `b.a.d`); of scripts without, whatever stands between the characters.

pub mod fold;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde::{Deserialize, Serialize};

use fold::{FOLD, Folded, is_unspaced};
use unicode_normalization::char::compose;

/// Bytes of a word, as it stands in the list.
pub const WORD_BYTES_MAX: usize = 256;

/// What becomes of a message that has a word of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordAction {
    /// The business is told.
    Flag,
    /// The word is covered by asterisks.
    Mask,
    /// The message is refused.
    Refuse,
}

/// A line of a list that is no word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    line: usize,
    problem: String,
}

/// Why there is no filter of some words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooMuch(String);

/// What a filter says of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has none of the words.
    Clean,
    /// It has some of which the business is told, and no others.
    Flagged,
    /// It has some, which are covered here.
    Masked(String),
    /// It has one with which it is refused.
    Refused,
}

/// The words of some lists.
#[derive(Debug, Clone, Default)]
pub struct Words {
    patterns: Vec<String>,
    facts: Vec<Pattern>,
    flagged: BTreeMap<usize, String>,
}

/// What there is to know of a word beside its letters.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    action: WordAction,
    /// Whether it may be a part of a longer word, before and after it.
    is_open: (bool, bool),
    /// After how many characters it has its own spaces: a bit each.
    gaps: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct WordFilter {
    automaton: AhoCorasick,
    facts: Vec<Pattern>,
    /// Those of which the business is told, as they stand in the list, by the number of their pattern.
    flagged: BTreeMap<usize, String>,
}

/// A letter of a folded text.
#[derive(Debug, Clone, Copy)]
struct Letter {
    /// Where it begins in the folded text, and what of the text it stands for.
    at: usize,
    source: (usize, usize),
    /// Whether something stands before it that is between words.
    is_apart: bool,
    is_unspaced: bool,
}

impl Words {
    /// Adds the lines of a list: a word or some words each; `#` begins a remark, and `*` at an end means that the word may go on there.
    pub fn add(&mut self, list: &str, action: WordAction) -> Result<(), BadLine> {
        for (index, line) in list.trim_start_matches('\u{feff}').lines().enumerate() {
            let word = line.split('#').next().unwrap_or_default().trim();
            if word.is_empty() {
                continue;
            }
            self.add_word(word, action).map_err(|problem| BadLine { line: index + 1, problem })?;
        }
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.patterns.len()
    }

    /// Adds those of other lists.
    pub fn append(&mut self, other: Self) {
        let before = self.patterns.len();
        self.patterns.extend(other.patterns);
        self.facts.extend(other.facts);
        self.flagged.extend(other.flagged.into_iter().map(|(number, word)| (before + number, word)));
    }

    fn add_word(&mut self, word: &str, action: WordAction) -> Result<(), String> {
        if word.len() > WORD_BYTES_MAX {
            return Err(format!("a word has {} bytes, at most {WORD_BYTES_MAX} are allowed", word.len()));
        }
        let is_open = (word.starts_with('*'), word.ends_with('*'));
        let (folded, letters) = folded(word.trim_matches('*'));
        if folded.is_empty() {
            return Err(format!("`{word}` has no letter"));
        }
        if letters.len() > 64 {
            return Err(format!("a word has {} characters, at most 64 are allowed", letters.len()));
        }
        let gaps = letters
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, letter)| letter.is_apart)
            .fold(0, |bits, (at, _)| bits | 1 << at);
        if action == WordAction::Flag {
            self.flagged.insert(self.patterns.len(), word.to_owned());
        }
        self.patterns.push(folded);
        self.facts.push(Pattern { action, is_open, gaps });
        Ok(())
    }

    /// The filter of these words.
    pub fn build(self) -> Result<WordFilter, TooMuch> {
        let mut builder = AhoCorasick::builder();
        // With a hundred thousand words the others take a gigabyte, or run through a list at each step.
        builder.match_kind(MatchKind::Standard).kind(Some(AhoCorasickKind::ContiguousNFA));
        let automaton = builder.build(&self.patterns).map_err(|error| TooMuch(error.to_string()))?;
        Ok(WordFilter { automaton, facts: self.facts, flagged: self.flagged })
    }
}

impl WordFilter {
    /// What it says of a text.
    pub fn check(&self, text: &str) -> Verdict {
        let (folded, letters) = folded(text);
        let (mut covered, mut is_flagged) = (Vec::<Range<usize>>::new(), false);
        for (number, found) in self.written(&folded, &letters) {
            match self.facts[number].action {
                WordAction::Refuse => return Verdict::Refused,
                WordAction::Mask => covered.push(letters[found.start].source.0..letters[found.end - 1].source.1),
                WordAction::Flag => is_flagged = true,
            }
        }
        match (covered.is_empty(), is_flagged) {
            (false, _) => Verdict::Masked(mask(text, &mut covered)),
            (true, true) => Verdict::Flagged,
            (true, false) => Verdict::Clean,
        }
    }

    /// Whether it has words of which the business is told.
    pub fn flags(&self) -> bool {
        !self.flagged.is_empty()
    }

    /// Those of them that a text has, as they stand in the list, each once.
    pub fn flagged(&self, text: &str) -> BTreeSet<&str> {
        let (folded, letters) = folded(text);
        self.written(&folded, &letters)
            .filter_map(|(number, _)| self.flagged.get(&number))
            .map(String::as_str)
            .collect()
    }

    /// What is written in a text as a word of the lists: the number of its pattern, and its letters.
    fn written<'a>(
        &'a self,
        folded: &'a str,
        letters: &'a [Letter],
    ) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let index = |at: usize| letters.partition_point(|letter| letter.at < at);
        self.automaton.find_overlapping_iter(folded).filter_map(move |found| {
            let number = found.pattern().as_usize();
            let place = index(found.start())..index(found.end());
            self.facts.get(number)?.is_written_as(letters, place.clone()).then_some((number, place))
        })
    }
}

impl Pattern {
    /// Whether what was found there was written as this word.
    fn is_written_as(&self, letters: &[Letter], found: Range<usize>) -> bool {
        let within = &letters[found.clone()];
        if within.iter().all(|letter| letter.is_unspaced) {
            return true;
        }
        let begins =
            within[0].is_apart || found.start == 0 || within[0].is_unspaced || letters[found.start - 1].is_unspaced;
        let ends = letters.get(found.end).is_none_or(|next| next.is_apart || next.is_unspaced)
            || within[within.len() - 1].is_unspaced;
        if !(begins || self.is_open.0) || !(ends || self.is_open.1) {
            return false;
        }
        let gap = |(at, letter): (usize, &Letter)| (letter.is_apart, self.gaps & (1 << at) != 0);
        let inner = || within.iter().enumerate().skip(1).map(gap);
        // As in the list, with or without its spaces; or each letter for itself.
        inner().all(|(is_apart, may_be)| !is_apart || may_be) || inner().all(|(is_apart, _)| is_apart)
    }
}

/// A text without what stands between words, and where each letter of it comes from.
fn folded(text: &str) -> (String, Vec<Letter>) {
    let mut folding = Folding { text: String::with_capacity(text.len()), letters: Vec::new(), is_apart: true };
    for (start, character) in text.char_indices() {
        let source = (start, start + character.len_utf8());
        match FOLD.of(character) {
            Folded::Nothing => {}
            Folded::Between => folding.is_apart = true,
            Folded::One(one) => folding.put(one, source),
            Folded::Several => FOLD.several(character).iter().for_each(|&one| folding.put(one, source)),
            Folded::Composed(part) => folding.compose(part, source),
        }
    }
    (folding.text, folding.letters)
}

struct Folding {
    text: String,
    letters: Vec<Letter>,
    is_apart: bool,
}

impl Folding {
    fn put(&mut self, part: char, source: (usize, usize)) {
        let at = self.text.len();
        self.letters.push(Letter { at, source, is_apart: self.is_apart, is_unspaced: is_unspaced(part) });
        self.text.push(part);
        self.is_apart = false;
    }

    /// Makes another letter of the last one.
    fn compose(&mut self, part: char, source: (usize, usize)) {
        let before = self.text.chars().next_back().filter(|_| !self.is_apart);
        match (before.and_then(|before| compose(before, part)), self.letters.last_mut()) {
            (Some(composed), Some(last)) => {
                self.text.truncate(last.at);
                self.text.push(composed);
                last.source.1 = source.1;
            }
            _ if part.is_alphanumeric() => self.put(part, source),
            _ => {}
        }
    }
}

/// The text with asterisks over some parts, as many as the parts have UTF-16 code units: letters in the text stay where they are.
fn mask(text: &str, covered: &mut [Range<usize>]) -> String {
    covered.sort_unstable_by_key(|range| range.start);
    let (mut masked, mut end) = (String::with_capacity(text.len()), 0);
    for range in covered {
        masked.push_str(text.get(end..range.start).unwrap_or_default());
        let within = text.get(range.start.max(end)..range.end).unwrap_or_default();
        masked.extend(within.encode_utf16().map(|_| '*'));
        end = end.max(range.end);
    }
    masked.push_str(text.get(end..).unwrap_or_default());
    masked
}

#[cfg(test)]
mod tests;
