//! Spans on their way to a receiver of OpenTelemetry (OTLP over gRPC), in programs that are built with the feature `otlp`: a task of Tokio
//! that empties their queue in batches.
//!
//! Always holds: a batch that the receiver does not take is dropped and counted, and the log tells of a receiver
//! that is away when it begins, at times, and when it is over.

#[cfg(feature = "otlp")]
mod otlp;

#[cfg(feature = "otlp")]
pub use otlp::{start, stop};

/// Refuses a receiver: this program cannot tell it anything.
#[cfg(not(feature = "otlp"))]
pub fn start(settings: &crate::traces::TracesSettings, _service: &'static str, _node: &str) -> Result<(), String> {
    match settings.endpoint.is_off() {
        true => Ok(()),
        false => Err("traces.endpoint: this program was built without traces (the cargo feature `otlp`)".into()),
    }
}

/// There is nothing to wait for.
#[cfg(not(feature = "otlp"))]
pub async fn stop() {}
