//! The figures of the README are those of the kept runs: its table is made here, and a difference shows the lines that it has to have.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{fs, path::Path};

use serde_json::Value;

/// Where the kept runs are.
const RUNS: &str = "bench/runs/2026-11-21-2-cores-24-gib";

/// A figure of a kept run: its name there, what it is divided by, and the words behind it.
type Figure = (&'static str, f64, &'static str);

/// A row of the table.
struct Row {
    what: &'static str,
    /// Kept runs on SQLite, and on MariaDB with Redis; empty for none.
    runs: [&'static str; 2],
    figures: &'static [Figure],
    /// Of the bare baseline; empty for none.
    baseline: &'static str,
}

const ROWS: [Row; 8] = [
    Row {
        what: "heartbeats, there and back (`echo`)",
        runs: ["echo", ""],
        figures: &[("per_second", 1.0, "/s"), ("p99_us", 1000.0, " ms")],
        baseline: "baseline_per_second",
    },
    Row {
        what: "deliveries to a room of 1,000 members (`room`)",
        runs: ["room", ""],
        figures: &[("deliveries_per_second", 1.0, "/s"), ("p99_ms", 1.0, " ms")],
        baseline: "baseline_writes_per_second",
    },
    Row {
        what: "messages from user to user, on disk: two rows each (`send`)",
        runs: ["send", "send-cluster-1"],
        figures: &[("inbox_rows_per_second", 1.0, " rows/s"), ("p99_ms", 1.0, " ms")],
        baseline: "baseline_rows_per_second",
    },
    Row {
        what: "messages to a group of 100, on disk: a row per member (`group`)",
        runs: ["group", "group-cluster-1"],
        figures: &[("inbox_rows_per_second", 1.0, " rows/s"), ("p99_ms", 1.0, " ms")],
        baseline: "baseline_rows_per_second",
    },
    Row {
        what: "messages to devices that catch up (`sync`)",
        runs: ["sync", "sync-cluster-1"],
        figures: &[("messages_per_second", 1.0, "/s"), ("p99_ms", 1.0, " ms")],
        baseline: "baseline_rows_per_second",
    },
    Row {
        what: "devices that connect and sign in (`signin`)",
        runs: ["signin", "signin-cluster-1"],
        figures: &[("sign_ins_per_second", 1.0, "/s"), ("p99_ms", 1.0, " ms")],
        baseline: "",
    },
    Row {
        what: "memory of an idle connection (`idle`)",
        runs: ["idle", ""],
        figures: &[
            ("server_rss_bytes_per_connection", 1.0, " bytes in conn"),
            ("kernel_bytes_per_connection", 1.0, " bytes in the kernel"),
        ],
        baseline: "",
    },
    Row {
        what: "connections at once, with heartbeats, chats and rooms (`million`)",
        runs: ["million", ""],
        figures: &[("connections", 1.0, ""), ("server_cpu_cores", 1.0, " cores for conn")],
        baseline: "",
    },
];

/// A number with three digits, and the letter of a thousand or a million.
fn human(value: f64) -> String {
    let (scaled, unit) = match value {
        _ if value >= 1e6 => (value / 1e6, " M"),
        _ if value >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = if scaled >= 100.0 { 0 } else { 1 };
    let text = format!("{scaled:.digits$}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

fn cell(result: Option<&Value>, figures: &[Figure]) -> String {
    let Some(result) = result else { return "–".into() };
    assert_eq!(result["passed"], true, "a run that failed has no place in the table: {result}");
    let texts = figures.iter().map(|(key, scale, words)| human(result[*key].as_f64().unwrap() / scale) + words);
    texts.collect::<Vec<_>>().join(", ")
}

fn line(row: &Row, read: impl Fn(&str) -> Value) -> String {
    let results = row.runs.map(|run| (!run.is_empty()).then(|| read(run)));
    let [sqlite, mariadb] = results.each_ref().map(|result| cell(result.as_ref(), row.figures));
    let bare = |result: &Value| human(result[row.baseline].as_f64().unwrap()) + "/s";
    let bare: Vec<_> = results.iter().flatten().filter(|_| !row.baseline.is_empty()).map(bare).collect();
    let baseline = if bare.is_empty() { "–".to_owned() } else { bare.join("; MariaDB ") };
    format!("| {} | {sqlite} | {mariadb} | {baseline} |", row.what)
}

#[test]
fn the_table_of_the_readme_is_that_of_the_kept_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(root.join(RUNS).join(format!("{name}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let lines: Vec<String> = ROWS.iter().map(|row| line(row, read)).collect();
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let table =
        format!("| what | SQLite | MariaDB + Redis | bare baseline |\n|---|---|---|---|\n{}\n", lines.join("\n"));
    assert!(page.contains(&table), "README.md has to have this table:\n{table}");
}
