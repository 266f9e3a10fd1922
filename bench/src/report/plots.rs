//! Which plots a result has: latency curves, connections and memory over time, memory per connection, ratios.

use serde_json::Value;

use super::chart::{Axis, Line, Scale, bars, human, lines};
use crate::kept::KeptResult;

const SECONDS: Axis = Axis { label: "seconds", scale: Scale::Linear };

/// Scenarios against their baselines, of all results that have one.
pub fn ratios(results: &[&KeptResult]) -> String {
    let ratio = |result: &&&KeptResult| Some((result.name.clone(), result.json["ratio"].as_f64()?));
    // What is offered at a fixed rate is no measure of what fits.
    let fits = results.iter().filter(|result| !result.json["config"]["rate"].is_number());
    let ratios: Vec<_> = fits.filter_map(|result| ratio(&result)).collect();
    if ratios.is_empty() {
        String::new()
    } else {
        bars("against the bare baseline of the same run (line: as fast)", "×", &ratios, Some(1.0))
    }
}

/// What a connection costs, of all results that tell.
pub fn memory_per_connection(results: &[&KeptResult]) -> String {
    let plot = |title: &str, key: &str| {
        let value = |result: &&&KeptResult| Some((heading(result), result.json[key].as_f64()?));
        let values: Vec<_> = results.iter().filter_map(|result| value(&result)).collect();
        if values.is_empty() { String::new() } else { bars(title, "bytes", &values, None) }
    };
    let server = plot("memory per connection, server processes", "server_rss_bytes_per_connection");
    server + &plot("memory per connection, kernel, the server's end", "kernel_bytes_per_connection")
}

/// What tells a result from others of its scenario.
pub fn heading(result: &KeptResult) -> String {
    let transport = result.json["config"]["transport"].as_str().unwrap_or("tcp");
    match result.json["connections"].as_f64() {
        Some(connections) => format!("{}: {} × {transport}", result.name, human(connections)),
        None => result.name.clone(),
    }
}

/// The latency curves of all results of one scenario.
pub fn latencies(results: &[KeptResult]) -> String {
    let mut all = Vec::new();
    for result in results {
        for (key, points) in result.json["latency_curves_ms"].as_object().into_iter().flatten() {
            let name = if results.len() > 1 { format!("{key}, {}", result.name) } else { key.clone() };
            all.push(Line { name, points: curve(points) });
        }
    }
    let x = Axis { label: "share of all", scale: Scale::Percentile };
    let y = Axis { label: "within ms", scale: Scale::Logarithmic };
    if all.is_empty() { String::new() } else { lines("latency", x, y, &all) }
}

/// All but the longest one, which has no place on an axis of percentiles.
fn curve(points: &Value) -> Vec<(f64, f64)> {
    let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_f64()?));
    let points = points.as_array().into_iter().flatten().filter_map(point);
    points.filter(|&(share, _)| share < 1.0).collect()
}

/// How it went on: connections, memory, CPU.
pub fn timeline(result: &KeptResult) -> String {
    let moments: &[Value] = result.json["timeline"].as_array().map_or(&[], Vec::as_slice);
    if moments.len() < 2 {
        return String::new();
    }
    let line = |name: &str, key: &str, unit: f64| {
        let point = |moment: &Value| Some((moment["seconds"].as_f64()?, moment[key].as_f64()? / unit));
        Line { name: name.to_owned(), points: moments.iter().filter_map(point).collect() }
    };
    let name = heading(result);
    let connections = Axis { label: "connections", scale: Scale::Linear };
    let memory = Axis { label: "MiB", scale: Scale::Linear };
    let cores = Axis { label: "cores", scale: Scale::Linear };
    const MIB: f64 = 1024.0 * 1024.0;
    let held = [
        line("server processes", "server_rss_bytes", MIB),
        line("kernel, all sockets of this machine", "kernel_bytes", MIB),
    ];
    let used = Line { name: "server processes".into(), points: cores_used(moments) };
    [
        lines(
            &format!("connections over time, {name}"),
            SECONDS,
            connections,
            &[line("connections", "connections", 1.0)],
        ),
        lines(&format!("memory over time, {name}"), SECONDS, memory, &held),
        lines(&format!("CPU over time, {name}"), SECONDS, cores, &[used]),
    ]
    .concat()
}

/// From CPU time so far to cores in use.
fn cores_used(moments: &[Value]) -> Vec<(f64, f64)> {
    let read = |moment: &Value| Some((moment["seconds"].as_f64()?, moment["server_cpu_seconds"].as_f64()?));
    let moments: Vec<_> = moments.iter().filter_map(read).collect();
    let between =
        |pair: &[(f64, f64)]| (pair[1].0, (pair[1].1 - pair[0].1).max(0.0) / (pair[1].0 - pair[0].0).max(1e-3));
    moments.windows(2).map(between).collect()
}
