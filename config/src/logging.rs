//! Structured logs on standard error: one line per event, with the fields of the spans around it.

use std::{
    fmt::{self, Write as _},
    io::IsTerminal as _,
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};
use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    filter::{LevelFilter, ParseError},
    fmt::{
        FormatFields,
        format::{Writer, debug_fn},
    },
    reload,
};

use crate::{log_origin::Origin, slow};

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A filter as `tracing` reads it: `info`, `debug`, `info,gim_conn=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
    /// What takes so long or longer is told; 0 for nothing.
    pub slow_ms: u64,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, slow_ms: 1_000 }
    }
}

impl LogSettings {
    /// Fails where the filter cannot be read, or would mean something else than it says: the library takes a word that is no level for
    /// the name of a target, which nobody has.
    pub fn validate(&self) -> Result<(), String> {
        let is_known = |word: &str| {
            word.is_empty()
                || word.contains(['=', '[', ']', '}'])
                || word.starts_with("gim_")
                || word.parse::<LevelFilter>().is_ok()
        };
        if let Some(word) = self.words().find(|word| !is_known(word)) {
            return Err(format!(
                "log.filter: `{word}` is no level (off, error, warn, info, debug or trace); for a part of gim write it as in \
                 gim_logic=debug"
            ));
        }
        filter_of(self).map(drop).map_err(|error| format!("log.filter: {error}"))
    }

    /// The parts of the filter; the library takes no spaces between them.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.filter.split(',').map(str::trim)
    }
}

/// Lines that may wait for whoever reads standard error. Further ones are dropped and counted.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// The client of Redis tells of each connection and each try; what that means for us is said once, by us.
const QUIET: &str = "info,redis=off";

/// Lines that were dropped, for [`crate::admin`].
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Sets another filter.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Keeps logging going. Dropping it writes what still waits.
#[derive(Debug)]
#[must_use]
pub struct Logging(#[expect(dead_code, reason = "it acts when it is dropped")] WorkerGuard);

/// Starts logging for the whole process, which is this node of this service. A second call changes nothing.
///
/// A thread of its own writes: whoever logs never waits for a pipe that nobody reads.
pub fn start(settings: &LogSettings, service: &'static str, node: &str) -> Logging {
    let filter = filter_of(settings).unwrap_or_else(|_| EnvFilter::new(QUIET));
    slow::set_threshold(settings.slow_ms);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let origin = Origin::new(service, node);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    // An error only says that logging was started before, as in tests that run several services in one process.
    let (is_first, set_filter): (bool, SetFilter) = match settings.format {
        LogFormat::Text => {
            let builder = builder.with_timer(origin.time()).fmt_fields(escaped_fields()).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init().is_ok(), Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder =
                builder.json().flatten_event(true).map_event_format(|json| origin.on(json)).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init().is_ok(), Box::new(move |filter| handle.reload(filter)))
        }
    };
    if is_first {
        DROPPED.get_or_init(|| dropped);
        SET_FILTER.get_or_init(|| set_filter);
    }
    Logging(guard)
}

/// From now on what these settings say is logged; nothing changes in a process that does not log.
pub fn set_filter(settings: &LogSettings) -> Result<(), String> {
    let Some(set) = SET_FILTER.get() else { return Ok(()) };
    let filter = filter_of(settings).map_err(|error| format!("log.filter: {error}"))?;
    slow::set_threshold(settings.slow_ms);
    set(filter).map_err(|error| format!("log.filter: {error}"))
}

fn filter_of(settings: &LogSettings) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(settings.words().fold(QUIET.to_owned(), |filter, word| filter + "," + word))
}

/// Fields as text. Whatever a stranger said stays within its line, and can neither end it nor move the cursor.
fn escaped_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| match field.name() {
        "message" => write!(Escaped(writer), "{value:?}"),
        name => write!(Escaped(writer), "{name}={value:?}"),
    };
    debug_fn(write).delimited(" ")
}

/// Writes control characters as `\n`, `\u{1b}`.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all texts, which every packet has in its span: a look at bytes costs a tenth of one at characters.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some((index, control)) = rest.char_indices().find(|(_, char)| char.is_control()) {
            write!(self.0, "{}{}", &rest[..index], control.escape_default())?;
            rest = &rest[index + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// How many lines were dropped because nobody read standard error.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Seek as _},
        sync::Arc,
    };

    use super::*;

    #[test]
    fn a_word_that_would_log_something_else_is_refused() {
        let problem = |filter: &str| LogSettings { filter: filter.into(), ..LogSettings::default() }.validate().err();
        for filter in [
            "",
            "info",
            "WARN",
            "off",
            "info,gim_logic=debug",
            "gim_conn",
            "info, h2=debug",
            "warn,gim_logic[send]=trace",
        ] {
            assert_eq!(problem(filter), None, "{filter}");
        }
        for (filter, word) in
            [("warning", "warning"), ("info,verbose level", "verbose level"), ("gim-logic", "gim-logic")]
        {
            let problem = problem(filter).unwrap();
            assert!(problem.starts_with(&format!("log.filter: `{word}` is no level (off, error, ")), "{problem}");
        }
        assert!(problem("gim_logic=verbose").unwrap().starts_with("log.filter: "));
    }

    fn text_of(file: &mut std::fs::File) -> String {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_line_says_which_node_of_which_service_wrote_it() {
        let origin = Origin::new("conn", "conn \"1\"\n");
        let mut file = tempfile::tempfile().unwrap();
        let builder = || tracing_subscriber::fmt().with_writer(Arc::new(file.try_clone().unwrap())).with_ansi(false);
        let say = || tracing::info!(user_id = 7, "signed in");
        let text = builder().with_timer(origin.time()).fmt_fields(escaped_fields()).finish();
        tracing::subscriber::with_default(text, say);
        let json = builder().json().flatten_event(true).map_event_format(|json| origin.on(json)).finish();
        tracing::subscriber::with_default(json, say);
        let written = text_of(&mut file);
        let (text, json) = written.split_once('\n').unwrap();
        let said = "Z conn \\\"1\\\"\\n  INFO gim_config::logging::tests: signed in user_id=7";
        assert!(text.ends_with(said), "{text}");
        let line: serde_json::Value = serde_json::from_str(json).unwrap();
        let members = ["service.name", "service.instance.id", "service.version", "level", "message"];
        let expected = ["gim-conn", "conn \"1\"\n", env!("CARGO_PKG_VERSION"), "INFO", "signed in"];
        assert_eq!(members.map(|name| line[name].as_str().unwrap()), expected);
        assert_eq!(line["user_id"], 7);
    }

    #[test]
    fn what_a_stranger_says_stays_within_its_line() {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(file.try_clone().unwrap()))
            .with_ansi(false)
            .without_time()
            .fmt_fields(escaped_fields())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let said = "a\nERROR b\u{1b}[2J\u{85}\u{e9}";
            let _span = tracing::info_span!("call", method = %said).entered();
            tracing::info!(text = said, shown = %said, "refused: {said}");
        });
        let written = text_of(&mut file);
        let said = "a\\nERROR b\\u{1b}[2J\\u{85}\u{e9}";
        assert_eq!(written.matches(said).count(), 4, "{written:?}");
        assert_eq!(written.chars().filter(|char| char.is_control()).collect::<String>(), "\n", "{written:?}");
    }
}
