//! `gim-bench report DIR`: kept results as one HTML page with everything in it, plots included, that needs no network. It
//! goes to `report.html` in their folder, or to the file that is named. Runs on the main thread.

mod chart;
mod html;
mod markdown;
mod plots;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context as _;

use crate::{
    compare,
    kept::{self, KeptResult},
    scenario,
};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where results are, those of folders in it too
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The page [default: report.html in the folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the results in short instead, as a table in Markdown
    #[arg(long, conflicts_with = "output")]
    markdown: bool,
}

/// The results of one scenario.
type Scenarios = BTreeMap<String, Vec<KeptResult>>;

/// Writes the page; the answer says where it is.
pub fn write(arguments: &Arguments) -> anyhow::Result<String> {
    let folder = &arguments.folder;
    let results = kept::read(folder)?;
    let mut scenarios = Scenarios::new();
    let count = results.len();
    for result in results {
        let scenario = result.json["scenario"].as_str().unwrap_or_default().to_owned();
        scenarios.entry(scenario).or_default().push(result);
    }
    if arguments.markdown {
        return Ok(markdown::table(&scenarios));
    }
    let output = arguments.output.clone().unwrap_or_else(|| folder.join("report.html"));
    fs::write(&output, html::page(&scenarios)).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(format!("{count} results: {}", output.display()))
}

/// What a scenario or a comparison of this name asks.
fn question(name: &str) -> String {
    let question = scenario::question(name);
    if question.is_empty() { compare::question(name) } else { question }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_folder_of_results_becomes_a_page_and_others_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Arguments { folder: folder.path().to_owned(), output: None, markdown: false };
        assert!(write(&arguments).unwrap_err().to_string().contains("has no results"));
        let result = json!({
            "scenario": "idle", "passed": true, "host": { "cores": 2 }, "commit": "abc", "command": "gim-bench <idle>",
            "config": { "transport": "tcp" }, "connections": 10, "server_rss_bytes_per_connection": 200.0,
            "kernel_bytes_per_connection": 5000.0, "labels": [["connections", "signed-in connections"]],
            "latency_curves_ms": { "page": [[0.0, 0.1], [0.5, 1.0], [0.99, 8.5], [1.0, 9.0]] },
            "timeline": [
                { "seconds": 0.5, "connections": 0, "server_rss_bytes": 1_000_000, "kernel_bytes": 10, "server_cpu_seconds": 0.0, "machine_memory_bytes": 9 },
                { "seconds": 1.0, "connections": 10, "server_rss_bytes": 2_000_000, "kernel_bytes": 20, "server_cpu_seconds": 0.1, "machine_memory_bytes": 9 },
            ],
        });
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/idle.json"), result.to_string()).unwrap();
        fs::write(folder.path().join("other.json"), "{}").unwrap();
        assert!(write(&arguments).unwrap().starts_with("1 results: "));
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("signed-in connections") && page.contains("gim-bench &lt;idle&gt;"));
        assert!(page.matches("<svg").count() >= 3 && !page.contains("NaN"));
        assert!(!page.contains("http"), "a page that needs no network");
        let table = write(&Arguments { markdown: true, ..arguments }).unwrap();
        assert!(table.contains("| 10 connections, 200 bytes per connection in conn, "), "{table}");
    }

    #[test]
    fn a_result_that_lost_something_is_told_as_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let result = json!({
            "scenario": "room", "passed": false, "host": { "cores": 2 }, "error": "deliveries lost: 7", "lost": 7,
            "ratio": 0.987, "config": {}, "labels": [["ratio", "against the bare one"]],
        });
        fs::write(folder.path().join("room.json"), result.to_string()).unwrap();
        let arguments = Arguments { folder: folder.path().to_owned(), output: None, markdown: false };
        write(&arguments).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("room: FAILED") && page.contains("deliveries lost: 7"), "{page}");
        assert!(!page.contains("<svg"), "no bar of a ratio");
        let table = write(&Arguments { markdown: true, ..arguments }).unwrap();
        assert!(table.contains("FAILED: deliveries lost: 7") && !table.contains("0.987"), "{table}");
    }
}
