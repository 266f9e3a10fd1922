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
    renamed_keys::{self, RenamedKey},
    service_links,
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

    /// Keys that SIGHUP applies; others need a restart.
    const RELOADED: &'static [&'static str] = &["log.filter"];

    /// Where the service listens.
    fn listeners(&mut self) -> Vec<&mut Endpoint>;

    /// Where its admin listener is.
    fn admin(&self) -> &Endpoint;

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
    with_environment(from_file(file)?, environment)
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
    Ok(settings)
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
    if let Some(found) = renamed_keys::find_in_file(S::RENAMED, &text) {
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
        if let Some(key) = renamed_keys::new_name(S::RENAMED, &path.replace("__", ".")) {
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
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        listen: Endpoint,
        peer: Endpoint,
        data_dir: PathBuf,
        limits: Limits,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Limits {
        frame_bytes_max: u32,
        hosts: Vec<String>,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self {
                listen: Endpoint::new("127.0.0.1:8000"),
                peer: Endpoint::new("http://127.0.0.1:8010"),
                data_dir: "data".into(),
                limits: Limits { frame_bytes_max: 4096, hosts: Vec::new() },
            }
        }
    }

    impl Settings for Sample {
        const SERVICE: &'static str = "sample";
        const RENAMED: &'static [RenamedKey] = &[("limits.size", "limits.frame_bytes_max"), ("folder", "data_dir")];

        fn listeners(&mut self) -> Vec<&mut Endpoint> {
            vec![&mut self.listen]
        }

        fn admin(&self) -> &Endpoint {
            &self.listen
        }

        fn peers(&mut self) -> Vec<&mut Endpoint> {
            vec![&mut self.peer]
        }

        fn validate(&self) -> Result<(), String> {
            Ok(())
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn file_error(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let error = load::<Sample>(Some(file.path()), pairs(&[])).unwrap_err().to_string();
        error.replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn environment_overrides_values_of_every_type() {
        let environment = pairs(&[
            ("GIM_SAMPLE_LISTEN", "127.0.0.1:9"),
            ("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "7"),
            ("GIM_SAMPLE_LIMITS__HOSTS", "[\"a\"]"),
            ("GIM_SAMPLE_DATA_DIR", "123"),
            ("OTHER", "x"),
        ]);
        let settings: Sample = load(None, environment).unwrap();
        assert_eq!(settings.listen, Endpoint::new("127.0.0.1:9"));
        assert_eq!(settings.limits, Limits { frame_bytes_max: 7, hosts: vec!["a".into()] });
        assert_eq!(settings.data_dir, PathBuf::from("123"));
    }

    #[test]
    fn the_port_offset_moves_what_the_file_names_and_nothing_that_was_given() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "peer = \"http://127.0.0.1:8030\"\n").unwrap();
        let shifted = |file: Option<&Path>, given: &[(&str, &str)]| {
            let settings: Sample = load_shifted(file, pairs(given), 6000).unwrap();
            (settings.listen.to_string(), settings.peer.to_string())
        };
        let (listen, peer) = shifted(Some(file.path()), &[("GIM_SAMPLE_LISTEN", "127.0.0.1:9000")]);
        assert_eq!((listen.as_str(), peer.as_str()), ("127.0.0.1:15000", "http://127.0.0.1:14030"));
        let peer_given = |text: &str| shifted(None, &[("GIM_SAMPLE_PEER", text)]).1;
        assert_eq!(peer_given("http://10.0.0.7:9000"), "http://10.0.0.7:9000");
        assert_eq!(peer_given("http://10.0.0.7:65000"), "http://10.0.0.7:65000", "no port over 65535");
        assert_eq!(peer_given("http://[::1]:8010"), "http://[::1]:14010", "the port that the file names");
        assert_eq!(peer_given(""), "");
    }

    #[test]
    fn an_address_that_the_offset_was_taken_off_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = |port: u16| format!("http://127.0.0.1:{port}");
        let given = |peer: String| {
            let environment = [("GIM_SAMPLE_PEER".to_owned(), peer)];
            load_shifted::<Sample>(None, environment, 500).unwrap().peer.to_string()
        };
        assert_eq!(given(text(port - 500)), text(port));
        assert_eq!(given(text(port)), text(port));
    }

    #[test]
    fn a_section_given_in_part_keeps_the_defaults_for_the_rest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "[limits]\nhosts = [\"a\"]\n").unwrap();
        let settings: Sample = load(Some(file.path()), pairs(&[])).unwrap();
        assert_eq!(settings.limits, Limits { frame_bytes_max: 4096, hosts: vec!["a".into()] });
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        let error = file_error("[limits]\nframe_bytes = 3\n");
        assert!(error.starts_with("settings file FILE, line 2: unknown field `frame_bytes`"), "{error}");
    }

    #[test]
    fn renamed_keys_are_refused_with_their_new_name() {
        let error = file_error("data_dir = \"x\"\n[limits]\nsize = 3\nother = 4\n");
        assert_eq!(error, "settings file FILE, line 3: `limits.size` is now `limits.frame_bytes_max`");
        let error = |name: &str| load::<Sample>(None, pairs(&[(name, "1")])).unwrap_err().to_string();
        assert_eq!(
            error("GIM_SAMPLE_LIMITS__SIZE"),
            "environment variable GIM_SAMPLE_LIMITS__SIZE: is now GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX"
        );
        assert!(error("GIM_SAMPLE_FOLDER").ends_with("is now GIM_SAMPLE_DATA_DIR"));
    }

    #[test]
    #[should_panic(expected = "`folder` is said to be `data_dir` now, but is still a key")]
    fn the_table_of_renamed_keys_is_checked() {
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct Wrong {
            folder: u32,
            data_dir: u32,
        }
        impl Settings for Wrong {
            const SERVICE: &'static str = "wrong";
            const RENAMED: &'static [RenamedKey] = &[("folder", "data_dir")];

            fn listeners(&mut self) -> Vec<&mut Endpoint> {
                Vec::new()
            }

            fn admin(&self) -> &Endpoint {
                unreachable!("nobody asks")
            }

            fn peers(&mut self) -> Vec<&mut Endpoint> {
                Vec::new()
            }

            fn validate(&self) -> Result<(), String> {
                Ok(())
            }
        }
        assert_documents_defaults::<Wrong>("folder = 0\ndata_dir = 0\n");
    }

    #[test]
    fn broken_toml_and_wrong_types_name_their_line() {
        assert!(file_error("\nlisten = ").starts_with("settings file FILE, line 2:"));
        let error = file_error("[limits]\n\nframe_bytes_max = \"many\"");
        assert!(error.starts_with("settings file FILE, line 3: invalid type"), "{error}");
        assert!(file_error("listen = \"nowhere\"").contains("line 1"));
    }

    #[test]
    fn unknown_or_unfit_variables_are_refused_by_name() {
        let error = |name: &str, value: &str| load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
        assert_eq!(
            error("GIM_SAMPLE_LIMIT__X", "1"),
            "environment variable GIM_SAMPLE_LIMIT__X: there is no settings section `limit`"
        );
        assert_eq!(error("GIM_SAMPLE_TYPO", "1"), "environment variable GIM_SAMPLE_TYPO: there is no setting `typo`");
        let unfit = error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "-1");
        assert!(unfit.starts_with("environment variable GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX: "), "{unfit}");
        assert!(error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "1\nlisten = \"x\"").contains("FRAME_BYTES_MAX"));
    }

    #[test]
    fn what_an_environment_variable_holds_is_never_repeated() {
        let error = |name: &str, value: &str| {
            let error = load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
            error.strip_prefix(&format!("environment variable {name}: ")).expect("its name").to_owned()
        };
        for value in ["secret-1", "\"secret-1\"", "12345", "a,b", "", "[\"secret-1\"]\nother = 1"] {
            assert_eq!(error("GIM_SAMPLE_LIMITS__HOSTS", value), NO_LIST, "{value}");
        }
        assert_eq!(error("GIM_SAMPLE_LIMITS__HOSTS", "[12345]"), "invalid type, expected a string");
        assert_eq!(error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "secret-1"), NO_VALUE);
        let unfit = error("GIM_SAMPLE_LIMITS__FRAME_BYTES_MAX", "\"secret, expected nothing\"");
        assert_eq!(unfit, "invalid type, expected u32");
    }

    #[test]
    fn variables_of_kubernetes_services_are_no_settings_and_typos_still_are() {
        let links = |service: &str| {
            let url = "tcp://10.96.14.7:8010";
            let pair = |suffix: &str, value: &str| (format!("{service}_{suffix}"), value.to_owned());
            vec![
                pair("SERVICE_HOST", "10.96.14.7"),
                pair("SERVICE_PORT", "8010"),
                pair("SERVICE_PORT_GRPC_INT", "8010"),
                pair("PORT", url),
                pair("PORT_8010_TCP", url),
                pair("PORT_8010_TCP_PROTO", "tcp"),
                pair("PORT_8010_TCP_PORT", "8010"),
                pair("PORT_8010_TCP_ADDR", "10.96.14.7"),
                pair("PORT_53_UDP", "udp://10.96.14.7:53"),
            ]
        };
        for service in ["GIM_SAMPLE", "GIM_SAMPLE_GRPC", "GIM_SAMPLE_0"] {
            assert_eq!(load::<Sample>(None, links(service)).unwrap(), Sample::default(), "{service}");
        }
        for (name, value) in [
            ("GIM_SAMPLE_PORT", "8010"),
            ("GIM_SAMPLE_GRPC__PORT", "tcp://10.96.14.7:8010"),
            ("GIM_SAMPLE_SERVICE_HOSTS", "a"),
            ("GIM_SAMPLE_PORT_TCP", "a"),
            ("GIM_SAMPLE_PORT_8010_TCP_TYPO", "a"),
            ("GIM_SAMPLE_LIMITS__SERVICE_HOST", "a"),
            ("GIM_SAMPLE_LISTENER", "a"),
        ] {
            let error = load::<Sample>(None, pairs(&[(name, value)])).unwrap_err().to_string();
            assert!(error.starts_with(&format!("environment variable {name}: ")), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_one_sentence() {
        let error = load::<Sample>(Some(Path::new("/nonexistent/x.toml")), pairs(&[])).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the settings file /nonexistent/x.toml: "), "{error}");
    }
}
