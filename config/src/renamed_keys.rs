//! Settings keys that have another name now, or are gone: refused with what stands in their place, in a file as in the environment. At
//! start-up only.

use toml::de::{DeTable, DeValue};

/// The old and the new name of a key, or of a section with all keys in it: `limits.pace`, as errors name it.
pub type RenamedKey = (&'static str, &'static str);

/// A key that is gone, and what to know of that, as errors say it after its name.
pub type RemovedKey = (&'static str, &'static str);

/// What a service had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FormerKeys {
    pub renamed: &'static [RenamedKey],
    pub removed: &'static [RemovedKey],
}

impl FormerKeys {
    fn problem(&self, key: &str) -> Option<String> {
        if let Some(why) = why_removed(self.removed, key) {
            return Some(format!("`{key}` is gone: {why}"));
        }
        new_name(self.renamed, key).map(|new_name| format!("`{key}` is now `{new_name}`"))
    }
}

/// A former key that somebody still uses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it stands in the text, in bytes.
    pub start: usize,
    /// What to do about it.
    pub problem: String,
}

/// What `key` is called now, where that is something else.
pub(crate) fn new_name(renamed: &[RenamedKey], key: &str) -> Option<String> {
    renamed.iter().find_map(|(old, new)| match key.strip_prefix(old)? {
        "" => Some((*new).to_owned()),
        rest => rest.starts_with('.').then(|| format!("{new}{rest}")),
    })
}

/// What to know of a key that is gone.
pub(crate) fn why_removed(removed: &[RemovedKey], key: &str) -> Option<&'static str> {
    removed.iter().find_map(|(old, why)| (*old == key).then_some(*why))
}

/// The first former key of a settings file; none where it is no TOML.
pub(crate) fn find_in_file(former: FormerKeys, text: &str) -> Option<Found> {
    let file = DeTable::parse(text).ok()?;
    find_in_table(former, file.get_ref()).into_iter().min_by_key(|found| found.start)
}

/// All of them, in no order.
pub(crate) fn find_in_table(former: FormerKeys, table: &DeTable<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    look(former, "", table, &mut found);
    found
}

fn look(former: FormerKeys, section: &str, table: &DeTable<'_>, found: &mut Vec<Found>) {
    for (key, value) in table {
        let name = format!("{section}{}", key.get_ref());
        if let Some(problem) = former.problem(&name) {
            found.push(Found { start: key.span().start, problem });
            continue;
        }
        let inner = format!("{name}.");
        match value.get_ref() {
            DeValue::Table(table) => look(former, &inner, table, found),
            DeValue::Array(entries) => {
                let tables = entries.iter().filter_map(|entry| entry.get_ref().as_table());
                tables.for_each(|table| look(former, &inner, table, found));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENAMED: [RenamedKey; 3] = [("pace", "limits.rate"), ("route", "shared_state"), ("apps.key", "apps.name")];

    #[test]
    fn a_renamed_section_renames_its_keys_and_no_others() {
        let name = |key| new_name(&RENAMED, key);
        assert_eq!(name("pace").as_deref(), Some("limits.rate"));
        assert_eq!(name("route.redis.url").as_deref(), Some("shared_state.redis.url"));
        assert_eq!([name("pacer"), name("routes"), name("limits.pace")], [None, None, None]);
    }

    #[test]
    fn the_first_renamed_key_of_a_file_is_found_at_any_depth() {
        let former = FormerKeys { renamed: &RENAMED, removed: &[("old", "do without")] };
        let problem = |text| find_in_file(former, text).map(|found| (found.start, found.problem));
        let found = |start, problem: &str| Some((start, problem.to_owned()));
        assert_eq!(problem("a = 1\n[route]\npace = 2\n"), found(7, "`route` is now `shared_state`"));
        assert_eq!(problem("[[apps]]\nid = 1\n[[apps]]\nkey = 'x'\n"), found(25, "`apps.key` is now `apps.name`"));
        assert_eq!(problem("z = 1\npace = 2\n[route]\n"), found(6, "`pace` is now `limits.rate`"));
        assert_eq!(problem("[limits]\nrate = 1\n"), None);
        assert_eq!(problem("z = 1\nold = 2\n[limits]\nold = 3\n"), found(6, "`old` is gone: do without"));
        assert_eq!(problem("[limits]\nold = 3\n"), None);
        assert_eq!(problem("pace = "), None);
    }
}
