//! What the source itself promises: each module knows only those below it.

use std::path::Path;

use gim_config::testing::layers::assert_layers;

/// The layers, the lowest first. Nobody names a module of the same layer, or of one above.
const ORDER: [&[&str]; 10] = [
    &["acceptor", "in_gauge", "log_origin", "metric_names", "seldom"],
    &["public_addresses", "refused_peers", "slow"],
    &[
        "admin_page",
        "arguments",
        "certificate",
        "data_folder",
        "file_watch",
        "files",
        "gather",
        "jwt_crypto",
        "listen",
        "logging",
        "metrics",
        "networks",
        "outage",
        "patience",
        "places",
        "rations",
        "ready",
        "renamed_keys",
        "secret_files",
        "service_links",
        "shutdown",
        "supervisor",
        "threads",
        "https_client",
        "webhook",
    ],
    &["dns_name", "process_metrics", "traces"],
    &["endpoints"],
    &["bounded_http", "grpc", "jwt", "page_json", "ready_check", "request_shares", "settings", "sql"],
    &["reload_requests", "trace_export"],
    &["admin", "reload"],
    &["service", "settings_check", "settings_shown"],
    &["testing"],
];

#[test]
fn modules_name_only_those_below_them() {
    assert_layers(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &ORDER);
}
