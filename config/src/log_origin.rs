//! Who writes a log line, so that lines of many nodes can lie together: in text behind the time, in JSON by the names that OpenTelemetry
//! has for it. On whichever thread logs.

use std::fmt;

use serde_json::{Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// A node of a service.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    service: &'static str,
    node: String,
}

/// The time of a line, and the node.
pub(crate) struct TimeAndNode(String);

/// Lines of JSON that begin with the origin.
pub(crate) struct Originated<F> {
    /// The members of an object, with the comma to the next one.
    members: String,
    inner: F,
}

impl Origin {
    pub(crate) fn new(service: &'static str, node: &str) -> Self {
        Self { service, node: node.to_owned() }
    }

    /// For lines of text.
    pub(crate) fn time(&self) -> TimeAndNode {
        TimeAndNode(self.node.escape_debug().to_string())
    }

    /// For lines of JSON, each of which is an object that has at least one member.
    pub(crate) fn on<F>(&self, inner: F) -> Originated<F> {
        let member = |(name, value): (&str, Value)| format!("{}:{value},", Value::from(name));
        let members = [
            ("service.name", json!(format!("gim-{}", self.service))),
            ("service.instance.id", json!(self.node)),
            ("service.version", json!(env!("CARGO_PKG_VERSION"))),
        ];
        Originated { members: members.into_iter().map(member).collect(), inner }
    }
}

impl FormatTime for TimeAndNode {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        write!(writer, " {}", self.0)
    }
}

impl<S, N, F> FormatEvent<S, N> for Originated<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{{}{rest}", self.members),
            None => writer.write_str(&line),
        }
    }
}
