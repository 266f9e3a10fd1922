//! A text as it is searched: what is left of it without all that stands between words. Pure.
//!
//! Always holds: it costs no more than what it is made of. Most of what is said has no word of any list, so that where a letter comes from
//! is looked for afterwards, where it has.

use std::{ops::Range, sync::LazyLock};

use unicode_normalization::char::compose;

use super::fold::{FOLD, Fold, Folded, LETTERS_MAX, is_unspaced};

/// What stands before a letter, as bits: anything that is between words; and white space among it.
const APART: u8 = 1;
const SPACED: u8 = 2;

/// In [`ASCII`], bits of what stands between words; 0 is as if it were not there. What is more is the letter itself.
const BITS: u8 = APART | SPACED;

/// What becomes of each character of ASCII.
static ASCII: LazyLock<[u8; 128]> = LazyLock::new(|| {
    std::array::from_fn(|point| match FOLD.of(point as u8 as char) {
        Folded::One(one) if one.is_ascii() => one as u8,
        Folded::Nothing => 0,
        Folded::Space => APART | SPACED,
        _ => APART,
    })
});

/// Bytes of one letter at most.
const LETTER_BYTES_MAX: usize = 4;

/// See the module's documentation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoldedText {
    pub text: String,
    /// Of each byte, where a letter begins there, the bits of what stands before it.
    before: Vec<u8>,
}

/// A letter of a folded text.
#[derive(Debug, Clone, Copy)]
pub struct Letter {
    /// Whether something stands before it that is between words.
    pub is_apart: bool,
    /// Whether white space does.
    pub is_spaced: bool,
    pub is_unspaced: bool,
}

/// Where a letter of a folded text comes from.
#[derive(Debug)]
pub struct Source {
    /// Where it begins in the folded text.
    pub at: usize,
    /// What of the text it stands for.
    pub range: Range<usize>,
}

impl FoldedText {
    /// Folds a text.
    pub fn of(text: &str) -> Self {
        let mut folding = Folding::new(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let (ascii, others) = rest.split_at(rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len()));
            folding.put_ascii(ascii.as_bytes());
            let mut characters = others.chars();
            rest = loop {
                let before = characters.as_str();
                match characters.next() {
                    Some(character) if !character.is_ascii() => folding.put(character),
                    _ => break before,
                };
            };
        }
        folding.done()
    }

    /// The letters of a part of the folded text.
    pub fn letters(&self, part: Range<usize>) -> impl Iterator<Item = Letter> {
        let begin = part.start;
        self.text[part].char_indices().map(move |(at, letter)| Letter {
            is_apart: self.before[begin + at] != 0,
            is_spaced: self.before[begin + at] & SPACED != 0,
            is_unspaced: is_unspaced(letter),
        })
    }
}

/// Where the letters come from that [`FoldedText::of`] makes of a text.
pub fn sources(text: &str) -> Vec<Source> {
    let mut folding = Folding::new(text.len());
    let mut sources: Vec<Source> = Vec::new();
    for (start, character) in text.char_indices() {
        let (before, end) = (folding.length, start + character.len_utf8());
        if folding.put(character) {
            sources.iter_mut().next_back().into_iter().for_each(|last| last.range.end = end);
            continue;
        }
        let begins = |at: &usize| folding.text[*at] & 0xc0 != 0x80;
        sources.extend((before..folding.length).filter(begins).map(|at| Source { at, range: start..end }));
    }
    sources
}

/// A text that is being folded.
struct Folding {
    fold: &'static Fold,
    ascii: &'static [u8; 128],
    /// Longer than what is there of it, which is `length`: so it is written to without a look at how long it is.
    text: Vec<u8>,
    before: Vec<u8>,
    length: usize,
    /// What stands before the next letter.
    gap: u8,
}

impl Folding {
    fn new(length: usize) -> Self {
        let mut folding =
            Self { fold: &FOLD, ascii: &ASCII, text: Vec::new(), before: Vec::new(), length: 0, gap: APART | SPACED };
        folding.reserve(length);
        folding
    }

    fn done(mut self) -> FoldedText {
        self.text.truncate(self.length);
        self.before.truncate(self.length);
        FoldedText { text: String::from_utf8(self.text).unwrap_or_default(), before: self.before }
    }

    /// Makes room for so many bytes, and for what one character may become.
    fn reserve(&mut self, bytes: usize) {
        let length = self.length + bytes + (LETTERS_MAX + 1) * LETTER_BYTES_MAX;
        if self.text.len() < length {
            self.text.resize(length, 0);
            self.before.resize(length, 0);
        }
    }

    /// The same as [`Folding::put`] for each character, without a branch: which kind comes next cannot be foreseen.
    fn put_ascii(&mut self, characters: &[u8]) {
        self.reserve(characters.len());
        let (text, before) = (&mut self.text[..], &mut self.before[..]);
        let (mut length, mut gap) = (self.length, self.gap);
        for &character in characters {
            let folded = self.ascii[usize::from(character & 0x7f)];
            let is_letter = folded > BITS;
            text[length] = folded;
            before[length] = gap;
            length += usize::from(is_letter);
            gap = if is_letter { 0 } else { gap | folded };
        }
        (self.length, self.gap) = (length, gap);
    }

    /// Returns whether it made another letter of the last one.
    fn put(&mut self, character: char) -> bool {
        match self.fold.of(character) {
            Folded::Nothing => {}
            Folded::Between => self.gap |= APART,
            Folded::Space => self.gap |= APART | SPACED,
            Folded::One(one) => {
                self.reserve(0);
                self.add(one);
            }
            Folded::Several => {
                self.reserve(0);
                self.fold.several(character).iter().for_each(|&one| self.add(one));
            }
            Folded::Composed(part) => return self.compose(part),
        }
        false
    }

    /// Where there is room for it.
    fn add(&mut self, letter: char) {
        let mut bytes = [0; LETTER_BYTES_MAX];
        let count = letter.encode_utf8(&mut bytes).len();
        let place = self.length..self.length + LETTER_BYTES_MAX;
        self.text[place.clone()].copy_from_slice(&bytes);
        self.before[place].copy_from_slice(&[self.gap, 0, 0, 0]);
        self.length += count;
        self.gap = 0;
    }

    fn compose(&mut self, part: char) -> bool {
        self.reserve(0);
        if self.gap == 0
            && let Some((at, last)) = self.last()
            && let Some(composed) = compose(last, part)
        {
            self.length = at;
            self.gap = self.before[at];
            self.add(composed);
            return true;
        }
        if part.is_alphanumeric() {
            self.add(part);
        }
        false
    }

    /// The last letter, and where it begins.
    fn last(&self) -> Option<(usize, char)> {
        let text = &self.text[..self.length];
        let at = text.iter().rposition(|byte| byte & 0xc0 != 0x80)?;
        Some((at, std::str::from_utf8(&text[at..]).ok()?.chars().next()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(text: &str) -> FoldedText {
        let mut folding = Folding::new(0);
        for character in text.chars() {
            folding.put(character);
        }
        folding.done()
    }

    fn check(text: &str) {
        let folded = FoldedText::of(text);
        assert_eq!(folded, one_by_one(text), "{text:?}");
        let begins: Vec<usize> = folded.text.char_indices().map(|(at, _)| at).collect();
        let sources = sources(text);
        assert_eq!(sources.iter().map(|source| source.at).collect::<Vec<_>>(), begins, "{text:?}");
        assert!(sources.iter().all(|source| text.get(source.range.clone()).is_some()), "{text:?}");
    }

    #[test]
    fn each_character_of_ascii_is_folded_as_others_are() {
        for character in '\0'..='\u{7f}' {
            check(&format!("{character}x{character}{character}Y"));
        }
        let folded = FoldedText::of("A b\0c-é d");
        assert_eq!(folded.text, "abced");
        assert_eq!(folded.before, [BITS, BITS, 0, APART, BITS]);
    }

    proptest! {
        #[test]
        fn texts_are_folded_as_their_characters_are(
            text in "([ -~]{0,4}|[\u{300}-\u{310}\u{200b}ßﬁ㍿ -~]|[ハカﾊﾞ\u{3099}\u{1102}\u{1161}\u{11ab}]{0,4}|.){0,12}",
        ) {
            check(&text);
        }
    }
}
