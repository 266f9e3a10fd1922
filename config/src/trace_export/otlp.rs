//! The task itself. Whoever traces hands it what ended; it calls the receiver, and nobody waits for that.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gim_proto::trace::TraceContext;
use metrics::counter;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status as OtlpStatus, span, status},
};
use tokio::{sync::mpsc, time::timeout_at};

use crate::{
    grpc::{self, GrpcSettings, PeerChannel},
    metrics as names,
    outage::Outage,
    traces::{self, Entry, Kind, Recording, TracesSettings, Value},
};

/// Spans of one call, and how long they may gather.
const BATCH_MAX: usize = 512;
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a call may last, and the last one when the service stops.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// A trace is kept: W3C's flag.
const SAMPLED: u32 = 1;

struct Exporter {
    client: TraceServiceClient<PeerChannel>,
    resource: Resource,
    outage: Outage,
}

/// Tells the receiver of the settings, if there is one, of spans from now on; once for a process. Must be called on a Tokio runtime.
///
/// # Errors
/// Where its address is of no use.
pub fn start(settings: &TracesSettings, service: &'static str, node: &str) -> Result<(), String> {
    if settings.endpoint.is_off() {
        return Ok(());
    }
    // What services show to each other is none of its business.
    let shown = GrpcSettings { server_ca: settings.server_ca.clone(), ..GrpcSettings::default() };
    let channel = grpc::channel(&settings.endpoint, &shown, Some(CALL_TIMEOUT));
    let channel = channel.map_err(|problem| format!("traces.endpoint: {problem}"))?;
    if let Some(queue) = traces::begin() {
        let client = TraceServiceClient::new(channel);
        let outage = Outage::of("the receiver of traces");
        tokio::spawn(Exporter { client, resource: resource(service, node), outage }.run(queue));
    }
    traces::set_share(settings);
    Ok(())
}

/// Waits until what was traced so far is with the receiver, for moments at most.
pub async fn stop() {
    if tokio::time::timeout(STOP_TIMEOUT, traces::flush()).await.is_err() {
        tracing::debug!("the receiver of traces did not take the last spans in time");
    }
}

impl Exporter {
    /// Until the process ends.
    async fn run(mut self, mut queue: mpsc::Receiver<Entry>) {
        let mut spans = Vec::with_capacity(BATCH_MAX);
        while let Some(entry) = queue.recv().await {
            let deadline = tokio::time::Instant::now() + BATCH_INTERVAL;
            let mut next = Some(entry);
            let mut flushed = None;
            while let Some(entry) = next {
                match entry {
                    Entry::Span(recording, ended) => spans.push(to_otlp(*recording, ended)),
                    Entry::Flush(done) => flushed = Some(done),
                }
                if spans.len() >= BATCH_MAX || flushed.is_some() {
                    break;
                }
                next = timeout_at(deadline, queue.recv()).await.ok().flatten();
            }
            self.send(&mut spans).await;
            if let Some(done) = flushed {
                let _may_have_given_up = done.send(());
            }
        }
    }

    async fn send(&mut self, spans: &mut Vec<OtlpSpan>) {
        let count = spans.len() as u64;
        if count == 0 {
            return;
        }
        let scope = InstrumentationScope { name: "gim".into(), ..InstrumentationScope::default() };
        let spans = ScopeSpans { scope: Some(scope), spans: std::mem::take(spans), ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        let spans = ResourceSpans { resource, scope_spans: vec![spans], ..ResourceSpans::default() };
        let result = match self.client.export(ExportTraceServiceRequest { resource_spans: vec![spans] }).await {
            Ok(_) => {
                self.outage.answered(Instant::now());
                "sent"
            }
            Err(status) => {
                self.outage.failed(&status, Instant::now());
                "dropped"
            }
        };
        counter!(names::TRACE_SPANS, "result" => result).increment(count);
    }
}

fn resource(service: &str, node: &str) -> Resource {
    let attributes = vec![
        attribute("service.name", Value::Text(format!("gim-{service}"))),
        attribute("service.instance.id", Value::Text(node.to_owned())),
        attribute("service.version", Value::Text(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    Resource { attributes, ..Resource::default() }
}

fn to_otlp(recording: Recording, ended: SystemTime) -> OtlpSpan {
    let Recording { name, kind, context, parent_span_id, started, links, attributes, problem } = recording;
    let kind = match kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Internal => span::SpanKind::Internal,
        Kind::Consumer => span::SpanKind::Consumer,
    };
    let status = problem.map(|message| OtlpStatus { message, code: status::StatusCode::Error.into() });
    OtlpSpan {
        trace_id: context.trace_id.to_be_bytes().to_vec(),
        span_id: context.span_id.to_be_bytes().to_vec(),
        parent_span_id: if parent_span_id == 0 { Vec::new() } else { parent_span_id.to_be_bytes().to_vec() },
        flags: SAMPLED,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: unix_ns(started),
        end_time_unix_nano: unix_ns(ended),
        attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        links: links.into_iter().map(link).collect(),
        status,
        ..OtlpSpan::default()
    }
}

fn link(context: TraceContext) -> span::Link {
    let (trace_id, span_id) = (context.trace_id.to_be_bytes().to_vec(), context.span_id.to_be_bytes().to_vec());
    span::Link { trace_id, span_id, flags: SAMPLED, ..span::Link::default() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Number(number) => any_value::Value::IntValue(number),
        Value::Text(text) => any_value::Value::StringValue(text),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn unix_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
