//! Who a user is.

use unicode_normalization::UnicodeNormalization as _;

/// Accents and the like, which stand behind the letter that they belong to once a text is taken apart.
const ACCENTS: std::ops::RangeInclusive<char> = '\u{300}'..='\u{36f}';

/// A text as searches compare it, whatever the database: without accents, and without a difference between small and capital
/// letters. All other characters, as of emoji, count as they are.
pub fn for_search(text: &str) -> String {
    let letters = text.nfd().filter(|letter| !ACCENTS.contains(letter));
    // By way of the capitals, because some letters share one, or have one of several letters.
    letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub user_id: u64,
    pub phone_number: String,
    pub profile: Profile,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// What a user says about herself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    pub nickname: String,
    /// The app's own numbering; stored as it comes.
    pub sex: i32,
    pub avatar_url: String,
    pub extra: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_overlooks_accents_and_capitals_and_nothing_else() {
        for (one, other) in
            [("ZOE", "Zoë"), ("straße", "STRASSE"), ("Ünal", "unal"), ("ΣΊΣΥΦΟΣ", "σισυφος"), ("İ", "i")]
        {
            assert_eq!(for_search(one), for_search(other), "{one} {other}");
        }
        for (one, other) in [("🍣", "🍺"), ("か", "が"), ("가", "각"), ("a", "a "), ("ab", "a\u{200d}b"), ("सल", "साल")]
        {
            assert_ne!(for_search(one), for_search(other), "{one} {other}");
        }
    }
}
