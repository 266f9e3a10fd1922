//! SIGHUP: what the settings say now, beside what holds since the start. On the task of [`crate::service`].
//!
//! Always holds: settings that are refused change nothing; and whatever changed and is not applied is named.

use std::collections::BTreeMap;

use metrics::counter;
use toml::{Table, Value};

use crate::{
    arguments::ServiceArguments,
    logging::{self, LogSettings},
    metrics as names,
    settings::{self, Settings},
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Reload<S> {
    arguments: ServiceArguments,
    log: fn(&S) -> &LogSettings,
    /// What holds.
    held: Table,
}

impl<S: Settings> Reload<S> {
    /// Of a service that is started with these settings.
    pub(crate) fn new(arguments: &ServiceArguments, settings: &S, log: fn(&S) -> &LogSettings) -> Self {
        for result in ["ok", "refused"] {
            counter!(names::RELOADS, "result" => result).increment(0);
        }
        Self { arguments: arguments.clone(), log, held: Table::try_from(settings).unwrap_or_default() }
    }

    /// Reads them again, and has `check` look at the files that they name. Without an answer they are refused, and the log says why;
    /// with one the log filter is as they say.
    pub(crate) fn read(&mut self, check: impl FnOnce(&S) -> Result<(), String>) -> Option<S> {
        let settings: S = match settings::load_for(&self.arguments) {
            Ok(settings) => settings,
            Err(error) => {
                tracing::error!(%error, "what is set stays as it was");
                return None;
            }
        };
        let filter = (self.log)(&settings);
        if let Err(problem) = check(&settings).and_then(|()| logging::set_filter(filter)) {
            tracing::error!(problem, "what is set stays as it was");
            return None;
        }
        let now = Table::try_from(&settings).unwrap_or_default();
        let waiting = changed(&self.held, &now, S::RELOADED);
        if waiting.is_empty() {
            tracing::info!("the settings were read again");
        } else {
            tracing::warn!(
                settings = waiting.join(", "),
                "the settings were read again; of these, changes need a restart"
            );
        }
        Some(settings)
    }

    /// How it ended, files that settings name included.
    pub(crate) fn count(is_done: bool) {
        counter!(names::RELOADS, "result" => if is_done { "ok" } else { "refused" }).increment(1);
    }
}

/// Settings that are others than those that hold, and are not applied.
fn changed(held: &Table, now: &Table, applied: &[&str]) -> Vec<String> {
    let (held, now) = (leaves(held), leaves(now));
    let is_applied = |key: &str| applied.contains(&key);
    let keys = held.keys().chain(now.keys().filter(|key| !held.contains_key(*key)));
    keys.filter(|key| !is_applied(key) && held.get(*key) != now.get(*key)).cloned().collect()
}

/// Every setting by its name, as in `limits.frame_bytes_max`.
fn leaves(table: &Table) -> BTreeMap<String, &Value> {
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
    fn what_changed_and_is_not_applied_is_named() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let held = table("a = 1\n[log]\nfilter = 'info'\nformat = 'text'\n[[apps]]\nid = 1\n");
        let now = table("a = 2\n[log]\nfilter = 'debug'\nformat = 'json'\n[[apps]]\nid = 2\n");
        assert_eq!(changed(&held, &now, &["log.filter"]), ["a", "apps", "log.format"]);
        assert!(changed(&held, &held, &[]).is_empty());
    }
}
