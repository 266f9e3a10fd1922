//! What the pages of the repository promise: their links resolve, the files and settings that they name are there, every metric
//! stands in the tables of OPERATIONS.md, and the README stays short.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use gim_config::settings_shown::is_secret;

/// Lines that the README may have.
const README_LINES_MAX: usize = 200;

/// Pages whose words are held against the repository.
const PAGES: [&str; 6] = [
    "README.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "config/OPERATIONS.md",
    "config/deploy/README.md",
];

/// Folders at the top: text in backticks that begins with one of them names a file or a folder.
const FOLDERS: [&str; 7] = ["bench/", "business/", "config/", "conn/", "logic/", "proto/", "scripts/"];

/// Where metrics are used; each of these folders has a `metrics.rs` that names them.
const METRIC_SOURCES: [&str; 4] = ["conn/src", "logic/src", "business/src", "config/src"];

/// What the name of a metric begins with.
const METRIC_PREFIXES: [&str; 11] = [
    "conn_",
    "logic_",
    "business_",
    "grpc_",
    "http_",
    "log_",
    "database_",
    "gim_build_",
    "gim_reloads_",
    "gim_trace_",
    "process_",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// All files below a folder whose names end so, but for what is built.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_built = name.starts_with('.') || name == "target" || name == "node_modules" || name == "data";
            if !is_built {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// A page without its fenced blocks.
fn prose(page: &str) -> String {
    let mut is_fenced = false;
    let lines = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The texts in backticks.
fn code_spans(page: &str) -> Vec<String> {
    prose(page).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// What a link may name after the `#`: the headings, as GitHub writes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    headings.map(|text| text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn the_readme_stays_short() {
    let count = read("README.md").lines().count();
    assert!(count < README_LINES_MAX, "README.md has {count} lines; {README_LINES_MAX} are too many");
}

#[test]
fn links_between_pages_resolve() {
    for page in files(&root(), ".md") {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: the link {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let found = anchors(&fs::read_to_string(&target).unwrap());
                assert!(found.contains(anchor), "{}: the link {link} names no heading", page.display());
            }
        }
    }
}

#[test]
fn files_that_the_pages_name_are_there() {
    for page in PAGES {
        for span in code_spans(&read(page)) {
            let path = span.split_whitespace().next().unwrap_or_default();
            if FOLDERS.iter().any(|folder| path.starts_with(folder)) || path.ends_with(".rs") {
                assert!(root().join(path).exists(), "{page} names `{span}`, which is not there");
            }
        }
    }
}

#[test]
fn settings_that_the_pages_name_are_there() {
    let files = ["conn", "logic", "business"].map(|service| read(&format!("config/{service}.toml")));
    let tables: Vec<toml::Table> = files.iter().map(|text| text.parse().unwrap()).collect();
    let section = |name: &str| tables.iter().filter_map(|table| table.get(name)?.as_table()).collect::<Vec<_>>();
    for page in PAGES {
        for span in code_spans(&read(page)) {
            // As in `limits.connections_max`.
            let Some((name, key)) = span.split_once('.') else { continue };
            let sections = section(name);
            let is_file = ["db", "lock", "rs", "toml"].contains(&key);
            if !is_file && !sections.is_empty() && key.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()) {
                assert!(
                    sections.iter().any(|table| table.contains_key(key)),
                    "{page} names `{span}`, which is no setting"
                );
            }
        }
        // As in `[limits] connections_max`.
        for span in code_spans(&read(page)) {
            let Some((name, key)) = span.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { continue };
            let is_there = section(name).iter().any(|table| table.contains_key(key));
            assert!(is_there, "{page} names `{span}`, which is no setting");
        }
    }
}

#[test]
fn what_may_stand_in_a_file_of_its_own_is_never_shown() {
    let mut secrets = 0;
    for service in ["conn", "logic", "business"] {
        let settings: toml::Table = read(&format!("config/{service}.toml")).parse().unwrap();
        for table in settings.values().filter_map(toml::Value::as_table) {
            let is_kept_apart = |key: &&String| table.contains_key(&format!("{key}_file"));
            // Of URLs the password alone is hidden.
            for key in table.keys().filter(is_kept_apart).filter(|key| key.as_str() != "url") {
                assert!(is_secret(key), "{service}: gim-ctl config show would show {key}");
                secrets += 1;
            }
        }
    }
    assert!(secrets >= 10, "only {secrets} secrets were found");
}

/// The texts in quotes of a source that are names of metrics.
fn metric_names(source: &str) -> BTreeSet<String> {
    let is_name = |text: &&str| {
        METRIC_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    };
    source.split('"').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

/// Every metric with its kind and labels, as in `Counter ROWS = "logic_rows_total" of app;`, which has the help text above it.
fn metrics_of_the_code() -> BTreeMap<String, (String, String)> {
    let mut metrics = BTreeMap::new();
    for folder in METRIC_SOURCES {
        let text = read(&format!("{folder}/metrics.rs"));
        for kind in ["Counter", "Gauge", "Histogram"] {
            for (at, _) in text.match_indices(&format!("\n    {kind} ")) {
                let declared = text[at..].split_once(';').unwrap().0;
                let (name, labels) = declared.split_once('"').unwrap().1.split_once('"').unwrap();
                let has_help = text[..at].lines().last().is_some_and(|line| line.trim().starts_with("///"));
                assert!(has_help, "{name} has no help text");
                // As in ` by bound ["all", "user"]` and in ` of app, logic`.
                let labels = labels.split('[').next().unwrap().trim();
                let labels = labels.trim_start_matches("by ").trim_start_matches("of ").to_owned();
                metrics.insert(name.to_owned(), (kind.to_lowercase(), labels));
            }
        }
        assert_eq!(metric_names(&text).iter().find(|name| !metrics.contains_key(*name)), None, "named beside the list");
    }
    assert!(metrics.len() > 80, "the search finds metrics: {metrics:?}");
    metrics
}

#[test]
fn every_metric_stands_in_the_table_of_operations() {
    let in_code = metrics_of_the_code();
    let page = read("config/OPERATIONS.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(name, _)| metric_names(&format!("\"{name}\"")).contains(*name));
    let in_table: BTreeMap<String, (String, String)> = rows
        .map(|(name, rest)| {
            let (kind, rest) = rest.split_once(" |").unwrap();
            let labels = rest.split_once('|').unwrap().0.trim();
            (name.to_owned(), (kind.to_owned(), labels.to_owned()))
        })
        .collect();
    let missing: Vec<_> = in_code.iter().filter(|(name, _)| !in_table.contains_key(*name)).collect();
    assert!(missing.is_empty(), "in the code, and not in the tables of config/OPERATIONS.md: {missing:?}");
    for (name, described) in &in_table {
        let kind = &described.0;
        assert_eq!(
            in_code.get(name),
            Some(described),
            "{name} of the tables of config/OPERATIONS.md is not so in the code"
        );
        assert_eq!(name.ends_with("_total"), kind == "counter", "the name of {name} is not that of a {kind}");
    }
}

/// The names of metrics in an expression of Prometheus; those of a histogram without what its parts are called.
fn metrics_in(expression: &str, in_code: &BTreeMap<String, (String, String)>) -> BTreeSet<String> {
    let is_part = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    let words = expression.split(|letter: char| !is_part(letter));
    let words = words.filter(|word| METRIC_PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    let whole = |word: &str| {
        let stems = ["_bucket", "_sum", "_count"].iter().filter_map(|part| word.strip_suffix(part));
        let histogram = stems.into_iter().find(|stem| in_code.get(*stem).is_some_and(|(kind, _)| kind == "histogram"));
        histogram.unwrap_or(word).to_owned()
    };
    words.map(whole).collect()
}

#[test]
fn dashboards_and_alerts_name_metrics_that_are_there() {
    let in_code = metrics_of_the_code();
    let mut expressions = Vec::new();
    for dashboard in files(&root().join("config/deploy/grafana/dashboards"), ".json") {
        let text = fs::read_to_string(dashboard).unwrap();
        expressions.extend(text.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": ")).map(str::to_owned));
    }
    assert!(expressions.len() > 20, "the dashboards have queries: {expressions:?}");
    expressions.extend(alerts().into_values());
    for expression in expressions {
        for name in metrics_in(&expression, &in_code) {
            assert!(in_code.contains_key(&name), "{name} is no metric: {expression}");
        }
    }
}

/// The alert rules by name, with their expressions.
fn alerts() -> BTreeMap<String, String> {
    let text = read("config/deploy/prometheus/alerts.yml");
    let value = |line: &str, key: &str| line.trim().strip_prefix(key).map(|rest| rest.trim().to_owned());
    let names = text.lines().filter_map(|line| value(line, "- alert:"));
    names.zip(text.lines().filter_map(|line| value(line, "expr:"))).collect()
}

#[test]
fn the_alerts_are_those_of_the_tables_of_operations() {
    let page = read("config/OPERATIONS.md");
    let section = page.split_once("\n## What to alert on").unwrap().1.split_once("\n## ").unwrap().0;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let rows = rows.map(|(name, rest)| (name.to_owned(), rest.rsplit_once("` | ").unwrap().0.to_owned()));
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), alerts());
}

#[test]
fn metrics_are_named_in_one_place() {
    for source in METRIC_SOURCES.iter().flat_map(|folder| files(&root().join(folder), ".rs")) {
        let text = fs::read_to_string(&source).unwrap();
        for used in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            let is_a_test = text.find("#[cfg(test)]").is_some_and(|tests| text.find(used).is_some_and(|at| at > tests));
            assert!(!text.contains(used) || is_a_test, "{} names a metric by itself", source.display());
        }
    }
}

#[test]
fn the_bounds_that_the_table_names_are_settings_and_metrics() {
    let page = read("ARCHITECTURE.md");
    let table = page.split_once("\n## Bounds").unwrap().1.split_once("\n## ").unwrap().0;
    let operations = read("config/OPERATIONS.md");
    let settings: toml::Table = read("config/logic.toml").parse().unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what |");
    let rows: Vec<&str> = table.lines().filter(is_row).collect();
    assert!(rows.len() >= 10, "the table has rows: {rows:?}");
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 7, "a row has seven cells: {row}");
        let metrics = code_spans(cells[6]);
        assert!(!metrics.is_empty(), "no metric is named: {row}");
        for metric in metrics {
            assert!(operations.contains(&format!("| `{metric}` | ")), "{metric} is no metric");
        }
    }
    let named: BTreeSet<String> = code_spans(&rows.join("\n")).into_iter().collect();
    // Whatever bounds clients, and what waits between conn and logic, stands in the table.
    let conn: toml::Table = read("config/conn.toml").parse().unwrap();
    for (settings, section) in
        [(&conn, "limits"), (&conn, "session"), (&conn, "link"), (&settings, "link"), (&settings, "room")]
    {
        for key in settings[section].as_table().unwrap().keys() {
            let is_bound = key.ends_with("_max") || key.ends_with("_bytes");
            assert!(!is_bound || named.contains(&format!("{section}.{key}")), "{section}.{key} is missing");
        }
    }
    // Whatever bounds strangers stands in the table.
    for key in settings["grpc"].as_table().unwrap().keys() {
        let is_bound = key.ends_with("_max") || key.starts_with("resets_") || key.ends_with("_timeout_ms");
        assert!(
            !is_bound || key.starts_with("keep_alive") || named.contains(&format!("grpc.{key}")),
            "grpc.{key} is missing"
        );
    }
    // And whatever bounds what waits for the writer and the readers.
    for key in settings["inbox"].as_table().unwrap().keys().filter(|key| key.ends_with("_max")) {
        assert!(named.contains(&format!("inbox.{key}")), "inbox.{key} is missing");
    }
    assert!(named.contains("database.reads_per_user_max"));
}
