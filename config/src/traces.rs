//! Traces: what one request did in which service. [`trace_export`](crate::trace_export) tells a receiver of them.
//!
//! Any task; nothing here is called on the thread of a reactor. While there is no receiver a span is nothing, and costs one look at a
//! flag. Always holds: whoever makes a span never waits; spans that nobody takes in time are dropped and counted.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::SystemTime,
};

use gim_proto::trace::TraceContext;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::futures::TaskLocalFuture,
};

use crate::{listen::Endpoint, metrics as names};

/// The section `[traces]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesSettings {
    /// Where a receiver of OTLP over gRPC is; empty for no traces.
    pub endpoint: Endpoint,
    /// Whom the services believe behind `https://`.
    pub server_ca: PathBuf,
    /// Which part of the requests is traced that begin here: 0.0 to 1.0.
    pub sampled_share: f64,
}

// A share is a plain number, never NaN: that is refused.
impl Eq for TracesSettings {}

impl Default for TracesSettings {
    fn default() -> Self {
        Self { endpoint: Endpoint::default(), server_ca: PathBuf::new(), sampled_share: 0.01 }
    }
}

impl TracesSettings {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), String> {
        if !self.endpoint.is_off() {
            self.endpoint.check_service().map_err(|problem| format!("traces.endpoint: {problem}"))?;
        }
        match (0.0..=1.0).contains(&self.sampled_share) {
            true => Ok(()),
            false => Err("traces.sampled_share: must be between 0.0 and 1.0".into()),
        }
    }
}

/// Spans that wait for the receiver.
const WAITING_MAX: usize = 16 * 1024;

/// More links of a span are left out.
const LINKS_MAX: usize = 128;

/// Sampled requests of 2^32; 0 while there is no receiver.
static SHARE: AtomicU32 = AtomicU32::new(0);

/// Where spans go, once there is a receiver.
static QUEUE: OnceLock<mpsc::Sender<Entry>> = OnceLock::new();

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Something that takes time, in a trace that is kept; otherwise nothing. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Recording>>);

/// What is noted of a span.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) context: TraceContext,
    /// 0 for none.
    pub(crate) parent_span_id: u64,
    pub(crate) started: SystemTime,
    /// Others that it is for.
    pub(crate) links: Vec<TraceContext>,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) problem: Option<String>,
}

/// What the receiver's task is given.
#[derive(Debug)]
pub(crate) enum Entry {
    /// With the time of its end.
    Span(Box<Recording>, SystemTime),
    /// All before it are with the receiver, or given up.
    Flush(oneshot::Sender<()>),
}

/// How a span stands to other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answers somebody.
    Server,
    /// It is within.
    Internal,
    /// It takes what another one sent.
    Consumer,
}

/// What is said of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// A request that begins here. It is the first of its trace, unless its caller names one: of callers who are trusted, what they say is kept
/// is kept; of others a share.
pub fn request(name: &'static str, caller: Option<TraceContext>, is_trusted: bool) -> Span {
    let share = SHARE.load(Relaxed);
    if share == 0 && caller.is_none() {
        return Span::default();
    }
    let is_sampled = match caller {
        Some(caller) if is_trusted => caller.is_sampled && is_on(),
        _ => share > 0 && rand::random::<u32>() <= share,
    };
    if !is_sampled {
        return Span::default();
    }
    let trace_id = caller.map_or_else(rand::random, |caller| caller.trace_id);
    Span::begin(name, Kind::Server, trace_id, caller.map_or(0, |caller| caller.span_id))
}

/// A part of what `parent` is; nothing where that is not kept.
pub fn within(name: &'static str, parent: TraceContext) -> Span {
    Span::of(name, Kind::Internal, parent)
}

/// What is done with something that `parent` sent.
pub fn received(name: &'static str, parent: TraceContext) -> Span {
    Span::of(name, Kind::Consumer, parent)
}

/// What is done for all of these at once: a part of the first that is kept, with links to the others.
pub fn batch(name: &'static str, parents: impl Iterator<Item = TraceContext>) -> Span {
    let mut kept = parents.filter(|parent| parent.is_sampled);
    let mut span = within(name, kept.next().unwrap_or_default());
    if let Some(recording) = &mut span.0 {
        recording.links.extend(kept.take(LINKS_MAX));
    }
    span
}

/// The span for which this task works.
pub fn current() -> TraceContext {
    if !is_on() {
        return TraceContext::default();
    }
    CURRENT.try_with(|context| *context).unwrap_or_default()
}

/// What is told to a service that is called: the span for which this task works. What a stranger said whose call is only handed on is not
/// kept there either, whether or not there is a receiver here.
pub(crate) fn told_to_others(by_stranger: Option<&str>) -> Option<TraceContext> {
    let current = Some(current()).filter(|current| current.is_sampled);
    let unsampled = |told| TraceContext { is_sampled: false, ..told };
    current.or_else(|| by_stranger.and_then(TraceContext::from_traceparent).map(unsampled))
}

/// Has a future work for a span.
pub fn working_for<F: Future>(context: TraceContext, work: F) -> TaskLocalFuture<TraceContext, F> {
    CURRENT.scope(context, work)
}

/// From now on this part of the requests is traced.
pub(crate) fn set_share(settings: &TracesSettings) {
    if is_on() {
        SHARE.store((settings.sampled_share * f64::from(u32::MAX)) as u32, Relaxed);
    }
}

/// From now on spans are kept, and given to whoever reads this; none where that is so already.
pub(crate) fn begin() -> Option<mpsc::Receiver<Entry>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    QUEUE.set(sender).ok().map(|()| receiver)
}

/// Waits until what ended so far is with the receiver, or given up.
pub(crate) async fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, flushed) = oneshot::channel();
    if queue.send(Entry::Flush(done)).await.is_ok() {
        // An error says that nobody reads any more.
        drop(flushed.await);
    }
}

fn is_on() -> bool {
    QUEUE.get().is_some()
}

impl Span {
    fn of(name: &'static str, kind: Kind, parent: TraceContext) -> Self {
        match parent.is_sampled && is_on() {
            true => Self::begin(name, kind, parent.trace_id, parent.span_id),
            false => Self::default(),
        }
    }

    fn begin(name: &'static str, kind: Kind, trace_id: u128, parent_span_id: u64) -> Self {
        let context = TraceContext { trace_id, span_id: rand::random::<u64>().max(1), is_sampled: true };
        let (started, problem) = (SystemTime::now(), None);
        let (links, attributes) = (Vec::new(), Vec::new());
        Self(Some(Box::new(Recording { name, kind, context, parent_span_id, started, links, attributes, problem })))
    }

    /// What its parts are told.
    pub fn context(&self) -> TraceContext {
        self.0.as_ref().map(|recording| recording.context).unwrap_or_default()
    }

    /// For a line of the log: the id of the trace, where it is kept.
    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|recording| format!("{:032x}", recording.context.trace_id))
    }

    /// Says more about it.
    pub fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.0 {
            recording.attributes.push((key, value.into()));
        }
    }

    /// It came to nothing.
    pub fn fail(&mut self, problem: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.0 {
            recording.problem = Some(problem());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.0.take() else { return };
        let is_taken = |queue: &mpsc::Sender<Entry>| queue.try_send(Entry::Span(recording, SystemTime::now())).is_ok();
        if !QUEUE.get().is_some_and(is_taken) {
            counter!(names::TRACE_SPANS, "result" => "dropped").increment(1);
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let problem = |endpoint: &str, sampled_share| {
            TracesSettings { endpoint: Endpoint::new(endpoint), sampled_share, ..TracesSettings::default() }
                .validate()
                .err()
        };
        assert_eq!(problem("http://127.0.0.1:4317", 1.0), None);
        assert!(problem("127.0.0.1:4317", 0.1).unwrap().starts_with("traces.endpoint: "));
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(problem("", share).unwrap().starts_with("traces.sampled_share: "), "{share}");
        }
    }

    #[tokio::test]
    async fn without_a_receiver_there_are_no_spans_whatever_a_caller_says() {
        let caller = TraceContext { trace_id: 1, span_id: 2, is_sampled: true };
        for span in [request("a", Some(caller), true), within("a", caller), batch("a", [caller].into_iter())] {
            assert_eq!((span.context(), span.trace_id()), (TraceContext::default(), None));
        }
        working_for(caller, async { assert_eq!(current(), TraceContext::default()) }).await;
    }
}
