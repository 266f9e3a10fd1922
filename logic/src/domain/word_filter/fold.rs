//! How characters are compared: as those that look alike or mean the same.
//!
//! Width and other forms for compatibility go (NFKC), case goes, combining marks on letters go, traditional characters are simplified
//! ones, and what is not shown is not there. The list of words and the text are folded by the same table.

use std::sync::LazyLock;

use foldhash::{HashMap, HashMapExt as _};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

const SIMPLIFIED: &str = include_str!("simplified.txt");

/// Characters that have a place in the table: the planes in which there is something to fold.
const TABLE_CHARS: u32 = 0x2_0000;

/// Letters that one character may stand for. What is longer is a phrase in one sign, and stands between words: it would cost far more
/// than its length.
pub const LETTERS_MAX: usize = 4;

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// It is as if it were not there.
    Nothing,
    /// It stands between words: punctuation, a symbol.
    Between,
    /// It stands between words, and is white space.
    Space,
    /// It is compared as this one.
    One(char),
    /// It is compared as several: [`Fold::several`] has them.
    Several,
    /// It changes the letter before it, with which it is composed.
    Composed(char),
}

/// Made when the first list is read; half a megabyte.
pub static FOLD: LazyLock<Fold> = LazyLock::new(Fold::default);

/// The table.
#[derive(Debug)]
pub struct Fold {
    table: Vec<Folded>,
    several: HashMap<char, Vec<char>>,
    simplified: HashMap<char, char>,
}

impl Default for Fold {
    fn default() -> Self {
        let lines = SIMPLIFIED.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.flat_map(str::split_whitespace).filter_map(|pair| {
            let mut characters = pair.chars();
            Some((characters.next()?, characters.next()?))
        });
        let mut fold = Self { table: Vec::new(), several: HashMap::new(), simplified: pairs.collect() };
        for point in 0..TABLE_CHARS {
            let folded = char::from_u32(point).map_or(Folded::Between, |character| fold.anew(character));
            fold.table.push(folded);
        }
        fold
    }
}

impl Fold {
    /// What becomes of a character.
    pub fn of(&self, character: char) -> Folded {
        match self.table.get(character as usize) {
            Some(&folded) => folded,
            // Ideographs for compatibility, each of which is another one.
            None if matches!(character, '\u{2f800}'..='\u{2fa1f}') => {
                let other = character.nfkc().next().unwrap_or(character);
                Folded::One(self.simplified.get(&other).copied().unwrap_or(other))
            }
            None if is_not_shown(character) => Folded::Nothing,
            None if character.is_alphanumeric() => Folded::One(character),
            None => Folded::Between,
        }
    }

    /// The letters of one that is compared as several.
    pub fn several(&self, character: char) -> &[char] {
        self.several.get(&character).map_or(&[], Vec::as_slice)
    }

    fn anew(&mut self, character: char) -> Folded {
        match character {
            '\u{3099}' | '\u{ff9e}' => return Folded::Composed('\u{3099}'),
            '\u{309a}' | '\u{ff9f}' => return Folded::Composed('\u{309a}'),
            '\u{1161}'..='\u{1175}' | '\u{11a8}'..='\u{11c2}' => return Folded::Composed(character),
            '\u{4e00}'..='\u{9fff}' => {
                return Folded::One(self.simplified.get(&character).copied().unwrap_or(character));
            }
            _ if is_not_shown(character) || is_mark(character) => return Folded::Nothing,
            _ if character.is_whitespace() => return Folded::Space,
            // White on black, in circles and in squares: what other letters in signs are by NFKC, these are not.
            '\u{1f150}'..='\u{1f169}' => return latin(character, '\u{1f150}'),
            '\u{1f170}'..='\u{1f189}' => return latin(character, '\u{1f170}'),
            _ => {}
        }
        let unmarked = character.nfkd().filter(|&part| !is_mark(part)).collect::<String>();
        let lower = unmarked.nfc().flat_map(char::to_lowercase).filter(|part| part.is_alphanumeric());
        let mut letters = Vec::new();
        for part in lower {
            match part {
                'ς' => letters.push('σ'),
                'ß' => letters.extend(['s', 's']),
                _ => letters.push(self.simplified.get(&part).copied().unwrap_or(part)),
            }
        }
        match letters[..] {
            [] => Folded::Between,
            [one] => Folded::One(one),
            _ if letters.len() > LETTERS_MAX => Folded::Between,
            _ => {
                self.several.insert(character, letters);
                Folded::Several
            }
        }
    }
}

/// The letter that is as far from `a` as a character from the first one of its kind.
fn latin(character: char, first: char) -> Folded {
    char::from_u32('a' as u32 + character as u32 - first as u32).map_or(Folded::Between, Folded::One)
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

/// What is written on a letter, and is no letter itself: accents, signs of vowels in Arabic and Hebrew. (The voiced marks of kana make
/// other letters, and are composed instead.)
fn is_mark(character: char) -> bool {
    // Those of Hebrew and Arabic that count as letters elsewhere, and the stroke that stretches a word.
    let is_point = matches!(character, '\u{0591}'..='\u{05bd}' | '\u{05bf}' | '\u{05c1}' | '\u{05c2}' | '\u{05c4}' | '\u{05c5}'
        | '\u{05c7}' | '\u{0640}' | '\u{064b}'..='\u{065f}' | '\u{0670}' | '\u{06d6}'..='\u{06ed}');
    let is_voiced = matches!(character, '\u{3099}' | '\u{309a}');
    is_point || (is_combining_mark(character) && !character.is_alphanumeric() && !is_voiced)
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
        for (one, other) in [
            ('A', 'a'),
            ('Ａ', 'a'),
            ('１', '1'),
            ('é', 'e'),
            ('②', '2'),
            ('K', 'k'),
            ('體', '体'),
            ('ｶ', 'カ'),
            ('ς', 'σ'),
            ('𝐛', 'b'),
            ('🅱', 'b'),
            ('🅩', 'z'),
            ('\u{2f804}', '你'),
            ('\u{2f8a6}', '慈'),
        ] {
            assert_eq!(fold.of(one), Folded::One(other), "{one}");
        }
        for nothing in [
            '\u{200b}',
            '\u{ad}',
            '\u{feff}',
            '\u{301}',
            '\u{489}',
            '\u{fe20}',
            '\u{5b0}',
            '\u{64b}',
            '\u{fe0f}',
            '\u{0}',
            '\u{e0041}',
        ] {
            assert_eq!(fold.of(nothing), Folded::Nothing, "{nothing:?}");
        }
        for space in [' ', '\n', '\u{3000}', '\u{a0}'] {
            assert_eq!(fold.of(space), Folded::Space, "{space:?}");
        }
        for between in ['.', '·', '★', '😀', '\u{d7ff}'] {
            assert_eq!(fold.of(between), Folded::Between, "{between:?}");
        }
        assert_eq!(fold.of('ﬁ'), Folded::Several);
        assert_eq!(fold.several('ﬁ'), ['f', 'i']);
        assert_eq!(fold.several('ß'), ['s', 's']);
        assert_eq!(fold.of('\u{fdfa}'), Folded::Between, "eighteen letters in three bytes");
        assert_eq!(fold.of('각'), Folded::One('각'), "a syllable is not the beginning of another one");
        assert_eq!(fold.of('が'), Folded::One('が'));
        assert_eq!(fold.of('𠮷'), Folded::One('𠮷'));
    }
}
