//! The admin listener: `/metrics` for Prometheus, `/healthz` (the process answers) and `/readyz` (it can do its work);
//! and `/reload`, at which this host asks for settings to be read again.
//!
//! Tasks of Tokio. Always holds: it takes few files and little memory, whoever connects.

use std::{net::SocketAddr, sync::OnceLock, time::Duration};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    bounded_http::{HttpBounds, HttpServer},
    listen::{Endpoint, ListenError},
    logging,
    metric_names::{self, Description},
    metrics as names, process_metrics,
    ready::Readiness,
    reload_requests::{self, ReloadDoor, ReloadRequests},
};

/// Scrapers, probes and people at a time, and how long each may take: a page of metrics over a slow line is there by then.
const CONNECTIONS_MAX: usize = 32;
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// How often histograms are folded, so that they stay small when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Bounds of every latency histogram, in seconds: beyond what the longest timeout of the defaults is.
const LATENCY_BUCKETS_S: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The section `[admin]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Where the admin listener is; empty for none.
    pub listen: Endpoint,
    /// How often the settings file and the files that it names are looked at, and read again as at SIGHUP where others changed them;
    /// 0 leaves it to SIGHUP.
    pub files_interval_ms: u64,
}

/// A running admin listener. Dropping it stops it a little later.
#[derive(Debug)]
pub struct Admin {
    server: HttpServer,
    requests: Option<ReloadRequests>,
    readiness: Readiness,
    /// Ends when it is dropped.
    _upkeep: JoinSet<()>,
}

impl Admin {
    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.address()
    }

    /// Those who ask for settings to be read again; once.
    pub fn reload_requests(&mut self) -> Option<ReloadRequests> {
        self.requests.take()
    }

    /// Has `/readyz` refuse, so that whoever goes by it sends nobody here any more.
    pub fn tell_that_it_stops(&self) {
        self.readiness.stop();
    }

    /// Stops it; the address is free afterwards.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// The process-wide metrics recorder, installed at the first call.
pub fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install_recorder).clone()
}

/// Starts the admin listener of a service with these metrics of its own.
pub async fn start(
    settings: &AdminSettings,
    metrics: &'static [Description],
    readiness: Readiness,
) -> Result<Admin, ListenError> {
    let handle = metrics_handle();
    metric_names::describe(metrics);
    let bounds = HttpBounds { connections_max: CONNECTIONS_MAX, timeout: CONNECTION_TIMEOUT };
    let (door, requests) = reload_requests::channel();
    let routes = routes(handle.clone(), readiness.clone(), door);
    let server = HttpServer::start(&settings.listen, routes, bounds, "the admin listener").await?;
    let mut upkeep = JoinSet::new();
    if server.address().is_some() {
        upkeep.spawn(keep_up(handle));
    }
    Ok(Admin { server, requests: Some(requests), readiness, _upkeep: upkeep })
}

fn routes(metrics: PrometheusHandle, readiness: Readiness, door: ReloadDoor) -> Router {
    Router::new()
        .route("/metrics", get(move || std::future::ready(page(&metrics))))
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(move || std::future::ready(ready_answer(&readiness))))
        .route("/reload", post(move |request| door.clone().ask(request)))
}

fn page(metrics: &PrometheusHandle) -> String {
    metrics::counter!(names::LOG_LINES_DROPPED).absolute(logging::dropped_lines());
    process_metrics::record();
    metrics.render()
}

fn ready_answer(readiness: &Readiness) -> (StatusCode, String) {
    let problems = readiness.problems();
    if readiness.stops() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
    } else if problems.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", problems.join(", ")))
    }
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        metrics.run_upkeep();
    }
}

fn install_recorder() -> PrometheusHandle {
    let builder = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS_S).expect("the list of buckets is not empty");
    let handle = builder.install_recorder().expect("only this function installs a recorder, and it runs once");
    metric_names::describe(names::DESCRIPTIONS);
    handle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_served_with_their_help_texts() {
        let page = page(&metrics_handle());
        assert!(page.contains("# HELP log_lines_dropped_total Lines of the log that were lost"), "{page}");
        assert!(page.contains("# TYPE log_lines_dropped_total counter"), "{page}");
    }
}
