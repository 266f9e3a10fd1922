//! Settings: defaults, then the file, then the environment; the last one wins. Read once, where a service starts.
//!
//! A service's settings are one serde struct with `#[serde(default, deny_unknown_fields)]` on each level. The serialized
//! default is the schema: it tells which environment variables exist and what type each has, and a test compares it with
//! the commented file under `config/`. Every error is one sentence that names the key and the place it came from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{
    arguments::ServiceArguments,
    listen::Endpoint,
    renamed_keys::{self, FormerKeys, RemovedKey, RenamedKey},
    secret_files, service_links,
    traces::TracesSettings,
};

/// Of an environment variable; the value is not repeated, as it may be a secret.
const NO_LIST: &str = r#"is no list, which is written as in TOML: ["a", "b"]"#;
const NO_VALUE: &str = "is no value of TOML, such as 5 or true";

/// The settings of one service.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// The name in log lines and environment variables: `conn` reads `GIM_CONN_*`.
    const SERVICE: &'static str;

    /// Keys of former versions: whoever still uses one is told its new name.
    const RENAMED: &'static [RenamedKey] = &[];

    /// Keys of former versions that are gone: whoever still uses one is told why.
    const REMOVED: &'static [RemovedKey] = &[];

    /// Keys that SIGHUP applies; others need a restart.
    const RELOADED: &'static [&'static str] = &["log.filter"];

    /// Where the service listens.
    fn listeners(&mut self) -> Vec<&mut Endpoint>;

    /// Where its admin listener is.
    fn admin(&self) -> &Endpoint;

    /// Where it tells its traces.
    fn traces(&self) -> Option<&TracesSettings> {
        None
    }

    /// How often the settings file and the files that it names are looked at, to be read again as at SIGHUP; 0 for never.
    fn files_interval_ms(&self) -> u64 {
        0
    }

    /// The name of this node.
    fn node(&self) -> &str {
        Self::SERVICE
    }

    /// Where it reaches other services.
    fn peers(&mut self) -> Vec<&mut Endpoint>;

    /// Sets the folder that `--data` names. Services that keep nothing refuse it by returning false.
    fn set_data_dir(&mut self, _folder: &Path) -> bool {
        false
    }

    /// Checks what types cannot say. The error names the key, as in `limits.frame_bytes_max: must be at least 1024`.
    fn validate(&self) -> Result<(), String>;
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML, or holds a key or a value that does not belong there.
    #[error("settings file {path}, line {line}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In the parser's words.
        problem: String,
    },
    /// A variable of this service's prefix is no setting, or its value does not fit.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// Its whole name.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The values do not make sense.
    #[error("settings: {0}")]
    Invalid(String),
}

/// Loads the settings of a service from `file` (if any) and `environment`, usually `std::env::vars()`.
pub fn load<S: Settings>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<S, SettingsError> {
    with_secrets(with_environment(from_file(file)?, environment)?)
}

/// The settings with the secrets that are in files of their own.
pub(crate) fn with_secrets<S: Settings>(settings: S) -> Result<S, SettingsError> {
    let mut table = Table::try_from(&settings).map_err(|error| SettingsError::Invalid(error.to_string()))?;
    match secret_files::read(&mut table) {
        Ok(false) => Ok(settings),
        Ok(true) => {
            table.try_into().map_err(|error: toml::de::Error| SettingsError::Invalid(without_value(error.message())))
        }
        Err(problem) => Err(SettingsError::Invalid(problem)),
    }
}

/// Loads, applies the command line, and validates.
pub fn load_for<S: Settings>(arguments: &ServiceArguments) -> Result<S, SettingsError> {
    let mut settings = load_shifted::<S>(
        arguments.config.as_deref(),
        std::env::vars_os().filter_map(utf8_pair),
        arguments.port_offset,
    )?;
    if let Some(folder) = &arguments.data
        && !settings.set_data_dir(folder)
    {
        return Err(SettingsError::Invalid(format!("--data: {} keeps nothing in a folder", S::SERVICE)));
    }
    settings.validate().map_err(SettingsError::Invalid)?;
    Ok(settings)
}

/// Loads, and adds to ports: of our listeners, wherever they were given, as they are this process' own, and of the other services
/// that the file names. Another service that was given is moved only where it has the port that the file names.
fn load_shifted<S: Settings>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    port_offset: u16,
) -> Result<S, SettingsError> {
    let mut written: S = from_file(file)?;
    let named: Vec<u16> = written.peers().into_iter().map(|peer| peer.port()).collect();
    let mut settings = with_environment(written, environment)?;
    for listener in settings.listeners() {
        *listener = listener.shifted(port_offset).map_err(SettingsError::Invalid)?;
    }
    for peer in settings.peers() {
        let shifted = peer.shifted(port_offset);
        if named.contains(&peer.port()) {
            *peer = shifted.map_err(SettingsError::Invalid)?;
        } else if let Ok(shifted) = shifted
            && !peer.is_answered_here()
            && shifted.is_answered_here()
        {
            // Who starts us took the offset off, as it used to be added to everything.
            *peer = shifted;
        }
    }
    with_secrets(settings)
}

fn from_file<S: Settings>(file: Option<&Path>) -> Result<S, SettingsError> {
    file.map_or_else(|| Ok(S::default()), read_file)
}

/// Asserts that a settings file documents every key of the defaults, with the default as its value, and that what was renamed
/// is there under its new name alone. For tests.
pub fn assert_documents_defaults<S: Settings>(text: &str) {
    let file: Table = text.parse().expect("the settings file is TOML");
    let defaults = Table::try_from(S::default()).expect("settings serialize");
    assert_eq!(file, defaults, "the file under config/ and the defaults in the code differ");
    for (old, new) in S::RENAMED {
        assert_ne!(is_key(&defaults, new), Some(false), "`{old}` is said to be `{new}` now, which is no key");
        assert_ne!(is_key(&defaults, old), Some(true), "`{old}` is said to be `{new}` now, but is still a key");
    }
    for (old, _) in S::REMOVED {
        assert_ne!(is_key(&defaults, old), Some(true), "`{old}` is said to be gone, but is still a key");
    }
}

/// Whether there is such a key; none where it is one of a list, which is empty by default.
fn is_key(table: &Table, key: &str) -> Option<bool> {
    let Some((section, rest)) = key.split_once('.') else { return Some(table.contains_key(key)) };
    match table.get(section) {
        Some(Value::Table(inner)) => is_key(inner, rest),
        Some(Value::Array(_)) => None,
        _ => Some(false),
    }
}

/// Keys that a service had.
pub(crate) fn former<S: Settings>() -> FormerKeys {
    FormerKeys { renamed: S::RENAMED, removed: S::REMOVED }
}

fn utf8_pair((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

fn read_file<S: Settings>(path: &Path) -> Result<S, SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let fail_at = |start: usize, problem: String| {
        let line = text[..start.min(text.len())].matches('\n').count() + 1;
        SettingsError::File { path: path.to_owned(), line, problem }
    };
    let fail = |error: toml::de::Error| fail_at(error.span().map_or(0, |span| span.start), one_line(error.message()));
    if let Some(found) = renamed_keys::find_in_file(former::<S>(), &text) {
        return Err(fail_at(found.start, found.problem));
    }
    // Read once for errors that know their line, and once over the defaults: a section that is given in part keeps this
    // service's defaults for the rest.
    toml::from_str::<S>(&text).map_err(fail)?;
    let mut table = Table::try_from(S::default()).map_err(|error| SettingsError::Invalid(error.to_string()))?;
    merge(&mut table, text.parse().map_err(fail)?);
    table.try_into().map_err(fail)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(changes)) => merge(inner, changes),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The settings as these variables change them.
pub(crate) fn with_environment<S: Settings>(
    settings: S,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<S, SettingsError> {
    let prefix = format!("GIM_{}_", S::SERVICE.to_uppercase());
    let mut table = Table::try_from(&settings).map_err(|error| SettingsError::Invalid(error.to_string()))?;
    let mut overrides: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(&prefix) && name.len() > prefix.len())
        .filter(|(name, value)| !service_links::is_one(&name[prefix.len()..], value))
        .collect();
    overrides.sort();
    let mut current = settings;
    for (variable, text) in overrides {
        let path = variable[prefix.len()..].to_lowercase();
        let fail = |problem: String| SettingsError::Environment { variable: variable.clone(), problem };
        let key = path.replace("__", ".");
        if let Some(why) = renamed_keys::why_removed(S::REMOVED, &key) {
            return Err(fail(format!("is gone: {why}")));
        }
        if let Some(key) = renamed_keys::new_name(S::RENAMED, &key) {
            return Err(fail(format!("is now {prefix}{}", key.replace('.', "__").to_uppercase())));
        }
        apply(&mut table, &path, &text).map_err(fail)?;
        current = table.clone().try_into().map_err(|error: toml::de::Error| fail(without_value(error.message())))?;
    }
    Ok(current)
}

/// Sets the value at `path` (`section__key`), read as the type that stands there now.
fn apply(table: &mut Table, path: &str, text: &str) -> Result<(), String> {
    let (section, rest) = path.split_once("__").map_or((None, path), |(section, rest)| (Some(section), rest));
    if let Some(section) = section {
        return match table.get_mut(section) {
            Some(Value::Table(inner)) => apply(inner, rest, text),
            _ => Err(format!("there is no settings section `{section}`")),
        };
    }
    let Some(value) = table.get_mut(rest) else { return Err(format!("there is no setting `{rest}`")) };
    *value = match value {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Table(_) => return Err(format!("`{rest}` is a section, not a setting")),
        Value::Array(_) => parse_value(text).filter(Value::is_array).ok_or(NO_LIST)?,
        _ => parse_value(text).ok_or(NO_VALUE)?,
    };
    Ok(())
}

/// The one value that this is.
fn parse_value(text: &str) -> Option<Value> {
    let parsed: Table = format!("value = {text}").parse().ok()?;
    let mut values = parsed.into_iter();
    values.next().filter(|_| values.len() == 0).map(|(_, value)| value)
}

/// What the parser says of a value that does not fit, but for the value: it may be a secret.
fn without_value(message: &str) -> String {
    let message = one_line(message);
    let kind = ["invalid type", "invalid value"].into_iter().find(|kind| message.starts_with(kind));
    match (kind, message.rsplit_once(", expected ")) {
        (Some(kind), Some((_, expected))) => format!("{kind}, expected {expected}"),
        _ => message,
    }
}

/// A message of the parser without its line breaks.
pub(crate) fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
