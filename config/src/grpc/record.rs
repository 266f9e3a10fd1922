//! What metrics say of a call that ended. On the task of the call.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    time::Duration,
};

use metrics::Label;
use tonic::{Status, body::Body};

use super::web::{Protocol, RefusedWith};
use crate::metrics as names;

thread_local! {
    /// The methods whose codes are counted already, by dialect; there are only so many.
    static BEGUN: RefCell<HashMap<Option<&'static str>, HashSet<String>>> = RefCell::default();
}

/// What is done, and what an outage leaves undone ("unavailable"): a series that is born in a short one hides it, as its rate is 0.
const BEGUN_CODES: [&str; 2] = ["0", "14"];

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
    let is_new = BEGUN.with_borrow_mut(|begun| {
        let methods = begun.entry(dialect).or_default();
        !methods.contains(&method) && methods.insert(method.clone())
    });
    let method = Label::new("method", method);
    let dialect = dialect.map(|dialect| Label::from_static_parts("dialect", dialect));
    let labels = |own: Vec<Label>| own.into_iter().chain(dialect.clone()).collect::<Vec<_>>();
    metrics::histogram!(names::GRPC_CALL_SECONDS, labels(vec![method.clone()])).record(elapsed.as_secs_f64());
    for begun in BEGUN_CODES.into_iter().filter(|_| is_new) {
        metrics::counter!(names::GRPC_CALLS, labels(vec![method.clone(), Label::new("code", begun)])).increment(0);
    }
    metrics::counter!(names::GRPC_CALLS, labels(vec![method, Label::new("code", code.clone())])).increment(1);
    code
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn an_outage_of_a_method_is_counted_from_its_first_call_on() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let answer: Result<_, ()> = Ok(http::Response::new(Body::empty()));
        metrics::with_local_recorder(&recorder, || {
            for dialect in [None, Some("of-before")] {
                assert_eq!(record(Protocol::Grpc, "/a.B/C".into(), dialect, &answer, Duration::ZERO), "0");
            }
        });
        let page = recorder.handle().render();
        for (code, count) in [("0", 1), ("14", 0)] {
            for dialect in ["", ",dialect=\"of-before\""] {
                let line = format!("grpc_calls_total{{method=\"/a.B/C\",code=\"{code}\"{dialect}}} {count}\n");
                assert!(page.contains(&line), "{line} is not there: {page}");
            }
        }
    }
}
