//! Pages of lists that go by ascending ids: which one is asked for, and how much of what was read belongs to it.
//!
//! Plain data, on any thread. Always holds: a page has an entry where any is left, and no more than fits a packet of the long
//! connection, unless a single entry does not.

use prost::Message;

use crate::check::{self, Violation};

/// Entries of a page whose request names no limit.
pub const ENTRIES_DEFAULT: u32 = 100;

/// Most entries of a page.
pub const ENTRIES_MAX: u32 = 500;

/// Bytes of a page: what stands around it fits a packet as well.
const BYTES_MAX: usize = 48 * 1024;

/// What stands around an entry.
const ENTRY_ENVELOPE_BYTES: usize = 6;

/// A page that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Its entries have greater ids; 0 for the first page.
    pub after_id: u64,
    limit: u32,
}

impl Page {
    /// The page after an id, of so many entries; 0 for as many as is usual. `field` is the name of the id.
    ///
    /// # Errors
    /// The id is none.
    pub fn after(field: &str, after_id: u64, limit: u32) -> Result<Self, Violation> {
        if after_id != 0 {
            check::id(field, after_id)?;
        }
        Ok(Self { after_id, limit: if limit == 0 { ENTRIES_DEFAULT } else { limit.min(ENTRIES_MAX) } })
    }

    /// How many entries to read: one more than there may be shows whether any are left.
    pub fn entries_to_read(self) -> u32 {
        self.limit + 1
    }

    /// The page, of so many entries, and whether any are left.
    pub fn cut<M: Message>(self, mut entries: Vec<M>) -> (Vec<M>, bool) {
        let mut bytes = 0;
        let fits = |entry: &&M| {
            bytes += entry.encoded_len() + ENTRY_ENVELOPE_BYTES;
            bytes <= BYTES_MAX
        };
        let count = entries.iter().take(self.limit as usize).take_while(fits).count().max(1);
        let has_more = count < entries.len();
        entries.truncate(count);
        (entries, has_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::GroupMember;

    fn members(count: u64, extra_bytes: usize) -> Vec<GroupMember> {
        (1..=count)
            .map(|user_id| GroupMember { user_id, extra: "x".repeat(extra_bytes), ..GroupMember::default() })
            .collect()
    }

    #[test]
    fn a_page_has_as_many_entries_as_were_asked_for_or_as_fit_a_packet() {
        let sizes = |limit, count, bytes| {
            let page = Page::after("after_user_id", 0, limit).unwrap();
            let (entries, has_more) = page.cut(members(count, bytes));
            (entries.len(), has_more)
        };
        assert_eq!(sizes(0, 101, 0), (100, true));
        assert_eq!(sizes(3, 3, 0), (3, false));
        assert_eq!(sizes(9_000, 501, 0), (500, true));
        assert_eq!(sizes(9, 9, 10_000), (4, true));
        assert_eq!(sizes(9, 2, 100_000), (1, true), "an entry that fits nowhere holds nothing up");
        assert_eq!(sizes(9, 0, 0), (0, false));
        assert_eq!(Page::after("after_user_id", 0, 9).unwrap().entries_to_read(), 10);
        let problem = Page::after("after_user_id", u64::MAX, 0).unwrap_err().to_string();
        assert!(problem.starts_with("after_user_id: must be from 1 to"), "{problem}");
    }
}
