//! Structured logs on standard error: one line per event, with the fields of the spans around it.

use std::{io::IsTerminal as _, sync::OnceLock};

use serde::{Deserialize, Serialize};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A filter as `tracing` reads it: `info`, `debug`, `info,gim_conn=debug`.
    pub filter: String,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
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
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

impl LogSettings {
    /// Fails where the filter cannot be read.
    pub fn validate(&self) -> Result<(), String> {
        EnvFilter::try_new(&self.filter).map(drop).map_err(|error| format!("log.filter: {error}"))
    }
}

/// Lines that may wait for whoever reads standard error. Further ones are dropped and counted.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// Lines that were dropped, for [`crate::admin`].
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps logging going. Dropping it writes what still waits.
#[derive(Debug)]
#[must_use]
pub struct Logging(#[expect(dead_code, reason = "it acts when it is dropped")] WorkerGuard);

/// Starts logging for the whole process. A second call changes nothing.
///
/// A thread of its own writes: whoever logs never waits for a pipe that nobody reads.
pub fn start(settings: &LogSettings) -> Logging {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    // An error only says that logging was started before, as in tests that run several services in one process.
    let is_first = match settings.format {
        LogFormat::Text => builder.try_init().is_ok(),
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
    };
    if is_first {
        DROPPED.get_or_init(|| dropped);
    }
    Logging(guard)
}

/// How many lines were dropped because nobody read standard error.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
