//! How characters are compared: as those that look alike or mean the same.
//!
//! Width and other forms for compatibility go (NFKC), case goes, combining marks on letters go, traditional characters are simplified
//! ones, and what is not shown is not there. The list of words and the text are folded by the same table.

use std::{collections::HashMap, sync::LazyLock};

use unicode_normalization::UnicodeNormalization as _;

const SIMPLIFIED: &str = include_str!("simplified.txt");

/// Characters that have a place of their own in the table; those beyond are folded each time anew.
const TABLE_CHARS: usize = 0x1_0000;

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// It is as if it were not there.
    Nothing,
    /// It stands between words: white space, punctuation, a symbol.
    Between,
    /// It is compared as this one.
    One(char),
    /// It is compared as several: [`Fold::slowly`] has them.
    Several,
}

/// Made when the first list is read; half a megabyte.
pub static FOLD: LazyLock<Fold> = LazyLock::new(Fold::default);

/// The table.
#[derive(Debug)]
pub struct Fold {
    table: Vec<Folded>,
    simplified: HashMap<char, char>,
}

impl Default for Fold {
    fn default() -> Self {
        let lines = SIMPLIFIED.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.flat_map(str::split_whitespace).filter_map(|pair| {
            let mut characters = pair.chars();
            Some((characters.next()?, characters.next()?))
        });
        let mut fold = Self { table: Vec::new(), simplified: pairs.collect() };
        let points = 0..u32::try_from(TABLE_CHARS).unwrap_or(u32::MAX);
        fold.table = points.map(|point| char::from_u32(point).map_or(Folded::Between, |one| fold.anew(one))).collect();
        fold
    }
}

impl Fold {
    /// What becomes of a character.
    pub fn of(&self, character: char) -> Folded {
        self.table.get(character as usize).copied().unwrap_or_else(|| self.anew(character))
    }

    /// All that a character is compared as.
    pub fn slowly(&self, character: char) -> impl Iterator<Item = char> {
        let marked = character.nfkd().filter(|&part| !is_mark(part)).collect::<String>();
        let lower: Vec<char> = marked.nfc().flat_map(char::to_lowercase).collect();
        let simplified = lower.into_iter().map(|part| self.simplified.get(&part).copied().unwrap_or(part));
        simplified.filter(|&part| part.is_alphanumeric()).collect::<Vec<_>>().into_iter()
    }

    fn anew(&self, character: char) -> Folded {
        if is_not_shown(character) || is_mark(character) {
            return Folded::Nothing;
        }
        let mut parts = self.slowly(character);
        match (parts.next(), parts.next()) {
            (None, _) => Folded::Between,
            (Some(one), None) => Folded::One(one),
            (Some(_), Some(_)) => Folded::Several,
        }
    }
}

/// Whether words of this script are written without anything between them, or with endings, so that a word may begin and end anywhere.
pub fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0e00}'..='\u{0eff}' // Thai, Lao
        | '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}' // Hangul
        | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' // Burmese, Khmer
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn is_mark(character: char) -> bool {
    matches!(character, '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}')
}

/// What fonts do not show (default ignorable code points) and controls that are no white space.
fn is_not_shown(character: char) -> bool {
    let is_ignorable = matches!(character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    is_ignorable || (character.is_control() && !character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_alike_or_means_the_same_is_the_same() {
        let fold = &FOLD;
        for (one, other) in
            [('A', 'a'), ('Ａ', 'a'), ('１', '1'), ('é', 'e'), ('②', '2'), ('K', 'k'), ('體', '体'), ('ｶ', 'カ')]
        {
            assert_eq!(fold.of(one), Folded::One(other), "{one}");
        }
        for nothing in ['\u{200b}', '\u{ad}', '\u{feff}', '\u{301}', '\u{fe0f}', '\u{0}', '\u{e0041}'] {
            assert_eq!(fold.of(nothing), Folded::Nothing, "{nothing:?}");
        }
        for between in [' ', '\n', '\u{3000}', '.', '·', '★', '😀', '\u{d7ff}'] {
            assert_eq!(fold.of(between), Folded::Between, "{between:?}");
        }
        assert_eq!(fold.of('ﬁ'), Folded::Several);
        assert_eq!(fold.slowly('ﬁ').collect::<String>(), "fi");
        assert_eq!(fold.of('각'), Folded::One('각'), "a syllable is not the beginning of another one");
        assert_eq!(fold.of('が'), Folded::One('が'));
        assert_eq!(fold.of('𠮷'), Folded::One('𠮷'));
    }
}
