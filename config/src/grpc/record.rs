//! What metrics say of a call that ended. On the task of the call.

use std::time::Duration;

use metrics::Label;
use tonic::{Status, body::Body};

use super::web::{Protocol, RefusedWith};
use crate::metrics as names;

/// Counts a call, that of an older client under its dialect, and returns its code.
pub(super) fn record<E>(
    protocol: Protocol,
    method: String,
    dialect: Option<&'static str>,
    result: &Result<http::Response<Body>, E>,
    elapsed: Duration,
) -> String {
    let response = result.as_ref().ok();
    let refused =
        response.and_then(|response| response.extensions().get()).map(|RefusedWith(code)| (*code as i32).to_string());
    let status = response.and_then(|response| response.headers().get(Status::GRPC_STATUS));
    let code = refused.or_else(|| Some(status?.to_str().ok()?.to_owned())).unwrap_or_else(|| "0".to_owned());
    // An unknown path is the caller's text: it must not become a label.
    let method = match code.as_str() {
        _ if protocol == Protocol::Plain => "page".to_owned(),
        "12" => "unimplemented".to_owned(),
        _ => method,
    };
    let method = Label::new("method", method);
    let dialect = dialect.map(|dialect| Label::from_static_parts("dialect", dialect));
    let labels = |own: Vec<Label>| own.into_iter().chain(dialect.clone()).collect::<Vec<_>>();
    metrics::histogram!(names::GRPC_CALL_SECONDS, labels(vec![method.clone()])).record(elapsed.as_secs_f64());
    metrics::counter!(names::GRPC_CALLS, labels(vec![method, Label::new("code", code.clone())])).increment(1);
    code
}
