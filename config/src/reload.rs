//! SIGHUP: what the settings say now, beside what holds since the start. On the task of [`crate::service`].
//!
//! Always holds: settings that are refused change nothing; and whatever changed and is not applied is named: each time somebody asks, and
//! once where files are of no use at look after look.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use metrics::counter;
use toml::{Table, Value};

use crate::{
    arguments::ServiceArguments,
    logging::{self, LogSettings},
    metrics as names,
    reload_requests::ReloadOutcome,
    settings::{self, Settings},
    traces,
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Reload<S> {
    arguments: ServiceArguments,
    log: fn(&S) -> &LogSettings,
    /// What holds.
    held: Table,
    /// The problem that the last reading found.
    last_problem: Option<String>,
}

impl<S: Settings> Reload<S> {
    /// Of a service that is started with these settings.
    pub(crate) fn new(arguments: &ServiceArguments, settings: &S, log: fn(&S) -> &LogSettings) -> Self {
        let held = Table::try_from(settings).unwrap_or_default();
        Self { arguments: arguments.clone(), log, held, last_problem: None }
    }

    /// The settings file, and every file that is named in it.
    pub(crate) fn files(&self, settings: &S) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.arguments.config.iter().cloned().collect();
        let table = Table::try_from(settings).unwrap_or_default();
        table.values().for_each(|value| add_files_in(value, &mut files));
        files
    }

    /// Reads them again, and has `check` look at the files that they name. Where they are refused, it says why; otherwise the log filter
    /// is as they say.
    pub(crate) fn read(&self, check: impl FnOnce(&S) -> Result<(), String>) -> Result<S, String> {
        let settings: S = settings::load_for(&self.arguments).map_err(|error| error.to_string())?;
        check(&settings)?;
        logging::set_filter((self.log)(&settings))?;
        if let Some(settings) = settings.traces() {
            traces::set_share(settings);
        }
        Ok(settings)
    }

    /// Whether the log says that already, of the last reading.
    pub(crate) fn has_told(&self, problem: &str) -> bool {
        self.last_problem.as_deref() == Some(problem)
    }

    /// How it ended, files that settings name included: in the log, in a counter, and for whoever asked, if somebody did.
    pub(crate) fn conclude(&mut self, settings: Option<&S>, problem: Option<String>, is_asked: bool) -> ReloadOutcome {
        let now = settings.and_then(|settings| Table::try_from(settings).ok());
        let (mut applied, mut waiting) = (Vec::new(), Vec::new());
        if let Some(now) = &now {
            (applied, waiting) = changed(&self.held, now).into_iter().partition(|key| is_reloaded::<S>(key));
            applied.iter().for_each(|key| copy(&mut self.held, now, key));
        }
        let is_news = is_asked || problem != self.last_problem;
        self.last_problem.clone_from(&problem);
        if let Some(problem) = problem.as_ref().filter(|_| is_news) {
            tracing::error!(problem, "this stays as it was");
        }
        let is_told = is_news || problem.is_none();
        // Where all was refused, this would read as if it had been done.
        if now.is_some() && (problem.is_none() || !applied.is_empty()) {
            tracing::info!(applied = applied.join(", "), "the settings were read again");
        }
        if is_told && !waiting.is_empty() {
            let settings = waiting.join(", ");
            tracing::warn!(settings, "changes of these settings need a restart");
        }
        let result = if problem.is_none() { "ok" } else { "refused" };
        counter!(names::RELOADS, "result" => result).increment(1);
        ReloadOutcome { applied, waiting, problem }
    }
}

fn add_files_in(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::String(text) if Path::new(text).is_file() => files.push(text.into()),
        Value::Array(entries) => entries.iter().for_each(|entry| add_files_in(entry, files)),
        Value::Table(section) => section.values().for_each(|entry| add_files_in(entry, files)),
        _ => {}
    }
}

/// Whether a setting holds at once, or names the file of one that does.
pub(crate) fn is_reloaded<S: Settings>(key: &str) -> bool {
    [key, key.strip_suffix("_file").unwrap_or(key)].iter().any(|key| S::RELOADED.contains(key))
}

/// Settings that are others than those that hold.
pub(crate) fn changed(held: &Table, now: &Table) -> Vec<String> {
    let (held, now) = (leaves(held), leaves(now));
    let keys = held.keys().chain(now.keys().filter(|key| !held.contains_key(*key)));
    keys.filter(|key| held.get(*key) != now.get(*key)).cloned().collect()
}

/// Takes one setting over.
pub(crate) fn copy(into: &mut Table, from: &Table, key: &str) {
    match key.split_once('.') {
        Some((section, rest)) => {
            if let (Some(Value::Table(into)), Some(Value::Table(from))) = (into.get_mut(section), from.get(section)) {
                copy(into, from, rest);
            }
        }
        None => drop(from.get(key).map(|value| into.insert(key.to_owned(), value.clone()))),
    }
}

/// Every setting by its name, as in `limits.frame_bytes_max`.
pub(crate) fn leaves(table: &Table) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                found.extend(leaves(inner).into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => drop(found.insert(key.clone(), value)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_and_what_is_applied_holds() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let mut held = table("a = 1\n[log]\nfilter = 'info'\nformat = 'text'\n[[apps]]\nid = 1\n");
        let now = table("a = 2\n[log]\nfilter = 'debug'\nformat = 'json'\n[[apps]]\nid = 2\n");
        assert_eq!(changed(&held, &now), ["a", "apps", "log.filter", "log.format"]);
        copy(&mut held, &now, "log.filter");
        assert_eq!(changed(&held, &now), ["a", "apps", "log.format"]);
        assert!(changed(&held, &held).is_empty());
    }
}
