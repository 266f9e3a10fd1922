//! Words that users may not say. Made from lists when the settings are read, and from then on unchanged; may be used on any thread.
//!
//! A text is folded ([`fold`], [`folded`]) into what is left of it without all that stands between words, and searched for all words at once. What
//! is found counts where it was written as a word: of scripts with spaces whole words, or words whose letters stand alone
//! (`b a d`, `b.a.d`), or have something else than a space between them (`b-ad`); of scripts without, whatever stands between the characters.

pub mod fold;
mod folded;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde::{Deserialize, Serialize};

use fold::is_unspaced;
use folded::FoldedText;

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
        let folded = FoldedText::of(word.trim_matches('*'));
        let count = folded.text.chars().count();
        if count == 0 {
            return Err(format!("`{word}` has no letter"));
        }
        if count > 64 {
            return Err(format!("a word has {count} characters, at most 64 are allowed"));
        }
        let letters = folded.letters(0..folded.text.len()).enumerate().skip(1);
        let gaps = letters.filter(|(_, letter)| letter.is_apart).fold(0, |bits, (number, _)| bits | 1 << number);
        if action == WordAction::Flag {
            self.flagged.insert(self.patterns.len(), word.to_owned());
        }
        self.patterns.push(folded.text);
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
        let folded = FoldedText::of(text);
        let (mut covered, mut is_flagged) = (Vec::<Range<usize>>::new(), false);
        for (number, found) in self.written(&folded) {
            match self.facts[number].action {
                WordAction::Refuse => return Verdict::Refused,
                WordAction::Mask => cover(&mut covered, found),
                WordAction::Flag => is_flagged = true,
            }
        }
        match (covered.is_empty(), is_flagged) {
            (false, _) => Verdict::Masked(mask(text, &covered)),
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
        let folded = FoldedText::of(text);
        self.written(&folded).filter_map(|(number, _)| self.flagged.get(&number)).map(String::as_str).collect()
    }

    /// What is written in a text as a word of the lists: the number of its pattern, and where it is in the folded text.
    fn written<'a>(&'a self, folded: &'a FoldedText) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        self.automaton.find_overlapping_iter(&folded.text).filter_map(move |found| {
            let number = found.pattern().as_usize();
            self.facts.get(number)?.is_written_in(folded, found.range()).then_some((number, found.range()))
        })
    }
}

impl Pattern {
    /// Whether what was found there was written as this word.
    fn is_written_in(&self, folded: &FoldedText, found: Range<usize>) -> bool {
        let within = || folded.letters(found.clone());
        if within().all(|letter| letter.is_unspaced) {
            return true;
        }
        let begins = || {
            let before = folded.text[..found.start].chars().next_back();
            before.is_none_or(is_unspaced) || within().next().is_none_or(|first| first.is_apart || first.is_unspaced)
        };
        let ends = || {
            let after = folded.letters(found.end..folded.text.len()).next();
            after.is_none_or(|next| next.is_apart || next.is_unspaced)
                || within().last().is_none_or(|last| last.is_unspaced)
        };
        if !(self.is_open.0 || begins()) || !(self.is_open.1 || ends()) {
            return false;
        }
        let may_be_spaced = |number: usize| self.gaps & (1 << number) != 0;
        let inner = || within().enumerate().skip(1);
        // As in the list, with or without its spaces, and with whatever is no space between the letters; or each letter for itself.
        inner().all(|(number, letter)| !letter.is_spaced || may_be_spaced(number))
            || inner().all(|(_, letter)| letter.is_apart)
    }
}

/// Adds a part to others, as one with those that it overlaps. It ends no earlier than they do.
fn cover(covered: &mut Vec<Range<usize>>, mut part: Range<usize>) {
    while let Some(last) = covered.pop_if(|last| last.end > part.start) {
        part.start = part.start.min(last.start);
    }
    covered.push(part);
}

/// The text with asterisks over some parts of what it is folded into, as many as the parts have UTF-16 code units: letters in the text
/// stay where they are.
fn mask(text: &str, covered: &[Range<usize>]) -> String {
    let sources = folded::sources(text);
    let source = |found: &Range<usize>| {
        let (first, last) = (
            sources.partition_point(|one| one.at < found.start),
            sources.partition_point(|one| one.at < found.end) - 1,
        );
        sources[first].range.start..sources[last].range.end
    };
    let mut covered: Vec<_> = covered.iter().map(source).collect();
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
